"""What a shard knows of the whole: a copy of `shards.json`, ROOT/<name>/shards-<generation>.json beside a generation.

It is written when all shards are there and measured, so no manifest names it. It is sealed itself, and has the hash of
the manifest of the generation.
"""

from pathlib import Path
from typing import Any

from index.disk.sealed import SEAL, read_sealed, write_sealed
from index.errors import GenerationError

SHARDS_FILE = "shards.json"


def file_of_whole(folder: Path) -> Path:
    """Where it is, for the generation in a folder."""
    return folder.with_name(f"shards-{folder.name}.json")


def read_whole(folder: Path, manifest: dict[str, Any]) -> dict[str, Any] | None:
    """None where there is none. Raises GenerationError for one that is damaged, or not of this shard."""
    path = file_of_whole(folder)
    if not path.exists():
        return None
    content = read_sealed(path)
    try:
        sealed = content["shards"][manifest["shard"]["number"]]["manifest_sha256"]
    except (KeyError, IndexError, TypeError):
        sealed = None
    if sealed != manifest[SEAL]:
        raise GenerationError(path, "is not of this shard")
    effort = content.get("effort", {"default": 1})
    if not isinstance(effort, dict) or type(effort.get("default")) is not int or effort["default"] < 1:
        raise GenerationError(path, "does not say which effort is served")
    return content


def write_whole(folder: Path, content: dict[str, Any]) -> None:
    write_sealed(file_of_whole(folder), content)
