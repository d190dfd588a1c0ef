"""One query over HTTP: by text, vector and id, and everything an answer says about itself."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from serving import ARTICLES, Server, documents, serving

from index import Root, build_generation, open_generation

pytest_plugins = ["serving_fixtures"]

SEARCH = "/v1/indexes/docs/search"


def ask(client: httpx.Client, path: str = SEARCH, **query: Any) -> dict[str, Any]:
    answer = client.post(path, json=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("swapping an old secret token for a new one", "Rotating an API key"),
        ("when does the day turn dark", "Total solar eclipse"),
        ("brewing strong coffee", "Espresso"),
        ("my bike has a flat", "Changing a bicycle tube"),
        ("animal with blue blood", "Octopus"),
    ],
)
def test_a_text_finds_what_it_means(client: httpx.Client, text: str, title: str) -> None:
    assert ask(client, text=text)["hits"][0]["payload"]["title"] == title


def test_an_answer_says_where_it_comes_from_and_what_it_took(client: httpx.Client, root: Path) -> None:
    answer = client.post(SEARCH, json={"text": "savings", "k": 3})
    content = answer.json()
    generation = Root(root).path("docs")
    with open_generation(generation) as opened:
        assert content["model"] == opened.manifest["model"]["id"]
        count = opened.count
    assert set(content) == {"index", "generation", "model", "hits", "coverage", "usage", "took_ms"}
    assert (content["index"], content["generation"]) == ("docs", generation.name)
    assert content["coverage"] == {"survivors": count, "exact": True, "partial": False}
    assert content["usage"]["tokens"] == 3  # [CLS] savings [SEP]
    assert content["usage"]["vectors_scored"] == count
    assert content["usage"]["cpu_ms"] > 0
    assert content["took_ms"] > 0
    assert [set(hit) for hit in content["hits"]] == [{"id", "score", "payload"}] * 3
    stages = re.fullmatch(
        r"embed;dur=(\d+\.\d+), ann;dur=(\d+\.\d+), payload;dur=(\d+\.\d+)", answer.headers["server-timing"]
    )
    assert stages is not None
    assert sum(map(float, stages.groups())) <= content["took_ms"] + 0.01
    assert answer.headers["content-type"] == "application/json"


def test_payloads_arrive_as_they_were_given(client: httpx.Client) -> None:
    ids, payloads = documents()
    hits = ask(client, text="weather", k=100)["hits"]
    assert {hit["id"]: hit["payload"] for hit in hits} == dict(zip(ids, payloads, strict=True))


def test_scores_descend_and_the_same_request_gives_the_same_answer(client: httpx.Client) -> None:
    first, second = (ask(client, text="bread and coffee", k=22)["hits"] for _ in range(2))
    assert first == second
    scores = [hit["score"] for hit in first]
    assert scores == sorted(scores, reverse=True)


def test_a_vector_comes_as_numbers_or_as_base64_with_one_answer(client: httpx.Client, served_encoder: Any) -> None:
    vector = served_encoder.encode(["king and rook"], kind="query")[0]
    as_numbers = ask(client, vector=vector.tolist())
    as_base64 = ask(client, vector=base64.b64encode(vector.astype("<f4").tobytes()).decode())
    as_text = ask(client, text="king and rook")
    assert as_numbers["hits"] == as_base64["hits"]
    assert as_numbers["hits"][0]["payload"]["title"] == "Castling in chess"
    assert [hit["id"] for hit in as_text["hits"]] == [hit["id"] for hit in as_numbers["hits"]]
    assert as_numbers["usage"]["tokens"] == 0


def test_an_index_of_bare_vectors_ranks_as_numpy_does(client: httpx.Client) -> None:
    vectors = np.random.default_rng(3).standard_normal((500, 8), np.float32)
    query = np.random.default_rng(4).standard_normal(8, np.float32)
    answer = ask(client, "/v1/indexes/bare/search", vector=query.tolist(), k=7)
    squared = ((vectors - query) ** 2).sum(axis=1)
    assert [int(hit["id"]) for hit in answer["hits"]] == np.argsort(squared, kind="stable")[:7].tolist()
    assert [hit["score"] for hit in answer["hits"]] == pytest.approx((-np.sort(squared)[:7]).tolist(), rel=1e-5)
    assert answer["model"] is None
    assert all(hit["payload"] == {} for hit in answer["hits"])


def test_an_id_finds_its_neighbours_and_not_itself(client: httpx.Client) -> None:
    everything = ask(client, id="a14", k=1000)
    others = {hit["id"] for hit in everything["hits"]}
    assert others == set(documents()[0]) - {"a14"}
    assert everything["coverage"]["survivors"] == len(others)
    few = ask(client, id="a14", k=3)
    assert few["hits"] == everything["hits"][:3]


def test_an_integer_id_is_a_string_in_http(client: httpx.Client) -> None:
    answer = ask(client, "/v1/indexes/bare/search", id="17", k=2)
    assert len(answer["hits"]) == 2
    assert all(isinstance(hit["id"], str) and hit["id"] != "17" for hit in answer["hits"])


def test_k_larger_than_the_index_gives_every_document_once(client: httpx.Client) -> None:
    hits = ask(client, text="x", k=1000)["hits"]
    assert sorted(hit["id"] for hit in hits) == sorted(documents()[0])


def test_fields_are_projected_in_the_order_asked_for(client: httpx.Client) -> None:
    hits = ask(client, text="passport", fields=["words", "title", "gone"], k=1)["hits"]
    assert list(hits[0]["payload"].items()) == [("words", 12), ("title", "Renewing a passport")]
    assert ask(client, text="passport", fields=[], k=1)["hits"][0]["payload"] == {}


def test_the_generation_is_an_address_too(client: httpx.Client, root: Path) -> None:
    generation = Root(root).alias("docs").generation
    assert ask(client, f"/v1/indexes/{generation}/search", text="x")["generation"] == generation


def test_expectations_that_hold_change_nothing(client: httpx.Client, root: Path, served_encoder: Any) -> None:
    expect = {"generation": Root(root).alias("docs").generation, "model": served_encoder.fingerprint.id}
    assert ask(client, text="x", expect=expect)["hits"] == ask(client, text="x")["hits"]


@pytest.mark.parametrize("what", ["generation", "model"])
def test_an_expectation_that_does_not_hold_is_412(client: httpx.Client, what: str) -> None:
    answer = client.post(SEARCH, json={"text": "x", "expect": {what: "another"}})
    assert (answer.status_code, answer.json()["code"]) == (412, "precondition-failed")
    assert answer.json()["pointer"] == f"/expect/{what}"
    assert answer.json()["expected"] == "another"


def test_a_text_longer_than_the_model_reads_is_answered(client: httpx.Client) -> None:
    usage = ask(client, text="coffee " * 1170)["usage"]
    assert usage["tokens"] == 256


def test_text_in_any_script_is_answered(client: httpx.Client) -> None:
    for text in ("日本語の質問", "\u202e\u0000 odd", "🚲" * 100, "e\u0301" * 50):
        assert len(ask(client, text=text, k=2)["hits"]) == 2


def test_a_request_id_is_kept_when_harmless_and_replaced_otherwise(client: httpx.Client) -> None:
    for given in ("abc-123_X.9", "a" * 64):
        assert client.get("/livez", headers={"x-request-id": given}).headers["x-request-id"] == given
    for given in ("a" * 65, "a b", 'x"y', ""):
        made = client.get("/livez", headers={"x-request-id": given}).headers["x-request-id"]
        assert re.fullmatch(r"[0-9a-f]{16}", made)


def test_traceparent_is_echoed_when_valid(client: httpx.Client) -> None:
    valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert client.get("/livez", headers={"traceparent": valid}).headers["traceparent"] == valid
    for wrong in ("00-0-0-01", "ff" + valid[2:], valid.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32)):
        assert "traceparent" not in client.get("/livez", headers={"traceparent": wrong}).headers


def test_exact_and_effort_are_taken(client: httpx.Client) -> None:
    usual = ask(client, text="lava", k=5)
    assert ask(client, text="lava", k=5, params={"exact": True, "effort": None})["hits"] == usual["hits"]
    assert ask(client, text="lava", k=5, params={"effort": 3})["hits"] == usual["hits"]


def test_nulls_mean_absence(client: httpx.Client) -> None:
    query: dict[str, Any] = dict.fromkeys(("vector", "id", "filter", "fields", "params", "timeout_ms", "expect"))
    assert len(ask(client, text="x", **query)["hits"]) == 10


def test_many_at_once_each_get_their_own_answer(server: Server) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with server.client() as client, ThreadPoolExecutor(8) as pool:
        titles = [title for title, _, _ in ARTICLES]
        found = list(pool.map(lambda title: ask(client, text=title, k=1)["hits"][0]["payload"]["title"], titles * 3))
    assert found == titles * 3


def test_a_graph_is_walked_and_searched_exactly_when_asked(own_root: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(8)
    vectors = generator.standard_normal((3000, 16), np.float32)
    build_generation(vectors, list(range(3000)), root=own_root, name="walked", family="graph", metric="cosine")
    query = generator.standard_normal(16, np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    truth = np.argsort(-(unit @ (query / np.linalg.norm(query))), kind="stable")[:10].tolist()
    with serving(own_root, tmp_path, "walked") as server, server.client() as client:

        def found(**params: Any) -> tuple[list[int], dict[str, Any]]:
            answer = ask(client, "/v1/indexes/walked/search", vector=query.tolist(), params=params)
            return [int(hit["id"]) for hit in answer["hits"]], answer

        exact, answer = found(exact=True)
        assert exact == truth
        assert (answer["coverage"]["exact"], answer["usage"]["vectors_scored"]) == (True, 3000)
        little, much = found(effort=10), found(effort=500)
        assert not much[1]["coverage"]["exact"]
        assert little[1]["usage"]["vectors_scored"] < much[1]["usage"]["vectors_scored"] < 3000
        assert much[0] == truth
        described = client.get("/v1/indexes/walked").json()
        assert 0.95 <= described["recall"]["low"] <= described["recall"]["value"] <= described["recall"]["high"] <= 1
        assert 1 <= described["target_effort"] <= described["default_effort"]
        assert found(effort="target")[0] == found(effort=described["target_effort"])[0]
        refused = client.post(
            "/v1/indexes/walked/search", json={"vector": vectors[0].tolist(), "params": {"effort": "x"}}
        )
        assert (refused.status_code, refused.json()["pointer"]) == (422, "/params/effort")
        assert re.search(r"recall@10 0\.9\d\d|recall@10 1\.000", "".join(server.said))
