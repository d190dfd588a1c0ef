"""How many requests are worked on at once, and until when each is worth answering.

A request gets a place or waits for one; its deadline runs from the moment its body was read, and
passing it is a 504 no matter whether the time went into waiting, encoding or searching. An answer
that comes too late is not sent: the caller has given up on it, and a server that says so is easier
to reason about than one that sometimes does and sometimes does not.

The waiting line is bounded by the deadlines alone. Refusing early with 503 when the line is too
long belongs here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from service.problems import Problem

T = TypeVar("T")


class Deadline:
    """A point in time, `time.perf_counter` based, and the milliseconds it was given as."""

    __slots__ = ("at_s", "start_s", "timeout_ms")

    def __init__(self, timeout_ms: float, start_s: float) -> None:
        self.timeout_ms = timeout_ms
        self.start_s = start_s
        self.at_s = start_s + timeout_ms / 1000

    def left_s(self) -> float:
        return self.at_s - time.perf_counter()

    def check(self) -> None:
        if time.perf_counter() > self.at_s:
            raise self.problem()

    async def limit(self, work: Coroutine[Any, Any, T]) -> T:
        """Awaits `work`, cancelling it and raising the Problem when the deadline passes first."""
        try:
            async with asyncio.timeout(self.left_s()):
                return await work
        except TimeoutError:
            raise self.problem() from None

    def problem(self) -> Problem:
        return Problem(
            "deadline-exceeded",
            f"The answer was not ready within {self.timeout_ms:g} ms; ask for more time with "
            "timeout_ms, or for less work.",
            timeout_ms=self.timeout_ms,
        )


class Admission:
    """Places for `concurrency` requests; belongs to one event loop."""

    def __init__(self, concurrency: int) -> None:
        self.places = asyncio.Semaphore(concurrency)
        self.working = 0
        self.waiting = 0

    def place(self, deadline: Deadline) -> Place:
        """To be held (`async with`) while a request is worked on; raises Problem deadline-exceeded when none comes
        free in time."""
        return Place(self, deadline)


class Place:
    """A class and not a generator: entering and leaving a generator costs more than counting."""

    __slots__ = ("_admission", "_deadline")

    def __init__(self, admission: Admission, deadline: Deadline) -> None:
        self._admission = admission
        self._deadline = deadline

    async def __aenter__(self) -> None:
        admission = self._admission
        if admission.places.locked():
            admission.waiting += 1
            try:
                await self._deadline.limit(admission.places.acquire())
            finally:
                admission.waiting -= 1
        else:
            await admission.places.acquire()  # does not wait
        admission.working += 1

    async def __aexit__(self, *_: object) -> None:
        self._admission.working -= 1
        self._admission.places.release()
