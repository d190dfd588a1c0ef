"""Keys of a server under test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from service.access import keys


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def make_key(path: Path, name: str, scope: keys.Access, **more: Any) -> str:
    with keys.changing(path) as held:
        return keys.add(held, keys.Key(name, 0, scope, [], **more), None)
