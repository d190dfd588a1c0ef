"""Recall measured on the served index is what a comparison by hand gives."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from indexing import clustered, write_vectors_folder
from routed import in_process
from serving import Server, build_docs, serving

from index import build_generation
from index.shards.sealed import ShardedIndex
from service.tuned.kept import write_default
from service.wire.default_search import DefaultSearch
from service.wire.request.search import SearchParams

COUNT, DIM = 4000, 24


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, served_encoder: Any) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("root")
    payload = [{"n": row} for row in range(COUNT)]
    for metric in ("cosine", "l2"):
        build_generation(
            clustered(COUNT, DIM), list(range(COUNT)), root=root, name=f"walked-{metric}", family="graph",
            metric=metric, payload=payload, filterable=["n"],
        )  # fmt: skip
    build_docs(root, served_encoder)
    with serving(root, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def client(measured: Server) -> Iterator[httpx.Client]:
    with measured.client() as talking:
        yield talking


def measure(client: httpx.Client, index: str = "walked-cosine", **asked: Any) -> dict[str, Any]:
    answer = client.post(f"/v1/indexes/{index}/recall", json=asked)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


@pytest.mark.parametrize("index", ["walked-cosine", "walked-l2"])
def test_more_effort_is_more_recall(client: httpx.Client, index: str) -> None:
    little, much = (measure(client, index, queries=300, params={"effort": effort}) for effort in (10, 800))
    assert little["recall"] < much["recall"]
    assert much["recall"] > 0.99
    for answer in (little, much):
        assert 0 <= answer["low"] <= answer["recall"] <= answer["high"] <= 1
        assert answer["low"] < answer["high"]
        assert (answer["queries"], answer["k"], answer["survivors"]) == (300, 10, COUNT)
        assert answer["ann_ms"] > 0 < answer["exact_ms"]
    assert little["effort"] == 10


@pytest.mark.parametrize("more", [{"exact": True}, {"rrf_k": 60}, {"weights": {"dense": 1.0, "lexical": 0.5}}])
def test_what_has_no_meaning_in_a_measurement_is_refused_and_not_ignored(
    client: httpx.Client, more: dict[str, Any]
) -> None:
    answer = client.post("/v1/indexes/walked-cosine/recall", json={"params": {"effort": 10, **more}})
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown-field")
    assert next(iter(more)) in answer.json()["detail"]


def test_it_is_what_searches_give(client: httpx.Client, served_encoder: Any) -> None:
    """The recall of one query at a time, by the hits that came back."""
    texts = ["coffee", "stars", "money and interest"]
    assert measure(client, "docs", texts=texts)["recall"] == 1.0, "a flat index compares everything"
    assert measure(client, "docs", texts=texts)["method"] == "the texts of the request"
    problem = client.post("/v1/indexes/walked-l2/recall", json={"texts": texts}).json()
    assert (problem["code"], problem["pointer"]) == ("invalid-value", "/texts")


def test_a_filter_and_a_k_larger_than_its_survivors(client: httpx.Client) -> None:
    few = measure(client, filter={"field": "n", "lt": 30}, k=50, queries=20)
    assert (few["recall"], few["survivors"]) == (1.0, 30)
    many = measure(client, filter={"field": "n", "gte": 200}, queries=50)
    assert many["survivors"] == COUNT - 200
    assert many["recall"] > 0.9
    none = client.post("/v1/indexes/walked-l2/recall", json={"filter": {"field": "n", "lt": 0}})
    assert (none.status_code, none.json()["pointer"]) == (422, "/filter")


@pytest.mark.parametrize("body", [{"queries": 5}, {"queries": 10**6}, {"k": 0}, {"texts": []}, {"what": 1}])
def test_what_cannot_be_measured_is_refused(client: httpx.Client, body: dict[str, Any]) -> None:
    assert client.post("/v1/indexes/docs/recall", json=body).status_code == 422


def test_searches_go_on_while_it_is_measured_and_only_one_is(measured: Server, client: httpx.Client) -> None:
    vector = np.ones(DIM).tolist()
    with ThreadPoolExecutor(4) as pool:

        def ask() -> int:
            with measured.client() as own:
                return own.post("/v1/indexes/walked-cosine/recall", json={"queries": 2000}).status_code

        measuring = [pool.submit(ask) for _ in range(4)]
        answers = [client.post("/v1/indexes/walked-cosine/search", json={"vector": vector}) for _ in range(20)]
        statuses = sorted(one.result() for one in measuring)
    assert [answer.status_code for answer in answers] == [200] * 20
    assert set(statuses) <= {200, 503}
    assert statuses[0] == 200


def test_a_page_of_another_site_cannot_ask(client: httpx.Client) -> None:
    answer = client.post("/v1/indexes/docs/recall", json={}, headers={"origin": "http://evil.example"})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_behind_a_router_it_is_that_of_what_all_shards_find_together(tmp_path: Path) -> None:
    count, dim = 600, 16
    vectors = write_vectors_folder(
        tmp_path / "v", [f"d{row}" for row in range(count)], clustered(count, dim), bare=True
    )
    with in_process(vectors, tmp_path, 2, family="graph") as rig:
        usual = rig.many.post("recall", {"queries": 40})
        hasty = rig.many.post("recall", {"queries": 40, "k": 100, "params": {"effort": 1}})
        shard = rig.shards[0].post("recall", {"queries": 40, "k": 100, "params": {"effort": 1}})
        assert (usual["queries"], usual["survivors"], usual["k"]) == (40, count, 10)
        whole, said = (
            ShardedIndex(tmp_path / "many", "docs").generation().content,
            rig.many("GET", "/v1/indexes/docs").json(),
        )
        assert usual["effort"] == said["default_effort"] == whole["effort"]["default"]
        assert said["recall"]["value"] == whole["recall"]["recall"]
        assert usual["recall"] > 0.9
        assert 0 < hasty["recall"] <= 1
        assert (hasty["effort"], shard["survivors"] < count) == (1, True)
        near = {"vector": clustered(1, dim)[0].tolist()}
        for changed in (rig.shards[:1], rig.shards):  # what all shards search by default, a router does
            for app in changed:
                assert app.state.here is not None
                exactly = DefaultSearch("dense", "docs", SearchParams(exact=True))
                write_default(app.state.here.registry.root, "docs", exactly)
                app.run(app.state.registry.reload_all())
            rig.many.run(rig.many.state.registry.reload_all())
            assert (rig.many("GET", "/v1/indexes/docs").json()["search"] is None) == (len(changed) == 1)
        assert rig.many.post("search", near)["coverage"]["exact"]
        assert rig.many("GET", "/v1/indexes/docs").json()["search"]["params"] == {"exact": True}
        refused = rig.many("POST", "/v1/indexes/docs/recall", json={"texts": ["water"]})
        assert (refused.status_code, refused.json()["pointer"]) == (422, "/texts")
