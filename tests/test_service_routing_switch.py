"""A router switches all shards and replicas at once: no answer is of two generations, and none is refused meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from indexing import clustered, write_vectors_folder
from routed import HereReplica, Rig, in_process

from index import VectorsFolder
from index.build.sharded import build_sharded
from service.query import index_registry
from service.routing import indexes as routed_indexes
from service.routing import switching as router_switching
from service.routing.connection import Reply, Unanswered
from service.routing.replica import Replica

DIM, COUNT = 8, 60
ALIAS, SEARCH = "/v1/aliases/docs", "/v1/indexes/docs/search"
QUERY = {"vector": clustered(1, DIM, seed=9)[0].tolist(), "k": 20, "group_by": "part", "params": {"exact": True}}


@pytest.fixture
def switching(tmp_path: Path) -> Iterator[tuple[Rig, str, str]]:
    """Two shards with two replicas each, and two generations, of which the second lacks documents of the first."""
    ids, payload = [f"d{row:02}" for row in range(COUNT)], [{"part": row % 30} for row in range(COUNT)]
    vectors = clustered(COUNT, DIM)
    folders = [
        write_vectors_folder(tmp_path / f"v{first}", ids[first:], vectors[first:], payload[first:], bare=True)
        for first in (0, 20)
    ]
    with in_process(folders[0], tmp_path, 2, 2, filterable=["part:int"]) as rig:
        first = rig.many("GET", "/v1/indexes/docs").json()["generation"]
        second = build_sharded(
            VectorsFolder(folders[1]), 2, root=tmp_path / "many", name="docs", filterable=["part:int"], switch=False
        )
        yield rig, first, second.path.name


def hits(rig: Rig) -> tuple[str, list[Any]]:
    answer = rig.many("POST", SEARCH, json=QUERY)
    assert answer.status_code == 200, answer.text
    return answer.json()["generation"], answer.json()["hits"]


def every(rig: Rig) -> list[HereReplica]:
    return [replica for replicas in rig.replicas for replica in replicas]


def served(rig: Rig) -> set[str]:
    return {app("GET", "/v1/indexes/docs").json()["generation"] for app in rig.shards}


def test_no_answer_is_of_two_generations_nor_refused(switching: tuple[Rig, str, str]) -> None:
    rig, first, second = switching
    known = {first: hits(rig)[1]}
    assert rig.many("PUT", ALIAS, json={"generation": second}).json()["generation"] == second
    known[second] = hits(rig)[1]
    assert known[first] != known[second]
    seen, over = Counter[str](), asyncio.Event()

    async def load() -> None:
        while not over.is_set():
            answer = await rig.many.ask("POST", SEARCH, json=QUERY)
            assert answer.status_code == 200, answer.text
            assert answer.json()["hits"] == known[answer.json()["generation"]]
            seen[answer.json()["generation"]] += 1

    async def switched() -> None:
        callers = [asyncio.create_task(load()) for _ in range(4)]
        for back in (True, False, True):
            await asyncio.sleep(0)
            path, body = (f"{ALIAS}/rollback", None) if back else (ALIAS, {"generation": second})
            answer = await rig.many.ask("POST" if back else "PUT", path, json=body)
            assert (answer.status_code, answer.json()["generation"]) == (200, first if back else second)
        over.set()
        await asyncio.gather(*callers)

    rig.many.run(switched())
    assert min(seen[first], seen[second]) > 0
    assert served(rig) == {first}


def test_one_that_cannot_be_prepared_is_switched_to_nowhere(switching: tuple[Rig, str, str]) -> None:
    rig, first, second = switching
    before = hits(rig)
    etag = rig.many("GET", "/v1/indexes/docs").json()["etag"]
    missing = rig.many("PUT", ALIAS, json={"generation": "docs-20200101T000000Z-0000"})
    assert (missing.json()["code"], missing.json()["generation"]) == ("invalid-value", first)
    assert "Nothing was switched" in missing.json()["detail"]
    last = every(rig)[-1]
    last.fails = Unanswered("the connection was closed")
    refused = rig.many("PUT", ALIAS, json={"generation": second})
    last.fails = None
    assert (refused.status_code, refused.json()["code"]) == (503, "not-ready")
    last.fails = Reply(403, json.dumps({"code": "forbidden", "detail": "No."}).encode())
    denied = rig.many("PUT", ALIAS, json={"generation": second})
    last.fails = None
    assert (denied.status_code, denied.json()["code"]) == (403, "forbidden")
    assert "does not let the router switch" in denied.json()["detail"]
    assert served(rig) == {first}
    assert [app("GET", "/v1/indexes/docs").json()["beside"] for app in rig.shards] == [[], []]
    changed = rig.many("PUT", ALIAS, json={"generation": second}, headers={"if-match": '"0"'})
    assert (changed.status_code, changed.json()["etag"]) == (412, etag)
    assert rig.many("POST", f"{ALIAS}/rollback").status_code == 412
    assert rig.many("PUT", ALIAS, json={"generation": second, "prepare": True}).json()["pointer"] == "/prepare"
    assert hits(rig) == before
    assert rig.many("PUT", ALIAS, json={"generation": second}, headers={"if-match": f'"{etag}"'}).status_code == 200


def test_a_switch_that_broke_off_answers_as_before_until_it_is_ended(
    switching: tuple[Rig, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, first, second = switching
    before = hits(rig)
    last = every(rig)[-1]
    last.fails = lambda content: Unanswered("it went away") if b'"prepare":false' in content else None
    broken = rig.many("PUT", ALIAS, json={"generation": second})
    assert (broken.status_code, broken.json()["generation"]) == (503, first)
    assert f"3 of 4 replicas are at {second}" in broken.json()["detail"]
    assert hits(rig) == before
    assert served(rig) == {second}
    last.fails = None
    assert rig.many("PUT", ALIAS, json={"generation": second}).json()["previous"] == first
    assert hits(rig)[0] == second
    # What was left is kept for those who name it, and not for long.
    one = rig.shards[0]
    assert one("GET", "/v1/indexes/docs").json()["beside"] == [first]
    registry = one.state.here.registry if one.state.here else None
    assert registry is not None
    monkeypatch.setattr(index_registry, "FORMER_S", -1.0)
    registry.release()
    assert one("GET", "/v1/indexes/docs").json()["beside"] == []
    gone = one("POST", f"/v1/indexes/{first}/search", json={"id": "d30"})
    assert (gone.status_code, gone.json()["current"]) == (410, second)


def test_one_that_is_late_to_a_look_is_up_and_does_not_hold_back_a_switch(
    switching: tuple[Rig, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once may be a second in which its machine stood still."""
    rig, _, second = switching
    monkeypatch.setattr(routed_indexes, "PATIENCE_S", 0.5)
    late, looks = every(rig)[0], [0]
    ask = late.ask

    async def ask_late(method: str, path: str, content: bytes = b"", headers: str = "") -> Reply:
        if (method, path) == ("GET", "/v1/indexes"):
            looks[0] += 1
            if looks[0] == 1:
                await asyncio.sleep(3600)
        return await ask(method, path, content, headers)

    monkeypatch.setattr(late, "ask", ask_late)
    answer = rig.many("PUT", ALIAS, json={"generation": second})
    assert (answer.status_code, answer.json()["generation"]) == (200, second)
    assert late.up


