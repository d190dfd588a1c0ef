"""A router over the shards of an index answers what a server of the index in one piece answers, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from indexing import write_vectors_folder
from routing import routing, serving_shards
from serving import ARTICLES, serving

from index import VectorsFolder, build_generation
from index.build.sharded import build_sharded
from loadtest.generator.watch import Watcher

pytest_plugins = ["serving_fixtures"]

FIELDS = ("lang:keyword", "part:int", "price:float", "at:date", "tags:keyword[]", "free:bool")
SHARDS = (2,)


@pytest.fixture(scope="module")
def articles(tmp_path_factory: pytest.TempPathFactory, served_encoder: Any) -> Path:
    """The articles in three parts each. Some are the same text under another id; one in six has no language."""
    ids, payloads = [], []
    for place, (title, text, _) in enumerate(ARTICLES):
        for part in range(3):
            ids.append(f"{(place * 7 + part * 31) % 97:02}/d{place:02} é{part}")
            payload: dict[str, Any] = {
                "title": title,
                "text": text if part != 1 else f"{text} Part one of it, and water, and the sun.",
                "part": part,
                "price": place / 4,
                "tags": [["hot", "wet"], ["wet"], []][part],
                "free": place % 4 == 0,
                "at": f"20{10 + place}-03-0{1 + part}",
            }
            if (place + part) % 6:
                payload["lang"] = ["en", "de", "fr"][place % 3]
            payloads.append(payload)
    vectors = served_encoder.encode([f"{p['title']} {p['text']}" for p in payloads], kind="document")
    canaries = [
        {"text": ARTICLES[0][0], "vector": served_encoder.encode([ARTICLES[0][0]], kind="document")[0].tolist()}
    ]
    folder = tmp_path_factory.mktemp("articles") / "v"
    model = served_encoder.fingerprint.as_dict()
    return write_vectors_folder(folder, ids, vectors, payloads, model=model, canaries=canaries)


@pytest.fixture(scope="module")
def one(articles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server of the index in one piece."""
    folder = tmp_path_factory.mktemp("one")
    build_generation(VectorsFolder(articles), root=folder / "i", name="docs", filterable=FIELDS)
    with serving(folder / "i", folder) as server, server.client() as client:
        yield client


