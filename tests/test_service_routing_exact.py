"""Behind a router every exact answer is that of the index in one piece, bit for bit, before and after writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from indexing import write_vectors_folder
from routed import CheapEncoder, Rig, in_process

FIELDS = ("lang:keyword", "year:int", "price:float", "at:date", "tags:keyword[]", "free:bool")
WORDS = [
    *("water", "bread", "sun", "moon", "king", "tree", "stone", "wind"),  # from common to rare
    *("salt", "iron", "glass", "milk", "rope", "bell", "door", "lamp"),
]
COUNT = 120
FILTERS: tuple[Any, ...] = (
    None,
    {"field": "lang", "eq": "de"},
    {"and": [{"field": "price", "lt": 20}, {"not": {"field": "tags", "eq": "hot"}}]},
    {"or": [{"field": "at", "gte": "2020-01-01"}, {"field": "free", "eq": True}]},
    {"field": "lang", "exists": False},
    {"field": "lang", "in": []},
)
COST = ("usage", "took_ms", "seq", "generation", "next_cursor")


def document(random: np.random.Generator, more: tuple[str, ...] = ()) -> dict[str, Any]:
    """A payload. Some have no language, some the same text; words are common or rare, `more` are new ones."""
    odds = 1 / np.arange(1, len(WORDS) + 1)
    words = random.choice(WORDS, random.integers(1, 14), p=odds / odds.sum()).tolist()
    words += random.choice([*more], random.integers(0, 3)).tolist() if more else []
    made: dict[str, Any] = {
        "title": "The same" if random.random() < 0.2 else " ".join(words[:3]),
        "text": "water and bread" if random.random() < 0.2 else " ".join(words),
        "year": int(random.integers(1990, 2000)),
        "price": float(random.integers(0, 60)) / 2,
        "tags": random.choice(["hot", "wet", "new"], random.integers(0, 3), replace=False).tolist(),
        "free": bool(random.random() < 0.3),
        "at": f"20{random.integers(10, 30)}-0{random.integers(1, 10)}-11T10:00:0{random.integers(0, 10)}.5Z",
    }
    if random.random() < 0.8:
        made["lang"] = str(random.choice(["en", "de", "fr"]))
    return made


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random, encoder = np.random.default_rng(3), CheapEncoder()
    payloads = [document(random) for _ in range(COUNT)]
    ids = [f"d{(row * 7919) % COUNT:03} é" for row in range(COUNT)]
    encoded = encoder.encode([f"{each['title']} {each['text']}" for each in payloads])
    folder = tmp_path_factory.mktemp("vectors") / "v"
    canaries = [{"text": "water", "vector": encoder.encode(["water"])[0].tolist()}]
    model = encoder.fingerprint.as_dict()
    return write_vectors_folder(folder, ids, encoded, payloads, model=model, canaries=canaries)


@pytest.fixture(scope="module", params=[2, 5, *(pytest.param(each, marks=pytest.mark.long) for each in (1, 16))])
def rig(request: pytest.FixtureRequest, vectors: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with in_process(vectors, tmp_path_factory.mktemp("rig"), request.param, filterable=FIELDS) as made:
        yield made


def queries(random: np.random.Generator, ids: list[str], more: tuple[str, ...], wanted: int) -> list[dict[str, Any]]:
    """Exact ones, of every mode and with everything that a query can ask for."""
    made: list[dict[str, Any]] = []
    while len(made) < wanted:
        text = " ".join(random.choice([*WORDS, *more, "unknown"], random.integers(1, 6)))
        mode = ("dense", "dense", "lexical", "hybrid")[len(made) % 4]
        params: dict[str, Any] = {"exact": True}
        by: dict[str, Any] = {"text": text}
        if mode == "dense" and random.random() < 0.6:
            named = random.choice(ids, 4, replace=False).tolist()
            by = (
                {"id": named[0]},
                {"ids": named[:2]},
                {"ids": named[:2], "not_ids": named[2:]},
                {"vector": random.standard_normal(24).astype(np.float32).tolist()},
                {"text": text, "not_ids": named[:1]},
            )[random.integers(5)]
        if mode == "hybrid":
            params |= ({}, {"rrf_k": 7}, {"depth": 20, "weights": {"dense": 0.4, "lexical": 1.0}})[random.integers(3)]
        query = {**by, "mode": mode, "params": params, "k": int(random.choice([1, 7, 300]))}
        if (filter_ := FILTERS[random.integers(len(FILTERS))]) is not None:
            query["filter"] = filter_
        if random.random() < 0.3:
            query["group_by"] = str(random.choice(["lang", "year"]))
        if random.random() < 0.3:
            query["fields"] = ["title", "nothing", "year"]
        if random.random() < 0.3:
            query["explain"] = True
        if "text" in by and query["k"] < 100 and random.random() < 0.5:
            query["highlight"] = {"fields": ["title", "text"], "characters": 20, "fragments": int(random.integers(3))}
        made.append(query)
    return made


def plain(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without what it cost, and without what only a router says."""
    found = {name: value for name, value in answer.items() if name not in COST}
    if "coverage" in found:
        found["coverage"] = {k: v for k, v in found["coverage"].items() if k not in ("shards", "answered")}
    return found


