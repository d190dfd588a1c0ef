"""An index in shards is pushed and pulled as one: what comes back is whole, and nothing else is taken for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from indexing import clustered, write_vectors_folder

from index import VectorsFolder
from index.backup.cli import pull, push
from index.backup.sharded import pull_shard, pull_shards, push_shards
from index.backup.store import FolderStore
from index.build.sharded import build_sharded
from index.changes.log import Log
from index.changes.log_file import Write
from index.disk.manifest import read_manifest
from index.disk.sealed import SEAL, parse_sealed, render_sealed
from index.disk.whole import read_whole
from index.errors import BackupError, GenerationError, NotFoundError
from index.shards.sealed import ShardedIndex

DIM = 8


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with two generations of an index in two shards, of which the first was written to."""
    folder = tmp_path_factory.mktemp("sharded")
    vectors = VectorsFolder(write_vectors_folder(folder / "v", [f"d{row}" for row in range(40)], clustered(40, DIM)))
    for _ in range(2):
        build_sharded(vectors, 2, root=folder / "i", name="docs", lexical=False)
    shard = ShardedIndex(folder / "i", "docs").root_of(0, 2)
    with Log(shard.folder / "docs", DIM, vectors.model and vectors.model["id"]) as log:
        log.append([Write("new", clustered(1, DIM).tobytes(), b"{}")])
    return folder / "i"


def run(command: Any, *words: object) -> str:
    done = CliRunner().invoke(command, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_what_is_pulled_is_what_was_pushed(made: Path, tmp_path: Path) -> None:
    first = json.loads(run(push, "docs", tmp_path / "s", "--root", made, "--json"))
    assert (first["changes"], first["sent"]) == (1, first["bytes"])
    index = ShardedIndex(made, "docs")
    assert first["generations"] == [index.alias().generation]
    assert json.loads(run(push, "docs", tmp_path / "s", "--root", made, "--all", "--json"))["sent"] < first["bytes"]
    listed = json.loads(run(pull, "docs", tmp_path / "s", "--list", "--json"))
    assert [(each["shards"], each["generations"]) for each in listed] == [(2, 1), (2, 2)]

    pulled = json.loads(run(pull, "docs", tmp_path / "s", "--root", tmp_path / "new", "--all", "--json"))
    back = ShardedIndex(tmp_path / "new", "docs")
    assert (pulled["served"], pulled["changes"]) == (index.alias().generation, 1)
    assert back.generations() == index.generations()
    assert back.alias()[:2] == index.alias()[:2]
    assert back.verify().content == index.generation().content
    run(pull, "docs", tmp_path / "s", "--root", tmp_path / "old", "--backup", listed[0]["backup"])
    assert ShardedIndex(tmp_path / "old", "docs").generations() == first["generations"]
    served = back.switch(index.generations()[0]).generation
    assert pull_shards(back, FolderStore(tmp_path / "s")).served == served
    assert pull_shards(back, FolderStore(tmp_path / "s"), switch=True).served == index.alias().generation


def test_shards_that_do_not_belong_together_are_neither_pushed_nor_pulled(made: Path, tmp_path: Path) -> None:
    index, store = ShardedIndex(made, "docs"), FolderStore(tmp_path / "s")
    with pytest.raises(NotFoundError, match="has no backup"):
        pull_shards(ShardedIndex(tmp_path / "a", "docs"), store, backup="20200101T000000.000000Z-0000")
    root, served = index.root_of(1, 2), index.alias().generation
    root.switch("docs", index.generations()[0])
    try:
        with pytest.raises(BackupError, match="serve different generations: end the switch with"):
            push_shards(index, store)
    finally:
        root.switch("docs", served)
    done = push_shards(index, store)
    file = tmp_path / "s" / "docs.shards" / "backups" / f"{done.backup}.json"
    sealed = file.read_bytes()
    content = {key: value for key, value in parse_sealed(sealed).items() if key != SEAL}
    exchanged = json.loads(json.dumps(content))
    exchanged["generations"][served]["shards"][0]["manifest_sha256"] = "0" * 64
    for changed, error, why in (
        (sealed[:-2], BackupError, "is damaged"),
        (render_sealed(content | {"served": "other"}), BackupError, "does not hold it"),
        (render_sealed(content | {"shards": content["shards"][:1]}), BackupError, "has 1 shards"),
        (render_sealed(content | {"name": "other"}), BackupError, "of 'other'"),
        (render_sealed(exchanged), GenerationError, r"is not the one that shards\.json names"),
    ):
        file.write_bytes(changed)
        with pytest.raises(error, match=why):
            pull_shards(ShardedIndex(tmp_path / "b", "docs"), store)
    with pytest.raises(NotFoundError):
        ShardedIndex(tmp_path / "b", "docs").alias()


def test_one_shard_is_pulled_alone_and_goes_by_what_the_whole_says(made: Path, tmp_path: Path) -> None:
    index = ShardedIndex(made, "docs")
    first = json.loads(run(push, "docs", tmp_path / "s", "--root", made, "--json"))
    place = "--root", tmp_path / "new", "--shard", "1-of-2"
    pulled = json.loads(run(pull, "docs", tmp_path / "s", *place, "--backup", first["backup"], "--json"))
    assert (pulled["backup"], pulled["served"]) == (first["backup"], index.alias().generation)
    there = ShardedIndex(tmp_path / "new", "docs")
    assert [each.folder.name for each in there.places()] == ["1-of-2"]
    path, known = (each.root_of(1, 2).path("docs") for each in (there, index))
    manifest = read_manifest(path)
    assert manifest == read_manifest(known)
    whole = read_whole(path, manifest)
    assert whole is not None
    assert whole == read_whole(known, manifest)

    with pytest.raises(NotFoundError, match="has the shards 0-of-2 to 1-of-2, and none that is called '1-of-3'"):
        pull_shard(there, FolderStore(tmp_path / "s"), "1-of-3")
    file = tmp_path / "s" / "docs.shards" / "backups" / f"{first['backup']}.json"
    content = {key: value for key, value in parse_sealed(file.read_bytes()).items() if key != SEAL}
    content["generations"][first["generations"][0]]["shards"][0]["manifest_sha256"] = "0" * 64
    file.write_bytes(render_sealed(content))
    other = ShardedIndex(tmp_path / "other", "docs")
    with pytest.raises(GenerationError, match="nothing was pulled"):
        pull_shard(other, FolderStore(tmp_path / "s"), "0-of-2", backup=first["backup"])
    assert other.places() == []
