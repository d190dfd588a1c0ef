"""Which rows the next generation of an index is built from, and which changes nobody needs any more.

    from the served generation     its rows with the changes since; built as that one was, unless told otherwise
    from a folder of vectors       its rows with every change that the log has; a folder knows nothing of writes

A change may be forgotten once every generation that is kept holds it: whoever rolls back to the oldest of them replays
what came after it. While one of them is from a folder, none is: the next one from there needs them all.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from index.changes.fold import Folded, FoldedTo, fold, folded_to, needed_of
from index.changes.log import Log
from index.changes.log_file import LogLockedError
from index.changes.log_reader import LogReader
from index.disk.layout import originals_of, profile_of
from index.disk.manifest import read_manifest
from index.disk.root import Root
from index.disk.vectors_folder import VectorsFolder
from index.errors import GenerationError, InputError, NotFoundError
from index.search.fields.columns import Field
from index.search.opening import open_generation


@contextmanager
def served_rows(root: Root, name: str, threads: int) -> Iterator[Folded]:
    """What a search of an index finds now: the rows of the served generation with every change since."""
    path = root.path(name)
    with open_generation(path, threads) as served:
        since = folded_to(served.manifest)
        yield fold(served, path.parent, since) or Folded(served, (), since)


@contextmanager
def folded_from_served(root: Root, name: str, threads: int) -> Iterator[tuple[Folded, dict[str, Any]]]:
    """The rows of the served generation with the changes since, and the settings that it was built with, as
    `build_generation` takes them. Raises InputError where there is nothing to fold."""
    path = root.path(name)
    with open_generation(path, threads) as served:
        since = folded_to(served.manifest)
        source = fold(served, path.parent, since)
        if source is None or source.folded.seq == since.seq:
            raise InputError(
                f"{served.id} holds every change of index {name!r} already; there is nothing to build. "
                f"`perwatt build DIR --index {name}` builds from a folder of vectors."
            )
        yield source, settings_of(served.manifest)


def folded_from_folder(root: Root, name: str, folder: VectorsFolder) -> VectorsFolder | Folded:
    """The rows of a folder with every change that the log has laid over them; the folder alone where there is no log.

    Raises InputError where older changes were trimmed: they are in the served generation and would be lost with it.
    """
    place = root.folder / name
    try:
        with LogReader(place) as reader:
            first, log = reader.head.first, reader.head.id
    except FileNotFoundError:
        return folder
    if first > 1:
        raise InputError(
            f"changes 1 to {first - 1:,} of index {name!r} are in its served generation and no longer in the log, so a "
            f"generation from {folder.path} alone would lose them. `perwatt build --from-changes --index {name}` keeps "
            "them; --drop-changes builds from the folder and forgets every change"
        )
    source = fold(folder, place, FoldedTo(log, 0))
    return folder if source is None or source.folded.seq == 0 else source


def dropping(root: Root, name: str, folder: VectorsFolder) -> VectorsFolder | Folded:
    """The rows of a folder as they are, and every change so far as done with."""
    try:
        with LogReader(root.folder / name) as reader:
            try:
                last = reader.last()
            except GenerationError:  # whoever drops changes may do so because they are damaged
                last = max(reader.acknowledged, reader.head.first - 1)
            return Folded(folder, (), FoldedTo(reader.head.id, last))
    except FileNotFoundError:
        return folder


def settings_of(manifest: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments of `build_generation` that build another generation in the same way."""
    words, made = manifest.get("lexical"), manifest["build"]
    language = manifest.get("language", words["language"] if words else None)
    unsaid = "faiss" if manifest["family"] == "graph" else "auto"  # graphs from before there was a choice
    return {
        "metric": manifest["metric"],
        "recall_target": manifest["recall"]["target"] if manifest["recall"] else 0.95,
        "filterable": [Field(name, type_) for name, type_ in manifest["filterable"].items()],
        "lexical": language is not None,
        "language": language or "english",
        "originals": originals_of(manifest),
        "profile": profile_of(manifest) or "auto",
        "builder": made.get("grown_from", made).get("builder", unsaid),
    }


def needed_after(root: Root, name: str) -> FoldedTo:
    """The last change that nobody needs who is kept; log 0 where one of them holds none."""
    oldest: FoldedTo | None = None
    for generation in root.generations(name):
        held = needed_of(read_manifest(root.path(name, generation)))
        oldest = held if oldest is None or held.seq < oldest.seq else oldest
    return oldest or FoldedTo(0, 0)


def trim(root: Root, name: str) -> int | None:
    """Forgets changes that every kept generation holds, and returns how many; None where a service writes the log,
    which does it by itself."""
    folder = root.folder / name
    try:
        needed = needed_after(root, name)
        with LogReader(folder) as reader:
            head = reader.head
        if needed.log != head.id or needed.seq < head.first:
            return 0
        with Log(folder, head.dim, head.model) as log:
            return log.trim(needed.seq)
    except FileNotFoundError:
        return 0
    except LogLockedError:
        return None
    except (GenerationError, NotFoundError):
        return 0  # what is damaged is kept, for whoever looks into it
