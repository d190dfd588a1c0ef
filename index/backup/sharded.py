"""An index in shards to a store, and back: each shard as an ordinary index, and a file that says which belong together.

    STORE/<name>.shards/<i>-of-<S>/<name>/…    shard i, as push.py puts an index
    STORE/<name>.shards/backups/<id>.json      sealed, written last: the backup of each shard, and each `shards.json`

What it names is believed as far as it can be checked: each shard's backup checks its own bytes, and a generation is a
sharded one only where the manifest of every shard has the hash that its `shards.json` says.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from index.backup.contents import FORMAT, LARGEST_BACKUP, new_id
from index.backup.pull import Pulled, pull
from index.backup.push import Pushed, push
from index.backup.store import MissingError, Store
from index.disk.manifest import MANIFEST_FILE, read_manifest
from index.disk.root import SHARDS_SUFFIX, check_name, index_of
from index.disk.sealed import SEAL, parse_sealed, render_sealed, write_sealed
from index.errors import BackupError, GenerationError, NotFoundError
from index.shards.plan import MOST_SHARDS, folder_of
from index.shards.sealed import SHARDS_FILE, ShardedIndex

_NAMED = re.compile(r"[0-9]{8}T[0-9]{6}\.[0-9]{6}Z-[0-9a-f]{4}")


class ShardedBackup(msgspec.Struct, forbid_unknown_fields=True):
    """served, previous: what the alias of the whole said. generations: the content of each one's `shards.json`. shards:
    the backup of each, in the order of their numbers."""

    format: int
    id: str
    name: str
    created_at: str
    served: str
    previous: str | None
    generations: dict[str, dict[str, Any]]
    shards: list[str]


class _Within:
    """A folder of a store, as a store."""

    def __init__(self, store: Store, folder: str) -> None:
        self._store, self._folder = store, folder
        self.where = f"{store.where}/{folder}"

    def sizes(self, folder: str) -> dict[str, int]:
        return self._store.sizes(f"{self._folder}/{folder}")

    def put(self, name: str, content: bytes) -> None:
        self._store.put(f"{self._folder}/{name}", content)

    def get(self, name: str, most: int) -> bytes:
        return self._store.get(f"{self._folder}/{name}", most)


def push_shards(
    index: ShardedIndex, store: Store, *, everything: bool = False, read_back: bool = False, show: bool = False
) -> Pushed:
    """As `push`, of an index in shards. changes: of all shards together."""
    alias = index.alias()
    sharded = index.generation()
    index.check(sharded)
    done = [
        push(root, index.name, store_of, everything=everything, read_back=read_back, show=show)
        for root, store_of in zip(sharded.roots, _places(store, index.name, len(sharded.roots)), strict=True)
    ]
    common = set(done[0].generations).intersection(*(each.generations for each in done))
    if alias.generation not in common:
        raise BackupError(
            f"the shards of {index.name} serve different generations: end the switch with `perwatt switch {index.name} "
            f"{alias.generation}`, and push again"
        )
    kept = [each for each in index.generations() if each in common]
    contents = {each: {k: v for k, v in index.generation(each).content.items() if k != SEAL} for each in kept}
    contents = {each: content for each, content in contents.items() if len(content["shards"]) == len(done)}
    id_, created_at = new_id()
    backup = ShardedBackup(
        FORMAT, id_, index.name, created_at, alias.generation, alias.previous, contents, [each.backup for each in done]
    )
    store.put(_file(index.name, id_), render_sealed(msgspec.to_builtins(backup)))
    changes = [each.changes for each in done if each.changes is not None]
    sent = sum(each.sent for each in done)
    return Pushed(id_, list(contents), sum(changes) if changes else None, sum(each.bytes for each in done), sent)


def pull_shards(
    index: ShardedIndex,
    store: Store,
    *,
    backup: str | None = None,
    everything: bool = False,
    switch: bool = False,
    show: bool = False,
) -> Pulled:
    """As `pull`, of an index in shards: their generations first, then what says that they belong together."""
    content = read_sharded(store, index.name, backup)
    if (index.folder.parent / index.name).exists():
        raise BackupError(f"{index.folder.parent / index.name} is an index without shards; pull into another --root")
    shards = len(content.shards)
    done = []
    for number, (place, each) in enumerate(zip(_places(store, index.name, shards), content.shards, strict=True)):
        root = index.root_of(number, shards)
        root.folder.mkdir(parents=True, exist_ok=True)
        done.append(pull(root, index.name, place, backup=each, everything=everything, show=show))
    here = set(done[0].generations).intersection(*(each.generations for each in done))
    generations = [each for each in content.generations if each in here]
    for generation in generations:
        sealed = content.generations[generation]
        for number, entry in enumerate(sealed["shards"]):
            path = index.root_of(number, shards).path(index.name, generation)
            if read_manifest(path)[SEAL] != entry["manifest_sha256"]:
                raise GenerationError(path / MANIFEST_FILE, f"is not the one that {SHARDS_FILE} names")
        folder = index.folder / generation
        folder.mkdir(exist_ok=True)
        if not (folder / SHARDS_FILE).exists():
            write_sealed(folder / SHARDS_FILE, sealed)
    served = _serve(index, content, switch)
    moved = sum(each.changes for each in done), sum(each.bytes for each in done), sum(each.fetched for each in done)
    return Pulled(content.id, generations, *moved, served)


def sharded_backups(store: Store, name: str) -> list[str]:
    """Ids of the backups of an index in shards, oldest first."""
    there = store.sizes(f"{name}{SHARDS_SUFFIX}/backups")
    return sorted(
        id_ for each in there if _NAMED.fullmatch(id_ := each.removesuffix(".json")) and each.endswith(".json")
    )


def read_sharded(store: Store, name: str, wanted: str | None = None) -> ShardedBackup:
    """As `read_backup`."""
    known = sharded_backups(store, check_name(name))
    id_ = wanted if wanted is not None else known[-1] if known else ""
    if id_ not in known:
        raise NotFoundError(
            f"{store.where} has no backup {id_!r} of index {name!r}, which has {', '.join(known) or 'none'}"
        )
    try:
        return _checked(parse_sealed(store.get(_file(name, id_), LARGEST_BACKUP)), name, id_)
    except MissingError as error:
        raise NotFoundError(f"{error}") from None
    except (ValueError, KeyError, TypeError, msgspec.ValidationError) as error:
        raise BackupError(f"{store.where}/{_file(name, id_)}: {error}; nothing was pulled") from error


def _checked(content: dict[str, Any], name: str, id_: str) -> ShardedBackup:
    """Raises ValueError."""
    if content.get("format") != FORMAT:
        raise ValueError(f"has format {content.get('format')!r} and this version reads {FORMAT}; use a newer perwatt")
    backup = msgspec.convert({key: value for key, value in content.items() if key != SEAL}, ShardedBackup)
    if (backup.name, backup.id) != (name, id_) or not 1 <= len(backup.shards) <= MOST_SHARDS:
        raise ValueError(f"is backup {backup.id!r} of {len(backup.shards)} shards of {backup.name!r}")
    if backup.served not in backup.generations:
        raise ValueError(f"says that {backup.served!r} was served, and does not hold it")
    for generation, sealed in backup.generations.items():
        if index_of(generation) != name or sealed["generation"] != generation:
            raise ValueError(f"names {generation!r}, which is not a generation of {name!r}")
        if len([entry["manifest_sha256"] for entry in sealed["shards"]]) != len(backup.shards):
            raise ValueError(f"has {len(backup.shards)} shards, and {generation} {len(sealed['shards'])}")
    return backup


def _serve(index: ShardedIndex, content: ShardedBackup, switch: bool) -> str | None:
    """Switches where that was asked for, or nothing is served yet; returns what is served."""
    try:
        before = index.alias().generation
    except NotFoundError:
        before = None
    if before is not None and not switch:
        return before
    if before is None and content.previous in index.generations():
        index.switch(str(content.previous))
    return index.switch(content.served).generation


def _places(store: Store, name: str, shards: int) -> Iterator[_Within]:
    for number in range(shards):
        yield _Within(store, f"{name}{SHARDS_SUFFIX}/{folder_of(number, shards)}")


def _file(name: str, backup: str) -> str:
    return f"{name}{SHARDS_SUFFIX}/backups/{backup}.json"
