"""An index whose rows are read from its files when they are asked for, behind a server: what its callers notice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from indexing import clustered, names, write_vectors_folder
from routed import AppClient, CheapEncoder, Rig, in_process
from serving import serving
from sparse_models import many_words

from index import build_generation

COUNT, DIM = 1500, 24
SEARCH = "/v1/indexes/docs/search"


@pytest.fixture
def generation(tmp_path: Path) -> Path:
    payload = [{"text": f"water {row}"} for row in range(COUNT)]
    how: dict[str, Any] = {"root": tmp_path / "root", "name": "docs", "profile": "disk", "recall_target": 0.8}
    return build_generation(clustered(COUNT, DIM), names(COUNT), payload=payload, **how)


def test_rows_that_cannot_be_read_are_said_and_cost_nothing_else(generation: Path, tmp_path: Path) -> None:
    near, words = {"vector": clustered(1, DIM, seed=5)[0].tolist(), "k": 3}, {"text": "water 7", "mode": "lexical"}
    exactly, alike = near | {"params": {"exact": True}}, {"id": "doc-7", "k": 3}
    records = generation / "lists.records"
    whole = records.read_bytes()
    with serving(tmp_path / "root", tmp_path) as server, server.client() as client:
        before = [client.post(SEARCH, json=query).json()["hits"] for query in (near, exactly, alike)]
        os.truncate(records, 4096)
        for query in (exactly, alike):
            refused = client.post(SEARCH, json=query)
            assert (refused.status_code, refused.json()["code"]) == (500, "internal")
            assert "could not be read" in refused.json()["detail"]
            assert "`perwatt verify` checks all files" in refused.json()["detail"]
            assert str(tmp_path) not in refused.text
        server.wait_for_log("lists.records: was cut short after it was opened")
        assert client.post(SEARCH, json=words).json()["hits"][0]["payload"] == {"text": "water 7"}
        with records.open("r+b") as file:
            file.write(whole)
        assert [client.post(SEARCH, json=query).json()["hits"] for query in (near, exactly, alike)] == before


ROWS, PARTS = 1200, 10
TEXTS = [f"{text} only{row}" for row, text in enumerate(many_words(ROWS, 5))]


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One index in one piece and in two shards; part 0 to 9 a tenth each, and one document of another language."""
    folder, encoder = tmp_path_factory.mktemp("rig"), CheapEncoder()
    payload = [
        {"text": text, "part": row % PARTS, "lang": "de" if row == 7 else "en"} for row, text in enumerate(TEXTS)
    ]
    vectors, model = encoder.encode(TEXTS), encoder.fingerprint.as_dict()
    source = write_vectors_folder(folder / "v", _ids(range(ROWS)), vectors, payload, model=model, canaries=[])
    how: dict[str, Any] = {"filterable": ["part:int", "lang:keyword"], "profile": "disk", "recall_target": 0.5}
    with in_process(source, folder, 2, **how) as made:
        yield made


def _ids(rows: Any) -> list[str]:
    return [f"d{row:04}" for row in rows]


def _searched(app: AppClient, **query: Any) -> dict[str, float]:
    answer = app.post("search", query)
    assert answer["coverage"].get("codes") or query["mode"] == "lexical", "scores are those of restored rows"
    return {hit["id"]: hit["score"] for hit in answer["hits"]}


@pytest.mark.parametrize("mode", ["dense", "hybrid"])
def test_a_filter_lets_all_that_survive_through_and_nothing_else(rig: Rig, mode: str) -> None:
    for app in (rig.one, rig.many):
        for asked, rows in (
            ({"field": "part", "eq": 3}, range(3, ROWS, PARTS)),
            ({"not": {"field": "part", "in": [3, 4]}}, [row for row in range(ROWS) if row % PARTS not in (3, 4)]),
            ({"field": "lang", "eq": "de"}, [7]),
        ):
            expected = set(_ids(rows))
            some = _searched(app, text=TEXTS[5], mode=mode, k=20, filter=asked)
            assert len(some) == min(20, len(expected))
            assert set(some) <= expected
        every = _searched(app, text=TEXTS[5], mode=mode, k=500, filter={"field": "part", "eq": 3})
        assert set(every) == set(_ids(range(3, ROWS, PARTS)))


def test_words_and_vectors_come_into_one_answer_with_the_scores_of_both(rig: Rig) -> None:
    query = TEXTS[11]
    for app in (rig.one, rig.many):
        exactly = _searched(app, text=query, mode="dense", k=1000, params={"exact": True})
        words = _searched(app, text=query, mode="lexical", k=100)
        assert next(iter(words)) == "d0011"
        hits = app.post("search", {"text": query, "mode": "hybrid", "k": 20})["hits"]
        assert hits[0]["id"] == "d0011"
        assert {hit["id"] for hit in hits} & set(list(words)[:10])
        near = [hit for hit in hits if hit["scores"].get("dense") is not None]
        assert near
        for hit in near:
            assert hit["scores"]["dense"] == pytest.approx(exactly[hit["id"]], abs=1e-6)
        best = list(exactly)[:10]
        assert len({hit["id"] for hit in near} & set(best)) >= 5, "what is near by meaning comes too"
        assert np.all(np.diff([hit["score"] for hit in hits]) <= 0)
