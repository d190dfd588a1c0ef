"""A backup into a root: checked, laid beside the finished generations, and only then given its name.

Nothing that is there is replaced. What is served changes only when the caller asks for it, or where nothing was
served. What is fetched lies in a folder of its own until it is whole; a pull that is killed goes on from there. The
order at the end is that of what needs what: the log, the generations, the alias.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from embed.vectors.scratch import hold, is_held
from index import machine
from index.backup.contents import Backup, StoredFile, place_of, read_backup
from index.backup.log_copy import check_joins, check_serves, join, local_log, stored_log
from index.backup.pieces import fetch, fetch_into
from index.backup.store import Store
from index.changes.fold import FoldedTo, folded_to
from index.changes.log_file import LOG_FILE
from index.disk.files import digest, named_storage_errors
from index.disk.manifest import MANIFEST_FILE, check_files, checked_manifest, read_manifest
from index.disk.root import PULLING_PREFIX, Root, check_name, make
from index.disk.sealed import parse_sealed
from index.disk.staging import publish
from index.errors import BackupError, GenerationError, NotFoundError, StorageError
from index.progress import Progress

_LARGEST_MANIFEST = 64 << 20  # bytes


class Pulled(NamedTuple):
    """generations: of the backup that are in the root now. changes: how many the log got. served: what the alias says
    now."""

    backup: str
    generations: list[str]
    changes: int
    bytes: int
    fetched: int
    served: str | None


def pull(
    root: Root,
    name: str,
    store: Store,
    *,
    backup: str | None = None,
    everything: bool = False,
    switch: bool = False,
    show: bool = False,
) -> Pulled:
    """Copies a backup of an index from a store into a root.

    Args:
        backup: Its id; by default the newest.
        everything: All generations of it, not only the one that was served.
        switch: Serve the one that was served; it is served anyway where the root serves nothing of that name yet.
        show: Progress on stderr.

    Raises:
        NotFoundError: There is no such backup.
        BackupError: It is damaged, incomplete or hostile, or does not go with what the root has.
        StorageError: The disk is too small or fails.
    """
    content = read_backup(store, check_name(name), backup)
    chosen = list(content.generations) if everything or content.served is None else [content.served]
    manifests = {generation: stored_manifest(store, content, generation) for generation in chosen}
    held = {generation: folded_to(manifest) for generation, manifest in manifests.items()}
    check_serves(content.changes, held)
    missing = [generation for generation in chosen if not _is_there(root, content, generation)]
    _check_log(root, content, held)
    sizes = {generation: sum(file.bytes for file in content.generations[generation].values()) for generation in chosen}
    log_bytes = content.changes.file.bytes if content.changes else 0
    _check_room(root.folder, sum(sizes[generation] for generation in missing) + log_bytes)
    changes = fetched = 0
    with (
        named_storage_errors(root.folder),
        Progress(f"pull {name}", sum(sizes[each] for each in missing) + log_bytes, "bytes", show=show) as progress,
        ExitStack() as staged,
    ):

        def filled(what: str, place: str, files: dict[str, StoredFile]) -> Path:
            nonlocal fetched
            folder = staged.enter_context(_pulling(root, name, what))
            paths = {folder / name: stored for name, stored in files.items()}
            fetched += fetch_into(store, place, paths, content.piece_bytes, progress.add)
            return folder

        copy: Path | None = None
        if content.changes is not None:
            log = content.changes.file
            copy = filled(f"changes-{log.sha256[:16]}", place_of(name), {LOG_FILE: log})
            if stored_log(copy, log) != content.changes:
                raise BackupError(f"the log of changes in backup {content.id} is not the one that it describes")
        folders: dict[str, Path] = {}
        for generation in missing:
            folder = filled(generation, place_of(name, generation), content.generations[generation])
            check_files(folder, read_manifest(folder, generation), machine.cores())
            folders[generation] = folder
        # Only now, with all of it here and checked, does any of it become visible.
        if content.changes is not None and copy is not None:
            with root.locked(name) as index:
                _check_log(root, content, held)
                changes = join(index, copy, content.changes)
            shutil.rmtree(copy)
        for generation, folder in folders.items():
            _publish(root, content, generation, folder)
        served = _serve(root, content, switch, set(chosen))
    return Pulled(content.id, chosen, changes, sum(sizes.values()) + log_bytes, fetched, served)


def stored_manifest(store: Store, content: Backup, generation: str) -> dict[str, Any]:
    """The manifest of a generation in a backup, whose format is one that this version reads."""
    what, file = f"{MANIFEST_FILE} of {generation}", content.generations[generation][MANIFEST_FILE]
    if file.bytes > _LARGEST_MANIFEST:
        raise BackupError(f"{what} would have {file.bytes:,} bytes, expected {_LARGEST_MANIFEST:,} at most")
    raw = fetch(store, place_of(content.name, generation), file, content.piece_bytes, what)
    try:
        manifest = checked_manifest(parse_sealed(raw), Path(generation, MANIFEST_FILE), generation)
    except ValueError as error:
        raise BackupError(f"{what} in backup {content.id} {error}") from error
    if {MANIFEST_FILE, *manifest["files"]} != content.generations[generation].keys():
        raise BackupError(f"backup {content.id} names other files of {generation} than its manifest does")
    return manifest


def _is_there(root: Root, content: Backup, generation: str) -> bool:
    """Whether the root has the generation; raises BackupError where it has another one of that name."""
    path = root.folder / content.name / generation
    if not path.exists():
        return False
    if digest(path / MANIFEST_FILE).sha256 != content.generations[generation][MANIFEST_FILE].sha256:
        raise BackupError(
            f"{path} is there already and is another generation than the backup's, so nothing was changed; pull into "
            "another --root"
        )
    return True


def _check_log(root: Root, content: Backup, held: dict[str, FoldedTo]) -> None:
    """Raises BackupError where the log, or changes that are here already, would be laid over a generation that they do
    not belong to."""
    folder = root.folder / content.name
    if content.changes is not None:
        check_joins(folder, content.changes)
    try:
        served = root.alias(content.name).generation
    except NotFoundError:
        return
    if content.changes is None or local_log(folder) is not None or served in held:
        return
    try:
        folded = folded_to(read_manifest(root.path(content.name, served)))
    except GenerationError:
        folded = FoldedTo(0, 0)
    if folded.log != content.changes.id:
        raise BackupError(
            f"{folder} serves {served}, and changes {content.changes.first:,} to {content.changes.last:,} of the "
            "backup are not its own: they would change what it answers. Pull into another --root, and serve that"
        )


def _check_room(folder: Path, needed: int) -> None:
    existing = next(each for each in [folder, *folder.absolute().parents] if each.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise StorageError(
            f"the backup takes {needed:,} bytes and {existing} has {free:,} free; nothing was fetched. Make room, or "
            "pull into a --root on a larger disk"
        )


@contextmanager
def _pulling(root: Root, name: str, what: str) -> Iterator[Path]:
    """The folder that something is fetched into; what an earlier pull left in it is there."""
    with root.locked(name, create=True) as folder:
        path = folder / f"{PULLING_PREFIX}{what}"
        try:
            handle = _held(path)
        except BlockingIOError:
            raise BackupError(f"another pull is fetching {what} into {folder}; let it end") from None
    try:
        if any(each.is_symlink() for each in (path, *path.rglob("*"))):
            raise BackupError(f"{path} holds a link, and a pull leaves none, so somebody else did; remove {path}")
        for each in path.rglob("*"):
            if each.is_file() and each.stat().st_nlink > 1:  # it is in use elsewhere by now
                each.unlink()
        yield path
    finally:
        with suppress(OSError):
            if is_held(path, handle):  # and not another pull's by now
                path.rmdir()  # where nothing was fetched
        os.close(handle)


def _held(path: Path) -> int:
    """The lock of a folder that is made if there is none. Another pull may remove its own meanwhile."""
    while True:
        make(path)
        with suppress(FileNotFoundError):
            return hold(path)


def _publish(root: Root, content: Backup, generation: str, folder: Path) -> None:
    try:
        publish(root, content.name, generation, folder)
    except OSError:
        if not _is_there(root, content, generation):  # another process was faster
            raise
        shutil.rmtree(folder)


def _serve(root: Root, content: Backup, switch: bool, here: set[str]) -> str | None:
    """Switches where that was asked for, or nothing is served yet; returns what is served."""
    try:
        before = root.alias(content.name).generation
    except NotFoundError:
        before = None
    if content.served is None or (before is not None and not switch):
        return before
    if before is None and content.previous in here and content.previous is not None:
        root.switch(content.name, content.previous)
    return root.switch(content.name, content.served).generation