@pytest.fixture(scope="module", params=SHARDS)
def many(
    request: pytest.FixtureRequest, articles: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """A router over its shards."""
    folder = tmp_path_factory.mktemp("many")
    sharded = build_sharded(VectorsFolder(articles), request.param, root=folder / "i", name="docs", filterable=FIELDS)
    with (
        serving_shards(sharded, folder / "shards") as servers,
        routing(servers[::-1], folder) as router,
        router.client() as client,
    ):
        yield client


FILTERS: tuple[Any, ...] = (
    None,
    {"field": "lang", "eq": "de"},
    {"and": [{"field": "price", "lt": 3}, {"not": {"field": "tags", "eq": "hot"}}]},
    {"or": [{"field": "at", "gte": "2025-01-01"}, {"field": "free", "eq": True}]},
    {"field": "lang", "exists": False},
    {"field": "lang", "in": []},
)
QUERIES: tuple[dict[str, Any], ...] = (
    {"text": "water and the sun"},
    {"text": "how do I rotate an api key"},
    {"id": "00/d00 é0"},
    {"text": "water and the sun", "mode": "lexical"},
    {"text": "the king of hot water, and of bread", "mode": "lexical"},
    {"text": "the king of hot water, and of bread", "mode": "hybrid"},
    {"text": "moon", "mode": "hybrid", "params": {"exact": True, "rrf_k": 7, "weights": {"dense": 0.4, "lexical": 1}}},
)


def exactly(query: dict[str, Any]) -> dict[str, Any]:
    return {**query, "params": {**query.get("params", {}), "exact": True}}


def ask(client: httpx.Client, query: dict[str, Any]) -> dict[str, Any]:
    answer = client.post("/v1/indexes/docs/search", json=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def same(one: httpx.Client, many: httpx.Client, query: dict[str, Any]) -> dict[str, Any]:
    """The answer of both, which but for the figures of cost has to be the same."""
    expected, found = ask(one, query), ask(many, query)
    assert found["hits"] == expected["hits"], query
    coverage = {name: value for name, value in found["coverage"].items() if name not in ("shards", "answered")}
    assert coverage == expected["coverage"], query
    assert found["model"] == expected["model"]
    assert found["coverage"]["answered"] == found["coverage"]["shards"]
    assert ("next_cursor" in found) == ("next_cursor" in expected)
    return found


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: f"{query.get('mode', 'dense')}-{query.get('id', 'text')}")
def test_hits_are_those_of_the_index_in_one_piece(one: httpx.Client, many: httpx.Client, query: dict[str, Any]) -> None:
    for filter_ in FILTERS:
        for k in (1, 7, 1000):
            for group in (None, "lang", "part"):
                asked = exactly({**query, "k": k, "filter": filter_, "group_by": group})
                same(one, many, {name: value for name, value in asked.items() if value is not None})


def test_vectors_and_fields(one: httpx.Client, many: httpx.Client, articles: Path) -> None:
    for vector in np.random.default_rng(1).standard_normal((10, 384)).astype(np.float32).tolist():
        same(one, many, {"vector": vector, "k": 5, "fields": ["title", "nothing"], "params": {"exact": True}})
        same(one, many, {"vector": vector, "k": 60, "fields": [], "params": {"exact": True}})


@pytest.mark.parametrize(
    "query",
    [
        {"ids": ["00/d00 é0", "07/d01 é0", "38/d01 é1"], "not_ids": ["31/d00 é1"]},
        {"text": "water and the sun", "not_ids": ["00/d00 é0", "07/d01 é0"]},
        {"text": "water and the sun", "mode": "hybrid", "explain": True},
        {"text": "water and the sun", "mode": "lexical", "explain": True, "group_by": "lang"},
    ],
    ids=str,
)
def test_likes_and_explanations_are_those_of_the_index_in_one_piece(
    one: httpx.Client, many: httpx.Client, query: dict[str, Any]
) -> None:
    for filter_ in FILTERS[:2]:
        same(one, many, exactly({**query, "k": 12, "filter": filter_}))
    asked = exactly({name: value for name, value in query.items() if name not in ("ids", "not_ids", "group_by")})
    if "text" in asked:
        several = [client.post("/v1/search", json={"indexes": ["docs"], **asked}).json() for client in (one, many)]
        assert several[0]["hits"] == several[1]["hits"] != []


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: f"{query.get('mode', 'dense')}-{query.get('id', 'text')}")
@pytest.mark.parametrize("group", [None, "lang"])
def test_pages_are_those_of_the_index_in_one_piece(
    one: httpx.Client, many: httpx.Client, query: dict[str, Any], group: str | None
) -> None:
    asked = exactly({**query, "k": 9, "fields": ["title"], "filter": {"field": "price", "lt": 4}})
    if group:
        asked["group_by"] = group
    there, here = "", ""
    for _ in range(20):
        expected, found = ask(one, asked | {"cursor": there}), ask(many, asked | {"cursor": here})
        assert found["hits"] == expected["hits"]
        assert found["coverage"]["partial"] == expected["coverage"]["partial"]
        there, here = expected.get("next_cursor", ""), found.get("next_cursor", "")
        assert bool(there) == bool(here)
        if not there:
            break
    else:
        pytest.fail("the pages do not end")