def same(rig: Rig, path: str, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    expected, found = rig.one.post(path, body), rig.many.post(path, body)
    if "results" in expected:
        assert len(found["results"]) == len(body["queries"])
        for query, one, many in zip(body["queries"], expected["results"], found["results"], strict=True):
            assert plain(many) == plain(one), query
    else:
        assert plain(found) == plain(expected), body
    return expected, found


FACETS: list[dict[str, Any]] = [
    *({"field": field, "top": 3} for field in ("lang", "year", "price", "at", "tags", "free")),
    {"field": "year", "step": 3},
    {"field": "price", "step": 2.5},
    {"field": "at", "step": "quarter"},
    {"field": "year", "ranges": [{"gte": 1995}, {"gt": 1990, "lt": 1993}], "filter": {"field": "lang", "eq": "fr"}},
    {"field": "at", "ranges": [{"lt": "2015-01-01"}], "filter": None},
]


def compared(rig: Rig, random: np.random.Generator, ids: list[str], more: tuple[str, ...]) -> None:
    asked = queries(random, ids, more, 32)
    same(rig, "search/batch", {"queries": asked})
    for query in asked[::13]:
        same(rig, "search", query)
    for query in asked[:5]:
        query = {name: value for name, value in query.items() if name != "highlight"} | {"k": 30}
        there, here = "", ""
        for _ in range(40):
            expected, found = (
                rig.one.post("search", query | {"cursor": there}),
                rig.many.post("search", query | {"cursor": here}),
            )
            assert plain(found) == plain(expected), query
            there, here = expected.get("next_cursor", ""), found.get("next_cursor", "")
            assert bool(there) == bool(here)
            if not there:
                break
        else:
            pytest.fail("the pages do not end")
    for filter_ in FILTERS[:3]:
        same(rig, "facets", {"facets": FACETS, "filter": filter_})
    same(rig, "facets", {"facets": FACETS, "text": "water bread", "k": 25, "params": {"exact": True}})
    same(rig, "facets", {"facets": FACETS, "id": ids[0], "k": 5, "params": {"exact": True}, "filter": FILTERS[4]})
    several = [
        client("POST", "/v1/search", json={"indexes": ["docs"], "text": "water", "params": {"exact": True}}).json()[
            "hits"
        ]
        for client in (rig.one, rig.many)
    ]
    assert several[0] == several[1] != []


def test_answers_are_those_of_the_index_in_one_piece_before_and_after_writes(rig: Rig) -> None:
    random = np.random.default_rng(11)
    ids = [f"d{row:03} é" for row in range(COUNT)]
    compared(rig, random, ids, ())
    more = ("zephyr", "quartz", "nimbus")  # words that no generation has
    for round_ in range(2):
        puts = [{"id": f"new{round_}/{row}", "payload": document(random, more)} for row in range(12)]
        puts += [
            {"id": ids[row], "payload": document(random, more)} for row in random.integers(0, len(ids), 9).tolist()
        ]
        puts += [{"id": "bare", "vector": random.standard_normal(24).tolist(), "payload": {"year": 1991 + round_}}]
        puts += [{"id": "no text"}, {"payload": {}}, {"id": "x", "payload": {"title": "t"}, "wrong": 1}]
        puts += [{"id": "wrong", "vector": [1.0]}]
        answers = [
            client("PUT", "/v1/indexes/docs/documents", json={"documents": puts}).json()
            for client in (rig.one, rig.many)
        ]
        assert answers[0]["failed"] == answers[1]["failed"]
        assert answers[0]["written"] == answers[1]["written"] == 22
        gone = [*random.choice(ids, 5, replace=False).tolist(), "not-there"]
        for asked in (
            {"ids": gone, "dry_run": True},
            {"ids": gone},
            {"filter": {"field": "year", "eq": 1990 + round_}},
        ):
            deleted = [client.post("documents/delete", asked)["deleted"] for client in (rig.one, rig.many)]
            assert deleted[0] == deleted[1] > 0
        single = [client("DELETE", f"/v1/indexes/docs/documents/new{round_}/3") for client in (rig.one, rig.many)]
        assert single[0].status_code == single[1].status_code
        there = rig.one("GET", "/v1/indexes/docs").json()["count"]
        everything = rig.one.post("search", {"text": "a", "k": 300, "params": {"exact": True}, "fields": []})["hits"]
        ids = [hit["id"] for hit in everything]
        assert len(ids) == there
        compared(rig, random, ids, more)
        read = rig.many.post(
            "search", {"text": "zephyr", "mode": "lexical", "min_seq": rig.many.post("search", {"text": "a"})["seq"]}
        )
        assert read["hits"]
