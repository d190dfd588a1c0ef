"""Searches by words, by both, by group and page by page: over HTTP, against what the index says by itself."""

from __future__ import annotations

import binascii
import itertools
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from serving import Server, serving

from index import Root, build_generation, open_generation
from service.query import cursor
from service.query.fusion import fuse
from service.wire import limits

DOCUMENTS, CHUNKS, DIM = 60, 12, 384
SEARCH = "/v1/indexes/chunks/search"
TOPICS = ["espresso coffee", "apple trees", "chess castling", "volcano lava", "glacier ice", "guitar strings"]


def rows() -> list[dict[str, Any]]:
    """Chunks of documents, each document about one topic; one chunk in ten belongs to no document."""
    made = []
    for chunk in range(DOCUMENTS * CHUNKS):
        document = chunk // CHUNKS
        row: dict[str, Any] = {
            "title": f"Part {chunk % CHUNKS} of {document}",
            "text": f"About {TOPICS[document % len(TOPICS)]}, word{chunk} " + "and so on " * (chunk % 5),
            "doc_id": f"d{document}",
            "number": document,
            "even": chunk % 2 == 0,
        }
        if chunk % 10 == 9:
            del row["doc_id"], row["number"]
        made.append(row)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, served_encoder: Any) -> Path:
    folder = tmp_path_factory.mktemp("chunks")
    payload = rows()
    build_generation(
        served_encoder.encode([row["text"] for row in payload], kind="document"),
        [f"c{place:03}" for place in range(len(payload))],
        root=folder, name="chunks", payload=payload, model=served_encoder.fingerprint.as_dict(),
        filterable=["doc_id,number,even"], family="graph",
    )  # fmt: skip
    wordless = np.random.default_rng(1).standard_normal((50, DIM), np.float32)
    build_generation(wordless, list(range(50)), root=folder, name="wordless", payload=[{"n": 1}] * 50)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(folder, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as talking:
        yield talking


def ask(client: httpx.Client, **query: Any) -> dict[str, Any]:
    answer = client.post(SEARCH, json=query)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def ids(answer: dict[str, Any]) -> list[str]:
    return [hit["id"] for hit in answer["hits"]]


def test_words_find_what_only_they_know(client: httpx.Client) -> None:
    answer = ask(client, text="word77", mode="lexical")
    assert ids(answer) == ["c077"]
    assert answer["usage"]["tokens"] == 0, "no text was encoded"
    assert answer["coverage"]["exact"]
    assert ask(client, text="word77", mode="hybrid")["hits"][0]["id"] == "c077"
    assert ask(client, text="nowhere", mode="lexical")["hits"] == []


def test_a_fused_hit_shows_what_it_was_made_of(client: httpx.Client) -> None:
    query = {"text": "espresso coffee word77", "k": 30, "params": {"exact": True}}
    dense, lexical, hybrid = (ask(client, mode=mode, **{**query, "k": 200}) for mode in ("dense", "lexical", "hybrid"))
    rank = {name: {hit["id"]: hit["score"] for hit in answer["hits"][:400]} for name, answer in
            (("dense", dense), ("lexical", lexical))}  # fmt: skip
    for hit in hybrid["hits"][:30]:
        for name, scores in hit["scores"].items():
            if hit["id"] in rank[name]:
                assert scores == pytest.approx(rank[name][hit["id"]], rel=1e-6)
    assert "scores" not in dense["hits"][0]


def test_fusion_adds_reciprocal_ranks() -> None:
    assert fuse([([5, 3, 9], 1.0), ([3, 7], 0.5)], 60) == [
        (3, 1 / 62 + 0.5 / 61),
        (5, 1 / 61),
        (9, 1 / 63),
        (7, 0.5 / 62),
    ]
    assert fuse([([4, 2], 1.0), ([2, 4], 1.0)]) == fuse([([2, 4], 1.0), ([4, 2], 1.0)])
    assert [row for row, _ in fuse([([4, 2], 1.0), ([2, 4], 1.0)])] == [2, 4], "ties go to the smaller row"
    assert fuse([([1], 0.0), ([2], 1.0)]) == [(2, 1 / 61)]


def test_a_weight_of_nothing_leaves_one_ranking(client: httpx.Client) -> None:
    query: dict[str, Any] = {"text": "ice of a glacier", "k": 15}
    for alone, weights in (("dense", {"lexical": 0}), ("lexical", {"dense": 0, "lexical": 2})):
        fused = ask(client, mode="hybrid", params={"weights": weights, "exact": True}, **query)
        assert ids(fused) == ids(ask(client, mode=alone, params={"exact": True}, **query))


@pytest.mark.parametrize("mode", ["lexical", "hybrid"])
def test_a_filter_holds_in_every_mode(client: httpx.Client, mode: str) -> None:
    asked = {"and": [{"field": "even", "eq": True}, {"field": "number", "lt": 7}]}
    payload = rows()
    survivors = {f"c{place:03}" for place, row in enumerate(payload) if row["even"] and row.get("number", 99) < 7}
    answer = ask(client, text="coffee", mode=mode, filter=asked, k=100)
    matching = {id_ for id_ in survivors if "coffee" in payload[int(id_[1:])]["text"]}
    assert set(ids(answer)) == (matching if mode == "lexical" else survivors)
    assert answer["coverage"]["survivors"] == len(survivors)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"vector": [0.1] * DIM, "mode": "lexical"}, "/mode"),
        ({"id": "c000", "mode": "hybrid"}, "/mode"),
        ({"text": "x", "mode": "sparse"}, "/mode"),
        ({"text": "x", "mode": "hybrid", "params": {"weights": {"dense": 0, "lexical": 0}}}, "/params/weights"),
        ({"text": "x", "mode": "hybrid", "params": {"weights": {"dense": -1}}}, "/params/weights/dense"),
        ({"text": "x", "mode": "hybrid", "params": {"rrf_k": 0}}, "/params/rrf_k"),
        ({"text": "x", "group_by": "even"}, "/group_by"),
        ({"text": "x", "cursor": "AAAA"}, "/cursor"),
        ({"text": "x", "cursor": "ä"}, "/cursor"),
        ({"text": "x", "cursor": "a" * 513}, "/cursor"),
    ],
)
def test_what_cannot_be_ranked_is_pointed_at(client: httpx.Client, query: Any, pointer: str) -> None:
    answer = client.post(SEARCH, json=query)
    assert (answer.status_code, answer.json()["code"], answer.json()["pointer"]) == (422, "invalid-value", pointer)


