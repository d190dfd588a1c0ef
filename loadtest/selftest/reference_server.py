"""A server over HTTP with a known queue, to hold the measured knee against the one on paper in real time.

With `--work-ms` it does not compute the queue but stands in it: each request costs so much of one core's time, so a
planted factor is work done and not time waited.

It answers each request when a queue with the given service time would have: the queue is computed, not performed, so
one process can be any M/D/c or M/M/c and its CPU is idle. Answers are sent by a timer that is exact to tens of
microseconds. `python -m loadtest.selftest.reference_server --mean-ms 5 --servers 1 --constant` prints its port and ends
with its standard input.
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import itertools
import random
import socket
import time

from loadtest.generator.null_server import HEAD, run

ROUNDS = 10  # of the hash between two looks at the clock: some 10 µs


def answer(took_ms: float) -> bytes:
    body = b'{"index":"known","generation":"known-1","hits":[],"took_ms":%.3f}' % took_ms
    return HEAD % len(body) + body


class QueueingServer:
    """Departure times of a first-come first-served queue; `service_s` draws the next service time."""

    def __init__(self, mean_s: float, servers: int, constant: bool, seed: int) -> None:
        self._mean_s = mean_s
        self._constant = constant
        self._random = random.Random(seed)
        self._free = [0.0] * servers

    def departure(self, arrival: float) -> float:
        service = self._mean_s if self._constant else self._random.expovariate(1 / self._mean_s)
        end = max(self._free[0], arrival) + service
        heapq.heapreplace(self._free, end)
        return end


class WorkingServer:
    """One server that really works: a request is done when the process has spent `work_s` of its core on it.

    That time is read from the thread's own CPU clock and not counted in rounds of the hash: what a round takes changes
    with the clock rate and with whoever sits on the other half of the core, and a planted factor must not. Receiving
    and answering are paid from it too, so n requests cost n × work_s, whatever HTTP costs.
    """

    def __init__(self, work_s: float) -> None:
        self._work_s = work_s
        self._paid_s = time.thread_time()

    def departure(self, arrival: float) -> float:
        self._paid_s += self._work_s
        while time.thread_time() < self._paid_s:
            hashlib.pbkdf2_hmac("sha256", b"perwatt", b"known", ROUNDS)
        return time.monotonic()


class DueAnswers:
    """Takes requests, and answers each when the queue has it departed."""

    def __init__(self, queue: QueueingServer | WorkingServer) -> None:
        self._queue = queue
        self._order = itertools.count()
        self._due: list[tuple[float, int, float, socket.socket]] = []

    def take(self, client: socket.socket) -> None:
        arrived = time.monotonic()
        heapq.heappush(self._due, (self._queue.departure(arrived), next(self._order), arrived, client))
        self._answer()  # and not after all that came with it: where work is done, that is later

    def wait(self) -> float:
        """Answers what is due; seconds to the next one. epoll waits whole milliseconds, rounded up: it is asked for
        one less, and the rest is polled."""
        self._answer()
        return max(self._due[0][0] - time.monotonic() - 0.001, 0.0) if self._due else 1.0

    def _answer(self) -> None:
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            _, _, arrived, client = heapq.heappop(self._due)
            if client.fileno() >= 0:  # it has not hung up
                client.send(answer((now - arrived) * 1e3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mean-ms", type=float, default=1.0)
    parser.add_argument("--work-ms", type=float, default=0.0)
    parser.add_argument("--servers", type=int, default=1)
    parser.add_argument("--constant", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    queue: QueueingServer | WorkingServer = QueueingServer(
        given.mean_ms / 1e3, given.servers, given.constant, given.seed
    )
    if given.work_ms:
        queue = WorkingServer(given.work_ms / 1e3)
    answers = DueAnswers(queue)
    run(answers.take, answers.wait)


if __name__ == "__main__":
    main()
