"""A sharded index on disk: S ordinary folders of indexes, and one sealed file that says which generations belong
together.

    ROOT/<name>.shards/<generation>/shards.json      a sharded generation; written last, in one step
    ROOT/<name>.shards/current                       the alias, as of an ordinary index
    ROOT/<name>.shards/<i>-of-<S>/<name>/…           shard i: an ordinary index with its alias, log and generations

All shards of a sharded generation have its id, and `shards.json` has the hash of each one's manifest. A switch moves
the alias of every shard and then that of the whole; one that was interrupted is ended by switching again.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from index.disk.integrity import verify
from index.disk.manifest import MANIFEST_FILE, read_manifest
from index.disk.root import (
    ALIAS_FILE,
    LOCK_FILE,
    SHARDS_SUFFIX,
    Alias,
    Root,
    check_name,
    lock,
    present_alias,
    read_alias,
)
from index.disk.sealed import SEAL, read_sealed, write_sealed
from index.disk.stamps import next_stamp
from index.disk.whole import SHARDS_FILE, write_whole
from index.errors import GenerationError, InputError, NotFoundError
from index.shards.plan import RULE, folder_of

FORMAT = 1
_NOTHING = "nothing was built yet; `perwatt build VECTORS --index NAME --shards S` does"


class ShardedGeneration(NamedTuple):
    """A sealed `shards.json`. path: its folder; content: what it says; roots: of its shards, in their order."""

    path: Path
    content: dict[str, Any]
    roots: list[Root]


class ShardedIndex:
    """One sharded index under a folder of indexes."""

    def __init__(self, root: Path | str, name: str) -> None:
        self.name = check_name(name)
        self.folder = Path(root) / f"{name}{SHARDS_SUFFIX}"

    @property
    def there(self) -> bool:
        return self.folder.is_dir()

    def root_of(self, number: int, of: int) -> Root:
        """The folder of indexes of a shard."""
        return Root(self.folder / folder_of(number, of))

    def new_id(self) -> str:
        """An id that comes after all that any shard has, finished or not."""
        there = [path.name for path in self.folder.glob(f"*/{self.name}/*")] + self.generations()
        return f"{self.name}-{next_stamp(each.removeprefix(f'{self.name}-') for each in there)}"

    def generations(self) -> list[str]:
        """Ids of the finished sharded generations, oldest first."""
        return sorted(path.parent.name for path in self.folder.glob(f"*/{SHARDS_FILE}"))

    def generation(self, generation: str | None = None) -> ShardedGeneration:
        """A sharded generation, by default the served one. Raises NotFoundError where there is none, GenerationError
        where its file is damaged or of another format."""
        wanted = self.alias().generation if generation is None else generation
        if wanted not in (there := self.generations()):
            what = (
                f"it has {', '.join(there)}" if there else "`perwatt build VECTORS --index NAME --shards S` builds one"
            )
            raise NotFoundError(f"sharded index {self.name!r} has no generation {wanted!r}: {what}")
        path = self.folder / wanted / SHARDS_FILE
        content = read_sealed(path)
        if (content.get("format"), content.get("rule"), content.get("generation")) != (FORMAT, RULE, wanted):
            raise GenerationError(path, "is not of this format, this rule or this folder; build the index again")
        shards = len(content["shards"])
        return ShardedGeneration(path.parent, content, [self.root_of(number, shards) for number in range(shards)])

    def write(self, generation: str, shards: int, measured: dict[str, Any] | None = None) -> ShardedGeneration:
        """Makes S finished generations of that id a sharded one. measured: recall and effort of the whole, where they
        were."""
        roots = [self.root_of(number, shards) for number in range(shards)]
        manifests = [read_manifest(root.path(self.name, generation)) for root in roots]
        first = manifests[0]
        content = {
            "format": FORMAT,
            "generation": generation,
            "name": self.name,
            "created_at": manifests[-1]["created_at"],
            "rule": RULE,
            "count": sum(manifest["count"] for manifest in manifests),
            **{key: first[key] for key in ("dim", "metric", "model", "filterable")},
            "words": words["whole"] if (words := first.get("lexical")) else None,
            **(measured or {}),
            "shards": [
                {"folder": root.folder.name, "count": manifest["count"], "manifest_sha256": manifest[SEAL]}
                for root, manifest in zip(roots, manifests, strict=True)
            ],
        }
        self.lay(generation, content)
        return self.generation(generation)

    def lay(self, generation: str, content: dict[str, Any]) -> None:
        """Writes a `shards.json`, and a copy for each shard, which goes by the effort of the whole."""
        of = len(content["shards"])
        for number in range(of):
            write_whole(self.root_of(number, of).path(self.name, generation), content)
        folder = self.folder / generation
        folder.mkdir(exist_ok=True)
        write_sealed(folder / SHARDS_FILE, content)

    def check(self, sharded: ShardedGeneration) -> list[Path]:
        """The folders of its shards. Raises GenerationError for one that is not the one that was sealed."""
        paths = []
        for root, entry in zip(sharded.roots, sharded.content["shards"], strict=True):
            path = root.path(self.name, sharded.path.name)
            if read_manifest(path)[SEAL] != entry["manifest_sha256"]:
                raise GenerationError(path / MANIFEST_FILE, f"is not the one that {SHARDS_FILE} names")
            paths.append(path)
        return paths

    def verify(self, generation: str | None = None) -> ShardedGeneration:
        """Compares every byte of every shard with its hash."""
        sharded = self.generation(generation)
        for path in self.check(sharded):
            verify(path)
        return sharded

    def alias(self) -> Alias:
        """What is served. Raises NotFoundError where nothing is."""
        path = self.folder / ALIAS_FILE
        if not path.exists():
            there = self.generations()
            raise NotFoundError(
                f"sharded index {self.name!r} under {self.folder.parent} serves no generation: "
                + (f"`perwatt switch {self.name} {there[-1]}` serves its newest" if there else _NOTHING)
            )
        return read_alias(path)

    def switch(self, generation: str, expect_etag: str | None = None) -> Alias:
        """Serves a sharded generation from now on, once every byte of every shard is checked; as `Root.switch`."""
        sharded = self.verify(generation)
        path = self.folder / ALIAS_FILE
        with self._locked():
            present = present_alias(path, self.name, expect_etag)
            for root in sharded.roots:
                root.switch(self.name, generation)
            if present is None or present.generation != generation:
                previous = present.generation if present else None
                write_sealed(path, {"generation": generation, "previous": previous})
            return self.alias()

    def rollback(self) -> Alias:
        """Serves the sharded generation before the present one."""
        alias = self.alias()
        if alias.previous is None:
            raise NotFoundError(f"index {self.name!r} has no generation before {alias.generation} to go back to")
        return self.switch(alias.previous)

    def gc(self, keep: int = 2) -> list[str]:
        """Deletes old sharded generations; `keep` as `Root.gc`. Returns what was deleted."""
        if keep < 0:
            raise InputError(f"keep is {keep}; expected 0 or more")
        with self._locked():
            generations = self.generations()
            kept = set(generations[len(generations) - keep :] if keep else [])
            if (self.folder / ALIAS_FILE).exists():
                alias = self.alias()
                kept |= {alias.generation, alias.previous or ""}
            deleted = [generation for generation in generations if generation not in kept]
            for generation in deleted:  # its name first: what is half deleted must not be served
                shutil.rmtree(self.folder / generation)
        for place in self.places():
            place.gc(self.name, keep, kept)
        return deleted

    def places(self) -> list[Root]:
        """The folders of indexes of all shards there are, also of those that are no longer served."""
        return [Root(folder) for folder in sorted(self.folder.glob("*-of-*"))]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        handle = lock(self.folder / LOCK_FILE)
        try:
            yield
        finally:
            if handle is not None:
                os.close(handle)


def names(root: Path | str) -> list[str]:
    """The sharded indexes under a folder of indexes, sorted."""
    return Root(root).sharded()
