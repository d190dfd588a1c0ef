"""Where a job keeps its plan, what its tasks make, and the shards: a folder that all workers see, or a store.

In a folder nothing is moved. With a store each worker has a folder of its own for a while, brings what its task needs
into it and keeps there what the task made; no two workers need see the same disk.

    STORE/plan.json              as in a folder
    STORE/outputs/<name>.json    what a task made: sealed, names every file and its pieces, written last and once
    STORE/kept/<name>/<sha256>   those pieces, named by their hashes

The shards go to the store of indexes as `perwatt push` puts them there, so `perwatt pull` brings them to whoever serves
them. A piece that is not what its name says is refused; what no output names is not there for anybody; and of two
workers that end the same task the first one's output counts.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from deploy.errors import JobError
from embed.vectors.scratch import scratch_folder
from index.backup.address import is_address, open_store
from index.backup.contents import LARGEST_BACKUP, LARGEST_PIECE, StoredFile, backups
from index.backup.pieces import PIECE_BYTES, described, fetch_into, send
from index.backup.pull import pull
from index.backup.push import push
from index.backup.sharded import place_of_shard, seal_shards, sealed_shards, served_manifests
from index.backup.store import MissingError
from index.build.sharded import sharded_index
from index.disk.manifest import MANIFEST_FILE
from index.disk.sealed import SEAL, parse_sealed, read_sealed, render_sealed, write_sealed
from index.errors import BackupError, InputError, NotFoundError
from index.shards.sealed import ShardedIndex

PLAN_FILE, FORMAT, BACKUP_FILE = "plan.json", 1, "backup.json"


class JobOutput(NamedTuple):
    """What a task makes. name: among all of its job. path: a file; or a folder, which is whole once `last` is in it."""

    name: str
    path: Path
    last: str = ""

    @property
    def proof(self) -> Path:
        """What is there once it is whole."""
        return self.path / self.last if self.last else self.path


class JobPlace(Protocol):
    """where: as `--job` names it. folder: of this worker, for the files of the job."""

    where: str
    folder: Path

    def index(self, root: str, name: str) -> ShardedIndex:
        """The index of the job, as far as it is on this machine."""

    def new_generation(self, root: str, name: str) -> str:
        """The id of a generation to be built. Raises InputError where an index without shards has that name."""

    def read_plan(self) -> dict[str, Any] | None:
        """None where there is none; raises GenerationError or JobError for a damaged one."""

    def write_plan(self, content: dict[str, Any]) -> None: ...

    def missing(self, outputs: Sequence[JobOutput]) -> list[int]:
        """The numbers of those that are not there."""

    def bring(self, output: JobOutput, wanted: Callable[[str], bool] | None = None) -> bool:
        """Has an output, or the `wanted` files of it, at its path. False where it is not there."""

    def keep(self, output: JobOutput) -> None:
        """Lets all others see what is at its path."""

    def keep_shard(self, index: ShardedIndex, generation: str, number: int, of: int, note: Path) -> None:
        """Lets all others see a shard that was built. note: a folder that is kept next, for what finds it again."""

    def bring_shard(self, index: ShardedIndex, number: int, of: int, note: Path) -> None:
        """Has a shard on this machine."""

    def bring_manifests(self, index: ShardedIndex, generation: str, notes: Sequence[Path]) -> None:
        """Has the manifests of all shards, and of those that are served, on this machine."""

    def serve(self, index: ShardedIndex, generation: str, notes: Sequence[Path]) -> None:
        """Makes a sharded generation, whose `shards.json` is written on this machine, what is served."""

    def published(self, index: ShardedIndex, generation: str) -> dict[str, Any] | None:
        """What the `shards.json` of a generation says; None where it was not published."""

    def was_served(self, index: ShardedIndex, generation: str) -> bool:
        """Whether a generation is served or was; a newer one says that nobody waits for it."""

    def close(self) -> None: ...


class JobFolder:
    """A folder that every worker sees under the same path, as it sees the indexes."""

    def __init__(self, folder: Path) -> None:
        self.where, self.folder = str(folder), folder

    def index(self, root: str, name: str) -> ShardedIndex:
        return ShardedIndex(root, name)

    def new_generation(self, root: str, name: str) -> str:
        return sharded_index(root, name).new_id()

    def read_plan(self) -> dict[str, Any] | None:
        path = self.folder / PLAN_FILE
        return read_sealed(path) if path.is_file() else None

    def write_plan(self, content: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_sealed(self.folder / PLAN_FILE, content)

    def missing(self, outputs: Sequence[JobOutput]) -> list[int]:
        return [number for number, output in enumerate(outputs) if not output.proof.exists()]

    def bring(self, output: JobOutput, wanted: Callable[[str], bool] | None = None) -> bool:
        return output.proof.exists()

    def keep(self, output: JobOutput) -> None:
        pass

    def keep_shard(self, index: ShardedIndex, generation: str, number: int, of: int, note: Path) -> None:
        pass

    def bring_shard(self, index: ShardedIndex, number: int, of: int, note: Path) -> None:
        pass

    def bring_manifests(self, index: ShardedIndex, generation: str, notes: Sequence[Path]) -> None:
        pass

    def serve(self, index: ShardedIndex, generation: str, notes: Sequence[Path]) -> None:
        index.switch(generation)

    def published(self, index: ShardedIndex, generation: str) -> dict[str, Any] | None:
        return index.generation(generation).content if generation in index.generations() else None

    def was_served(self, index: ShardedIndex, generation: str) -> bool:
        try:
            alias = index.alias()
        except NotFoundError:
            return False
        return alias.previous == generation or alias.generation >= generation

    def close(self) -> None:
        pass


class KeptOutput(msgspec.Struct, forbid_unknown_fields=True):
    """As `outputs/<name>.json` has it."""

    format: int
    name: str
    piece_bytes: int
    files: dict[str, StoredFile]


class JobStore:
    """A store, and a folder of this worker alone that is gone when it is closed."""

    def __init__(self, address: str) -> None:
        self.where = address.rstrip("/")
        self._store = open_store(self.where)
        self._opened = ExitStack()
        self.folder = self._opened.enter_context(scratch_folder())
        self._indexes = self._store

    def index(self, root: str, name: str) -> ShardedIndex:
        self._indexes = open_store(root)
        return ShardedIndex(self.folder / "indexes", name)

    def new_generation(self, root: str, name: str) -> str:
        index = self.index(root, name)
        if backups(self._indexes, name):
            raise InputError(
                f"{root} has backups of an index {name!r} without shards; give the sharded one another name"
            )
        served_manifests(index, self._indexes)
        return index.new_id()

    def read_plan(self) -> dict[str, Any] | None:
        try:
            return parse_sealed(self._store.get(PLAN_FILE, LARGEST_BACKUP))
        except MissingError:
            return None
        except ValueError as error:
            raise JobError(f"{self.where}/{PLAN_FILE} {error}; plan again") from error

    def write_plan(self, content: dict[str, Any]) -> None:
        self._store.put(PLAN_FILE, render_sealed(content))

    def missing(self, outputs: Sequence[JobOutput]) -> list[int]:
        there = self._store.sizes("outputs")
        return [number for number, output in enumerate(outputs) if f"{output.name}.json" not in there]

    def bring(self, output: JobOutput, wanted: Callable[[str], bool] | None = None) -> bool:
        try:
            raw = self._store.get(f"outputs/{output.name}.json", LARGEST_BACKUP)
        except MissingError:
            return False
        kept = self._checked(raw, output.name)
        files = {
            output.path / name if output.last else output.path: stored
            for name, stored in kept.files.items()
            if wanted is None or wanted(name)
        }
        place = f"kept/{output.name}"
        mend = f"Delete {self.where}/{place} and outputs/{output.name}.json beside it, and its task is done again"
        fetch_into(self._store, place, files, kept.piece_bytes, lambda _: None, mend)
        return True

    def keep(self, output: JobOutput) -> None:
        paths = sorted(output.path.iterdir()) if output.last else [output.path]
        with ExitStack() as opened:
            found = {}
            for path in paths:
                if path.is_file() and not path.name.startswith("."):
                    handle = opened.enter_context(path.open("rb")).fileno()
                    found[path.name] = handle, described(handle, os.fstat(handle).st_size)
            send(self._store, f"kept/{output.name}", found.values(), lambda _: None, again=False)
        files = {name: stored for name, (_, stored) in found.items()}
        content = msgspec.to_builtins(KeptOutput(FORMAT, output.name, PIECE_BYTES, files))
        self._store.create(f"outputs/{output.name}.json", render_sealed(content))

    def keep_shard(self, index: ShardedIndex, generation: str, number: int, of: int, note: Path) -> None:
        root = index.root_of(number, of)
        done = push(root, index.name, place_of_shard(self._indexes, index.name, number, of), everything=True)
        shutil.copyfile(root.path(index.name, generation) / MANIFEST_FILE, note / MANIFEST_FILE)
        (note / BACKUP_FILE).write_text(json.dumps(done.backup))

    def bring_shard(self, index: ShardedIndex, number: int, of: int, note: Path) -> None:
        root = index.root_of(number, of)
        root.folder.mkdir(parents=True, exist_ok=True)
        pull(root, index.name, place_of_shard(self._indexes, index.name, number, of), backup=_backup(note))

    def bring_manifests(self, index: ShardedIndex, generation: str, notes: Sequence[Path]) -> None:
        served_manifests(index, self._indexes)
        for number, note in enumerate(notes):
            path = index.root_of(number, len(notes)).folder / index.name / generation
            path.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(note / MANIFEST_FILE, path / MANIFEST_FILE)

    def serve(self, index: ShardedIndex, generation: str, notes: Sequence[Path]) -> None:
        seal_shards(index, self._indexes, generation, [_backup(note) for note in notes])

    def published(self, index: ShardedIndex, generation: str) -> dict[str, Any] | None:
        return sealed_shards(self._indexes, index.name, generation)

    def was_served(self, index: ShardedIndex, generation: str) -> bool:
        return True  # what says that it is published is what serves it

    def close(self) -> None:
        self._opened.close()

    def _checked(self, raw: bytes, name: str) -> KeptOutput:
        try:
            found = {key: value for key, value in parse_sealed(raw).items() if key != SEAL}
            kept = msgspec.convert(found, KeptOutput)
            if (kept.format, kept.name) != (FORMAT, name) or not 1 <= kept.piece_bytes <= LARGEST_PIECE:
                raise ValueError(f"is of another format or another output, {kept.name!r}")
            if any(Path(each).name != each or each.startswith(".") for each in kept.files):
                raise ValueError("names a file outside its folder")
        except (ValueError, msgspec.ValidationError) as error:
            raise BackupError(
                f"{self.where}/outputs/{name}.json {error}; delete it, and its task is done again"
            ) from error
        return kept


def place_of_job(where: Path | str) -> JobPlace:
    """Raises InputError for an address of no store, BackupError for a store that cannot be used."""
    return JobStore(str(where)) if is_address(where) else JobFolder(Path(where))


def _backup(note: Path) -> str:
    return str(json.loads((note / BACKUP_FILE).read_text()))
