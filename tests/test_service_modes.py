"""Searches by words, by both and by group: over HTTP, against what the index says by itself."""

from __future__ import annotations

import re
from typing import Any

import httpx
import numpy as np
import pytest
from chunk_index import CHUNKS, DIM, DOCUMENTS, SEARCH, ask, rows

from service.query.ranked.fusion import fuse

pytest_plugins = ["chunk_index_fixtures"]


def ids(answer: dict[str, Any]) -> list[str]:
    return [hit["id"] for hit in answer["hits"]]


def test_words_find_what_only_they_know(chunks_client: httpx.Client) -> None:
    answer = ask(chunks_client, text="word77", mode="lexical")
    assert ids(answer) == ["c077"]
    assert answer["usage"]["tokens"] == 0, "no text was encoded"
    assert answer["coverage"]["exact"]
    assert ask(chunks_client, text="word77", mode="hybrid")["hits"][0]["id"] == "c077"
    assert ask(chunks_client, text="nowhere", mode="lexical")["hits"] == []


def test_a_fused_hit_shows_what_it_was_made_of(chunks_client: httpx.Client) -> None:
    query = {"text": "espresso coffee word77", "k": 30, "params": {"exact": True}}
    dense, lexical, hybrid = (
        ask(chunks_client, mode=mode, **{**query, "k": 200}) for mode in ("dense", "lexical", "hybrid")
    )
    rank = {name: {hit["id"]: hit["score"] for hit in answer["hits"][:400]} for name, answer in
            (("dense", dense), ("lexical", lexical))}  # fmt: skip
    for hit in hybrid["hits"][:30]:
        for name, scores in hit["scores"].items():
            if hit["id"] in rank[name]:
                assert scores == pytest.approx(rank[name][hit["id"]], rel=1e-6)
    assert "scores" not in dense["hits"][0]


def test_fusion_adds_reciprocal_ranks() -> None:
    assert fuse({5: 0.9, 3: 0.8, 9: 0.1}, {3: 7.0, 7: 1.0}, (1.0, 0.5), 60) == [
        (3, 1 / 62 + 0.5 / 61),
        (5, 1 / 61),
        (9, 1 / 63),
        (7, 0.5 / 62),
    ]
    either = [fuse(first, second, rrf_k=60) for first, second in ((UP, DOWN), (DOWN, UP))]
    assert either[0] == either[1]
    assert [row for row, _ in either[0]] == [2, 4], "ties go to the smaller row"
    assert fuse({1: 1.0}, {2: 1.0}, (0.0, 1.0), 60) == [(2, 1 / 61)]


UP, DOWN = {4: 0.9, 2: 0.8}, {2: 0.9, 4: 0.8}


def test_fusion_adds_what_stands_out() -> None:
    dense = {1: 0.8, 2: 0.6, 3: 0.4}
    fused = dict(fuse(dense, {3: 10.0, 9: 5.0}, depth=4))
    stand_out = 1 - (10 + 5) / (4 * 10)
    assert fused == pytest.approx({1: 0.5, 2: 0.25, 3: stand_out**2, 9: stand_out**2 / 2})
    assert dict(fuse(dense, {3: 10.0, 9: 5.0}, (2.0, 0.0), depth=4)) == pytest.approx({1: 1.0, 2: 0.5, 3: 0.0})


def test_words_that_are_everywhere_count_for_nothing_and_a_rare_one_for_much() -> None:
    dense = {row: 0.6 - row / 1000 for row in range(100)}
    everywhere = fuse(dense, dict.fromkeys(range(99, -1, -1), 3.0))
    assert [row for row, _ in everywhere][:49] == list(dense)[:49]
    assert fuse(dense, {99: 3.0})[0][0] == 99


def test_scores_of_any_metric_are_fused_and_what_cannot_be_scaled_is_no_error() -> None:
    lexical = {2: 5.0, 0: 4.0}
    cosine = {row: 0.9 - row / 10 for row in range(5)}
    squared = {row: -1 + score for row, score in cosine.items()}  # minus a distance
    orders = [[row for row, _ in fuse(dense, lexical)] for dense in (cosine, squared)]
    assert orders[0] == orders[1] == [0, 2, 1, 3, 4]
    for dense in ({}, {7: 0.0}, {7: 0.0, 8: 0.0}, {7: -0.0}):
        assert {row for row, _ in fuse(dense, lexical)} == {*dense, 2, 0}
        assert [row for row, _ in fuse(dense, {})] == list(dense)