def test_one_that_is_late_twice_in_a_row_is_down_until_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    replica, hangs = Replica("http://127.0.0.1:9", None), True

    async def ask(*_: Any) -> Reply:
        if hangs:
            await asyncio.sleep(3600)
        return Reply(200, b'{"indexes": []}')

    monkeypatch.setattr(replica, "ask", ask)
    asyncio.run(replica.look(0.01))
    assert not replica.up  # it was never seen
    for late, up in ((False, True), (True, True), (True, False), (True, False), (False, True), (True, True)):
        hangs = late
        asyncio.run(replica.look(0.01 if late else 60.0))
        assert replica.up == up


def test_one_that_hangs_ends_a_switch_in_time_and_is_named(
    switching: tuple[Rig, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, first, second = switching
    monkeypatch.setattr(router_switching, "CHECKED_S", 0.2)
    hanging = every(rig)[0]  # the first to be named, should another be late as well
    ask = hanging.ask

    async def hang(method: str, path: str, content: bytes = b"", headers: str = "") -> Reply:
        if method == "PUT":
            await asyncio.sleep(3600)
        return await ask(method, path, content, headers)

    monkeypatch.setattr(hanging, "ask", hang)
    answer = rig.many("PUT", ALIAS, json={"generation": second})
    assert (answer.status_code, answer.json()["code"]) == (503, "not-ready")
    assert f"{hanging.address}: It did not answer within 0.2 s." in answer.json()["detail"]
    assert served(rig) == {first}
