"""One proof: what was to be shown, and what came out."""

from __future__ import annotations

import msgspec


class Proof(msgspec.Struct, frozen=True):
    name: str
    passed: bool
    found: str