@pytest.mark.parametrize("rows", [2, 49, 50, 51, 400])
def test_the_best_do_not_depend_on_how_many_are_asked_for(rows: int) -> None:
    """So a page is the beginning of the next, and shards that send more rows than needed change nothing."""
    random = np.random.default_rng(rows)
    dense, lexical = (
        dict(zip(random.permutation(1000).tolist(), sorted(random.random(1000).tolist(), reverse=True), strict=True))
        for _ in range(2)
    )
    first = fuse(*({row: scores[row] for row in list(scores)[: max(rows, 50)]} for scores in (dense, lexical)))
    whole = fuse(dense, lexical)
    assert first[:50] == whole[:50]
    assert whole == sorted(whole, key=lambda pair: (-pair[1], pair[0]))
    assert {row for row, _ in whole} == {*dense, *lexical}
    assert [score < 0 for _, score in whole] == [False] * 50 + [True] * 950
    by_rank = [row for row, _ in fuse(dense, lexical, rrf_k=60)]
    assert [row for row, _ in whole[50:]] == [row for row in by_rank if row not in dict(whole[:50])]


def test_a_weight_of_nothing_leaves_one_ranking(chunks_client: httpx.Client) -> None:
    query: dict[str, Any] = {"text": "ice of a glacier", "k": 15}
    for alone, weights in (("dense", {"lexical": 0}), ("lexical", {"dense": 0, "lexical": 2})):
        fused = ask(chunks_client, mode="hybrid", params={"weights": weights, "exact": True}, **query)
        assert ids(fused) == ids(ask(chunks_client, mode=alone, params={"exact": True}, **query))


@pytest.mark.parametrize("mode", ["lexical", "hybrid"])
def test_a_filter_holds_in_every_mode(chunks_client: httpx.Client, mode: str) -> None:
    asked = {"and": [{"field": "even", "eq": True}, {"field": "number", "lt": 7}]}
    payload = rows()
    survivors = {f"c{place:03}" for place, row in enumerate(payload) if row["even"] and row.get("number", 99) < 7}
    answer = ask(chunks_client, text="coffee", mode=mode, filter=asked, k=100)
    matching = {id_ for id_ in survivors if "coffee" in payload[int(id_[1:])]["text"]}
    assert set(ids(answer)) == (matching if mode == "lexical" else survivors)
    assert answer["coverage"]["survivors"] == len(survivors)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"vector": [0.1] * DIM, "mode": "lexical"}, "/mode"),
        ({"id": "c000", "mode": "hybrid"}, "/mode"),
        ({"text": "x", "mode": "rare"}, "/mode"),
        ({"text": "x", "mode": "hybrid", "params": {"weights": {"dense": 0, "lexical": 0}}}, "/params/weights"),
        ({"text": "x", "mode": "hybrid", "params": {"weights": {"dense": -1}}}, "/params/weights/dense"),
        ({"text": "x", "mode": "hybrid", "params": {"rrf_k": 0}}, "/params/rrf_k"),
        ({"text": "x", "mode": "hybrid", "params": {"depth": 1}}, "/params/depth"),
        ({"text": "x", "group_by": "even"}, "/group_by"),
        ({"text": "x", "cursor": "AAAA"}, "/cursor"),
        ({"text": "x", "cursor": "ä"}, "/cursor"),
        ({"text": "x", "cursor": "a" * 513}, "/cursor"),
    ],
)
def test_what_cannot_be_ranked_is_pointed_at(chunks_client: httpx.Client, query: Any, pointer: str) -> None:
    answer = chunks_client.post(SEARCH, json=query)
    assert (answer.status_code, answer.json()["code"], answer.json()["pointer"]) == (422, "invalid-value", pointer)


def test_an_index_without_words_says_so(chunks_client: httpx.Client) -> None:
    problem = chunks_client.post("/v1/indexes/wordless/search", json={"text": "x", "mode": "lexical"}).json()
    assert (problem["code"], problem["pointer"]) == ("invalid-value", "/mode")
    assert "has no words to search" in problem["detail"]
    assert chunks_client.get("/v1/indexes/wordless").json()["modes"] == ["dense"]
    assert chunks_client.get("/v1/indexes/chunks").json()["modes"] == ["dense", "lexical", "hybrid"]


