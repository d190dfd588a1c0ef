"""Sparse weights inside a generation: the best by block bounds are the best there are, to the last bit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from indexing import clustered, write_vectors_folder
from sparse_models import CountingModel, many_words

from index import Generation, GenerationError, InputError, build_generation, open_generation
from index.build.rows.models import BuildModels, served_paths, sparse_in_served
from index.build.rows.remembered import RememberedSparse
from index.cli import build as build_command
from index.disk.manifest import read_manifest
from index.kernels import _native

ROWS = 2500
TEXTS = many_words(ROWS)
MODEL = CountingModel()
QUERIES = [
    "w3",
    "w21",
    "w12 w13 w14 w50",
    "w0 w4",
    "nothing",
    "",
    " ".join(f"w{word}" for word in range(200)),
    "w50 w50 w51",
]


def build(root: Path, texts: list[str] = TEXTS, model: Any = MODEL) -> Path:
    payload = [{"text": text, "part": row % 10} if text else {"part": 0} for row, text in enumerate(texts)]
    ids = list(range(len(texts)))
    return build_generation(
        clustered(len(texts), 8), ids, root=root, name="s", payload=payload, filterable=["part:int"], sparse=model
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("sparse")
    build(made)
    return made


@pytest.fixture(scope="module")
def generation(root: Path) -> Iterator[Generation]:
    with open_generation(next((root / "s").glob("s-*"))) as opened:
        yield opened


@cache
def scored(query: str) -> Any:
    return MODEL.scores(query, TEXTS)


def wanted(query: str, k: int, keep: Any = None) -> tuple[list[int], list[float]]:
    scores = scored(query)
    rows = [row for row in np.lexsort((np.arange(ROWS), -scores)).tolist() if scores[row] > 0]
    best = [row for row in rows if keep is None or keep.holds(row)][:k]
    return best, scores[best].tolist()


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("k", [1, 3, 10, ROWS + 5])
def test_the_best_are_those_of_scoring_everything(generation: Generation, query: str, k: int) -> None:
    for keep in (None, *(generation.filter({"field": "part", **how}) for how in ({"lt": 5}, {"eq": 3}, {"eq": 77}))):
        found = generation.search_sparse(query, k, keep)
        rows, scores = wanted(query, k, keep)
        assert (found.rows.tolist(), found.scores.tolist()) == (rows, scores)


def test_blocks_that_cannot_hold_a_hit_are_not_looked_into(generation: Generation) -> None:
    assert generation.sparse is not None
    tokens, weights = generation.sparse.query("w12 w30 w31 w55 w56")
    blocks = [generation.sparse._index.search(tokens, weights, k)[2] for k in (3, ROWS)]
    assert blocks[0] < blocks[1] / 2


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 200])
def test_any_number_of_rows_and_rows_without_a_text(rows: int, tmp_path: Path) -> None:
    texts = [text if row % 3 else "" for row, text in enumerate(TEXTS[:rows])]
    with open_generation(build(tmp_path, texts)) as generation:
        found = generation.search_sparse(QUERIES[-2], rows)
        scores = MODEL.scores(QUERIES[-2], texts)
        assert set(found.rows.tolist()) == set(np.flatnonzero(scores).tolist())
        assert found.scores.tolist() == sorted(scores[scores > 0].tolist(), reverse=True)


def test_the_same_rows_make_the_same_bytes(generation: Generation, tmp_path: Path) -> None:
    again = build(tmp_path)
    for file in sorted((generation.path / "sparse").iterdir()):
        assert file.read_bytes() == (again / "sparse" / file.name).read_bytes()
        assert file.suffix == ".json" or file.stat().st_size % 65536 == 0


@pytest.mark.parametrize("name", ["terms.u64", "entries.u64", "postings.u16", "table.u16", "tokenizer.json"])
def test_a_damaged_file_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    path = build(tmp_path, TEXTS[:100])
    raw = bytearray((path / "sparse" / name).read_bytes())
    raw[8] ^= 1
    (path / "sparse" / name).write_bytes(raw)
    with pytest.raises(GenerationError, match=f"sparse/{name}.*is damaged"):
        open_generation(path)


def test_files_that_lie_read_nothing_outside() -> None:
    """With their hashes right: terms are checked, and what an entry says is held to them."""
    terms = np.array([[0, 0], [2, 3]], np.uint64)
    postings = np.array([255 << 8 | 9, 1 << 8 | 9, 2 << 8 | 9], np.uint16)
    lying = np.array([(1 << 40) | (9 << 32) | 0xFFFFFFFF, (0xFFFFFF << 40) | (9 << 32)], np.uint64)
    one = np.array([0], np.uint32), np.array([7], np.uint32)
    assert _native.ImpactIndex(terms, lying, postings, 70).search(*one, 5)[0].tolist() == []
    odd = np.array([(0 << 40) | (9 << 32), (1 << 40) | (9 << 32) | 2], np.uint64)
    assert _native.ImpactIndex(terms, odd, postings, 66).search(*one, 5)[0].tolist() == [1]  # neither row 255 nor 66
    for bad in ([[0, 0], [3, 3]], [[0, 0], [2, 4]], [[2, 3], [1, 3]]):
        with pytest.raises(ValueError, match="terms must"):
            _native.ImpactIndex(np.array(bad, np.uint64), odd, postings, 66)


def test_a_generation_without_weights_says_what_to_do_and_one_with_them_names_its_model(
    root: Path, tmp_path: Path
) -> None:
    with open_generation(build(tmp_path, TEXTS[:5], None)) as bare, pytest.raises(InputError, match="build --sparse"):
        bare.search_sparse("w1", 3)
    assert sparse_in_served(root, "s") == "counting"
    assert sparse_in_served(tmp_path, "s") is sparse_in_served(tmp_path, "absent") is None


def test_a_rebuild_weighs_only_what_is_new(root: Path, tmp_path: Path) -> None:
    texts = [*TEXTS[700:900], "w7 w199 w8", "", *TEXTS[:300]]
    anew, other, model = build(tmp_path / "anew", texts), CountingModel(id_="sha256:1"), CountingModel()
    remembered = RememberedSparse(model, served_paths(root, "s"), 1)
    again = build(tmp_path / "again", texts, remembered)
    assert model.weighed == ["w7 w199 w8", ""]
    for file in sorted((anew / "sparse").iterdir()):
        assert file.read_bytes() == (again / "sparse" / file.name).read_bytes()
    build(tmp_path / "other", texts, RememberedSparse(other, served_paths(root, "s"), 1))
    assert len(other.weighed) == len(texts)


def test_a_build_goes_on_with_the_model_of_what_is_served(tmp_path: Path) -> None:
    ids, payload = [f"d{row}" for row in range(50)], [{"text": text} for text in TEXTS[:50]]
    folder = write_vectors_folder(tmp_path / "v", ids, clustered(50, 8), payload, bare=True)
    asked: list[tuple[str, bool]] = []

    def load(model: str, threads: int, *, served: bool) -> CountingModel:
        asked.append((model, served))
        return CountingModel()

    def built(*words: str) -> dict[str, Any]:
        models = BuildModels(lambda: None, load)  # type: ignore[arg-type]
        given = [str(folder), "--root", str(tmp_path), *words, "--json"]
        found = CliRunner().invoke(build_command, given, obj=lambda: models)
        assert found.exit_code == 0, found.output
        said = json.loads(found.stdout)
        return said["manifest"] if "manifest" in said else read_manifest(served_paths(tmp_path, words[1])[0])

    for more in ((), ("--shards", "2")):
        name = f"s{len(more)}"
        assert "sparse" not in built("--index", name, *more)
        assert built("--index", name, *more, "--sparse", "mine")["sparse"]["from"] == "counting"
        assert built("--index", name, *more)["sparse"]["model"]["name"] == "counting"
        assert "sparse" not in built("--index", name, *more, "--sparse", "none")
    assert asked == [("mine", False), ("counting", True)] * 2
