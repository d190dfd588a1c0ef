"""A search behind a router waits for its shards without a task, and is cancelled and traced like one that has one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import pytest
from indexing import write_vectors_folder
from routed import CheapEncoder, HereReplica, Rig, in_process

from service.access.caller import ANYONE
from service.http import fast_path as fast_path_module
from service.http.fast_path import FastPath, FastRequest
from service.query import served_view
from service.routing.connection import Reply

VECTOR = {"vector": [0.25] * 24, "k": 5}
WORDS = {"text": "water", "mode": "lexical", "k": 10, "highlight": {"fields": ["text"]}}
HYBRID = {"text": "water and bread", "mode": "hybrid", "k": 4}
SHARDS = 2


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder, encoder = tmp_path_factory.mktemp("resumed"), CheapEncoder()
    texts = [f"water {'and bread ' * (row % 3)} {row}" for row in range(30)]
    vectors = encoder.encode(texts)
    canaries = [{"text": "water", "vector": encoder.encode(["water"])[0].tolist()}]
    write_vectors_folder(
        folder / "v",
        [f"d{row}" for row in range(30)],
        vectors,
        [{"text": text, "lang": "en"} for text in texts],
        model=encoder.fingerprint.as_dict(),
        canaries=canaries,
    )
    assert np.isfinite(vectors).all()
    with in_process(folder / "v", folder, SHARDS, filterable=("lang:keyword",)) as made:
        yield made


class Line:
    """A caller's connection: it keeps what is sent."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.tasks: set[Any] = set()
        self.headers: list[tuple[bytes, bytes]] = []
        self.since_s = 0.0
        self.sent: list[tuple[int, dict[str, Any]]] = []
        self.all_sent = asyncio.Event()

    def send_fast(self, status: int, head: bytes, content: bytes, keep_alive: bool) -> None:
        self.sent.append((status, json.loads(content)))
        self.all_sent.set()


def entered(path: FastPath, line: Line, query: dict[str, Any], trace: str = "") -> FastRequest:
    heads = {b"traceparent": trace.encode()} if trace else {}
    request = FastRequest(line, heads, "docs", "search", ANYONE, True)
    request.body = [json.dumps(query).encode()]
    path.enter(request)
    return request


async def turns(count: int = 4) -> None:
    """Of the loop."""
    for _ in range(count):
        await asyncio.sleep(0)


def replicas(rig: Rig) -> list[HereReplica]:
    return [each for shard in rig.replicas for each in shard]


def fast_path(rig: Rig, queue: int = 8) -> FastPath:
    return FastPath(rig.many.state, rig.many.auth, queue)


@pytest.mark.parametrize("query", [VECTOR, WORDS, HYBRID], ids=["vector", "words", "hybrid"])
def test_it_is_answered_as_any_other_way(rig: Rig, query: dict[str, Any]) -> None:
    expected = rig.many.post("search", query)

    async def ask() -> dict[str, Any]:
        line = Line()
        entered(fast_path(rig), line, query)
        await line.all_sent.wait()
        await turns()
        assert line.tasks == set()
        [(status, answer)] = line.sent
        assert status == 200
        return answer

    found = rig.many.run(ask())
    assert found["hits"] == expected["hits"] != []
    assert found["coverage"] == expected["coverage"]


def test_it_makes_no_task(rig: Rig) -> None:
    async def ask() -> list[str]:
        made: list[str] = []
        loop, line = asyncio.get_running_loop(), Line()

        def factory(loop: Any, work: Any, **more: Any) -> Any:
            made.append(work.__qualname__)
            return asyncio.Task(work, loop=loop, **more)

        loop.set_task_factory(factory)
        try:
            for query in (VECTOR, WORDS):
                line.all_sent.clear()
                entered(fast_path(rig), line, query)
                await line.all_sent.wait()
        finally:
            loop.set_task_factory(None)
        return made

    with mock.patch.object(served_view, "INLINE_S", 60.0):  # a shard that was slow once would use a thread
        made = rig.many.run(ask())
    assert set(made) == {"HereCall._open"}, "but those of the shards in this test, which have no connections"


