"""An index in shards to a store, and back: each shard as an ordinary index, and a file that says which belong together.

    STORE/<name>.shards/<i>-of-<S>/<name>/…    shard i, as push.py puts an index
    STORE/<name>.shards/backups/<id>.json      sealed, written last: the backup of each shard, and each `shards.json`
    STORE/<name>.shards/<generation>/shards.json   of a generation that a job built there, written before its backup

What it names is believed as far as it can be checked: each shard's backup checks its own bytes, and a generation is a
sharded one only where the manifest of every shard has the hash that its `shards.json` says.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from index.backup.contents import FORMAT, LARGEST_BACKUP, new_id, read_backup
from index.backup.pull import Pulled, pull, stored_manifest
from index.backup.push import Pushed, push
from index.backup.store import MissingError, Store, StoreFolder
from index.disk.manifest import MANIFEST_FILE, read_manifest
from index.disk.root import ALIAS_FILE, SHARDS_SUFFIX, check_name, index_of
from index.disk.sealed import SEAL, parse_sealed, render_sealed, write_sealed
from index.disk.whole import SHARDS_FILE, write_whole
from index.errors import BackupError, GenerationError, NotFoundError
from index.shards.plan import MOST_SHARDS, folder_of
from index.shards.sealed import ShardedIndex

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
        if not (index.folder / generation / SHARDS_FILE).exists():
            index.lay(generation, sealed)
    served = _serve(index, content, switch)
    moved = sum(each.changes for each in done), sum(each.bytes for each in done), sum(each.fetched for each in done)
    return Pulled(content.id, generations, *moved, served)


def pull_shard(
    index: ShardedIndex,
    store: Store,
    folder: str,
    *,
    backup: str | None = None,
    everything: bool = False,
    switch: bool = False,
    show: bool = False,
) -> Pulled:
    """As `pull_shards`, of one shard, for a machine that serves no other.

    Args:
        folder: What the shard is called, as in 3-of-8.
    """
    content = read_sharded(store, index.name, backup)
    shards = len(content.shards)
    numbers = {folder_of(number, shards): number for number in range(shards)}
    if folder not in numbers:
        raise NotFoundError(
            f"backup {content.id} of {index.name} has the shards {folder_of(0, shards)} to "
            f"{folder_of(shards - 1, shards)}, and none that is called {folder!r}"
        )
    number = numbers[folder]
    place, root = place_of_shard(store, index.name, number, shards), index.root_of(number, shards)
    stored = stored_manifest(place, read_backup(place, index.name, content.shards[number]), content.served)
    sealed = content.generations[content.served]
    if stored[SEAL] != sealed["shards"][number]["manifest_sha256"]:
        path = root.folder / index.name / content.served / MANIFEST_FILE
        raise GenerationError(path, f"is not the one that {SHARDS_FILE} names; nothing was pulled")
    root.folder.mkdir(parents=True, exist_ok=True)
    how: dict[str, Any] = {"everything": everything, "switch": switch, "show": show}
    done = pull(root, index.name, place, backup=content.shards[number], **how)
    write_whole(root.path(index.name, content.served), sealed)
    return done._replace(backup=content.id)


def seal_shards(index: ShardedIndex, store: Store, generation: str, backups: Sequence[str]) -> str:
    """Makes shards that are in a store a generation there; returns the id of its backup.

    `shards.json` is written where there is none yet. Of two who do it at once one does; the other is refused where it
    would have said something else.

    Args:
        index: has the `shards.json`.
        backups: of each shard, in the order of their numbers.
    """
    content = {key: value for key, value in index.generation(generation).content.items() if key != SEAL}
    raw, place = render_sealed(content), _shards_file(index.name, generation)
    if not store.create(place, raw) and store.get(place, LARGEST_BACKUP) != raw:
        raise BackupError(f"{store.where}/{place} is there already and says something else; nothing was changed")
    id_ = _id_of(parse_sealed(raw))
    backup = ShardedBackup(
        FORMAT, id_, index.name, content["created_at"], generation, None, {generation: content}, list(backups)
    )
    store.create(_file(index.name, id_), render_sealed(msgspec.to_builtins(backup)))
    return id_


def sealed_shards(store: Store, name: str, generation: str) -> dict[str, Any] | None:
    """What the `shards.json` says that `seal_shards` wrote; None where it has not, or did not come to its end."""
    place = _shards_file(name, generation)
    try:
        content = parse_sealed(store.get(place, LARGEST_BACKUP))
    except MissingError:
        return None
    except ValueError as error:
        raise BackupError(f"{store.where}/{place} {error}") from error
    return content if _id_of(content) in sharded_backups(store, name) else None


def served_manifests(index: ShardedIndex, store: Store) -> None:
    """Lays what the newest backup serves into an empty folder, with no more of each shard than its manifest: what the
    next generation is compared with."""
    if not sharded_backups(store, index.name):
        return
    content = read_sharded(store, index.name)
    shards = len(content.shards)
    for number, id_ in enumerate(content.shards):
        place = place_of_shard(store, index.name, number, shards)
        manifest = stored_manifest(place, read_backup(place, index.name, id_), content.served)
        folder = index.root_of(number, shards).folder / index.name
        (folder / content.served).mkdir(parents=True)
        write_sealed(folder / content.served / MANIFEST_FILE, manifest)
        alias = {"generation": content.served, "previous": None, "manifest_sha256": manifest[SEAL]}
        write_sealed(folder / ALIAS_FILE, alias)
    (index.folder / content.served).mkdir()
    write_sealed(index.folder / content.served / SHARDS_FILE, content.generations[content.served])


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


def place_of_shard(store: Store, name: str, number: int, of: int) -> StoreFolder:
    """Where a store has a shard, as `push` puts an index."""
    return StoreFolder(store, f"{name}{SHARDS_SUFFIX}/{folder_of(number, of)}")


def _places(store: Store, name: str, shards: int) -> Iterator[StoreFolder]:
    return (place_of_shard(store, name, number, shards) for number in range(shards))


def _shards_file(name: str, generation: str) -> str:
    return f"{name}{SHARDS_SUFFIX}/{generation}/{SHARDS_FILE}"


def _id_of(content: dict[str, Any]) -> str:
    """The id of the backup of a `shards.json` alone, the same whoever makes it."""
    made = datetime.fromisoformat(content["created_at"])
    return f"{made:%Y%m%dT%H%M%S}.000000Z-{content[SEAL][:4]}"


def _file(name: str, backup: str) -> str:
    return f"{name}{SHARDS_SUFFIX}/backups/{backup}.json"
