"""JSON files that carry their own hash, so that a flipped bit in a manifest or an alias is seen like any other.

The hash is over the canonical form (sorted keys, no spaces) of everything but the hash itself. The file must further be
byte for byte what writing its content gives, so that not even a changed space passes.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from embed.vectors.durable import write_atomically
from index.errors import GenerationError

SEAL = "sha256"


def seal_of(content: dict[str, Any]) -> str:
    rest = {key: value for key, value in content.items() if key != SEAL}
    return hashlib.sha256(_dump(rest, indent=None)).hexdigest()


def render_sealed(content: dict[str, Any]) -> bytes:
    return _render(content | {SEAL: seal_of(content)})


def parse_sealed(raw: bytes) -> dict[str, Any]:
    """The content, its seal included. Raises ValueError when it is not exactly what was written."""
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is damaged: not JSON ({error})") from error
    if not isinstance(content, dict) or content.get(SEAL) != seal_of(content):
        raise ValueError(f"is damaged: its content does not have the {SEAL} that it states")
    if raw != _render(content):
        raise ValueError("is damaged: not the bytes that were written")
    return content


def write_sealed(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, render_sealed(content))


def read_sealed(path: Path) -> dict[str, Any]:
    """The content, its seal included. Raises GenerationError when it is not exactly what was written."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise GenerationError(path, f"cannot be read: {error.strerror}") from error
    try:
        return parse_sealed(raw)
    except ValueError as error:
        raise GenerationError(path, str(error)) from error


def _render(content: dict[str, Any]) -> bytes:
    return _dump(content, indent=1) + b"\n"


def _dump(content: dict[str, Any], indent: int | None) -> bytes:
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(
        content, sort_keys=True, indent=indent, separators=separators, ensure_ascii=False, allow_nan=False
    ).encode()
