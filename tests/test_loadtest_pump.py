"""The engine against real sockets: every scheduled request has exactly one fate, and the fates have the right names."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import msgspec
import pytest
from loadtest_servers import answer_at_once, scripted_server

from loadtest.generator.null_server import BODY, RESPONSE
from loadtest.generator.pump import Pump
from loadtest.targets.perwatt import PerwattTarget
from loadtest.workload.plan import Plan
from loadtest.workload.queries import Query
from loadtest.workload.requests import Workload


def workload(url: str, **changes: Any) -> Workload:
    plan = Plan(url=url, index="x", queries="", rate_qps=1, duration_s=1, max_lag_s=30.0)
    plan = msgspec.structs.replace(plan, **changes)
    return Workload(plan, [Query(text=f"q{i}") for i in range(20)], PerwattTarget(plan))


@contextmanager
def pumping(url: str, **changes: Any) -> Iterator[Pump]:
    pump = Pump(workload(url, **changes), gevent.get_hub().loop, socket.socket)
    try:
        yield pump
    finally:
        pump.close()


def run_schedule(pump: Pump, rate: float = 200.0, length_s: float = 1.0, streams: int = 1) -> Counter[str]:
    """One schedule to its end; returns how many met which fate."""
    begin = time.monotonic()
    pump.stop_at = begin + length_s
    for number in range(streams):
        pump.open_stream(rate / streams, 1, (0, number), begin)
    while pump.due or pump.in_flight:
        gevent.sleep(0.01)
        pump.sweep()
    fates: Counter[str] = Counter(answered=len(pump.answered) // 3)
    for (kind, _), number in pump.failed.items():
        fates[kind] += number
    assert fates.total() == pump.planned.total(), "a request has no fate, or two"
    return +fates


def test_everything_is_answered_and_stamped_in_order() -> None:
    with scripted_server() as url, pumping(url) as pump:
        fates = run_schedule(pump, streams=3)
        assert fates.keys() == {"answered"}
        assert 120 < fates["answered"] < 280
        triples = zip(*[iter(pump.answered)] * 3, strict=True)
        assert all(due <= sent <= done for due, sent, done in triples)


def test_the_same_seed_plans_the_same_number_of_requests() -> None:
    planned = []
    for _ in range(2):
        with scripted_server() as url, pumping(url) as pump:
            planned.append(run_schedule(pump).total())
    assert planned[0] == planned[1]


def test_a_server_that_never_answers_is_given_up_on_and_the_rest_is_shed() -> None:
    with scripted_server(lambda n, c: True) as url, pumping(url, max_in_flight=4, timeout_s=0.2) as pump:
        fates = run_schedule(pump)
    assert fates.keys() == {"timeout", "shed"}
    assert fates["timeout"] >= 4


def test_sheds_are_not_made_up_for_afterwards() -> None:
    """While the server holds its answers back, requests are dropped; when it goes on, no burst follows."""
    hold = threading.Event()
    seen: list[int] = []

    def answer(number: int, connection: socket.socket) -> bool:
        seen.append(number)
        hold.wait(5)
        return answer_at_once(number, connection)

    def release(pump: Pump) -> None:
        while not any(kind == "shed" for kind, _ in pump.failed):
            gevent.sleep(0.01)
        gevent.sleep(0.3)
        hold.set()

    with scripted_server(answer) as url, pumping(url, max_in_flight=2) as pump:
        gevent.spawn(release, pump)
        fates = run_schedule(pump)
        assert fates["shed"] > 0
        assert len(seen) == fates["answered"] == pump.planned.total() - fates["shed"]


def test_an_answer_in_pieces_is_one_answer() -> None:
    def answer(number: int, connection: socket.socket) -> bool:
        for at in range(0, len(RESPONSE), 37):
            connection.sendall(RESPONSE[at : at + 37])
            time.sleep(0.0005)
        return True

    with scripted_server(answer) as url, pumping(url) as pump:
        assert run_schedule(pump, rate=50).keys() == {"answered"}


def test_a_server_that_closes_after_each_answer_is_dialled_again() -> None:
    closing = RESPONSE.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1)

    def answer(number: int, connection: socket.socket) -> bool:
        connection.sendall(closing)
        return False

    with scripted_server(answer) as url, pumping(url) as pump:
        assert run_schedule(pump, rate=100).keys() == {"answered"}
        assert pump.open_connections == 0


def test_other_statuses_are_errors_by_their_number() -> None:
    busy = RESPONSE.replace(b"200 OK", b"503 Busy")

    def answer(number: int, connection: socket.socket) -> bool:
        connection.sendall(busy if number % 2 else RESPONSE)
        return True

    with scripted_server(answer) as url, pumping(url) as pump:
        fates = run_schedule(pump)
    assert fates.keys() == {"answered", "status 503"}
    assert abs(fates["answered"] - fates["status 503"]) <= 1


@pytest.mark.parametrize(("raw", "kind"), [(b"SSH-2.0-x\r\n\r\n", "not HTTP"), (b"", "closed by the server")])
def test_what_is_no_answer_is_an_error(raw: bytes, kind: str) -> None:
    def answer(number: int, connection: socket.socket) -> bool:
        connection.sendall(raw)
        return False

    with scripted_server(answer) as url, pumping(url) as pump:
        assert run_schedule(pump, rate=50).keys() == {kind}


def test_a_refused_connection_is_an_error_and_not_a_crash() -> None:
    with socket.socket() as bound:  # it belongs to nobody else, and nobody listens
        bound.bind(("127.0.0.1", 0))
        with pumping(f"http://127.0.0.1:{bound.getsockname()[1]}") as pump:
            assert run_schedule(pump, rate=50).keys() == {"connection refused"}


def test_requests_that_we_are_too_late_for_are_missed_and_not_sent() -> None:
    with scripted_server() as url, pumping(url, max_lag_s=0.05) as pump:
        begin = time.monotonic()
        pump.stop_at = begin + 0.5
        pump.open_stream(200, 1, (0,), begin)
        time.sleep(0.6)  # the whole loop stands still, as under a starved CPU
        while pump.due or pump.in_flight:
            gevent.sleep(0.01)
        missed = sum(n for (kind, _), n in pump.failed.items() if kind == "missed")
        assert missed == pump.planned.total() > 50


def test_samples_hold_the_raw_answer_of_their_request() -> None:
    with scripted_server() as url, pumping(url, samples_per_s=1e6) as pump:
        run_schedule(pump)
        assert len(pump.samples) == len(pump.answered) // 3
        request, sent, done, raw = pump.samples[0]
        assert 0 <= request < 20
        assert sent <= done
        assert raw.endswith(BODY)


def test_requests_with_a_known_answer_are_sampled_first() -> None:
    with scripted_server() as url:
        for _ in range(5):  # a machine that stands still gives few
            made = workload(url, samples_per_s=10.0)
            pump = Pump(made, gevent.get_hub().loop, socket.socket, known=frozenset({3}))
            run_schedule(pump, rate=400)
            pump.close()
            sampled = Counter(sample[0] for sample in pump.samples)
            assert sampled.total() - sampled[3] <= 1 + 1.5 * 10 / 5
            if sampled[3] >= 3:
                break
    assert sampled[3] >= 3


def test_a_closed_stream_sends_no_more() -> None:
    with scripted_server() as url, pumping(url) as pump:
        begin = time.monotonic()
        pump.open_stream(100, 1, (0,), begin)
        pump.open_stream(100, 1, (1,), begin)
        pump.close_streams(1)
        assert [entry[1] for entry in pump.due] == [1]
        pump.close_streams(5)
        gevent.sleep(0.05)
        assert pump.planned.total() == 0
