"""Searches whose best hits are read anew, on a real server with a cross-encoder of random weights."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from conftest import write_jsonl
from cross_encoders import make_cross_encoder
from encoder_server import encoder_server
from serving import Server, documents, serving

from embed import load_reranker
from embed.encoders.remote.endpoint import Patience
from embed.rerankers.contract import Reranker
from embed.rerankers.remote import RemoteReranker
from service.cli.searching import evaluate
from service.rerank.reranking import Reranking
from service.wire.problems import Problem

pytest_plugins = ["serving_fixtures"]

TEXT = "how do I look after a plant"
SEARCH = "/v1/indexes/docs/search"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cross_encoder(tmp_path_factory.mktemp("cross") / "tiny-cross-encoder")


@pytest.fixture(scope="module")
def reader(model: Path) -> Reranker:
    return load_reranker(str(model), threads=1)


@pytest.fixture(scope="module")
def reranking(root: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(root, tmp_path_factory.mktemp("reranking"), "--reranker", str(model)) as running:
        yield running


@pytest.fixture
def asking(reranking: Server) -> Iterator[httpx.Client]:
    with reranking.client() as talking:
        yield talking


def ids(answer: dict[str, Any]) -> list[str]:
    return [hit["id"] for hit in answer["hits"]]


def read(reader: Reranker, found: list[str]) -> list[tuple[str, float]]:
    """What the model makes of documents, best first."""
    payloads = dict(zip(*documents(), strict=True))
    texts = [f"{payloads[each].get('title', '')} {payloads[each]['text']}".strip() for each in found]
    scores = reader.scores(TEXT, texts).scores.tolist()
    return sorted(zip(found, scores, strict=True), key=lambda pair: -pair[1])


@pytest.mark.parametrize(
    "query",
    [
        {"mode": "dense"},
        {"mode": "lexical"},
        {"mode": "hybrid"},
        {"mode": "dense", "filter": {"field": "words", "gte": 11}},
        {"mode": "hybrid", "group_by": "words"},
        {"mode": "dense", "fields": ["url"]},
    ],
    ids=["dense", "lexical", "hybrid", "filtered", "grouped", "fields"],
)
def test_the_best_hits_are_read_and_ordered_anew(asking: httpx.Client, reader: Reranker, query: dict[str, Any]) -> None:
    query = {"text": TEXT, **query}
    before = asking.post(SEARCH, json={**query, "k": 8}).json()
    response = asking.post(SEARCH, json={**query, "k": 3, "rerank": {"top": 8}})
    after = response.json()
    wanted = read(reader, ids(before))
    assert ids(after) == [id_ for id_, _ in wanted[:3]]
    assert [hit["score"] for hit in after["hits"]] == pytest.approx([score for _, score in wanted[:3]], abs=1e-3)
    assert after["usage"]["reranked"] == len(before["hits"])
    assert after["usage"]["rerank_tokens"] > after["usage"]["reranked"] * 10
    assert after["usage"]["cpu_ms"] > 0
    assert "rerank;dur=" in response.headers["server-timing"]
    assert "reranked" not in before["usage"]
    if "fields" in query:
        assert all(list(hit["payload"]) == ["url"] for hit in after["hits"])


def test_a_batch_reranks_what_asks_for_it(asking: httpx.Client) -> None:
    plain = {"text": TEXT, "k": 2}
    single = asking.post(SEARCH, json={**plain, "rerank": {}}).json()
    batch = asking.post(f"{SEARCH}/batch", json={"queries": [plain, {**plain, "rerank": {}}]}).json()
    assert ids(batch["results"][1]) == ids(single)
    assert ids(batch["results"][0]) == ids(asking.post(SEARCH, json=plain).json())
    assert batch["usage"]["reranked"] == single["usage"]["reranked"] == 22  # every document there is


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ({"id": "a01", "rerank": {}}, 422, "a vector and an id have none"),
        ({"text": "a", "cursor": "", "rerank": {}}, 422, "pages come in the order of the search"),
        ({"text": "a", "k": 9, "rerank": {"top": 8}}, 422, "k is 9 and the reranker would read 8 hits"),
        ({"text": "a", "k": 300, "rerank": {}}, 422, "at most 200"),
        ({"text": "a", "rerank": {"top": 201}}, 422, "expected int <= 200"),
        ({"text": "a", "rerank": {"model": "another"}}, 422, "The reranker here is tiny-cross-encoder"),
        ({"text": "word " * 1000, "rerank": {"top": 20}, "timeout_ms": 1}, 504, "not ready within 1 ms"),
    ],
)
def test_what_cannot_be_reranked_is_refused(
    asking: httpx.Client, query: dict[str, Any], status: int, says: str
) -> None:
    answer = asking.post(SEARCH, json=query)
    assert answer.status_code == status
    assert says in answer.json()["detail"]


def test_it_is_told_and_counted(asking: httpx.Client, reranking: Server, client: httpx.Client) -> None:
    assert asking.get("/version").json()["reranker"] == "tiny-cross-encoder"
    assert any("reranker         tiny-cross-encoder, run by native" in line for line in reranking.said)
    known = asking.get("/openapi.json").json()["components"]["schemas"]
    assert known["Rerank"]["properties"]["model"]["enum"] == ["tiny-cross-encoder", None]
    asking.post(SEARCH, json={"text": TEXT, "rerank": {"model": "tiny-cross-encoder"}})
    metrics = asking.get("/metrics").text
    assert 'perwatt_stage_seconds_count{stage="rerank"}' in metrics
    assert "perwatt_rerank_tokens_total 0.0" not in metrics
    # … and off where none was given
    refused = client.post(SEARCH, json={"text": TEXT, "rerank": {}})
    assert (refused.status_code, refused.json()["pointer"]) == (422, "/rerank")
    assert client.get("/version").json()["reranker"] is None
    without = client.get("/openapi.json").json()["components"]["schemas"]["SearchRequest"]["properties"]["rerank"]
    assert without == {"type": "null", "default": None}


def test_a_reranker_elsewhere_that_fails_is_a_503_and_hits_without_text_are_refused() -> None:
    with encoder_server() as running:
        running.answers.append(b'{"results": [{"index": 0, "relevance_score": 0.5}]}')
        reranking = Reranking(RemoteReranker(running.url, "m", Patience(5.0, 1)))
        running.failures.append((500, {}, b"a secret text"))
        with pytest.raises(
            Problem, match="The reranker of this service gave no answer: it answered with 500"
        ) as failed:
            asyncio.run(reranking.judged("q", [b'{"text": "a secret text"}']))
        assert (failed.value.status, "secret" in failed.value.detail) == (503, False)
        with pytest.raises(Problem, match="None of the hits has a title or text"):
            asyncio.run(reranking.judged("q", [b'{"url": "/a"}']))
        reranking.close()


def test_eval_measures_it_beside_the_search(root: Path, model: Path, reranking: Server, tmp_path: Path) -> None:
    queries = write_jsonl(tmp_path / "q.jsonl", [{"_id": "1", "text": TEXT}, {"_id": "2", "text": "bread"}])
    qrels = tmp_path / "qrels.tsv"
    qrels.write_text("query-id\tcorpus-id\tscore\n1\ta03\t1\n2\ta01\t1\n")
    judged = ["docs", "--queries", str(queries), "--qrels", str(qrels), "--mode", "dense", "--k", "3", "--json"]
    here = CliRunner().invoke(evaluate, [*judged, "--root", str(root), "--reranker", str(model), "--rerank-top", "8"])
    assert here.exit_code == 0, here.output
    there = CliRunner().invoke(evaluate, [*judged, "--url", reranking.url, "--rerank", "--rerank-top", "8"])
    assert there.exit_code == 0, there.output
    figures = json.loads(here.output)
    assert list(figures["modes"]) == ["dense", "dense+rerank"]
    assert figures["modes"] == json.loads(there.output)["modes"]
    assert figures["query_ms"]["dense+rerank"] > 0
    assert "goes with" not in here.output
    table = CliRunner().invoke(evaluate, [*judged[:-1], "--root", str(root), "--reranker", str(model)])
    assert "dense+rerank" in table.output
    assert "ms a query" in table.output
    assert CliRunner().invoke(evaluate, [*judged, "--root", str(root), "--rerank"]).exit_code == 2
