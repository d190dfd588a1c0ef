"""Facets over HTTP: counts are those of a loop over the documents in every worker, after writes, for every key."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from changing import Documents, document, vector
from patience import patient
from server_keys import bearer, make_key
from serving import Server, serving

from service.client import AsyncClient, Client, ProblemError

FACETS = "/v1/indexes/docs/facets"
ENGLISH = {"field": "lang", "eq": "en"}


class Counted:
    """A server of two workers, what its index holds after some writes, and keys."""

    def __init__(self, server: Server, documents: Documents, keys: dict[str, str], seq: int) -> None:
        self.server, self.keys, self.seq = server, keys, seq
        self._clients = {who: server.client(headers=bearer(key)) for who, key in keys.items()}
        self.payloads = {documents.id_of(number): document(seed) for number, seed in documents.seeds.items()}

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def ask(self, path: str = FACETS, who: str = "all", **asked: Any) -> Any:
        return self._clients[who].post(path, json={"min_seq": self.seq, **asked})

    def counts(self, who: str = "all", **asked: Any) -> Any:
        answer = self.ask(who=who, **asked)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def best(self, name: str, ids: Any = None) -> list[dict[str, Any]]:
        """The values of a field among documents, the most frequent first."""
        there = self.payloads if ids is None else ids
        held = Counter(
            value
            for id_ in there
            if (given := self.payloads[id_][name]) is not None
            for value in (set(given) if isinstance(given, list) else [given])
        )
        pairs = sorted(held.items(), key=lambda pair: (-pair[1], pair[0]))
        return [{"value": value, "count": count} for value, count in pairs]


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counted]:
    folder = tmp_path_factory.mktemp("counted")
    documents, keys = Documents(150), folder / "keys.json"
    documents.build(folder / "root", family="flat")
    of = {
        "all": make_key(keys, "all", "search"),
        "english": make_key(keys, "english", "search", filter=ENGLISH),
        "poor": make_key(keys, "poor", "search", rate_per_s=1.0, burst=2),
        "admin": make_key(keys, "admin", "admin"),
    }
    with (
        serving(folder / "root", folder, "--keys", str(keys), "--workers", "2") as server,
        server.client(headers=bearer(of["admin"])) as client,
    ):
        for number in range(100, 200):  # fifty replaced, fifty new
            documents.seeds[number] = number + 1000
        written = [
            {"id": documents.id_of(number), "payload": document(seed), "vector": vector(seed).tolist()}
            for number, seed in documents.seeds.items()
            if seed > 1000
        ]
        assert client.put("/v1/indexes/docs/documents", json={"documents": written}).status_code == 200
        gone = list(range(60, 70)) + list(range(195, 200))
        for number in gone:
            del documents.seeds[number]
        deleted = client.post("/v1/indexes/docs/documents/delete", json={"ids": [f"d{number}" for number in gone]})
        made = Counted(server, documents, of, deleted.json()["seq"])
        yield made
        made.close()


def test_counts_are_those_of_the_documents_in_every_worker(counted: Counted) -> None:
    fields = ["lang", "year", "tags", "ok"]
    asked = {"facets": [{"field": name, "top": 1000} for name in fields], "min_seq": counted.seq}
    for _ in range(4):  # each by a connection of its own, which any worker may take
        answer = httpx.post(
            counted.server.url + FACETS, json=asked, headers=bearer(counted.keys["all"]), timeout=patient(30)
        )
        found = answer.json()
        assert found["count"] == len(counted.payloads)
        for name, each in zip(fields, found["facets"], strict=True):
            assert each["values"] == counted.best(name), name
            assert each["distinct"] == len(each["values"])
            assert each["present"] == sum(payload[name] is not None for payload in counted.payloads.values())


def test_every_range_is_a_condition_that_keeps_as_many(counted: Counted) -> None:
    facets = [
        {"field": "year", "step": 3}, {"field": "score", "step": 0.1}, {"field": "when", "step": "quarter"},
        {"field": "year", "ranges": [{"lt": 2003}, {"gte": 2003, "lte": 2003}, {"gt": 2003}]},
        {"field": "when", "ranges": [{"gte": "2012-01-02", "lt": "2015-01-02T00:00:00+01:00"}]},
    ]  # fmt: skip
    found = counted.counts(facets=facets)["facets"]
    assert [len(each["ranges"]) for each in found] == [4, 10, 11, 3, 1]
    for each in found[:4]:
        assert sum(one["count"] for one in each["ranges"]) == each["present"]
    for each in found:
        for one in each["ranges"]:
            bounds = {name: bound for name, bound in one.items() if name != "count"}
            asked = {"vector": vector(1).tolist(), "k": 1, "filter": {"field": each["field"], **bounds}}
            answer = counted.ask("/v1/indexes/docs/search", **asked)
            assert answer.json()["coverage"]["survivors"] == one["count"], one


def test_a_facet_may_have_another_filter_than_the_request_but_never_than_its_key(counted: Counted) -> None:
    facets = [
        {"field": "lang"},
        {"field": "lang", "filter": None},
        {"field": "ok", "filter": {"field": "ok", "eq": True}},
    ]
    german = {"field": "lang", "eq": "de"}
    by_lang = {lang: [id_ for id_, each in counted.payloads.items() if each["lang"] == lang] for lang in ("de", "en")}
    found = counted.counts(facets=facets, filter=german)
    assert [each["values"] for each in found["facets"][:2]] == [
        counted.best("lang", by_lang["de"]),
        counted.best("lang"),
    ]
    assert found["count"] == found["facets"][0]["count"] == len(by_lang["de"])
    assert found["facets"][2]["count"] == sum(each["ok"] for each in counted.payloads.values())

    found = counted.counts("english", facets=facets)
    assert [each["values"] for each in found["facets"][:2]] == [counted.best("lang", by_lang["en"])] * 2
    assert counted.counts("english", facets=facets, filter=german)["count"] == 0


@pytest.mark.parametrize(
    "query",
    [
        {"text": "alpha", "mode": "lexical", "k": 200},
        {"text": "alpha beta", "mode": "lexical", "k": 7},
        {"vector": vector(5).tolist(), "k": 20},
        {"id": "d3", "k": 20},
        {"id": "d120", "k": 200},
    ],
    ids=str,
)
@pytest.mark.parametrize("given", [None, {"field": "year", "gte": 2004}], ids=["all", "filtered"])
def test_with_a_query_the_best_of_it_are_counted(counted: Counted, query: dict[str, Any], given: Any) -> None:
    hits = counted.ask("/v1/indexes/docs/search", **query, filter=given).json()["hits"]
    found = counted.counts(facets=[{"field": "tags", "top": 1000}, {"field": "year", "step": 1}], **query, filter=given)
    assert found["count"] == len(hits) > 0
    assert found["facets"][0]["values"] == counted.best("tags", [hit["id"] for hit in hits])
    assert found["usage"]["vectors_scored"] > 0 or query.get("mode") == "lexical"


@pytest.mark.parametrize(
    ("asked", "code", "pointer"),
    [
        ({"facets": []}, "invalid-value", "/facets"),
        ({"facets": [{"field": "lang"}] * 33}, "invalid-value", "/facets"),
        ({"facets": [{"field": "lang"}, {"field": "nope"}]}, "filter-field-not-indexed", "/facets/1/field"),
        ({"facets": [{"field": "lang", "top": 1001}]}, "invalid-value", "/facets/0/top"),
        ({"facets": [{"field": "lang", "step": 3}]}, "invalid-value", "/facets/0/step"),
        ({"facets": [{"field": "lang", "ranges": [{"lt": 3}]}]}, "invalid-value", "/facets/0/ranges"),
        ({"facets": [{"field": "year", "ranges": [{"lt": 3}], "step": 1}]}, "invalid-value", "/facets/0/step"),
        ({"facets": [{"field": "year", "ranges": [{"lt": 3}, {}]}]}, "invalid-value", "/facets/0/ranges/1"),
        ({"facets": [{"field": "year", "ranges": [{"gt": 3, "lt": 2}]}]}, "invalid-value", "/facets/0/ranges/0"),
        ({"facets": [{"field": "year", "ranges": [{"lt": "x"}]}]}, "invalid-value", "/facets/0/ranges/0/lt"),
        ({"facets": [{"field": "year", "step": 0}]}, "invalid-value", "/facets/0/step"),
        ({"facets": [{"field": "year", "step": "day"}]}, "invalid-value", "/facets/0/step"),
        ({"facets": [{"field": "score", "step": 1e-300}]}, "invalid-value", "/facets/0/step"),
        ({"facets": [{"field": "lang", "filter": {"field": "no", "eq": 1}}]}, "filter-field-not-indexed",
         "/facets/0/filter/field"),
        ({"facets": [{"field": "lang"}], "filter": {"fild": 1}}, "unknown-field", "/filter/fild"),
        ({"facets": [{"field": "lang"}], "vector": [1.0]}, "dimension-mismatch", "/vector"),
        ({"facets": [{"field": "lang"}], "id": "d60"}, "document-not-found", "/id"),
        ({"facets": [{"field": "lang"}], "id": "d1", "text": "a"}, "invalid-value", ""),
        ({"facets": [{"field": "lang"}], "text": "alpha", "k": 10_001}, "invalid-value", "/k"),
        ({"facets": [{"field": "lang"}], "expect": {"generation": "x"}}, "precondition-failed", "/expect/generation"),
        ({"facets": [{"field": "lang"}], "group_by": "lang"}, "unknown-field", "/group_by"),
    ],
)  # fmt: skip
def test_problems_say_what_and_where(counted: Counted, asked: dict[str, Any], code: str, pointer: str) -> None:
    answer = counted.ask(**asked)
    assert (answer.json()["code"], answer.json()["pointer"]) == (code, pointer), answer.text
    assert 400 <= answer.status_code < 500


def test_both_clients_count(counted: Counted) -> None:
    key = counted.keys["all"]
    asked: Any = {"facets": [{"field": "lang"}], "min_seq": counted.seq}
    with Client(counted.server.url, key=key) as client:
        found = client.facets("docs", **asked)
        with pytest.raises(ProblemError) as problem:
            client.facets("docs", [{"field": "nope"}])
    assert problem.value.code == "filter-field-not-indexed"

    async def ask() -> Any:
        async with AsyncClient(counted.server.url, key=key) as client:
            return await client.facets("docs", **asked)

    assert asyncio.run(ask()).facets == found.facets
    values = found.facets[0].values
    assert values is not None
    assert [{"value": each.value, "count": each.count} for each in values] == counted.best("lang")


def test_a_quota_is_charged_by_the_facet_and_no_key_is_refused(counted: Counted) -> None:
    assert (
        httpx.post(counted.server.url + FACETS, json={"facets": [{"field": "lang"}]}, timeout=patient(30)).status_code
        == 401
    )
    assert counted.ask(who="poor", facets=[{"field": "lang"}] * 30).status_code == 200
    refused = counted.ask(who="poor", facets=[{"field": "lang"}])
    assert (refused.status_code, refused.json()["code"]) == (429, "quota-exceeded")