def test_a_batch_is_its_queries(one: httpx.Client, many: httpx.Client) -> None:
    queries = [exactly({**query, "k": k, "fields": ["title"][:k]}) for query in QUERIES for k in (1, 4)]
    queries += [{"text": "bread", "filter": {"field": "unknown", "eq": 1}}, {"text": ""}, {"id": "not-there"}]
    expected, found = (
        client.post("/v1/indexes/docs/search/batch", json={"queries": queries}).json()["results"]
        for client in (one, many)
    )
    assert [each.get("hits") for each in found] == [each.get("hits") for each in expected]
    codes = [[each["error"]["code"] for each in results if "error" in each] for results in (expected, found)]
    assert codes[0] == codes[1] == ["filter-field-not-indexed", "invalid-value", "document-not-found"]


@pytest.mark.parametrize(
    "query",
    [
        {"text": "a", "filter": {"field": "unknown", "eq": 1}},
        {"text": "a", "filter": {"and": [{"field": "part", "eq": "x"}]}},
        {"text": "a", "filter": {"feld": "part"}},
        {"text": "a", "group_by": "price"},
        {"text": "a", "group_by": "unknown"},
        {"id": "not-there"},
        {"vector": [1.0, 2.0]},
        {"text": "a", "cursor": "none"},
        {"text": "a", "expect": {"model": "sha256:0"}},
        {"text": "a", "k": 0},
    ],
)
def test_problems_are_those_of_the_index_in_one_piece(
    one: httpx.Client, many: httpx.Client, query: dict[str, Any]
) -> None:
    expected, found = (client.post("/v1/indexes/docs/search", json=query) for client in (one, many))
    assert found.status_code == expected.status_code >= 400
    said, known = found.json(), expected.json()
    assert (said["code"], said.get("pointer")) == (known["code"], known.get("pointer"))
    assert said["detail"].split("Generation")[0] == known["detail"].split("Generation")[0]


def test_documents_and_descriptions(one: httpx.Client, many: httpx.Client) -> None:
    for id_ in ("00/d00 é0", "31/d00 é1"):
        expected, found = (client.get(f"/v1/indexes/docs/documents/{id_}?fields=title,part") for client in (one, many))
        assert found.json()["payload"] == expected.json()["payload"]
    assert many.get("/v1/indexes/docs/documents/none").json()["code"] == "document-not-found"
    expected, found = (client.get("/v1/indexes/docs").json() for client in (one, many))
    for name in ("alias", "count", "dim", "metric", "model", "modes", "filterable", "id_type"):
        assert found[name] == expected[name], name
    text = {"input": ["bread"], "encoding_format": "base64"}
    assert many.post("/v1/embeddings", json=text).json()["data"] == one.post("/v1/embeddings", json=text).json()["data"]
    for path in ("/livez", "/readyz", "/version", "/openapi.json", "/", "/v1/models"):
        assert many.get(path).status_code == 200
    assert "perwatt_shard_replicas" in many.get("/metrics").text


def test_what_a_router_cannot_do_is_not_there(many: httpx.Client) -> None:
    generation = many.get("/v1/indexes/docs").json()["generation"]
    assert many.post(f"/v1/indexes/{generation}/search", json={"text": "bread"}).status_code == 200
    gone = many.post("/v1/indexes/docs-20200101T000000Z-0000/search", json={"text": "bread"})
    assert gone.json()["code"] == "generation-gone"
    for method, path in (
        ("POST", "/v1/indexes/docs/part"),
        ("POST", "/v1/rebuilds"),
    ):
        assert many.request(method, path, json={}).status_code in (404, 405), path


def test_a_router_says_how_many_servers_it_asks_and_a_load_test_finds_them(
    one: httpx.Client, many: httpx.Client
) -> None:
    assert one.get("/v1/indexes/docs").json().get("replicas") is None
    replicas = many.get("/v1/indexes/docs").json()["replicas"]
    assert replicas == [1] * len(replicas)
    ask(many, {"text": "water and the sun"})  # from then on the router keeps a connection to each of them
    watcher = Watcher(str(many.base_url), routed=True)
    assert watcher.servers == len(replicas) > 1
    assert Watcher(str(many.base_url)).servers == 0
    assert Watcher(str(one.base_url), routed=True).servers == 0, "an index in one piece is asked of nobody else"
