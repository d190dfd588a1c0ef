"""Where a generation lies until it is finished: a folder next to the finished ones, locked by its build.

The lock is on the folder itself, so it dies with the process, whatever killed it, and a later build can tell a folder
that is being built from one that never will be. Process ids would not do: containers reuse them.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from embed.vectors.durable import sync
from embed.vectors.scratch import hold
from index.disk.files import named_storage_errors
from index.disk.root import BUILDING_PREFIX, Root
from index.disk.stamps import next_stamp
from index.errors import IndexingError, TakenError


@contextmanager
def staging(root: Root, name: str, generation: str | None = None) -> Iterator[tuple[Path, str, datetime]]:
    """A folder to build in, the id of the generation that it will be, and its time of creation.

    Args:
        generation: the id, where it is not for this build to choose; raises TakenError where it is taken.

    The folder is gone afterwards unless it was published, and with it those that a first build had to make. What dead
    builds left is removed first.
    """
    missing = [each for each in (root.folder, *root.folder.parents) if not each.exists()]
    with named_storage_errors(root.folder), ExitStack() as undone:
        undone.callback(_remove_unused, root, name, missing)
        with root.locked(name, create=True) as folder:
            root.sweep(folder)
            if generation is None:
                generation = _new_id(name, folder)
            elif (folder / generation).exists() or (folder / f"{BUILDING_PREFIX}{generation}").exists():
                raise TakenError(f"generation {generation} is there already, or being built, under {folder}")
            created_at = datetime.now(UTC)
            path = folder / f"{BUILDING_PREFIX}{generation}"
            path.mkdir()
            undone.callback(os.close, hold(path))
            undone.callback(shutil.rmtree, path, ignore_errors=True)
        yield path, generation, created_at


def _remove_unused(root: Root, name: str, made: list[Path]) -> None:
    """Whatever keeps them from being removed is not worth an error of its own."""
    with suppress(OSError, IndexingError):
        root.remove_unused(name)
        for each in made:
            each.rmdir()


def _new_id(name: str, folder: Path) -> str:
    """<name>-<stamp>: ids sort as they were made, and no two builds have the same."""
    there = (entry.name.removeprefix(BUILDING_PREFIX) for entry in folder.iterdir())
    stamp = next_stamp(each.removeprefix(f"{name}-") for each in there)
    return f"{name}-{stamp}"


def publish(root: Root, name: str, generation: str, path: Path, check: Callable[[], object] = lambda: None) -> Path:
    """Makes a finished folder a generation: everything on the disk first, then its name. check: raises for what must
    not become one any more; asked last, since making sure of the bytes may take minutes."""
    for entry in [*path.rglob("*"), path]:
        sync(entry)
    with root.locked(name) as folder:
        check()
        final = folder / generation
        path.rename(final)
        sync(folder)
    return final
