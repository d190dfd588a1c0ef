"""Where the default search of an index is kept: ROOT/INDEX/search.json, sealed, replaced in one step under its lock.

It outlives generations, since a rebuild changes rows and not what people ask.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from index import Root
from index.disk.sealed import SEAL, read_sealed, write_sealed
from index.errors import GenerationError
from service.wire.default_search import DefaultSearch

FILE = "search.json"


def read_default(root: Root, name: str) -> DefaultSearch | None:
    """None where there is none. Raises GenerationError for a file that is damaged."""
    path = root.folder / name / FILE
    if not path.exists():
        return None
    content: dict[str, Any] = {key: value for key, value in read_sealed(path).items() if key != SEAL}
    try:
        return msgspec.convert(content, DefaultSearch)
    except msgspec.ValidationError as error:
        raise GenerationError(path, f"is no default search of this version: {error}") from error


def write_default(root: Root, name: str, found: DefaultSearch | None) -> Path:
    """Keeps it for every search to come; None: forgets what was there. Raises StorageError."""
    path = root.folder / name / FILE
    with root.locked(name):
        if found is None:
            path.unlink(missing_ok=True)
        else:
            write_sealed(path, found.as_dict())
    return path
