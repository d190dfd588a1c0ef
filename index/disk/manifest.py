"""The manifest: what a generation is, and the size and SHA-256 of each of its files.

Nothing of a generation is opened before its manifest has been read and every file has been compared with it: missing,
extra, truncated, swapped and flipped are all found here, by name, and never by a library that trusted its input.
"""

import stat
from pathlib import Path
from typing import Any

from index.disk import files
from index.disk.sealed import SEAL, read_sealed
from index.errors import GenerationError

MANIFEST_FILE = "manifest.json"
FORMAT = 1
QUERY_ENCODER = "query_encoder"  # the entry on a fitted one, where there is one
SPARSE = "sparse"  # … and on weights by a learned sparse model

_REQUIRED: dict[str, type | tuple[type, ...]] = {
    "format": int,
    "generation": str,
    "name": str,
    "created_at": str,
    "count": int,
    "dim": int,
    "metric": str,
    "family": str,
    "family_reason": str,
    "id_type": str,
    "model": (dict, type(None)),
    "canaries": list,
    "build": dict,
    "recall": dict,
    "effort": dict,
    "sections": dict,
    "filterable": dict,
    "memory_bytes": int,
    "memory_private_bytes": int,
    "files": dict,
    SEAL: str,
}


def read_manifest(folder: Path, generation: str | None = None) -> dict[str, Any]:
    """The manifest of a generation's folder. `generation` is its id, where the folder is not called so yet."""
    path = folder / MANIFEST_FILE
    if not folder.is_dir():
        raise GenerationError(folder, "is not there, or not a folder")
    return checked_manifest(read_sealed(path), path, generation or folder.name)


def checked_manifest(manifest: dict[str, Any], path: Path, generation: str) -> dict[str, Any]:
    """The manifest itself when it is one of this format and of that generation. `path` is named in errors."""
    if manifest.get("format") != FORMAT:
        raise GenerationError(
            path, f"has format {manifest.get('format')!r} and this version reads {FORMAT}; build the index again"
        )
    for key, kind in _REQUIRED.items():
        if not isinstance(manifest.get(key), kind):
            raise GenerationError(path, f"lacks a usable {key!r}")
    if manifest["generation"] != generation:
        raise GenerationError(path, f"is that of generation {manifest['generation']!r}, not of this folder")
    return manifest


def check_files(folder: Path, manifest: dict[str, Any], threads: int) -> None:
    """Compares every file of the folder with the manifest. Raises GenerationError naming the first that differs."""
    expected: dict[str, dict[str, Any]] = manifest["files"]
    for name, entry in expected.items():
        stated = entry if isinstance(entry, dict) else {}
        if type(stated.get("bytes")) is not int or not isinstance(stated.get("sha256"), str):
            raise GenerationError(folder / MANIFEST_FILE, f"does not say how long {name} is and what it hashes to")
    present = _entries(folder)
    for name in sorted(expected.keys() - present.keys()):
        raise GenerationError(folder / name, "is missing, and the manifest names it")
    for name in sorted(present.keys() - expected.keys() - {MANIFEST_FILE}):
        raise GenerationError(folder / name, "is not in the manifest, so not part of this generation")
    for name in sorted(expected):
        status = present[name].lstat()
        if not stat.S_ISREG(status.st_mode):
            raise GenerationError(folder / name, "is not a regular file")
        if status.st_size != expected[name]["bytes"]:
            raise GenerationError(
                folder / name, f"has {status.st_size:,} bytes, and the manifest says {expected[name]['bytes']:,}"
            )
    # Largest first, so that no thread starts on the largest when the others are done.
    order = sorted(expected, key=lambda name: -int(expected[name]["bytes"]))
    try:
        found = files.digests([folder / name for name in order], threads)
    except OSError as error:
        raise GenerationError(folder, f"cannot be read: {error}") from error
    for name, digest in zip(order, found, strict=True):
        if digest.sha256 != expected[name]["sha256"]:
            raise GenerationError(folder / name, "is damaged: its SHA-256 is not the one in the manifest")


def describe_files(folder: Path, threads: int) -> dict[str, dict[str, Any]]:
    """The manifest's `files` for what is in the folder now."""
    present = _entries(folder)
    names = sorted(present.keys() - {MANIFEST_FILE})
    found = files.digests([present[name] for name in names], threads)
    return {name: {"bytes": digest.bytes, "sha256": digest.sha256} for name, digest in zip(names, found, strict=True)}


def _entries(folder: Path) -> dict[str, Path]:
    """What is in the folder by its relative name; of a folder in it its content, or itself where it is empty."""
    entries: dict[str, Path] = {}
    for entry in folder.iterdir():
        inside = _entries(entry) if entry.is_dir() and not entry.is_symlink() else {}
        entries |= {f"{entry.name}/{name}": path for name, path in inside.items()} or {entry.name: entry}
    return entries
