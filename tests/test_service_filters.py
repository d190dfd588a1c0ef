"""Filters over HTTP: only survivors come back, as many as there are, and a key's own filter holds for everything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from filter_language import survives
from msgspec import Raw
from serving import Server, serving

from index import build_generation, open_generation
from service.access.caller import Caller
from service.query.served_generation import ServedGeneration
from service.wire import filters
from service.wire.problems import Problem

COUNT, DIM = 6000, 16
SEARCH = "/v1/indexes/filtered/search"


def payloads() -> list[dict[str, Any]]:
    random = np.random.default_rng(7)
    return [
        {
            "title": f"Document {row}",
            "lang": ["de", "en", "fr", None][row % 4],
            "year": 1990 + int(random.integers(0, 30)),
            "price": round(float(random.random()), 6),
            "draft": bool(random.random() < 0.01),
            "published": f"{2000 + row % 20}-03-0{row % 9 + 1}T12:00:00Z",
            "tags": [f"t{tag}" for tag in random.integers(0, 50, row % 4).tolist()],
            "secret": "x",
        }
        for row in range(COUNT)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filtered")
    vectors = np.random.default_rng(6).standard_normal((COUNT, DIM), np.float32)
    declared = ["lang:keyword,year,price", "draft:bool", "published:date", "tags"]
    build_generation(
        vectors, list(range(COUNT)), root=folder, name="filtered", family="graph", payload=payloads(),
        filterable=declared,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def filtered(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(folder, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def client(filtered: Server) -> Iterator[httpx.Client]:
    with filtered.client() as talking:
        yield talking


QUERY = np.random.default_rng(8).standard_normal(DIM, np.float32).tolist()
FILTERS: list[dict[str, Any]] = [
    {"field": "lang", "eq": "en"},
    {"field": "lang", "in": ["en", "de"]},
    {"not": {"field": "lang", "eq": "en"}},
    {"field": "lang", "exists": False},
    {"field": "draft", "eq": True},
    {"and": [{"field": "year", "gte": 2000}, {"field": "year", "lt": 2003}, {"field": "draft", "eq": False}]},
    {"or": [{"field": "price", "lt": 0.001}, {"field": "tags", "in": ["t3", "t4"]}]},
    {"field": "published", "gte": "2019-03-01", "lt": "2019-03-05T00:00:00+01:00"},
    {"field": "price", "gt": 2},
    {"field": "lang", "in": []},
    {"field": "tags", "exists": True},
]


@pytest.mark.parametrize("asked", FILTERS, ids=str)
def test_hits_are_survivors_and_all_of_them_when_there_are_few(client: httpx.Client, asked: dict[str, Any]) -> None:
    expected = {str(row) for row, payload in enumerate(payloads()) if survives(payload, asked)}
    for k in (10, 1000):
        answer = client.post(SEARCH, json={"vector": QUERY, "k": k, "filter": asked, "fields": ["title"]}).json()
        ids = [hit["id"] for hit in answer["hits"]]
        assert answer["coverage"]["survivors"] == len(expected)
        assert len(ids) == len(set(ids)) == min(k, len(expected))
        assert set(ids) <= expected


def test_the_best_survivors_are_found(client: httpx.Client, folder: Path) -> None:
    asked = {"field": "lang", "eq": "en"}
    truth = client.post(SEARCH, json={"vector": QUERY, "filter": asked, "params": {"exact": True}}).json()
    assert truth["coverage"]["exact"]
    vectors = np.random.default_rng(6).standard_normal((COUNT, DIM), np.float32)[1::4]
    scores = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)) @ (QUERY / np.linalg.norm(QUERY))
    assert [int(hit["id"]) for hit in truth["hits"]] == (4 * np.argsort(-scores)[:10] + 1).tolist()
    few = client.post(SEARCH, json={"vector": QUERY, "filter": {"field": "draft", "eq": True}}).json()
    assert few["coverage"]["exact"], "so few survivors are all compared"
    assert few["usage"]["vectors_scored"] == few["coverage"]["survivors"]


def test_a_document_asks_for_its_like_among_the_survivors(client: httpx.Client) -> None:
    """Row 1 is English: it is no hit of its own, and only then one survivor less."""
    english = sum(survives(payload, FILTERS[0]) for payload in payloads())
    for id_, left in (("1", english - 1), ("2", english)):
        answer = client.post(SEARCH, json={"id": id_, "k": 1000, "filter": FILTERS[0]}).json()
        assert answer["coverage"]["survivors"] == left
        assert id_ not in [hit["id"] for hit in answer["hits"]]


def test_a_batch_may_filter_each_query_differently(client: httpx.Client) -> None:
    queries = [{"vector": QUERY, "k": 5, "filter": asked} for asked in [*FILTERS, None, *FILTERS]]
    queries.append({"vector": QUERY, "filter": {"field": "secret", "eq": "x"}})
    results = client.post(f"{SEARCH}/batch", json={"queries": queries}).json()["results"]
    for query, result in zip(queries[:-1], results[:-1], strict=True):
        alone = client.post(SEARCH, json=query).json()
        assert (result["hits"], result["coverage"]) == (alone["hits"], alone["coverage"])
    assert results[-1]["error"]["code"] == "filter-field-not-indexed"


@pytest.mark.parametrize(
    ("asked", "code", "pointer"),
    [
        ({"field": "secret", "eq": "x"}, "filter-field-not-indexed", "/filter/field"),
        ({"and": [{"field": "nothing", "exists": True}]}, "filter-field-not-indexed", "/filter/and/0/field"),
        ({"field": "year", "eq": "2000"}, "invalid-value", "/filter/eq"),
        ({"field": "year", "in": [2000, 2000.5]}, "invalid-value", "/filter/in/1"),
        ({"not": {"field": "year", "gte": 2001, "lt": 2000}}, "invalid-value", "/filter/not"),
        ({"field": "published", "gt": "2020-01-02", "lte": "2020-01-01"}, "invalid-value", "/filter"),
        ({"field": "year", "is": 1}, "unknown-field", "/filter/is"),
        ({"nand": []}, "unknown-field", "/filter/nand"),
        ([], "invalid-value", "/filter"),
        ("year = 2000", "invalid-value", "/filter"),
        ({"and": [{"field": "year", "eq": 1}] * 64}, "invalid-value", "/filter/and/63"),
        ({"field": "year", "in": list(range(2000))}, "invalid-value", "/filter/in"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_filter_that_is_none_is_a_problem(client: httpx.Client, asked: Any, code: str, pointer: str) -> None:
    answer = client.post(SEARCH, json={"vector": QUERY, "filter": asked})
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["pointer"]) == (422, code, pointer)
    assert problem["detail"].endswith(".")


def test_a_problem_with_a_value_names_the_field(client: httpx.Client) -> None:
    asked = {"field": "published", "gte": "yesterday"}
    detail = client.post(SEARCH, json={"vector": QUERY, "filter": asked}).json()["detail"]
    assert "'published' is date and compared with an RFC 3339 date" in detail
    assert "'yesterday'" in detail


def test_the_declared_fields_are_described(client: httpx.Client) -> None:
    fields = client.get("/v1/indexes/filtered").json()["filterable"]
    assert {name: field["type"] for name, field in fields.items()} == {
        "lang": "keyword", "year": "int", "price": "float", "draft": "bool", "published": "date", "tags": "keyword[]",
    }  # fmt: skip
    assert fields["lang"]["values"] == [{"value": lang, "count": COUNT // 4} for lang in ("de", "en", "fr")]
    assert fields["lang"]["distinct"] == 3
    assert (fields["year"]["min"], fields["year"]["max"]) == (1990, 2019)
    limits = client.get("/version").json()["limits"]
    assert (limits["filter_nodes"], limits["filter_depth"], limits["filter_values"]) == (64, 6, 1024)


# A key's filter: the caller that auth puts into the scope.

IMPOSED = {"field": "lang", "eq": "en"}


def test_a_keys_filter_is_joined_to_the_requests(folder: Path) -> None:
    path = next((folder / "filtered").glob("filtered-*"))
    with open_generation(path) as generation:
        imposed = filters.of_key(IMPOSED)
        for asked in ({"field": "lang", "eq": "de"}, {"or": [{"field": "lang", "exists": False}, IMPOSED]}, None):
            both = filters.conjoin(filters.parse(Raw(msgspec.json.encode(asked))), imposed)
            assert both is not None
            kept = filters.survivors(generation, both)
            expected = [
                row
                for row, payload in enumerate(payloads())
                if survives(payload, IMPOSED) and (asked is None or survives(payload, asked))
            ]
            assert kept.rows.tolist() == expected
        assert filters.conjoin(None, None) is None
        assert filters.holds(generation, imposed, 1)
        assert not filters.holds(generation, imposed, 2)
        assert filters.holds(generation, None, 2)


def test_a_keys_filter_does_not_use_up_the_requests_limits(folder: Path) -> None:
    path = next((folder / "filtered").glob("filtered-*"))
    deepest: dict[str, Any] = {"and": [{"field": "year", "gte": 0}] * 58}
    for _ in range(4):
        deepest = {"not": deepest}
    with open_generation(path) as generation:
        both = filters.conjoin(filters.parse(Raw(msgspec.json.encode(deepest))), filters.of_key(IMPOSED))
        assert both is not None
        assert filters.survivors(generation, both).count == COUNT // 4


def test_a_keys_filter_hides_documents_and_fails_closed(folder: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    path = next((folder / "filtered").glob("filtered-*"))
    with ThreadPoolExecutor(1) as thread:
        loaded = ServedGeneration(open_generation(path), thread)
        assert loaded.view().row_of("1", Caller(scope="search", filter=IMPOSED)) == 1
        assert loaded.view().row_of("2", Caller(scope="search", filter=IMPOSED)) is None
        assert loaded.view().row_of("2", Caller(scope="search")) == 2
        with pytest.raises(Problem) as info:
            loaded.view().row_of("1", Caller(scope="search", filter={"field": "tenant", "eq": "a"}))
        assert info.value.code == "filter-field-not-indexed"
        loaded.retire()
