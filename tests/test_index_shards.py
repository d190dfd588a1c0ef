"""An index in shards says what the same index in one piece says, and nothing of it may be exchanged unseen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from indexing import clustered, write_vectors_folder

from index import GenerationError, InputError, NotFoundError, VectorsFolder, build_generation, open_generation
from index.build.sharded import build_sharded
from index.cli import build
from index.disk.root import Root
from index.disk.sealed import write_sealed
from index.disk.whole import SHARDS_FILE
from index.errors import PublishCheckError
from index.keeping import gc, generations, rollback, switch, verify
from index.search.generation import Generation
from index.shards.merge import Ranked, merge
from index.shards.plan import shard_of
from index.shards.sealed import ShardedIndex, names
from index.shards.together import ShardRows

DIM, COUNT = 16, 300
WORDS = ("alpha", "beta", "gamma", "delta", "eta", "theta", "kappa", "lambda", "mu", "nu", "xi", "rho", "sigma", "tau")
FIELDS = ("lang:keyword", "year:int")


def rows() -> list[dict[str, Any]]:
    """Texts of common and rare words, some of them the same, some empty."""
    random = np.random.default_rng(5)
    odds = np.array([1 / (place + 1) for place in range(len(WORDS))])
    found: list[dict[str, Any]] = []
    for row in range(COUNT):
        words = random.choice(WORDS, random.integers(0, 30), p=odds / odds.sum()).tolist()
        text = "alpha beta beta" if row % 7 == 0 else " ".join(words)
        found.append({"text": text, "lang": ("en", "de", "fr")[row % 3], "year": 1990 + row % 30})
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ids = [f"d{(row * 7919) % COUNT:03}" for row in range(COUNT)]
    vectors = clustered(COUNT, DIM)
    vectors[::10] = vectors[0]  # ties that only ids decide
    return write_vectors_folder(tmp_path_factory.mktemp("vectors") / "v", ids, vectors, rows(), fragments=3)


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generation]:
    root = tmp_path_factory.mktemp("whole")
    path = build_generation(VectorsFolder(folder), root=root, name="docs", filterable=FIELDS)
    with open_generation(path) as generation:
        yield generation


@pytest.fixture(scope="module", params=[1, 2, 5])
def shards(
    request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Generation]]:
    sharded = build_sharded(
        VectorsFolder(folder), request.param, root=tmp_path_factory.mktemp("many"), name="docs", filterable=FIELDS
    )
    opened = [open_generation(root.path("docs")) for root in sharded.roots]
    yield opened
    for each in opened:
        each.close()


def merged(found: list[list[tuple[str, float]]], k: int) -> list[tuple[str, float]]:
    """The best k of the hits of all shards."""
    ids = sorted({id_ for hits in found for id_, _ in hits})
    parts = [
        Ranked(np.array([ids.index(id_) for id_, _ in hits], np.int64), np.array([s for _, s in hits], np.float32))
        for hits in found
    ]
    best = merge(parts, k, lambda row: ids[row])
    return [(ids[row], score) for row, score in zip(best.rows.tolist(), best.scores.tolist(), strict=True)]


def by_words(generation: Generation, text: str, k: int, filter_: Any) -> list[tuple[str, float]]:
    from index.search.filtering import parse

    found = generation.search_words(text, k, None if filter_ is None else parse(filter_), exact=True)
    return [
        (generation.external_id(row), score)
        for row, score in zip(found.rows.tolist(), found.scores.tolist(), strict=True)
    ]


def by_vector(generation: Generation, query: Any, k: int, filter_: Any) -> list[tuple[str, float]]:
    keep = None if filter_ is None else generation.filter(filter_)
    ids, scores = generation.search(query, k, exact=True, keep=keep)
    return [(id_, score) for id_, score in zip(ids[0].tolist(), scores[0].tolist(), strict=True) if id_ is not None]


FILTERS = (None, {"field": "lang", "eq": "de"}, {"field": "year", "gte": 2018})


@pytest.mark.parametrize("filter_", FILTERS, ids=["all", "keyword", "range"])
def test_vectors_find_the_same_bit_for_bit(whole: Generation, shards: list[Generation], filter_: Any) -> None:
    for query in clustered(20, DIM, seed=3):
        query = query.reshape(1, -1)
        for k in (1, 10, COUNT):
            found = [by_vector(shard, query, k, filter_) for shard in shards]
            assert merged(found, k) == by_vector(whole, query, k, filter_)


@pytest.mark.parametrize("filter_", FILTERS, ids=["all", "keyword", "range"])
def test_words_find_the_same_bit_for_bit(whole: Generation, shards: list[Generation], filter_: Any) -> None:
    random = np.random.default_rng(8)
    texts = ["alpha", "tau", "alpha beta", "nothing at all", "tau unknown"]
    texts += [" ".join(random.choice(WORDS, count)) for count in (3, 4, 5, 6, 8, 12)]
    for text in texts:
        for k in (1, 10, COUNT):
            found = [by_words(shard, text, k, filter_) for shard in shards]
            assert merged(found, k) == by_words(whole, text, k, filter_)


def test_exact_words_score_as_others_but_for_rounding(whole: Generation) -> None:
    for text in ("alpha", "beta tau", "alpha gamma delta kappa mu"):
        exactly, else_ = whole.search_words(text, COUNT, exact=True), whole.search_words(text, COUNT)
        assert sorted(exactly.rows.tolist()) == sorted(else_.rows.tolist())
        at = dict(zip(else_.rows.tolist(), else_.scores.tolist(), strict=True))
        assert [at[row] for row in exactly.rows.tolist()] == pytest.approx(exactly.scores.tolist(), rel=1e-5)


def test_every_document_is_in_the_shard_of_its_id(shards: list[Generation], whole: Generation) -> None:
    held = [{shard.external_id(row) for row in range(shard.count)} for shard in shards]
    assert set().union(*held) == {whole.external_id(row) for row in range(COUNT)}
    assert sum(map(len, held)) == COUNT
    for number, ids in enumerate(held):
        assert {shard_of(id_, len(shards)) for id_ in ids} == {number}
        assert shards[number].manifest["shard"]["number"] == number


@given(st.text(min_size=1, max_size=20).filter(str.isprintable), st.integers(1, 64))
def test_a_plan_is_the_same_on_every_machine(id_: str, of: int) -> None:
    assert 0 <= shard_of(id_, of) < of == of * (shard_of(id_, 1) + 1)


def test_the_rule_is_what_it_was() -> None:
    assert [shard_of(id_, 7) for id_ in ("0", "1", "doc-12", "é", "notes/2024 #1")] == [1, 5, 5, 5, 3]


def test_more_shards_than_documents_are_refused(tmp_path: Path) -> None:
    few = write_vectors_folder(tmp_path / "v", ["a", "b"], clustered(2, DIM))
    with pytest.raises(InputError, match="too few for so many shards"):
        build_sharded(VectorsFolder(few), 5, root=tmp_path / "i", name="docs")
    assert not (tmp_path / "i").exists()


def test_a_field_that_no_document_has_is_refused_and_one_that_few_have_is_not(tmp_path: Path) -> None:
    payload: list[dict[str, Any]] = [{"text": "word"}] * 39 + [{"text": "word", "rare": 7}]
    many = write_vectors_folder(tmp_path / "v", list(range(40)), clustered(40, DIM), payload)
    with pytest.raises(InputError, match="no row has a field 'misspelt'"):
        build_sharded(VectorsFolder(many), 4, root=tmp_path / "i", name="docs", filterable=["misspelt:int"])
    sharded = build_sharded(VectorsFolder(many), 4, root=tmp_path / "i", name="docs", filterable=["rare"])
    assert sharded.content["filterable"] == {"rare": "int"}
    for root in sharded.roots:
        with open_generation(root.path("docs")) as shard:
            assert shard.manifest["filterable"] == {"rare": "int"}


def run(command: Any, *words: object, code: int = 0) -> str:
    done = CliRunner().invoke(command, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done.stdout


def test_the_life_of_a_sharded_index(folder: Path, tmp_path: Path) -> None:
    make = (folder, "--index", "docs", "--root", tmp_path, "--shards", 3)
    first = json.loads(run(build, *make, "--json"))["shards"]["generation"]
    second = json.loads(run(build, *make, "--json"))["shards"]["generation"]
    states = {row["generation"]: row["state"] for row in json.loads(run(generations, "--root", tmp_path, "--json"))}
    assert states == {first: "previous", second: "served"}
    assert "3 shards" in run(generations, "docs", "--root", tmp_path)
    assert names(tmp_path) == ["docs"]
    index = ShardedIndex(tmp_path, "docs")
    for command, served in (((rollback, "docs"), first), ((switch, "docs", second), second)):
        run(*command, "--root", tmp_path)
        assert {index.root_of(number, 3).alias("docs").generation for number in range(3)} == {served}
        assert index.alias().generation == served
    run(build, *make, "--no-switch")
    assert index.alias().generation == second
    third = index.generations()[-1]
    run(switch, "docs", third, "--root", tmp_path)
    assert run(gc, "docs", "--keep", 0, "--root", tmp_path).strip() == f"docs: deleted {first}"
    assert index.generations() == [second, third]
    assert index.root_of(0, 3).generations("docs") == [second, third]


def test_half_an_input_is_not_served_in_more_shards_either(folder: Path, tmp_path: Path) -> None:
    """Those shards follow none of their own, so only all together can be held against what is served."""
    half = tmp_path / "half"
    table = VectorsFolder(folder).table()
    some = table.slice(0, len(table) // 3)
    write_vectors_folder(
        half, some.column("id").to_pylist(),
        np.array(some.column("vector").to_pylist(), np.float32),
        [json.loads(each) for each in some.column("payload").to_pylist()],
    )  # fmt: skip
    served = build_sharded(VectorsFolder(folder), 2, root=tmp_path / "i", name="docs").path.name
    with pytest.raises(PublishCheckError, match=r"all shards have .* rows, and those of .* looks like half an input"):
        build_sharded(VectorsFolder(half), 3, root=tmp_path / "i", name="docs")
    assert ShardedIndex(tmp_path / "i", "docs").alias().generation == served
    build_sharded(VectorsFolder(half), 3, root=tmp_path / "i", name="docs", min_count_ratio=0.1)
    assert ShardedIndex(tmp_path / "i", "docs").alias().generation > served


def test_gc_keeps_every_shard_of_what_it_keeps(folder: Path, tmp_path: Path) -> None:
    make = (folder, "--index", "docs", "--root", tmp_path, "--shards", 2)
    run(build, *make)
    run(build, *make, "--no-switch")
    index = ShardedIndex(tmp_path, "docs")
    whole = index.generations()
    first = index.root_of(0, 2).folder / "docs"
    for number in range(2):  # as builds leave them that are killed after their first shard
        shutil.copytree(first / whole[-1], first / f"docs-2099010{number + 1}T000000Z-0000")
    assert len(index.root_of(0, 2).generations("docs")) == 4
    run(gc, "docs", "--root", tmp_path)
    assert index.generations() == whole
    for generation in whole:
        index.verify(generation)


def test_a_switch_that_was_interrupted_is_ended_by_another(folder: Path, tmp_path: Path) -> None:
    first, second = (
        build_sharded(VectorsFolder(folder), 2, root=tmp_path, name="docs", switch=place == 0).path.name
        for place in range(2)
    )
    index = ShardedIndex(tmp_path, "docs")
    index.root_of(0, 2).switch("docs", second)  # and no further
    assert index.alias().generation == first
    index.switch(second)
    assert [index.root_of(number, 2).alias("docs").generation for number in range(2)] == [second] * 2
    assert index.alias()[:2] == (second, first)


def test_whatever_is_damaged_or_exchanged_is_named(folder: Path, tmp_path: Path) -> None:
    sharded = build_sharded(VectorsFolder(folder), 2, root=tmp_path / "a", name="docs")
    assert "is intact" in run(verify, "docs", "--root", tmp_path / "a")
    index, generation = ShardedIndex(tmp_path / "a", "docs"), sharded.path.name
    other = build_sharded(VectorsFolder(folder), 2, root=tmp_path / "b", name="docs", language="none")

    file = sharded.path / SHARDS_FILE
    sealed = file.read_bytes()
    for changed in (sealed.replace(b'"count": 300', b'"count": 301'), sealed[:-1], b"{}"):
        file.write_bytes(changed)
        with pytest.raises(GenerationError, match=r"shards\.json: is damaged"):
            index.verify()
    write_sealed(file, json.loads(sealed) | {"rule": "by the moon"})
    with pytest.raises(GenerationError, match="not of this format, this rule"):
        index.verify()
    file.write_bytes(sealed)

    payload = sharded.roots[1].path("docs") / "payload.arrow"
    payload.write_bytes(payload.read_bytes()[:-8] + b"\0" * 8)
    with pytest.raises(GenerationError, match=r"payload\.arrow"):
        index.verify()

    place = sharded.roots[0].folder / "docs" / generation
    shutil.rmtree(place)
    shutil.copytree(other.roots[0].path("docs"), place)
    manifest = json.loads((place / "manifest.json").read_bytes())
    write_sealed(
        place / "manifest.json", {k: v for k, v in manifest.items() if k != "sha256"} | {"generation": generation}
    )
    with pytest.raises(GenerationError, match=r"is not the one that shards\.json names"):
        index.verify()


def test_a_name_is_sharded_or_not(folder: Path, tmp_path: Path) -> None:
    build_sharded(VectorsFolder(folder), 2, root=tmp_path, name="many")
    with pytest.raises(InputError, match="has shards"):
        build_generation(VectorsFolder(folder), root=tmp_path, name="many")
    build_generation(VectorsFolder(folder), root=tmp_path, name="one")
    with pytest.raises(InputError, match="without shards"):
        build_sharded(VectorsFolder(folder), 2, root=tmp_path, name="one")
    with pytest.raises(NotFoundError, match="serves no generation"):
        ShardedIndex(tmp_path, "one").alias()


def test_an_index_in_shards_is_not_taken_for_one_without(folder: Path, tmp_path: Path) -> None:
    sharded = build_sharded(VectorsFolder(folder), 2, root=tmp_path, name="docs")
    with pytest.raises(NotFoundError, match=r"index 'docs' under .* has shards, and here one without is asked for"):
        Root(tmp_path).path("docs")
    with pytest.raises(InputError, match=r"docs under .*1-of-2 is shard 1 of 2, and all of them have one generation"):
        build_generation(VectorsFolder(folder), root=sharded.roots[1].folder, name="docs")


def test_shards_in_one_process_find_what_the_index_in_one_piece_finds(
    whole: Generation, shards: list[Generation]
) -> None:
    from index.search.filtering import parse

    rows = ShardRows(shards, integers=False)
    assert (rows.rows, rows.count, rows.row_of("nothing")) == (COUNT, COUNT, None)
    for filter_ in (None, parse(FILTERS[1] or {})):
        keep = None if filter_ is None else rows.survivors(filter_)
        kept = None if filter_ is None else whole.survivors(filter_)
        queries = clustered(5, DIM, seed=3)
        for k in (1, 10, 2 * COUNT):
            found, expected = (
                rows.search_rows(queries, k, None, True, keep),
                whole.search_rows(queries, k, None, True, kept),
            )
            for query in range(len(queries)):
                hits = [rows.external_id(row) for row in found.rows[query].tolist() if row >= 0]
                assert hits == [whole.external_id(row) for row in expected.rows[query].tolist() if row >= 0]
                assert found.scores[query][: len(hits)].tolist() == expected.scores[query][: len(hits)].tolist()
                assert all(rows.external_id(rows.row_of(id_) or 0) == id_ for id_ in hits[:3])
        words, expected_words = (
            rows.search_words("tau beta", 10, filter_),
            whole.search_words("tau beta", 10, filter_, True),
        )
        assert [rows.payload(row) for row in words.rows.tolist()] == [
            whole.payload(row) for row in expected_words.rows.tolist()
        ]
        assert words.scores.tolist() == expected_words.scores.tolist()