def test_an_index_without_words_says_so(client: httpx.Client) -> None:
    problem = client.post("/v1/indexes/wordless/search", json={"text": "x", "mode": "lexical"}).json()
    assert (problem["code"], problem["pointer"]) == ("invalid-value", "/mode")
    assert "has no words to search" in problem["detail"]
    assert client.get("/v1/indexes/wordless").json()["modes"] == ["dense"]
    assert client.get("/v1/indexes/chunks").json()["modes"] == ["dense", "lexical", "hybrid"]


# Groups


def group_of(id_: str, field: str = "doc_id") -> Any:
    return rows()[int(id_[1:])].get(field, id_)


@pytest.mark.parametrize("field", ["doc_id", "number"])
@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_a_group_shows_its_best_hit_alone(client: httpx.Client, field: str, mode: str) -> None:
    query: dict[str, Any] = {"text": "coffee and so on", "mode": mode, "params": {"exact": True}}
    grouped = ask(client, k=40, group_by=field, **query)
    groups = [group_of(id_, field) for id_ in ids(grouped)]
    assert len(groups) == len(set(groups)) == 40
    if mode == "hybrid":
        return
    everything = ask(client, k=1000, **query)["hits"]
    best: dict[Any, Any] = {}
    for hit in everything:
        best.setdefault(group_of(hit["id"], field), hit)
    assert grouped["hits"] == list(best.values())[:40]


def test_there_are_as_many_groups_as_there_are(client: httpx.Client) -> None:
    """60 documents, and 72 chunks that belong to none: each of them is a group of its own."""
    grouped = ask(client, text="lava", k=1000, group_by="doc_id")
    assert len(grouped["hits"]) == DOCUMENTS + DOCUMENTS * CHUNKS // 10
    one = ask(client, text="lava", k=1000, group_by="doc_id", filter={"field": "doc_id", "in": ["d3", "d4"]})
    assert [group_of(id_) for id_ in ids(one)] in (["d3", "d4"], ["d4", "d3"])
    like = ask(client, id="c036", k=1, group_by="doc_id", filter={"field": "doc_id", "eq": "d3"})
    assert len(like["hits"]) == 1
    assert ids(like) != ["c036"]


