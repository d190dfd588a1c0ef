"""Explained hits, documents that a query is like and unlike, and one query over several indexes; after writes too."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from changing import Documents, document, vector
from server_keys import bearer, make_key
from serving import Server, serving
from writes_over_http import put

from service.client import AsyncClient, Client, ProblemError

pytest_plugins = ["serving_fixtures"]

COUNT = 120


class Indexes:
    """Indexes `one` and `two`, written to since they were built, and `inner`, of another metric."""

    def __init__(self, server: Server, client: httpx.Client, keys: dict[str, str]) -> None:
        self.server, self.client, self.keys = server, client, keys
        self.seeds: dict[str, dict[str, int]] = {}

    def search(self, index: str = "one", **asked: Any) -> Any:
        answer = self.client.post(f"/v1/indexes/{index}/search", json=asked)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def several(self, *indexes: str, **asked: Any) -> Any:
        answer = self.client.post("/v1/search", json={"indexes": indexes, **asked})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def unit(self, id_: str) -> Any:
        given = vector(self.seeds["one"][id_])
        return given / np.linalg.norm(given)


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Indexes]:
    folder = tmp_path_factory.mktemp("indexes")
    keys, seeds = folder / "keys.json", {}
    for first, name, metric in ((0, "one", "cosine"), (5000, "two", "cosine"), (9000, "inner", "ip")):
        documents = Documents(COUNT)
        documents.seeds = {number: number + first for number in range(COUNT)}
        documents.build(folder / "root", name=name, family="flat", metric=metric)
        seeds[name] = {f"d{number}": seed for number, seed in documents.seeds.items()}
    of = {
        "all": make_key(keys, "all", "admin"),
        "english": make_key(keys, "english", "search", filter={"field": "lang", "eq": "en"}),
        "first": make_key(keys, "first", "search", indexes=["one"]),
    }
    with (
        serving(folder / "root", folder, "--keys", str(keys)) as server,
        server.client(headers=bearer(of["all"])) as client,
    ):
        for name in ("one", "two"):
            seeds[name] |= {f"n{number}": 20_000 + number for number in range(10)} | {"d3": 20_500}
            put(
                client,
                *(
                    {"id": id_, "payload": document(seed), "vector": vector(seed).tolist()}
                    for id_, seed in seeds[name].items()
                    if seed >= 20_000
                ),
                index=name,
            )
            del seeds[name]["d7"]
            assert client.delete(f"/v1/indexes/{name}/documents/d7").status_code == 200
        made = Indexes(server, client, of)
        made.seeds = seeds
        yield made


@pytest.mark.parametrize(
    "more", [{}, {"params": {"exact": True}}, {"group_by": "lang"}, {"cursor": "", "k": 5}], ids=str
)
def test_a_dense_hit_is_explained_by_its_place(indexes: Indexes, more: dict[str, Any]) -> None:
    query = {"vector": vector(1).tolist(), "k": 20, **more}
    hits = indexes.search(**query, explain=True)["hits"]
    assert [hit["explain"] for hit in hits] == [
        {"dense": {"rank": rank, "score": hit["score"]}} for rank, hit in enumerate(hits, 1)
    ]
    assert [{**hit, "explain": None} for hit in hits] == [
        {**hit, "explain": None} for hit in indexes.search(**query)["hits"]
    ]
    if "cursor" in more:
        following = indexes.search(**query | {"cursor": indexes.search(**query)["next_cursor"]}, explain=True)["hits"]
        assert [hit["explain"]["dense"]["rank"] for hit in following] == list(range(6, 11))


def test_a_hit_by_words_is_explained_by_its_place(indexes: Indexes) -> None:
    hits = indexes.search(text="alpha beta", mode="lexical", explain=True, k=200)["hits"]
    assert [hit["explain"]["lexical"] for hit in hits] == [
        {"rank": rank, "score": hit["score"]} for rank, hit in enumerate(hits, 1)
    ]
    assert {"n1", "d3"} & {hit["id"] for hit in hits}, "written since the build"


@pytest.mark.parametrize(
    "params",
    [{}, {"weights": {"dense": 2, "lexical": 0.5}}, {"depth": 5}, {"rrf_k": 60}, {"weights": {"dense": 0}}],
    ids=str,
)
def test_a_fused_hit_is_explained_by_what_both_rankings_add(client: httpx.Client, params: dict[str, Any]) -> None:
    query: dict[str, Any] = {"text": "water for the apple trees", "k": 22, "params": {"exact": True, **params}}
    search = "/v1/indexes/docs/search"
    lists = {
        mode: {hit["id"]: (rank, hit["score"]) for rank, hit in enumerate(answer.json()["hits"], 1)}
        for mode in ("dense", "lexical")
        for answer in [client.post(search, json={**query, "mode": mode, "params": {"exact": True}})]
    }
    hits = client.post(search, json={**query, "mode": "hybrid", "explain": True}).json()["hits"]
    assert len(hits) > 10
    for place, hit in enumerate(hits):
        explained = hit["explain"]
        by_rank = "rrf_k" in params or place >= params.get("depth", 50)
        assert explained.pop("fused_by") == ("rank" if by_rank else "score")
        for mode, said in explained.items():
            assert (said["rank"], said["score"]) == (
                lists[mode][hit["id"]][0],
                pytest.approx(lists[mode][hit["id"]][1]),
            )
        assert set(explained) == {mode for mode in lists if hit["id"] in lists[mode]}
        less = 1 if by_rank and "rrf_k" not in params else 0
        assert hit["score"] == pytest.approx(sum(said["adds"] for said in explained.values()) - less, abs=1e-6)
    assert "explain" not in client.post(search, json={**query, "mode": "hybrid"}).json()["hits"][0]


def test_highlights_come_with_every_mode_with_batches_and_after_writes(indexes: Indexes, client: httpx.Client) -> None:
    docs = "/v1/indexes/docs/search"
    query = {"text": "pruned trees", "k": 3, "highlight": {}, "fields": ["url"]}
    for mode in ("dense", "lexical", "hybrid"):
        answer = client.post(docs, json={**query, "mode": mode}).json()
        best = answer["hits"][0]
        assert best["highlights"] == {"title": [["", "Pruning", " apple ", "trees"]]}, mode  # by their stems
        assert set(best["payload"]) == {"url"}
        results = client.post(f"{docs}/batch", json={"queries": [{**query, "mode": mode}] * 2}).json()["results"]
        assert [each["hits"][0].get("highlights") for each in results] == [best["highlights"]] * 2
    put(
        indexes.client,
        {"id": "new", "payload": {"title": "Zeppelins <b>over</b> Ulm"}, "vector": vector(77).tolist()},
        index="two",
    )
    [hit] = indexes.search("two", text="zeppelin over", mode="lexical", highlight={"fields": ["title"]})["hits"][:1]
    assert hit["highlights"] == {"title": [["", "Zeppelins", " <b>", "over", "</b> Ulm"]]}
    indexes.client.delete("/v1/indexes/two/documents/new")


@pytest.mark.parametrize(
    "more", [{}, {"filter": {"field": "lang", "eq": "en"}}, {"group_by": "lang"}, {"cursor": "", "k": 8}], ids=str
)
def test_several_documents_are_one_point_and_no_hits(indexes: Indexes, more: dict[str, Any]) -> None:
    ids, far = ["d1", "n2", "d3"], ["d9", "n4"]
    near = np.mean([indexes.unit(id_) for id_ in ids], axis=0)
    aside = 2 * near - np.mean([indexes.unit(id_) for id_ in far], axis=0)
    for asked, point, gone in (
        ({"ids": ids}, near, ids),
        ({"ids": ids, "not_ids": far}, 2 * near / np.linalg.norm(near) - (2 * near - aside), ids + far),
    ):
        plain = {"k": 40, "params": {"exact": True}, **more}
        found = indexes.search(**plain, **asked)
        expected = indexes.search(**plain | {"k": plain["k"] + len(gone)}, vector=point.tolist())
        if "group_by" not in more:
            assert [hit["id"] for hit in found["hits"]] == [
                hit["id"] for hit in expected["hits"] if hit["id"] not in gone
            ][: plain["k"]]
        assert not set(gone) & {hit["id"] for hit in found["hits"]}
        there = [id_ for id_ in gone if "filter" not in more or document(indexes.seeds["one"][id_])["lang"] == "en"]
        assert found["coverage"]["survivors"] == expected["coverage"]["survivors"] - len(there)


def test_a_vector_and_a_text_may_be_unlike_documents_too(indexes: Indexes, client: httpx.Client) -> None:
    asked = vector(1) * 100  # as long as a caller likes
    point = 2 * asked / np.linalg.norm(asked) - indexes.unit("n1")
    exact = {"k": 30, "params": {"exact": True}}
    found = indexes.search(vector=asked.tolist(), not_ids=["n1"], **exact)["hits"]
    expected = indexes.search(vector=point.tolist(), **exact | {"k": 31})["hits"]
    assert [hit["id"] for hit in found] == [hit["id"] for hit in expected if hit["id"] != "n1"][:30]

    docs = "/v1/indexes/docs/search"
    best = client.post(docs, json={"text": "growing plants"}).json()["hits"][0]["id"]
    without = client.post(docs, json={"text": "growing plants", "not_ids": [best]}).json()
    assert best not in {hit["id"] for hit in without["hits"]}
    assert without["usage"]["tokens"] > 0
    batch = client.post(
        f"{docs}/batch", json={"queries": [{"text": "growing plants", "not_ids": [best]}, {"ids": [best]}]}
    )
    assert [hit["id"] for hit in batch.json()["results"][0]["hits"]] == [hit["id"] for hit in without["hits"]]


def test_one_document_given_as_several_is_that_document(indexes: Indexes) -> None:
    one, several = (indexes.search(**asked, k=20)["hits"] for asked in ({"id": "n3"}, {"ids": ["n3", "n3"]}))
    assert [hit["id"] for hit in one] == [hit["id"] for hit in several]


@pytest.mark.parametrize(
    ("asked", "code", "pointer"),
    [
        ({"ids": ["d1", "gone"]}, "document-not-found", "/ids/1"),
        ({"ids": ["d1"], "not_ids": ["d7"]}, "document-not-found", "/not_ids/0"),
        ({"ids": []}, "invalid-value", "/ids"),
        ({"ids": ["d1"] * 65}, "invalid-value", "/ids"),
        ({"ids": ["d1"], "id": "d2"}, "invalid-value", ""),
        ({"not_ids": ["d1"]}, "invalid-value", ""),
        ({"text": "alpha", "mode": "lexical", "not_ids": ["d1"]}, "invalid-value", "/not_ids"),
        ({"id": "d1", "highlight": {}}, "invalid-value", "/highlight"),
        ({"text": "alpha", "mode": "lexical", "k": 101, "highlight": {}}, "invalid-value", "/k"),
        ({"text": "alpha", "mode": "lexical", "highlight": {"fields": []}}, "invalid-value", "/highlight/fields"),
        ({"text": "alpha", "mode": "lexical", "highlight": {"colour": 1}}, "unknown-field", "/highlight/colour"),
    ],
)  # fmt: skip
def test_problems_of_a_search_say_what_and_where(
    indexes: Indexes, asked: dict[str, Any], code: str, pointer: str
) -> None:
    answer = indexes.client.post("/v1/indexes/one/search", json=asked)
    assert (answer.json()["code"], answer.json()["pointer"]) == (code, pointer), answer.text
    [result] = indexes.client.post("/v1/indexes/one/search/batch", json={"queries": [asked]}).json()["results"]
    assert (result["error"]["code"], result["error"]["pointer"]) == (code, pointer)


def test_a_document_that_a_key_hides_is_no_example(indexes: Indexes) -> None:
    german = next(id_ for id_, seed in indexes.seeds["one"].items() if document(seed)["lang"] == "de")
    english = next(id_ for id_, seed in indexes.seeds["one"].items() if document(seed)["lang"] == "en")
    with Client(indexes.server.url, key=indexes.keys["english"]) as client:
        assert client.search("one", ids=[english]).hits
        for asked in ({"ids": [english, german]}, {"ids": [english], "not_ids": [german]}):
            with pytest.raises(ProblemError) as problem:
                client.search("one", **asked)  # type: ignore[arg-type]
            assert problem.value.code == "document-not-found"
        hits = client.search_indexes(["one", "two"], vector=vector(1), k=400).hits
        assert {hit.payload["lang"] for hit in hits} == {"en"}


def test_several_indexes_of_one_space_are_merged_by_score(indexes: Indexes) -> None:
    query: dict[str, Any] = {
        "vector": vector(1).tolist(),
        "k": 25,
        "filter": {"field": "year", "gte": 2002},
        "fields": ["lang"],
    }
    found = indexes.several("two", "one", **query)
    each = [(-hit["score"], place, rank, name, hit) for place, name in enumerate(("two", "one"))
            for rank, hit in enumerate(indexes.search(name, **query)["hits"])]  # fmt: skip
    expected = [{"index": name, **hit} for *_, name, hit in sorted(each, key=lambda one: one[:3])[:25]]
    assert found["hits"] == expected
    assert found["merged"] == "score"
    assert {hit["index"] for hit in found["hits"]} == {"one", "two"}
    assert [(one["index"], one["seq"] > 0) for one in found["indexes"]] == [("two", True), ("one", True)]
    assert found["usage"]["vectors_scored"] == sum(
        indexes.search(name, **query)["usage"]["vectors_scored"] for name in ("one", "two")
    )
    assert [hit["index"] for hit in indexes.several("one", "two", **query, merge="rank")["hits"][:4]] == [
        "one",
        "two",
    ] * 2


@pytest.mark.parametrize(
    ("names", "asked"),
    [(("one", "inner"), {"vector": vector(1).tolist()}), (("one", "two"), {"text": "alpha beta", "mode": "lexical"})],
    ids=["metrics", "words"],
)
def test_scores_that_do_not_compare_are_merged_by_rank_or_refused(
    indexes: Indexes, names: tuple[str, str], asked: dict[str, Any]
) -> None:
    found = indexes.several(*names, **asked, k=9, explain=True)
    assert found["merged"] == "rank"
    own = {name: indexes.search(name, **asked, k=9, explain=True)["hits"] for name in names}
    assert found["hits"] == [{"index": names[place % 2], **own[names[place % 2]][place // 2]} for place in range(9)]
    refused = indexes.client.post("/v1/search", json={"indexes": names, **asked, "merge": "score"}).json()
    assert (refused["code"], refused["pointer"]) == ("invalid-value", "/merge")


@pytest.mark.parametrize(
    ("asked", "code", "pointer", "index"),
    [
        ({"indexes": []}, "invalid-value", "/indexes", None),
        ({"indexes": ["one", "two", "one"]}, "invalid-value", "/indexes/2", None),
        ({"indexes": ["one", "none"]}, "index-not-found", "/indexes/1", "none"),
        ({"indexes": ["one"], "id": "d1"}, "unknown-field", "/id", None),
        ({"indexes": ["one"], "filter": {"field": "x", "eq": 1}}, "filter-field-not-indexed", "/filter/field", "one"),
        ({"indexes": ["one", "two"], "vector": [1.0]}, "dimension-mismatch", "/vector", "one"),
        ({"indexes": ["one"], "text": "a"}, "invalid-value", "", None),
    ],
)
def test_problems_of_several_indexes_name_the_one(
    indexes: Indexes, asked: dict[str, Any], code: str, pointer: str, index: Any
) -> None:
    answer = indexes.client.post("/v1/search", json={"vector": vector(1).tolist(), **asked}).json()
    assert (answer["code"], answer["pointer"], answer.get("index")) == (code, pointer, index)


def test_a_key_searches_the_indexes_it_is_for(indexes: Indexes, tmp_path: Path) -> None:
    with Client(indexes.server.url, key=indexes.keys["first"]) as client:
        assert client.search_indexes(["one"], vector=vector(1)).hits
        for names in (["one", "two"], ["one", "nowhere"]):
            with pytest.raises(ProblemError, match="not for that index") as problem:
                client.search_indexes(names, vector=vector(1))
            assert problem.value.code == "forbidden"
        generation = client.index("one").generation
        with pytest.raises(ProblemError):
            client.search_indexes([generation], vector=vector(1))

    async def ask() -> Any:
        async with AsyncClient(indexes.server.url, key=indexes.keys["first"]) as client:
            return await client.search_indexes(["one"], vector=vector(1))

    assert len(asyncio.run(ask()).hits) == 10
