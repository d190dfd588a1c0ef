"""Writes through a router: where they go, and what is said when a shard does not take its part."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from indexing import clustered, write_vectors_folder
from routed import CheapEncoder, Rig, in_process

from index.shards.plan import shard_of
from service.cli.keys import keys as keys_command
from service.routing.connection import Reply, Unanswered
from service.wire.answer.indexes import IndexInfo

DIM, COUNT, SHARDS = 24, 40, 3
PATH = "/v1/indexes/docs/documents"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "router.keys"


@pytest.fixture(scope="module")
def key(keys: Path) -> dict[str, str]:
    """Headers with the key of a router's caller, by its name."""

    def made(name: str, *words: str) -> str:
        done = CliRunner().invoke(keys_command, ["create", name, "--scope", "write", *words, "--keys", str(keys)])
        assert done.exit_code == 0, done.output
        return "Bearer " + next(word for word in done.output.split() if word.startswith("pw_"))

    return {"all": made("all"), "german": made("german", "--filter", '{"field": "lang", "eq": "de"}')}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, keys: Path, key: dict[str, str]) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("rig")
    ids = [f"d{row:02}" for row in range(COUNT)]
    payload = [{"text": "a word", "lang": ("en", "de")[row % 2]} for row in range(COUNT)]
    model = CheapEncoder().fingerprint.as_dict()
    vectors = write_vectors_folder(folder / "v", ids, clustered(COUNT, DIM), payload, model=model, canaries=[])
    with in_process(vectors, folder, SHARDS, 2, keys, filterable=["lang:keyword"]) as made:
        yield made


@pytest.fixture
def ask(rig: Rig, key: dict[str, str]) -> Iterator[Any]:
    def asked(method: str, path: str, body: Any = None, who: str = "all", **headers: str) -> tuple[int, Any]:
        given = {"authorization": key[who], "content-type": "application/json", **headers}
        answer = rig.many(method, path, content=None if body is None else json.dumps(body), headers=given)
        return answer.status_code, answer.json()

    yield asked
    for replicas in rig.replicas:
        for replica in replicas:
            replica.fails, replica.up = None, True
            replica.asked.clear()


def put(ask: Any, *ids: str, who: str = "all", lang: str = "en", **headers: str) -> tuple[int, Any]:
    documents = [{"id": id_, "payload": {"text": "a word", "lang": lang}} for id_ in ids]
    status, answer = ask("PUT", PATH, {"documents": documents}, who, **headers)
    return status, answer


def one_for_each(name: str) -> list[str]:
    """An id of each shard, in their order."""
    return [next(f"{name}{n}" for n in range(99) if shard_of(f"{name}{n}", SHARDS) == shard) for shard in range(SHARDS)]


def found(ask: Any, **asked: Any) -> set[str]:
    status, answer = ask("POST", "/v1/indexes/docs/search", {"text": "a word", "k": 1000} | asked)
    assert status == 200, answer
    return {hit["id"] for hit in answer["hits"]}


def test_each_document_goes_to_its_shard_and_is_found_by_whoever_has_the_seq(rig: Rig, ask: Any) -> None:
    ids = one_for_each("w")
    status, answer = put(ask, *ids)
    assert (status, answer["written"], answer.get("failed")) == (200, SHARDS, None)
    assert set(ids) <= found(ask, min_seq=answer["seq"])
    for shard, id_ in enumerate(ids):
        there = [app("GET", f"{PATH}/{id_}").status_code for app in rig.shards]
        assert there == [200 if number == shard else 404 for number in range(SHARDS)]
    # Of the two replicas of a shard one writes the log, and both read it.
    wrote = [[f"PUT {PATH}" in replica.asked for replica in replicas] for replicas in rig.replicas]
    assert all(any(each) for each in wrote)
    status, problem = ask("POST", "/v1/indexes/docs/search", {"text": "a", "min_seq": 10**6})
    assert (status, problem["code"], problem["pointer"]) == (412, "precondition-failed", "/min_seq")
    generation = ask("GET", "/v1/indexes/docs")[1]["generation"]
    assert ask("PUT", f"/v1/indexes/{generation}/documents", {"documents": [{"id": "a"}]})[0] == 422