def test_a_group_is_of_a_declared_field(client: httpx.Client) -> None:
    problem = client.post(SEARCH, json={"text": "x", "group_by": "title"}).json()
    assert (problem["code"], problem["pointer"]) == ("filter-field-not-indexed", "/group_by")


# Pages


@pytest.mark.parametrize(
    "query",
    [
        {"text": "chess"},
        {"text": "chess castling on", "mode": "lexical"},
        {"text": "chess", "mode": "hybrid"},
        {"text": "chess", "group_by": "doc_id"},
        {"text": "chess castling on", "mode": "hybrid", "group_by": "doc_id"},
        {"text": "chess", "mode": "hybrid", "filter": {"field": "even", "eq": True}, "params": {"rrf_k": 10}},
        {"id": "c100", "filter": {"field": "even", "eq": True}},
    ],
    ids=str,
)
def test_pages_are_the_whole_answer_cut_up(client: httpx.Client, query: dict[str, Any]) -> None:
    """To the very end. A hybrid search is fused deeper in pages, so there the whole is one long page."""
    query = {**query, "params": {**query.get("params", {}), "exact": True}}
    hybrid = query.get("mode") == "hybrid"
    whole = ask(client, k=1000, **query, **({"cursor": ""} if hybrid else {}))
    pages: list[Any] = []
    following: str | None = ""
    sizes = itertools.cycle([1, 7, 40, 2, 130, 70, 50])
    while following is not None:
        page = ask(client, k=next(sizes), cursor=following, **query)
        pages += page["hits"]
        following = page.get("next_cursor")
        assert not page["coverage"]["partial"]
    assert pages == whole["hits"]
    assert len({hit["id"] for hit in pages}) == len(pages) > 100
    if query.get("mode") != "lexical" and "group_by" not in query:
        assert len(pages) == whole["coverage"]["survivors"]


def rewritten(given: str, **changes: Any) -> str:
    """A cursor with other numbers in it: nothing in one is secret."""
    raw = binascii.a2b_base64(given.replace("-", "+").replace("_", "/"))
    held = msgspec.msgpack.decode(raw[: -cursor._CHECK_BYTES], type=cursor.Cursor)
    return cursor.encode(msgspec.structs.replace(held, **changes))


@pytest.mark.parametrize(
    ("query", "changes"),
    [
        ({"text": "chess", "mode": "hybrid"}, {"depth": 50}),
        ({"text": "chess", "mode": "hybrid", "group_by": "number"}, {"depth": 50}),
        ({"text": "chess"}, {"seen": limits.PAGED - 30}),
        ({"text": "chess castling on", "mode": "lexical"}, {"seen": limits.PAGED - 30}),
    ],
    ids=str,
)
def test_pages_that_end_before_the_hits_do_say_so(
    client: httpx.Client, query: dict[str, Any], changes: dict[str, int]
) -> None:
    """As if the index were larger than what may be paged through."""
    page = ask(client, k=10, cursor="", **query)
    seen = len(page["hits"])
    following: str | None = rewritten(page["next_cursor"], **changes)
    while following is not None:
        page = ask(client, k=10, cursor=following, **query)
        seen += len(page["hits"])
        following = page.get("next_cursor")
        assert page["coverage"]["partial"] == (following is None)
    assert seen < page["coverage"]["survivors"]


def test_the_last_page_names_no_other(client: httpx.Client) -> None:
    few = {"field": "number", "eq": 5}
    page = ask(client, text="x", k=6, cursor="", filter=few)
    assert len(page["hits"]) == 6
    rest = ask(client, text="x", k=6, cursor=page["next_cursor"], filter=few)
    assert 0 < len(rest["hits"]) <= 6
    assert "next_cursor" not in rest
    assert "next_cursor" not in ask(client, text="x", k=6, filter=few), "no page was asked for"


