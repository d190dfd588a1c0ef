"""What a backup names: the files of its generations and of the log, each with its hash and those of its pieces.

A store may have been written to by anybody. So a backup is believed only as far as it can be checked before anything
is written: its seal, its form, sizes that fit their pieces, and names that stay inside the folder of a generation.
"""

import re
import secrets
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Annotated, Any

import msgspec

from index.backup.store import MissingError, Store
from index.disk.manifest import MANIFEST_FILE
from index.disk.root import index_of
from index.disk.sealed import SEAL, parse_sealed, render_sealed
from index.errors import BackupError, NotFoundError

FORMAT = 1
LARGEST_PIECE = 64 << 20  # bytes; one is held in memory
LARGEST_BACKUP = 64 << 20  # bytes of the JSON: pieces of some 6 TB
_ID = re.compile(r"[0-9]{8}T[0-9]{6}\.[0-9]{6}Z-[0-9a-f]{4}")

Hash = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]


class StoredFile(msgspec.Struct, forbid_unknown_fields=True):
    """pieces: the hashes of its pieces in order, all but the last of `piece_bytes`."""

    bytes: Count
    sha256: Hash
    pieces: list[Hash]


class StoredLog(msgspec.Struct, forbid_unknown_fields=True):
    """The log of changes as copied. id, first: as it says itself; last: its last change, `first` − 1 for none."""

    id: Count
    first: Count
    last: Count
    file: StoredFile


class Backup(msgspec.Struct, forbid_unknown_fields=True):
    """served, previous: what the alias said, None where there was none."""

    format: int
    id: str
    name: str
    created_at: str
    piece_bytes: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_PIECE)]
    served: str | None
    previous: str | None
    generations: dict[str, dict[str, StoredFile]]
    changes: StoredLog | None


def new_id() -> tuple[str, str]:
    """An id that sorts by time and that no other push has, and that time."""
    now = datetime.now(UTC)
    return f"{now:%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(2)}", now.isoformat(timespec="seconds")


def place_of(index: str, generation: str | None = None) -> str:
    """The folder of pieces of a generation, or of the log, in a store."""
    return f"{index}/changes" if generation is None else f"{index}/generations/{generation}"


def file_of(index: str, backup: str) -> str:
    return f"{index}/backups/{backup}.json"


def write_backup(store: Store, backup: Backup) -> None:
    store.put(file_of(backup.name, backup.id), render_sealed(msgspec.to_builtins(backup)))


def backups(store: Store, index: str) -> list[str]:
    """Ids of the backups of an index, oldest first."""
    names = (name.removesuffix(".json") for name in store.sizes(f"{index}/backups") if name.endswith(".json"))
    return sorted(name for name in names if _ID.fullmatch(name))


def read_backup(store: Store, index: str, wanted: str | None = None) -> Backup:
    """A backup of an index, by default the newest.

    Raises NotFoundError when there is none, BackupError when it is damaged, of a newer format, or names what no push of
    ours does.
    """
    if wanted is None:
        known = backups(store, index)
        if not known:
            raise NotFoundError(
                f"{store.where} has no backup of index {index!r}; `perwatt push {index} {store.where}` makes one"
            )
        wanted = known[-1]
    if not _ID.fullmatch(wanted):
        raise NotFoundError(f"{wanted!r} is not the id of a backup; `perwatt pull {index} … --list` shows them")
    name = file_of(index, wanted)
    try:
        raw = store.get(name, LARGEST_BACKUP)
    except MissingError as error:
        raise NotFoundError(f"{error}; `perwatt pull {index} … --list` shows the backups there are") from None
    try:
        return _checked(parse_sealed(raw), index, wanted)
    except (ValueError, msgspec.ValidationError) as error:
        raise BackupError(f"{store.where}/{name}: {error}; nothing was pulled. Is there another? (--list)") from error


def _checked(content: dict[str, Any], index: str, wanted: str) -> Backup:
    """Raises ValueError."""
    if content.get("format") != FORMAT:
        raise ValueError(f"has format {content.get('format')!r} and this version reads {FORMAT}; use a newer perwatt")
    backup = msgspec.convert({key: value for key, value in content.items() if key != SEAL}, Backup)
    if (backup.name, backup.id) != (index, wanted):
        raise ValueError(f"is backup {backup.id!r} of index {backup.name!r}, not what its name says")
    for generation, files in backup.generations.items():
        if index_of(generation) != index:
            raise ValueError(f"names {generation!r}, which is not a generation of index {index!r}")
        if MANIFEST_FILE not in files:
            raise ValueError(f"names no {MANIFEST_FILE} for {generation}")
        for name, stored in files.items():
            _check_name(name, files)
            _check_size(f"{name} of {generation}", stored, backup.piece_bytes)
    if backup.served is not None and backup.served not in backup.generations:
        raise ValueError(f"says that {backup.served!r} was served, and does not hold it")
    if backup.changes is not None:
        _check_size("the log of changes", backup.changes.file, backup.piece_bytes)
    return backup


def _check_name(name: str, files: dict[str, StoredFile]) -> None:
    parts = name.split("/")
    if any(part in ("", ".", "..") or "\\" in part or "\0" in part or len(part.encode()) > 255 for part in parts):
        raise ValueError(f"names a file {name!r}, which is not a path inside the folder of a generation")
    if len(parts) > 8 or any(str(parent) in files for parent in PurePosixPath(name).parents):
        raise ValueError(f"names a file {name!r}, whose folder is a file as well, or lies too deep")


def _check_size(what: str, stored: StoredFile, piece_bytes: int) -> None:
    if len(stored.pieces) != -(-stored.bytes // piece_bytes):
        raise ValueError(
            f"says that {what} has {stored.bytes:,} bytes, and names {len(stored.pieces)} pieces of {piece_bytes:,}"
        )
