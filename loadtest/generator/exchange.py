"""How the processes of one run agree on the window and bring their parts together, over Locust's own messages.

The master (or the only process) decides the window once all users are spawned, tells the workers, watches, collects a
part from each, and writes the trial. The monotonic clock is one for all processes of a machine; a worker on another
machine has its own and is told how long from now instead.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gevent
import msgspec

from loadtest.generator.merge import merge_parts
from loadtest.generator.session import Part, Session
from loadtest.record.trial import LocustView, Trial
from loadtest.workload.plan import Plan

LEAD_S = 0.3  # for the message to arrive before the window begins, when there is no warm-up
REPORT_S = 1.5
DRAIN_S = 10.0  # beyond the request timeout: a part that has not come by then does not come


def boot_id() -> str:
    """What tells two machines apart; processes with the same one share a monotonic clock."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        import platform

        return platform.node()


def window_from(message: dict[str, Any]) -> tuple[float, float]:
    """The window of a message on this machine's clock."""
    if message["boot_id"] == boot_id():
        return message["start"], message["stop"] if message["stop"] is not None else math.inf
    start = float(math.ceil(time.monotonic() + message["in_s"]))
    return start, start + message["length"] if message["length"] is not None else math.inf


def emit(event: str, **fields: Any) -> None:
    """One line for the process that started us; harmless on a terminal."""
    sys.stdout.write(json.dumps({"perwatt": event, **fields}) + "\n")
    sys.stdout.flush()


def stop_from(message: dict[str, Any]) -> float:
    """The earlier end of a message on this machine's clock."""
    own = message["boot_id"] == boot_id()
    return float(message["stop"] if own else math.ceil(time.monotonic() + message["in_s"]))


class Conductor:
    """Runs in the master or in the only process."""

    def __init__(
        self,
        plan: Plan,
        environment: Any,
        out: Path | None,
        local_live: Callable[[], dict[str, float] | None],
    ) -> None:
        self._local_live = local_live
        self.plan = plan
        self.environment = environment
        self.out = out
        self.parts: dict[str, Part] = {}
        self.expected = 1
        self.window: tuple[float, float] | None = None
        self.started_at = ""
        self._live: dict[str, dict[str, float]] = {}
        self._done = False
        self.trial: Trial | None = None

    def agree(self) -> dict[str, Any]:
        """Fix the window from now; returns the message for the workers."""
        start = float(math.ceil(time.monotonic() + max(self.plan.warmup_s, LEAD_S)))
        length = float(math.ceil(self.plan.duration_s)) if self.plan.duration_s else None
        self.window = (start, start + length if length else math.inf)
        in_s = start - time.monotonic()
        began = datetime.fromtimestamp(time.time() + in_s, UTC)
        self.started_at = began.isoformat(timespec="seconds").replace("+00:00", "Z")
        stop = self.window[1] if length else None
        self.expected = getattr(self.environment.runner, "worker_count", 1)
        emit("window", start=start, stop=stop, started_at=self.started_at)
        gevent.spawn(self._watch)
        return {"start": start, "stop": stop, "length": length, "in_s": in_s, "boot_id": boot_id()}

    def cut(self, session: Session | None) -> None:
        """Somebody pressed stop: the window ends at the next whole second."""
        if self.window is not None and math.isinf(self.window[1]):
            stop = session.window[1] if session else float(math.ceil(time.monotonic()))
            self.window = (self.window[0], stop)

    def end_early(self) -> dict[str, Any] | None:
        """Whoever started us wants no more: the window ends within two seconds. The message for the workers."""
        if self.window is None:
            return None
        now = time.monotonic()
        stop = max(float(math.ceil(now + LEAD_S)), self.window[0] + 1)
        if stop >= self.window[1]:
            return None
        self.window = (self.window[0], stop)
        emit("cut", stop=stop)
        return {"stop": stop, "in_s": stop - now, "boot_id": boot_id()}

    def report(self, client: str, live: dict[str, float]) -> None:
        self._live[client] = live

    def collect(self, client: str, part: Part) -> None:
        self.parts[client] = part
        if len(self.parts) >= self.expected and not self._done:
            self._done = True
            # Workers report their Locust statistics once a second; the last of them must have come.
            gevent.spawn_later(REPORT_S if self.expected > 1 else 0.0, self._conclude)

    def live(self) -> dict[str, float] | None:
        """Counters summed over the processes, times and CPU of the worst; None before there are any."""
        own = self._local_live()
        rows = [own] if own is not None else list(self._live.values())
        if not rows:
            return None
        added = ("planned", "answered", "shed", "missed", "errors", "recalls", "recall_queries")
        total = {key: sum(row[key] for row in rows) for key in added}
        worst = ("p50_ms", "p99_ms", "p99_now_ms", "lag_p99_ms", "cpu")
        return total | {key: max(row[key] for row in rows) for key in worst}

    def _watch(self) -> None:
        assert self.window is not None
        start = self.window[0]
        while not self._done:
            gevent.sleep(1.0)
            now = time.monotonic()
            live = self.live()
            if start < now < self.window[1] and live is not None:
                try:
                    emit("live", elapsed_s=round(min(now, self.window[1]) - start, 1), **live)
                except OSError:  # nobody reads any more, so nobody wants the load either
                    self.environment.process_exit_code = 1
                    self.environment.runner.quit()
                    return
            if now > self.window[1] + self.plan.timeout_s + DRAIN_S:
                missing = self.expected - len(self.parts)
                emit(
                    "lost",
                    message=f"{missing} of {self.expected} generator processes did not report their part",
                )
                self.environment.process_exit_code = 1
                self.environment.runner.quit()
                return

    def _conclude(self) -> None:
        assert self.window is not None
        total = self.environment.runner.stats.total
        view = LocustView(
            requests=total.num_requests,
            failures=total.num_failures,
            p50_ms=float(total.get_response_time_percentile(0.5) or 0),
            p99_ms=float(total.get_response_time_percentile(0.99) or 0),
        )
        stop = self.window[1]
        if math.isinf(stop):
            stop = self.window[0] + len(next(iter(self.parts.values())).slices) * 60.0
        self.trial = merge_parts(self.plan, list(self.parts.values()), stop - self.window[0], self.started_at, view)
        if self.out is not None:
            self.out.write_bytes(msgspec.json.encode(self.trial))
            emit("trial", path=str(self.out))
        if self.plan.duration_s:
            self.environment.process_exit_code = 0
            gevent.spawn_later(0.05, self.environment.runner.quit)
