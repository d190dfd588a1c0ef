"""An index to a store: the served generation, or all, and the log of changes as it is now, as one backup.

The alias is read first and the log copied next, so that the log holds every change that the generations lack. Every
file is hashed and compared with its manifest before any of it is sent, and the backup is named last: until then nobody
sees it, and a push that is killed leaves pieces that the next one finds.
"""

import os
import stat
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from embed.vectors.scratch import scratch_folder
from index.backup.contents import FORMAT, Backup, StoredFile, StoredLog, new_id, place_of, write_backup
from index.backup.log_copy import check_serves, copied, stored_log
from index.backup.pieces import PIECE_BYTES, described, send
from index.backup.store import Store
from index.changes.fold import folded_to
from index.disk.manifest import MANIFEST_FILE, read_manifest
from index.disk.root import Alias, Root
from index.errors import BackupError, GenerationError, NotFoundError
from index.progress import Progress


class Pushed(NamedTuple):
    """changes: the last change in the backup, None where the index has no log. sent: bytes that were not there yet."""

    backup: str
    generations: list[str]
    changes: int | None
    bytes: int
    sent: int


def push(
    root: Root, name: str, store: Store, *, everything: bool = False, read_back: bool = False, show: bool = False
) -> Pushed:
    """Copies an index to a store as a new backup.

    Args:
        everything: All generations that there are, not only the served one.
        read_back: Reads every piece back, and replaces those that the store holds damaged.
        show: Progress on stderr.

    Raises:
        NotFoundError: There is no such index, or nothing of it is served.
        GenerationError: A generation or the log is damaged here.
        BackupError: The store fails.
    """
    alias = _alias(root, name, everything)
    chosen = root.generations(name) if everything or alias is None else [alias.generation]
    with ExitStack() as opened:
        scratch = opened.enter_context(scratch_folder())
        log = copied(root.folder / name, scratch)
        manifests = {generation: read_manifest(root.path(name, generation)) for generation in chosen}
        changes = None if log is None else stored_log(scratch, StoredFile(0, "", []))
        check_serves(changes, {generation: folded_to(manifest) for generation, manifest in manifests.items()})
        log_bytes = log.stat().st_size if log else 0
        total = log_bytes + sum(_bytes(root.path(name, each), manifest) for each, manifest in manifests.items())
        progress = opened.enter_context(Progress(f"push {name}", total, "bytes", show=show))
        generations: dict[str, dict[str, StoredFile]] = {}
        sent = 0
        for generation, manifest in manifests.items():
            with ExitStack() as files:
                found = _files(root.path(name, generation), manifest, files)
                place = place_of(name, generation)
                sent += send(store, place, found.values(), progress.add, read_back)
                generations[generation] = {each: stored for each, (_, stored) in found.items()}
        if log is not None and changes is not None:
            handle = _opened(log, opened)
            file = described(handle, log_bytes)
            sent += send(store, place_of(name), [(handle, file)], progress.add, read_back)
            changes = StoredLog(changes.id, changes.first, changes.last, file)
        id_, created_at = new_id()
        served, previous = (None, None) if alias is None else (alias.generation, alias.previous)
        write_backup(store, Backup(FORMAT, id_, name, created_at, PIECE_BYTES, served, previous, generations, changes))
    return Pushed(id_, chosen, None if changes is None else changes.last, total, sent)


def _alias(root: Root, name: str, everything: bool) -> Alias | None:
    try:
        return root.alias(name)
    except NotFoundError:
        if not everything or not root.generations(name):
            raise
        return None  # what was built and never switched to


def _bytes(folder: Path, manifest: Mapping[str, Any]) -> int:
    return (folder / MANIFEST_FILE).stat().st_size + sum(int(entry["bytes"]) for entry in manifest["files"].values())


def _files(folder: Path, manifest: dict[str, Any], opened: ExitStack) -> dict[str, tuple[int, StoredFile]]:
    """Every file of a generation, open, so that it can be read to its end whatever becomes of the folder, and compared
    with the manifest."""
    found = {}
    for name in [MANIFEST_FILE, *manifest["files"]]:
        handle = _opened(folder / name, opened)
        stored = described(handle, os.fstat(handle).st_size)
        entry = manifest["files"].get(name)
        if entry is not None and (stored.bytes, stored.sha256) != (entry["bytes"], entry["sha256"]):
            raise GenerationError(folder / name, "is damaged: its SHA-256 is not the one in the manifest")
        found[name] = handle, stored
    return found


def _opened(path: Path, opened: ExitStack) -> int:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise BackupError(f"{path} cannot be read: {error.strerror}; was it removed meanwhile? Push again") from error
    opened.callback(os.close, handle)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        raise GenerationError(path, "is not a regular file")
    return handle
