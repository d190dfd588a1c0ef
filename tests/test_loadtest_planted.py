"""What the planted proofs compare with is itself right: the throttled queue, the work, the stopping."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from patience import patient

from loadtest.errors import LoadTestError
from loadtest.selftest.planted import (
    BASE_S,
    FACTORS,
    PERIOD_S,
    SLO_S,
    THROTTLED,
    share_left,
    throttled,
    throttled_knee_qps,
    throttled_response_s,
    true_ratio,
)
from loadtest.selftest.reference_server import DueAnswers, WorkingServer
from loadtest.selftest.run import run_selftest
from loadtest.selftest.simulate import Queue, paper_knee_qps
from loadtest.workload.schedule import PoissonStream


def test_a_queue_that_is_never_stopped_is_the_ordinary_one() -> None:
    arrivals = PoissonStream(180.0, 3).arrivals_s(200.0)
    ordinary = Queue(BASE_S).response_s(arrivals, np.random.default_rng(0))
    assert throttled_response_s(arrivals, BASE_S, 1.0) == pytest.approx(ordinary)
    assert throttled_knee_qps(1.0) == pytest.approx(paper_knee_qps(Queue(BASE_S), SLO_S), rel=0.02)


def test_a_stopped_server_goes_on_where_it_was() -> None:
    half = PERIOD_S / 2
    assert throttled_response_s(np.array([0.0]), half, 0.5) == pytest.approx([half])
    assert throttled_response_s(np.array([half * 0.5]), half, 0.5) == pytest.approx([half * 2])
    assert throttled_response_s(np.array([half * 1.5]), half, 0.5) == pytest.approx([half * 1.5])


def test_the_planted_truths_lie_where_they_must() -> None:
    assert true_ratio("base") == true_ratio("base again") == 1.0
    assert 1.40 < true_ratio("1.40 times the speed") < 1.6
    assert 1.05 < true_ratio("1.05 times the speed") < 1.08
    assert 0.55 < true_ratio(THROTTLED) < 1 / 1.40
    assert next(iter(FACTORS)) == "base"


def test_a_throttled_process_gets_its_share_and_is_left_running() -> None:
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        states, limit_s = set[str](), time.monotonic() + patient(30)
        with throttled(child.pid, 0.5):
            while not (psutil.STATUS_STOPPED in states and len(states) > 1):
                assert time.monotonic() < limit_s, f"it was only ever {states}"
                states.add(psutil.Process(child.pid).status())
                time.sleep(0.002)
        assert psutil.Process(child.pid).status() != psutil.STATUS_STOPPED
    finally:
        child.kill()
        child.wait()


def test_the_share_that_is_left_is_measured_and_decides_the_truth() -> None:
    # Half where nothing is in the way, of it or of its clockwork.
    assert any(0 < share_left(0.5, seconds=1.0) < 0.9 for _ in range(3))
    assert true_ratio(THROTTLED, 0.70) < true_ratio(THROTTLED) == true_ratio(THROTTLED, 1 / 1.40)


def test_requests_cost_what_was_planted_and_nothing_beside() -> None:
    def spent_s() -> float:
        server, began = WorkingServer(0.003), time.thread_time()
        for _ in range(20):
            beside = time.thread_time() + 0.001  # what HTTP costs is paid from the same time
            while time.thread_time() < beside:
                pass
            server.departure(0.0)
        return time.thread_time() - began

    assert any(spent_s() == pytest.approx(20 * 0.003, rel=0.05) for _ in range(3))


def test_who_came_first_is_answered_before_the_next_one_is_worked_for() -> None:
    """Both requests lie there when the server comes to look: answered together, each would have waited for both."""
    with contextlib.ExitStack() as stack:
        pairs = [[stack.enter_context(end) for end in socket.socketpair()] for _ in range(2)]
        answers = DueAnswers(WorkingServer(0.001))
        for number, (server, client) in enumerate(pairs):
            answers.take(server)
            assert client.recv(65536, socket.MSG_DONTWAIT).startswith(b"HTTP/1.1 200 "), number


def test_a_proof_by_another_name_is_refused() -> None:
    with pytest.raises(LoadTestError, match="no proof is called everything; expected md1, mm4"):
        run_selftest(full=False, tell=lambda line: None, only=["everything"])
