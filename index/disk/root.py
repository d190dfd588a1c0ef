"""A folder of indexes: their generations, and the alias that says which one is served.

ROOT/<name>/<generation>/   generations, immutable
ROOT/<name>/current         the alias, a sealed JSON file that is replaced in one step
ROOT/<name>/shards-…json    of a generation that is a shard: a copy of what names all of them (whole.py)
ROOT/<name>/.lock           held (flock) by whoever changes any of it; readers need no lock
ROOT/<name>/.building-…     a build under way; it holds a lock on its folder, so one that died can be told and removed
ROOT/<name>/.pulling-…      the same of a pull (index/backup); one that died goes on from there, until gc removes it
ROOT/<name>.shards/         an index in shards (index/shards)
"""

import fcntl
import os
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from embed.vectors.durable import TEMPORARY
from embed.vectors.scratch import sweep
from index import machine
from index.disk.files import named_storage_errors
from index.disk.manifest import MANIFEST_FILE, check_files, read_manifest
from index.disk.sealed import SEAL, read_sealed, write_sealed
from index.disk.whole import file_of_whole
from index.errors import ConflictError, GenerationError, InputError, NotFoundError

ALIAS_FILE, LOCK_FILE, BUILDING_PREFIX = "current", ".lock", ".building-"
PULLING_PREFIX = ".pulling-"
SHARDS_SUFFIX = ".shards"
DEFAULT_ROOT = Path("indexes")
_NOTHING = "nothing was built yet; `perwatt build VECTORS --index NAME` does"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
GENERATION_SUFFIX = "-[0-9]{8}T[0-9]{6}Z-[0-9a-f]{4}"  # after the name of its index, as `staging` makes it
_GENERATION = re.compile(f"(.+){GENERATION_SUFFIX}")


class Alias(NamedTuple):
    """The generation that is served, the one before it, and a tag that changes whenever the alias does."""

    generation: str
    previous: str | None
    etag: str
    manifest_sha256: str | None = None  # of a sharded index none: its parts have theirs


_TRIES = 20


def check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} is not an index name; expected 1 to 63 of a-z, 0-9, '-' and '_', starting with a letter or digit"
        )
    return name


def index_of(generation: str) -> str | None:
    """The index that a generation id names; None when it is not such an id."""
    named = _GENERATION.fullmatch(generation)
    return named[1] if named else None