def test_a_cursor_holds_for_its_query_alone(client: httpx.Client) -> None:
    cursor = ask(client, text="x", k=3, cursor="")["next_cursor"]
    assert ask(client, text="x", k=5, fields=["title"], cursor=cursor)["hits"]
    for other in (
        {"text": "y"},
        {"text": "x", "mode": "hybrid"},
        {"text": "x", "filter": {"field": "even", "eq": True}},
        {"text": "x", "group_by": "number"},
        {"text": "x", "params": {"effort": 7}},
    ):
        problem = client.post(SEARCH, json={**other, "cursor": cursor}).json()
        assert (problem["code"], problem["pointer"]) == ("invalid-value", "/cursor")
        assert "another query" in problem["detail"]


def test_a_cursor_that_was_changed_is_refused(client: httpx.Client) -> None:
    cursor = ask(client, text="x", k=3, cursor="")["next_cursor"]
    for place in range(0, len(cursor), 7):
        changed = cursor[:place] + ("B" if cursor[place] == "A" else "A") + cursor[place + 1 :]
        problem = client.post(SEARCH, json={"text": "x", "cursor": changed}).json()
        assert (problem["code"], problem["pointer"]) == ("invalid-value", "/cursor"), changed


def test_a_page_of_a_generation_that_is_gone_is_410(folder: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(folder, tmp_path / "root"))
    with serving(own, tmp_path, "wordless") as server, server.client() as client:
        search = "/v1/indexes/wordless/search"
        query: dict[str, Any] = {"vector": [0.5] * DIM, "k": 5}
        first = client.post(search, json={**query, "cursor": ""}).json()
        path = Root(own).path("wordless")
        with open_generation(path) as generation:
            vectors = np.stack([generation.vector(row) for row in range(50)])
        new = build_generation(vectors, list(range(50)), root=own, name="wordless", switch=False)
        assert client.put("/v1/aliases/wordless", json={"generation": new.name}).status_code == 200
        gone = client.post(search, json={**query, "cursor": first["next_cursor"]})
        assert (gone.status_code, gone.json()["code"]) == (410, "generation-gone")
        assert gone.json()["current"] == new.name
        assert client.post("/v1/aliases/wordless/rollback").status_code == 200
        assert client.post(search, json={**query, "cursor": first["next_cursor"]}).status_code == 200


def test_a_batch_takes_all_of_it(client: httpx.Client) -> None:
    queries: list[dict[str, Any]] = [
        {"text": "coffee"},
        {"text": "coffee", "mode": "hybrid"},
        {"text": "coffee", "mode": "lexical", "k": 3, "cursor": ""},
        {"text": "coffee", "group_by": "doc_id"},
        {"text": "coffee", "group_by": "title"},
        {"text": "coffee", "cursor": "no"},
    ]
    results = client.post(f"{SEARCH}/batch", json={"queries": queries}).json()["results"]
    for query, result in zip(queries[:4], results[:4], strict=True):
        alone = ask(client, **query)
        assert ids(result) == ids(alone)
        assert result.get("next_cursor") == alone.get("next_cursor")
    assert [result["error"]["code"] for result in results[4:]] == ["filter-field-not-indexed", "invalid-value"]


def test_the_stages_are_timed(client: httpx.Client) -> None:
    def stages(**query: Any) -> list[str]:
        timing = client.post(SEARCH, json=query).headers["server-timing"]
        return [part.split(";")[0].strip() for part in timing.split(",")]

    assert stages(text="x") == ["embed", "ann", "payload"]
    assert stages(text="coffee", mode="hybrid") == ["embed", "ann", "lexical", "payload"]
    assert stages(text="x", filter={"field": "number", "gt": 3, "lte": 50}) == ["filter", "embed", "ann", "payload"]


def test_metrics_know_every_stage(client: httpx.Client) -> None:
    def counted() -> dict[str, float]:
        found = re.findall(r'perwatt_stage_seconds_count\{stage="(\w+)"\} (\S+)', client.get("/metrics").text)
        return {stage: float(number) for stage, number in found}

    before = counted()
    ask(client, text="coffee", mode="hybrid", filter={"field": "number", "gt": 3})
    ask(client, text="coffee")
    after = counted()
    more = {stage: after[stage] - before.get(stage, 0.0) for stage in after}
    assert more == {"filter": 1, "embed": 2, "ann": 2, "lexical": 1, "payload": 2}
