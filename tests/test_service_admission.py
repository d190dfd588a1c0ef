"""Who gets a place, who waits, and who is told at once that it would be in vain."""

from __future__ import annotations

import asyncio
import selectors
from types import SimpleNamespace

import pytest

from service.query.admission import Admission, Deadline, Rate
from service.wire.problems import Problem

BATCH = 8
ROUNDS = 100
CONCURRENCY = 16


def test_a_rate_is_that_of_bursts_and_not_of_what_lies_between_their_parts() -> None:
    rate = Rate(0.5)
    rate.note(0.0)
    for burst in range(1, 30):
        for part in range(32):
            rate.note(burst * 0.08 + part * 1e-5)
        assert rate.interval_s == pytest.approx(0.08 / 32, rel=0.1)


def test_a_rate_follows_a_change_and_forgets_a_pause() -> None:
    rate = Rate(0.5)
    now_s = 0.0
    rate.note(now_s)
    for interval_s in (0.001, 0.01):
        for _ in range(int(3 / interval_s)):
            now_s += interval_s
            rate.note(now_s)
        assert rate.interval_s == pytest.approx(interval_s, rel=0.05)
    rate.pause()
    rate.note(now_s + 100)
    assert rate.interval_s == pytest.approx(0.01, rel=0.05)


class Jumping(asyncio.SelectorEventLoop):
    """A loop that never waits: its clock goes on to what is due next."""

    def __init__(self) -> None:
        self.now_s = 0.0
        selector = selectors.DefaultSelector()
        super().__init__(selector)
        really = selector.select

        def select(timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            assert timeout is not None, "nothing is due any more"
            self.now_s += max(0.0, timeout)
            return really(0)

        selector.select = select  # type: ignore[method-assign]

    def time(self) -> float:
        return self.now_s


def test_who_could_not_be_answered_in_time_is_refused_and_the_rest_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that answers eight at a time, every 20 ms, and is asked four times as much as it can do."""
    outcomes: dict[str, int] = {}
    batch: list[asyncio.Future[None]] = []

    async def batches() -> None:
        while True:
            await asyncio.sleep(0.02)
            alive = [each for each in batch if not each.done()]
            for answered in alive[:BATCH]:
                answered.set_result(None)
            batch[:] = alive[BATCH:]

    async def ask(admission: Admission) -> None:
        deadline = Deadline(205, now_s())  # ten batches, and no tie with the tenth
        try:
            async with admission.place(deadline):
                answered = asyncio.get_running_loop().create_future()
                batch.append(answered)
                await deadline.limit(answered)
            outcome = "answered"
        except Problem as problem:
            outcome = problem.code
        outcomes[outcome] = outcomes.get(outcome, 0) + 1

    async def work() -> None:
        admission = Admission(CONCURRENCY, 10_000, lambda: None)
        server = asyncio.create_task(batches())
        asking = []
        for _ in range(ROUNDS):
            asking += [asyncio.create_task(ask(admission)) for _ in range(4 * BATCH)]
            await asyncio.sleep(0.02)
        await asyncio.gather(*asking)
        server.cancel()

    with asyncio.Runner(loop_factory=Jumping) as runner:
        now_s = runner.get_loop().time
        monkeypatch.setattr("service.query.admission.time", SimpleNamespace(perf_counter=now_s))
        runner.run(work())
    assert outcomes["answered"] >= 0.99 * ROUNDS * BATCH  # nothing is lost by refusing
    assert outcomes["overloaded"] > outcomes["answered"]
    # Until the first answers there is nothing to judge by, and a line that is too long is let in; later the last of
    # a line may miss its batch.
    assert outcomes.get("deadline-exceeded", 0) < 0.25 * outcomes["answered"]


def test_a_place_goes_down_the_line_and_none_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """First come, first served; who gave up in line is passed over, and so is who gave up when the place was theirs
    already but they did not know it yet."""
    served: list[str] = []
    codes: list[str] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        admission = Admission(1, 5, lambda: None)
        leave = {name: loop.create_future() for name in "abcdef"}

        async def ask(name: str, timeout_ms: float = 10_000) -> None:
            try:
                async with admission.place(Deadline(timeout_ms, now_s())):
                    served.append(name)
                    await leave[name]
            except Problem as problem:
                codes.append(problem.code)

        tasks = {}
        for name in "abcdef":
            tasks[name] = asyncio.create_task(ask(name, 50 if name == "c" else 10_000))
            await asyncio.sleep(0)
        assert (admission.working, admission.waiting, admission.full) == (1, 5, True)
        await ask("one too many")
        tasks["b"].cancel()
        await asyncio.sleep(0.1)  # longer than c has
        assert codes == ["overloaded", "deadline-exceeded"]
        assert (admission.working, admission.waiting, admission.full) == (1, 3, False)
        leave["a"].set_result(None)
        await asyncio.sleep(0)  # a leaves, and d is given the place
        assert admission.waiting == 2
        assert served == ["a"]
        tasks["d"].cancel()
        while "e" not in served:
            await asyncio.sleep(0)
        assert (admission.working, admission.waiting) == (1, 1)
        for name in "ef":
            leave[name].set_result(None)
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        assert served == ["a", "e", "f"]
        assert (admission.working, admission.waiting, admission.taken) == (0, 0, False)

    with asyncio.Runner(loop_factory=Jumping) as runner:
        now_s = runner.get_loop().time
        monkeypatch.setattr("service.query.admission.time", SimpleNamespace(perf_counter=now_s))
        runner.run(work())