# Groups
def group_of(id_: str, field: str = "doc_id") -> Any:
    return rows()[int(id_[1:])].get(field, id_)


@pytest.mark.parametrize("field", ["doc_id", "number"])
@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_a_group_shows_its_best_hit_alone(chunks_client: httpx.Client, field: str, mode: str) -> None:
    query: dict[str, Any] = {"text": "coffee and so on", "mode": mode, "params": {"exact": True}}
    grouped = ask(chunks_client, k=40, group_by=field, **query)
    groups = [group_of(id_, field) for id_ in ids(grouped)]
    assert len(groups) == len(set(groups)) == 40
    if mode == "hybrid":
        return
    everything = ask(chunks_client, k=1000, **query)["hits"]
    best: dict[Any, Any] = {}
    for hit in everything:
        best.setdefault(group_of(hit["id"], field), hit)
    assert grouped["hits"] == list(best.values())[:40]


def test_there_are_as_many_groups_as_there_are(chunks_client: httpx.Client) -> None:
    """60 documents, and 72 chunks that belong to none: each of them is a group of its own."""
    grouped = ask(chunks_client, text="lava", k=1000, group_by="doc_id")
    assert len(grouped["hits"]) == DOCUMENTS + DOCUMENTS * CHUNKS // 10
    one = ask(chunks_client, text="lava", k=1000, group_by="doc_id", filter={"field": "doc_id", "in": ["d3", "d4"]})
    assert [group_of(id_) for id_ in ids(one)] in (["d3", "d4"], ["d4", "d3"])
    like = ask(chunks_client, id="c036", k=1, group_by="doc_id", filter={"field": "doc_id", "eq": "d3"})
    assert len(like["hits"]) == 1
    assert ids(like) != ["c036"]


def test_a_group_is_of_a_declared_field(chunks_client: httpx.Client) -> None:
    problem = chunks_client.post(SEARCH, json={"text": "x", "group_by": "title"}).json()
    assert (problem["code"], problem["pointer"]) == ("filter-field-not-indexed", "/group_by")


def test_a_batch_takes_all_of_it(chunks_client: httpx.Client) -> None:
    queries: list[dict[str, Any]] = [
        {"text": "coffee"},
        {"text": "coffee", "mode": "hybrid"},
        {"text": "coffee", "mode": "lexical", "k": 3, "cursor": ""},
        {"text": "coffee", "group_by": "doc_id"},
        {"text": "coffee", "group_by": "title"},
        {"text": "coffee", "cursor": "no"},
    ]
    results = chunks_client.post(f"{SEARCH}/batch", json={"queries": queries}).json()["results"]
    for query, result in zip(queries[:4], results[:4], strict=True):
        alone = ask(chunks_client, **query)
        assert ids(result) == ids(alone)
        assert result.get("next_cursor") == alone.get("next_cursor")
    assert [result["error"]["code"] for result in results[4:]] == ["filter-field-not-indexed", "invalid-value"]


def test_the_stages_are_timed(chunks_client: httpx.Client) -> None:
    def stages(**query: Any) -> list[str]:
        timing = chunks_client.post(SEARCH, json=query).headers["server-timing"]
        return [part.split(";")[0].strip() for part in timing.split(",")]

    assert stages(text="x") == ["embed", "ann", "payload"]
    assert stages(text="coffee", mode="hybrid") == ["embed", "ann", "lexical", "payload"]
    assert stages(text="x", filter={"field": "number", "gt": 3, "lte": 50}) == ["filter", "embed", "ann", "payload"]


def test_metrics_know_every_stage(chunks_client: httpx.Client) -> None:
    def counted() -> dict[str, float]:
        found = re.findall(r'perwatt_stage_seconds_count\{stage="(\w+)"\} (\S+)', chunks_client.get("/metrics").text)
        return {stage: float(number) for stage, number in found}

    before = counted()
    ask(chunks_client, text="coffee", mode="hybrid", filter={"field": "number", "gt": 3})
    ask(chunks_client, text="coffee")
    after = counted()
    more = {stage: after[stage] - before.get(stage, 0.0) for stage in after}
    assert more == {"filter": 1, "embed": 2, "ann": 2, "lexical": 1, "payload": 2}
