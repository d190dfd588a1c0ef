"""Sparse weights by a real network, in a real server: what the commands ask of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import write_jsonl
from serving import ARTICLES, Server, build_docs, documents, serving
from sparse_models import tiny_masked_model

from embed.sparse.encoder import SparseEncoder
from index import build_generation
from service.cli import searching
from service.errors import ServiceError

pytest_plugins = ["serving_fixtures"]

WORDS = {"water": 5.5, "sun": 4.25, "moon": 3.0, "key": 2.5, "day": 2.0, "old": 1.5}
QUERY = "old water under the sun"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_masked_model(tmp_path_factory.mktemp("model") / "tiny", WORDS)


@pytest.fixture(scope="module")
def sparse_root(tmp_path_factory: pytest.TempPathFactory, model: Path, served_encoder: Any) -> Path:
    root = tmp_path_factory.mktemp("sparse")
    build_docs(root, served_encoder, sparse=SparseEncoder(model, 1))
    return root


@pytest.fixture(scope="module")
def sparse_server(sparse_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(sparse_root, tmp_path_factory.mktemp("server")) as running:
        yield running


def _run(command: Any, *arguments: str | Path) -> Any:
    result = CliRunner().invoke(command, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("there", [False, True], ids=["files", "server"])
def test_the_commands_weigh_a_third_ranking_as_the_api_does(
    sparse_root: Path, sparse_server: Server, tmp_path: Path, there: bool
) -> None:
    place = ("--url", sparse_server.url) if there else ("--root", str(sparse_root))

    def found(*words: str) -> list[tuple[str, float]]:
        hits = _run(searching.search, "docs", QUERY, "--k", "22", *place, *words)["hits"]
        return [(hit["id"], round(hit["score"], 4)) for hit in hits]

    def answered(weights: dict[str, float]) -> list[tuple[str, float]]:
        body = {"text": QUERY, "k": 22, "mode": "hybrid", "params": {"weights": weights}}
        with sparse_server.client() as client:
            hits = client.post("/v1/indexes/docs/search", json=body).json()["hits"]
        return [(hit["id"], round(hit["score"], 4)) for hit in hits]

    sparse = [id_ for id_, _ in found("--mode", "sparse")]
    assert len(sparse) > 10
    assert [id_ for id_, _ in found("--mode", "hybrid", "--weights", "0,0,1")] == sparse
    three = found("--mode", "hybrid", "--weights", "1,0.5,0.8")
    assert three == answered({"dense": 1, "lexical": 0.5, "sparse": 0.8})
    two = found("--mode", "hybrid", "--weights", "1,0.5")
    assert two == answered({"dense": 1, "lexical": 0.5}) != three
    assert found("--mode", "hybrid") == answered({})

    queries = [{"_id": f"q{at}", "text": text} for at, (_, text, _) in enumerate(ARTICLES)]
    judged: Any = ("docs", "--queries", write_jsonl(tmp_path / "queries.jsonl", queries))
    (tmp_path / "qrels.tsv").write_text("\n".join(f"q{at}\ta{(at + 1) % 20:02}\t1" for at in range(20)))
    judged += ("--qrels", tmp_path / "qrels.tsv", *place)
    alone = _run(searching.evaluate, *judged, "--mode", "sparse")["modes"]["sparse"]
    third = _run(searching.evaluate, *judged, "--mode", "hybrid", "--weights", "0,0,1")["modes"]["hybrid"]
    usual = _run(searching.evaluate, *judged, "--mode", "hybrid", "--weights", "1,1")["modes"]["hybrid"]
    for each in (alone, third, usual):
        each.pop("query_ms", None)
    assert alone == third != usual


@pytest.mark.parametrize("given", ["1", "1,1,1,1", "1,x", "-1,1", "0,0", "0,0,0", "1,1,1001", "nan,1"])
def test_weights_that_the_api_would_refuse_are_wrong_usage(given: str) -> None:
    asked = ["docs", "x", "--mode", "hybrid", "--weights", given]
    result = CliRunner().invoke(searching.search, asked)
    assert (result.exit_code, "expected two or three numbers, like 1,0.5" in result.output) == (2, True)
    alone = CliRunner().invoke(searching.search, ["docs", "x", "--weights", "1,1"])
    assert (alone.exit_code, "--mode hybrid" in alone.output) == (2, True)


def test_a_weight_for_what_an_index_has_not_is_refused(root: Path) -> None:
    with pytest.raises(ServiceError, match="no sparse weights"):
        _run(searching.search, "docs", QUERY, "--mode", "hybrid", "--weights", "1,1,1", "--root", root)


def test_what_is_written_is_weighed_by_the_model_and_stays_weighed_without_it(
    tmp_path: Path, model: Path, served_encoder: Any
) -> None:
    own = Path(shutil.copytree(model, tmp_path / "model"))
    ids, payloads = documents()
    anew = [{"title": "Tides", "text": "The moon pulls the water of the old sea twice a day."}, payloads[3]]
    changed = dict(zip(ids, payloads, strict=True)) | {"tides": anew[0], "a02": anew[1]}
    del changed["a01"]
    build_docs(tmp_path / "i", served_encoder, sparse=SparseEncoder(own, 1))
    text = [f"{each.get('title', '')} {each['text']}".strip() for each in changed.values()]
    build_generation(
        served_encoder.encode(text, kind="document"),
        list(changed),
        root=tmp_path / "anew",
        name="docs",
        payload=list(changed.values()),
        sparse=SparseEncoder(own, 1),
    )

    def ranked(place: str | Path) -> list[tuple[str, float]]:
        where = ("--url", place) if isinstance(place, str) else ("--root", place)
        hits = _run(searching.search, "docs", QUERY, "--k", "30", "--mode", "sparse", *where)["hits"]
        return [(hit["id"], hit["score"]) for hit in hits]

    def put(client: Any, *given: tuple[str, Any]) -> Any:
        body = {"documents": [{"id": id_, "payload": payload} for id_, payload in given]}
        answer = client.put("/v1/indexes/docs/documents", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    wanted = ranked(tmp_path / "anew")
    assert {"tides", "a02"} <= {id_ for id_, _ in wanted}
    with serving(tmp_path / "i", tmp_path) as server, server.client() as client:
        assert "unweighed" not in put(client, ("tides", {"text": "moon"}), ("a02", anew[1]), ("a01", anew[1]))
        assert "unweighed" not in put(client, ("tides", anew[0]))
        client.delete("/v1/indexes/docs/documents/a01")
        assert ranked(server.url) == wanted
    assert ranked(tmp_path / "i") == wanted
    (tmp_path / "model").rename(tmp_path / "elsewhere")
    with serving(tmp_path / "i", tmp_path) as server, server.client() as client:
        assert ranked(server.url) == wanted  # the log has the weights, and no model is needed for them
        assert put(client, ("late", anew[0]))["unweighed"] == 1
        assert ranked(server.url) == wanted
        assert client.get("/v1/indexes/docs").json()["unweighed"] == 1
        assert 'perwatt_changes_unweighed{index="docs"} 1.0' in client.get("/metrics").text
        assert "written without sparse weights until the next build" in server.log()
