"""Sparse weights inside a generation: the best by block bounds are the best there are, to the last bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from indexing import clustered
from sparse_models import CountingModel, many_words

from index import Generation, GenerationError, InputError, build_generation, open_generation
from index.build.models import sparse_in_served
from index.kernels import _native

ROWS = 1500
TEXTS = many_words(ROWS)
MODEL = CountingModel()
QUERIES = ["w3", "w12 w13 w14 w90", "w0 w4", "nothing", "", " ".join(f"w{word}" for word in range(200)), "w50 w50 w51"]


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


def wanted(query: str, k: int, keep: Any = None) -> tuple[list[int], list[float]]:
    scores = MODEL.scores(query, TEXTS)
    rows = [row for row in np.lexsort((np.arange(ROWS), -scores)).tolist() if scores[row] > 0]
    best = [row for row in rows if keep is None or keep.holds(row)][:k]
    return best, scores[best].tolist()


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("k", [1, 10, 64, ROWS + 5])
def test_the_best_are_those_of_scoring_everything(generation: Generation, query: str, k: int) -> None:
    for keep in (None, *(generation.filter({"field": "part", **how}) for how in ({"lt": 5}, {"eq": 3}, {"eq": 77}))):
        found = generation.search_sparse(query, k, keep)
        rows, scores = wanted(query, k, keep)
        assert (found.rows.tolist(), found.scores.tolist()) == (rows, scores)


def test_blocks_that_cannot_hold_a_hit_are_not_looked_into(generation: Generation) -> None:
    assert generation.sparse is not None
    tokens, weights = generation.sparse.query("w12 w60 w61 w120 w121")
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