def test_what_one_shard_does_not_take_is_told_document_by_document(rig: Rig, ask: Any) -> None:
    ids = one_for_each("f")
    for replica in rig.replicas[1]:
        replica.fails = Unanswered("the connection was closed")
    status, answer = put(ask, ids[0], ids[1], "", ids[2])
    assert (status, answer["written"]) == (200, 2)
    assert [(each["place"], each["id"], each["error"]["code"]) for each in answer["failed"]] == [
        (1, ids[1], "not-ready"),
        (2, "", "invalid-value"),
    ]
    assert "Shard 1 of 3 did not say that this is written" in answer["failed"][0]["error"]["detail"]
    assert answer["failed"][0]["error"]["shard"] == 1
    status, problem = put(ask, ids[1])
    assert (status, problem["code"], problem["shard"]) == (503, "not-ready", 1)
    status, problem = ask("POST", f"{PATH}/delete", {"ids": ids})
    assert (status, problem["deleted"], problem["shard"]) == (503, 2, 1)
    assert ask("DELETE", f"{PATH}/{ids[1]}")[0] == 503
    status, problem = ask("POST", f"{PATH}/delete", {"filter": {"field": "lang", "eq": "fr"}})
    assert (status, problem["deleted"]) == (503, 0)


def test_a_replica_that_writes_no_log_is_passed_over(rig: Rig, ask: Any) -> None:
    ids = one_for_each("r")
    put(ask, *ids)  # whoever took a write is asked first from now on
    for replica in rig.replicas[0]:
        replica.asked.clear()
    put(ask, *ids)
    (first,) = (replica for replica in rig.replicas[0] if f"PUT {PATH}" in replica.asked)
    first.fails = Unanswered("the connection was closed")
    status, answer = put(ask, ids[0])
    # It holds the lock as long as it lives, so the other one says where the writer is.
    assert status == 503
    assert "Another service writes this index" in answer["detail"]
    first.fails = None
    assert put(ask, ids[0])[0] == 200


def test_a_write_that_comes_again_with_its_key_is_done_once(ask: Any) -> None:
    ids = one_for_each("k")
    first = put(ask, *ids, **{"idempotency-key": "one"})[1]
    assert ask("POST", f"{PATH}/delete", {"ids": ids[:1]})[1]["deleted"] == 1
    again = put(ask, *ids, **{"idempotency-key": "one"})[1]
    assert (again["seq"], again["written"]) == (first["seq"], SHARDS)
    assert ids[0] not in found(ask)
    assert put(ask, *ids, who="german", lang="de", **{"idempotency-key": "one"})[1]["failed"][0]["id"] == ids[1]
    status, problem = put(ask, ids[0], ids[1], **{"idempotency-key": "one"})
    assert (status, problem["code"]) == (412, "precondition-failed")
    assert put(ask, "x", **{"idempotency-key": ""})[0] == 422


def test_the_filter_of_a_key_holds_for_writes(ask: Any) -> None:
    status, answer = put(ask, "d00", "d01", "german", who="german", lang="de")
    assert (status, answer["written"]) == (200, 2)
    assert [(each["id"], each["error"]["code"]) for each in answer["failed"]] == [("d00", "forbidden")]
    assert put(ask, "german", who="german", lang="en")[1]["failed"][0]["error"]["code"] == "forbidden"
    assert ask("DELETE", f"{PATH}/d02", who="german")[0] == 404
    assert ask("POST", f"{PATH}/delete", {"ids": ["d02", "d03"]}, "german")[1]["deleted"] == 1
    asked = {"filter": {"field": "lang", "exists": True}, "within": {"field": "lang", "eq": "en"}, "dry_run": True}
    assert ask("POST", f"{PATH}/delete", asked, "german")[1]["deleted"] == 0
    del asked["within"]
    assert 0 < ask("POST", f"{PATH}/delete", asked, "german")[1]["deleted"] < COUNT // 2 + 3
    assert ask("POST", f"{PATH}/delete", {"ids": ["d02"], "filter": {"field": "lang", "eq": "en"}})[0] == 422


def test_replicas_with_folders_of_their_own_take_no_writes(rig: Rig, ask: Any) -> None:
    replica = rig.replicas[2][1]
    served = replica.serving["docs"]
    ids = one_for_each("o")
    try:
        replica.serving["docs"] = msgspec.structs.replace(served, folder="elsewhere")
        status, answer = put(ask, *ids)
        assert (status, answer["written"], answer["failed"][0]["error"]["code"]) == (200, 2, "forbidden")
        assert "have folders of their own" in answer["failed"][0]["error"]["detail"]
        replica.serving = dict[str, IndexInfo]()
        assert "was never seen to serve docs" in put(ask, ids[2])[1]["detail"]
    finally:
        replica.serving = {"docs": served}
    denied = {"status": 403, "code": "forbidden", "detail": "No."}
    for each in rig.replicas[0]:
        each.fails = Reply(403, json.dumps(denied).encode())
    status, problem = put(ask, ids[0])
    assert (status, problem["code"]) == (403, "forbidden")
    assert "does not let the router write: No." in problem["detail"]
