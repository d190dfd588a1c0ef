"""Behind a router the best hits are read anew as those of the index in one piece are, with all of their text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from cross_encoders import make_cross_encoder
from indexing import write_vectors_folder
from routed import CheapEncoder, Rig, in_process

WORDS = ("water", "bread", "sun", "moon", "king", "tree", "stone", "wind", "salt", "iron", "glass", "milk")
SEARCH = "/v1/indexes/docs/search"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder, encoder = tmp_path_factory.mktemp("reread"), CheapEncoder()
    payloads = [
        {
            "title": f"{WORDS[row % 12]} and {WORDS[row * 5 % 12]}",
            "text": f"{WORDS[row * 7 % 11]} {row}",
            "part": row % 3,
        }
        for row in range(60)
    ]
    vectors = write_vectors_folder(
        folder / "v",
        [f"d{row * 37 % 60:02}" for row in range(60)],
        encoder.encode([f"{each['title']} {each['text']}" for each in payloads]),
        payloads,
        model=encoder.fingerprint.as_dict(),
        canaries=[{"text": "water", "vector": encoder.encode(["water"])[0].tolist()}],
    )
    model = make_cross_encoder(folder / "tiny-cross-encoder")
    with in_process(vectors, folder, 3, reranker=str(model), filterable=["part:int"]) as made:
        yield made


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"mode": "lexical"},
        {"mode": "hybrid", "explain": True},
        {"fields": ["part"]},
        {"fields": []},
        {"group_by": "part", "k": 2},
        {"filter": {"field": "part", "eq": 1}, "rerank": {}},
        {"rerank": {"top": 5}},
    ],
    ids=str,
)
def test_hits_are_those_of_the_index_in_one_piece(rig: Rig, query: dict[str, Any]) -> None:
    asked = {"text": "bread and the moon", "k": 5, "rerank": {"top": 12}} | query
    asked["params"] = {"exact": True}
    expected, found = rig.one.post("search", asked), rig.many.post("search", asked)
    assert found["hits"] == expected["hits"] != []
    assert found["usage"]["reranked"] == expected["usage"]["reranked"] > 0
    plain = {name: value for name, value in asked.items() if name != "rerank"}
    assert found["hits"] != rig.many.post("search", plain)["hits"]
    batch = {"queries": [asked, plain]}
    results = [client.post("search/batch", batch)["results"] for client in (rig.one, rig.many)]
    assert [[hit["id"] for hit in each["hits"]] for each in results[0]] == [
        [hit["id"] for hit in each["hits"]] for each in results[1]
    ]


def test_what_is_read_comes_with_the_hits_and_what_cannot_be_is_refused(rig: Rig) -> None:
    for replicas in rig.replicas:
        replicas[0].asked.clear()
    rig.many.post("search", {"text": "bread", "k": 3, "rerank": {}})
    assert [len(replicas[0].asked) for replicas in rig.replicas] == [1, 1, 1]
    refused = rig.many("POST", SEARCH, json={"text": "a", "rerank": {"model": "another"}})
    assert refused.json()["code"] == "model-mismatch"
