"""Many queries in one request: order, agreement with single requests, and failures that stay where they belong."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from patience import LONG, burden
from serving import ARTICLES

pytest_plugins = ["serving_fixtures"]

BATCH = "/v1/indexes/docs/search/batch"


def ask(client: httpx.Client, queries: list[Any], **more: Any) -> dict[str, Any]:
    answer = client.post(BATCH, json={"queries": queries, **more})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_results_come_in_the_order_of_the_queries_and_agree_with_single_ones(client: httpx.Client) -> None:
    queries: list[dict[str, Any]] = [{"text": title, "k": 1 + at % 3} for at, (title, _, _) in enumerate(ARTICLES)]
    queries += [{"id": "a03", "k": 4}, {"text": "lava", "params": {"exact": True}}, {"text": "x", "fields": ["url"]}]
    answer = ask(client, queries)
    assert set(answer) == {"index", "generation", "model", "results", "usage", "took_ms"}
    for query, result in zip(queries, answer["results"], strict=True):
        alone = client.post("/v1/indexes/docs/search", json=query).json()
        assert [hit["id"] for hit in result["hits"]] == [hit["id"] for hit in alone["hits"]]
        assert [hit["payload"] for hit in result["hits"]] == [hit["payload"] for hit in alone["hits"]]
        assert result["coverage"] == alone["coverage"]
        assert result["usage"]["tokens"] == alone["usage"]["tokens"]
    for what in ("tokens", "vectors_scored"):
        assert answer["usage"][what] == sum(result["usage"][what] for result in answer["results"])


def test_a_query_that_fails_is_a_problem_in_its_place(client: httpx.Client) -> None:
    bad: list[tuple[Any, str]] = [
        ({"text": "x", "k": 0}, "invalid-value"),
        ({"text": "x", "kk": 1}, "unknown-field"),
        ({}, "invalid-value"),
        ({"id": "nobody"}, "document-not-found"),
        ({"vector": [1.0, 2.0]}, "dimension-mismatch"),
        ({"vector": [0.0] * 384}, "invalid-value"),
        ({"id": "a01", "mode": "hybrid"}, "invalid-value"),
        ({"text": "x", "filter": {"field": "lang", "eq": "en"}}, "filter-field-not-indexed"),
        ({"text": "x", "expect": {"generation": "other"}}, "precondition-failed"),
        (["not an object"], "invalid-value"),
        (None, "invalid-value"),
    ]
    queries = [query for query, _ in bad for query in (query, {"text": "espresso", "k": 1})]
    results = ask(client, queries)["results"]
    assert [result["error"]["code"] for result in results[::2]] == [code for _, code in bad]
    assert all(result["hits"][0]["id"] == "a14" for result in results[1::2])
    assert all({"type", "title", "status", "code", "detail"} <= set(result["error"]) for result in results[::2])


def test_a_vector_that_cannot_be_ranked_fails_none_of_its_group(client: httpx.Client, served_encoder: Any) -> None:
    good = served_encoder.encode(["espresso"], kind="query")[0].tolist()
    results = ask(client, [{"vector": good}, {"vector": [0.0] * 384}, {"vector": good}])["results"]
    assert results[0]["hits"] == results[2]["hits"]
    assert results[1]["error"]["code"] == "invalid-value"
    assert "zero" in results[1]["error"]["detail"]


def test_256_queries_are_taken_and_257_are_not(client: httpx.Client) -> None:
    assert len(ask(client, [{"id": "a01", "k": 1}] * 256)["results"]) == 256
    answer = client.post(BATCH, json={"queries": [{"id": "a01"}] * 257})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-value")


@pytest.mark.parametrize("body", ['{"queries": []}', "{}", '{"queries": {}}', '{"queries": [1], "x": 1}'])
def test_a_batch_that_is_none_is_refused_as_a_whole(client: httpx.Client, body: str) -> None:
    answer = client.post(BATCH, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_query_out_of_its_own_time_fails_alone(client: httpx.Client) -> None:
    queries: list[dict[str, Any]] = [{"text": LONG} for _ in range(burden(8))]
    queries[3] = {"text": LONG + "x", "timeout_ms": 1}
    results = ask(client, queries, timeout_ms=60_000)["results"]
    assert results[3]["error"]["code"] == "deadline-exceeded"
    assert [at for at, result in enumerate(results) if "error" in result] == [3]


def test_a_batch_out_of_time_fails_as_a_whole(client: httpx.Client) -> None:
    answer = client.post(BATCH, json={"queries": [{"text": "word " * 1600}] * 64, "timeout_ms": 5})
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline-exceeded")