def test_a_caller_who_hangs_up_takes_its_requests_back(rig: Rig) -> None:
    async def ask() -> None:
        line, path = Line(), fast_path(rig)
        for replica in replicas(rig):
            replica.may_answer = asyncio.Event()
        request = entered(path, line, VECTOR)
        await turns()
        assert [each.outstanding for each in replicas(rig)] == [1] * SHARDS
        assert line.tasks == {request.task}
        request.disconnected = True
        request.set()
        await turns()
        assert [each.outstanding for each in replicas(rig)] == [0] * SHARDS
        assert (line.tasks, line.sent) == (set(), [])
        assert rig.many.state.admission.working == 0

    try:
        with mock.patch.object(fast_path_module, "SLICE_S", 60.0):
            rig.many.run(ask())
    finally:
        for replica in replicas(rig):
            replica.may_answer = None


def test_who_ends_the_server_ends_it_with_an_answer(rig: Rig) -> None:
    async def ask() -> None:
        line, path = Line(), fast_path(rig)
        for replica in replicas(rig):
            replica.may_answer = asyncio.Event()
        entered(path, line, VECTOR)
        await turns()
        for task in line.tasks:  # as uvicorn does when its patience is over
            task.cancel(msg="ending")
        await line.all_sent.wait()
        [(status, problem)] = line.sent
        assert (status, problem["code"]) == (503, "not-ready")
        assert line.tasks == set()
        assert [each.outstanding for each in replicas(rig)] == [0] * SHARDS

    try:
        rig.many.run(ask())
    finally:
        for replica in replicas(rig):
            replica.may_answer = None


def test_what_it_asks_later_belongs_to_its_own_trace(rig: Rig) -> None:
    traces = [f"00-{letter * 32}-{letter * 16}-01" for letter in "abc"]
    for replica in replicas(rig):
        replica.heard.clear()

    async def ask() -> None:
        path, lines = fast_path(rig), [Line() for _ in traces]
        for line, trace in zip(lines, traces, strict=True):  # all of them are begun before the first goes on
            entered(path, line, WORDS, trace)
        for line in lines:
            await line.all_sent.wait()

    rig.many.run(ask())
    heard = [headers for each in replicas(rig) for headers in each.heard]
    for trace in traces:  # the words of all shards, then what is marked in hits of both
        assert heard.count(f"traceparent: {trace}\r\n") == 2 * SHARDS


def ask_at_once(
    rig: Rig, queries: list[dict[str, Any]], answered: Callable[[], None] = lambda: None
) -> list[tuple[int, dict[str, Any]]]:
    """The answers to queries that come in one turn of the loop.

    Args:
        answered: called as soon as the first is.
    """

    async def ask() -> list[tuple[int, dict[str, Any]]]:
        path, lines = fast_path(rig, len(queries)), [Line() for _ in queries]
        for line, query in zip(lines, queries, strict=True):
            entered(path, line, query)
        for line in lines:
            await line.all_sent.wait()
            answered()
        return [line.sent[0] for line in lines]

    with mock.patch.object(fast_path_module, "SLICE_S", 60.0):  # or a slow machine would take several turns for them
        return rig.many.run(ask())


def vectors(count: int) -> list[list[float]]:
    drawn: list[list[float]] = np.random.default_rng(5).standard_normal((count, 24)).astype(np.float32).tolist()
    return drawn


def test_searches_that_come_at_once_are_asked_of_each_shard_at_once(rig: Rig) -> None:
    queries = [{"vector": vector, "k": 5} for vector in vectors(20)]
    queries += [{"vector": vector, "k": 6} for vector in vectors(3)]
    queries += [{"vector": vector, "k": 6, "fields": ["none"]} for vector in vectors(2)]
    alone = [rig.many.post("search", query) for query in queries]
    for replica in replicas(rig):
        replica.asked.clear()
    answers = ask_at_once(rig, queries)
    assert [len(each.asked) for each in replicas(rig)] == [4] * SHARDS, "16, 4, 3 and 2 searches"
    for (status, found), expected in zip(answers, alone, strict=True):
        assert status == 200
        assert found["hits"] == expected["hits"] != []
        assert found["coverage"] == expected["coverage"]
        assert found["usage"]["vectors_scored"] == expected["usage"]["vectors_scored"] > 0


def test_those_that_ask_for_more_than_near_vectors_are_asked_alone(rig: Rig) -> None:
    odd = {"filter": {"not": {"field": "lang", "eq": "x"}}}, {"min_seq": 0}
    for replica in replicas(rig):
        replica.asked.clear()
    answers = ask_at_once(rig, [{"vector": vector, **more} for vector in vectors(2) for more in odd])
    assert [status for status, _ in answers] == [200] * 4
    assert [len(each.asked) for each in replicas(rig)] == [4] * SHARDS