class Root:
    def __init__(self, folder: Path | str = DEFAULT_ROOT) -> None:
        self.folder = Path(folder)

    def names(self, *, unfinished: bool = False) -> list[str]:
        """Indexes with an alias or a generation, sorted; `unfinished`: also those whose first build has not ended."""
        if not self.folder.is_dir():
            return []
        folders = [entry for entry in self.folder.iterdir() if entry.is_dir() and _NAME.fullmatch(entry.name)]
        files = (ALIAS_FILE, LOCK_FILE) if unfinished else (ALIAS_FILE,)
        return sorted(f.name for f in folders if any((f / file).exists() for file in files) or self._generations(f))

    def sharded(self) -> list[str]:
        """Indexes in shards (index/shards), sorted."""
        return sorted(folder.stem for folder in self.folder.glob(f"*{SHARDS_SUFFIX}"))

    def shards_of(self, name: str) -> Path | None:
        """The folder that holds the shards of an index; None where it has none."""
        folder = self.folder / f"{name}{SHARDS_SUFFIX}"
        return folder if folder.is_dir() else None

    def alias(self, name: str) -> Alias:
        """Raises NotFoundError when nothing was ever switched to, GenerationError when the alias file is damaged."""
        path = self._folder(name) / ALIAS_FILE
        if not path.exists():
            there = f"index {name!r} under {self.folder} serves no generation: "
            if not (built := self.generations(name)):
                raise NotFoundError(there + _NOTHING)
            raise NotFoundError(
                f"{there}none of {', '.join(built)} was switched to; `perwatt switch {name} {built[-1]}` serves it"
            )
        return read_alias(path)

    def generations(self, name: str) -> list[str]:
        """Ids of the finished generations, oldest first."""
        return self._generations(self._folder(name))

    def path(self, name: str, generation: str | None = None) -> Path:
        """The folder of a generation, by default the served one."""
        alias = self.alias(name) if generation is None else None
        wanted = generation if alias is None else alias.generation
        if wanted is None or wanted not in self.generations(name):
            raise NotFoundError(f"index {name!r} has no generation {wanted!r}: {self._what_there_is(name)}")
        folder = self._folder(name) / wanted
        # A manifest that was exchanged whole, with a valid seal, is seen, too.
        if alias is not None and read_manifest(folder)[SEAL] != alias.manifest_sha256:
            raise GenerationError(folder / MANIFEST_FILE, "is not the one that was switched to")
        return folder

    def switch(self, name: str, generation: str, expect_etag: str | None = None) -> Alias:
        """Serves `generation` from now on, once every byte of it is checked.

        `expect_etag` is the alias's etag that the caller saw ("" for none yet); ConflictError when it changed since.
        """
        folder = self.path(name, generation)
        check_files(folder, read_manifest(folder), machine.cores())
        with self.locked(name):
            self.path(name, generation)
            present = self._present_alias(name, expect_etag)
            if present is not None and present.generation == generation:
                return present
            return self._write(name, generation, present.generation if present else None)

    def rollback(self, name: str, expect_etag: str | None = None) -> Alias:
        """Serves the generation before the present one; again goes forward to it."""
        alias = self.alias(name)
        if alias.previous is None:
            raise NotFoundError(f"index {name!r} has no generation before {alias.generation} to go back to")
        if alias.previous not in self.generations(name):
            raise NotFoundError(f"the generation before, {alias.previous}, is no longer there")
        return self.switch(name, alias.previous, alias.etag if expect_etag is None else expect_etag)

    def gc(self, name: str, keep: int = 2, also: Collection[str] = ()) -> list[str]:
        """Deletes generations that are neither served, nor the one before, nor among the newest `keep`, nor in `also`,
        and what dead builds and pulls left; an index that never had another has no folder then. Returns what was
        deleted."""
        if keep < 0:
            raise InputError(f"keep is {keep}; expected 0 or more")
        folder = self._folder(name)
        with self.locked(name):
            deleted = self.sweep(folder) + sweep(folder.glob(f"{PULLING_PREFIX}*"))
            generations = self._generations(folder)
            kept = {*(generations[len(generations) - keep :] if keep else []), *also}
            if (folder / ALIAS_FILE).exists():
                alias = read_alias(folder / ALIAS_FILE)
                kept |= {alias.generation, alias.previous or ""}
            for generation in generations:
                if generation not in kept:
                    # Out of sight first: a deletion that is killed must not leave half a generation.
                    doomed = folder / f"{BUILDING_PREFIX}deleted-{generation}"
                    (folder / generation).rename(doomed)
                    shutil.rmtree(doomed)
                    file_of_whole(folder / generation).unlink(missing_ok=True)
                    deleted.append(generation)
        if not generations:
            self.remove_unused(name)
        return deleted

    @contextmanager
    def locked(self, name: str, *, create: bool = False) -> Iterator[Path]:
        """Holds the index's lock. Yields its folder, which is made if there is none and `create` is given.

        Raises StorageError, for what is done under the lock too, when the folder cannot be written to.
        """
        check_name(name)
        with named_storage_errors(self.folder):
            handle = None
            while handle is None:
                folder = self.folder / name if create else self._folder(name)
                if create:
                    make(folder)
                handle = lock(folder / LOCK_FILE)
            try:
                yield folder
            finally:
                os.close(handle)

    def remove_unused(self, name: str) -> None:
        """Removes an index's folder in which no build has finished yet and none is under way, as if it had not begun.

        Who waits for its lock meanwhile sees that it is gone.
        """
        with self.locked(name) as folder, suppress(OSError):
            if [entry.name for entry in folder.iterdir()] == [LOCK_FILE]:
                (folder / LOCK_FILE).unlink()
                folder.rmdir()

    def sweep(self, folder: Path) -> list[str]:
        """Removes what dead builds left in an index's folder; the caller holds its lock, so an alias, or what
        a shard knows of the whole, that is half written is of one who died, too."""
        for leftover in (*folder.glob(f"{TEMPORARY}{ALIAS_FILE}.*"), *folder.glob(f"{TEMPORARY}shards-*")):
            leftover.unlink(missing_ok=True)
        return sweep(folder.glob(f"{BUILDING_PREFIX}*"))

    def _present_alias(self, name: str, expect_etag: str | None) -> Alias | None:
        return present_alias(self._folder(name) / ALIAS_FILE, name, expect_etag)

    def _write(self, name: str, generation: str, previous: str | None) -> Alias:
        folder = self._folder(name)
        seal = read_manifest(folder / generation)[SEAL]
        path = folder / ALIAS_FILE
        write_sealed(path, {"generation": generation, "previous": previous, "manifest_sha256": seal})
        return read_alias(path)

    def _folder(self, name: str) -> Path:
        folder = self.folder / check_name(name)
        if not folder.is_dir():
            if (shards := self.shards_of(name)) is not None:
                raise NotFoundError(
                    f"index {name!r} under {self.folder} has shards, and here one without is asked for: "
                    f"each of them is an index {name!r} under a folder of {shards}"
                )
            raise NotFoundError(f"there is no index {name!r} under {self.folder}: {self._known()}")
        return folder

    def _generations(self, folder: Path) -> list[str]:
        return sorted(
            entry.name
            for entry in folder.iterdir()
            if not entry.name.startswith(".") and (entry / MANIFEST_FILE).exists()
        )

    def _what_there_is(self, name: str) -> str:
        generations = self.generations(name)
        return f"it has {', '.join(generations)}" if generations else _NOTHING

    def _known(self) -> str:
        names = self.names()
        return f"it has {', '.join(names)}" if names else "nothing was built there yet"


def present_alias(path: Path, name: str, expect_etag: str | None) -> Alias | None:
    """The alias file of an index, None where there is none. Raises ConflictError when it is not the expected one."""
    present = read_alias(path) if path.exists() else None
    etag = present.etag if present else ""
    if expect_etag is not None and expect_etag != etag:
        raise ConflictError(
            f"the alias of index {name!r} has changed since it was read: etag {expect_etag!r} was given, "
            f"it is {etag!r} now. Read it again and decide again.",
            etag,
        )
    return present


def make(folder: Path) -> None:
    """Makes a folder if there is none. A build that failed may remove it meanwhile, or the root around it."""
    for left in reversed(range(_TRIES)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            break
        except (FileExistsError, FileNotFoundError):
            if not left:
                raise


def lock(file: Path) -> int | None:
    """A handle that holds the lock; None when the file was removed while it was waited for."""
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.path.samestat(os.fstat(handle), file.stat()):
            return handle
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None


def read_alias(path: Path) -> Alias:
    """An alias file. Raises GenerationError when it is damaged."""
    content: dict[str, Any] = read_sealed(path)
    generation, previous = content.get("generation"), content.get("previous")
    if not isinstance(generation, str) or not isinstance(previous, str | None):
        raise GenerationError(path, "does not name a generation")
    return Alias(generation, previous, content[SEAL][:16], content.get("manifest_sha256"))
