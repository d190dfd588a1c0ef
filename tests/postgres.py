"""Where the programs of a PostgreSQL with pgvector are, which `loadtest.bench.postgres` runs."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def programs() -> Path | None:
    """The folder of initdb and postgres. The module is not imported: it would look for a folder of its own."""
    found = find_spec("pgserver")
    if found is None or found.submodule_search_locations is None:
        return None
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"