def test_one_that_cannot_be_ranked_does_not_fail_those_beside_it(rig: Rig) -> None:
    good = [{"vector": vector, "k": 5} for vector in vectors(3)]
    answers = ask_at_once(rig, [good[0], {"vector": [0.0] * 24, "k": 5}, *good[1:]])
    assert [status for status, _ in answers] == [200, 422, 200, 200]
    hits = [found["hits"] for _, found in answers[:1] + answers[2:]]
    assert hits == [rig.many.post("search", query)["hits"] for query in good]


def test_a_shard_that_is_gone_is_told_each_as_it_asked(rig: Rig) -> None:
    queries = [{"vector": vector, "allow_partial": partial} for vector in vectors(3) for partial in (True, False)]
    [replica] = rig.replicas[0]
    replica.asked.clear()
    replica.fails = Reply(500, b"{}")
    try:
        answers = ask_at_once(rig, queries)
    finally:
        replica.fails = None
    assert [status for status, _ in answers] == [200, 503] * 3
    assert all(found["coverage"]["answered"] == SHARDS - 1 for status, found in answers if status == 200)
    assert replica.asked.count(replica.asked[0]) == 1, "all six in one request"


@pytest.mark.parametrize(("least_ms", "most_ms", "asked_of_both"), [(1_000, 30_000, False), (5_500, 7_900, True)])
def test_one_that_has_less_time_leaves_the_others_theirs(
    rig: Rig, least_ms: int, most_ms: int, asked_of_both: bool
) -> None:
    [replica] = rig.replicas[0]
    hasty, patient = ({"vector": vectors(1)[0], "timeout_ms": timeout_ms} for timeout_ms in (least_ms, most_ms))
    expected = rig.many.post("search", patient)["hits"]
    replica.may_answer = asyncio.Event()
    replica.bodies.clear()
    try:
        answers = ask_at_once(rig, [hasty, patient], replica.may_answer.set)
    finally:
        replica.may_answer = None
    assert [status for status, _ in answers] == [504, 200]
    assert answers[1][1]["hits"] == expected
    queries = [json.loads(body).get("queries", 1) for body in replica.bodies]
    assert queries == ([2, 1] if asked_of_both else [1, 1]), "who has far less time than others is asked for alone"


def test_the_requests_of_several_are_taken_back_when_all_of_them_are_gone(rig: Rig) -> None:
    async def ask() -> None:
        lines, path = [Line(), Line()], fast_path(rig)
        for replica in replicas(rig):
            replica.may_answer = asyncio.Event()
        asked = [entered(path, line, {"vector": vector}) for line, vector in zip(lines, vectors(2), strict=True)]
        await turns()
        for left, request in enumerate(asked[::-1]):
            assert [each.outstanding for each in replicas(rig)] == [1] * SHARDS, left
            request.disconnected = True
            request.set()
            await turns()
        assert [each.outstanding for each in replicas(rig)] == [0] * SHARDS
        assert [line.sent for line in lines] == [[], []]

    try:
        rig.many.run(ask())
    finally:
        for replica in replicas(rig):
            replica.may_answer = None


def test_a_hybrid_search_asks_each_shard_for_both_lists_at_once(rig: Rig) -> None:
    asked: list[dict[str, Any]] = []
    for replica in replicas(rig):
        replica.fails = lambda content: asked.append(json.loads(content))  # which is None: it answers
    try:
        hits = rig.many.post("search", HYBRID)["hits"]
        lists, brought = asked[:SHARDS], asked[SHARDS:]
        assert all({"vectors", "text", "k"} <= each.keys() for each in lists)
        assert all("documents" in each for each in brought)
        assert sum(len(each["documents"]) for each in brought) == len(hits) == 4
        asked.clear()

        new = [{"id": f"new{row}", "payload": {"text": "zephyr and water"}} for row in range(3)]
        assert rig.many("PUT", "/v1/indexes/docs/documents", json={"documents": new}).status_code == 200
        asked.clear()
        hits = rig.many.post("search", HYBRID | {"text": "zephyr"})["hits"]
        assert {hit["id"] for hit in hits} >= {each["id"] for each in new}
        again = [each for each in asked if "held" in each]  # a word that only changes hold is asked for once more
        assert len(again) == SHARDS
        assert all("text" in each and "vectors" not in each for each in again)
    finally:
        for replica in replicas(rig):
            replica.fails = None
