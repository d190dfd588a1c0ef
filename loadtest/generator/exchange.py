"""How the processes of one run agree on the window and bring their parts together, over Locust's own messages.

The master (or the only process) decides the window once every generator has its requests ready, tells the workers,
watches, collects a part from each, and writes the trial. Times in messages are the master's; a worker on another
machine knows how far its own clock is from that one (`workers/clock.py`).

A worker that is lost ends the window for all: what the others see from then on is another load than the one that was
planned. The trial is written with the name of who was lost, and is not valid.
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

from embed.vectors.durable import write_atomically
from loadtest.generator.merge import Member, merge_parts
from loadtest.generator.session import Part, Session
from loadtest.generator.workers.reception import Reception
from loadtest.record.trial import LocustView, Trial
from loadtest.workload.plan import Plan

LEAD_S = 0.3  # for the message to arrive before the window begins, when there is no warm-up
REPORT_S = 1.5
WATCHED_S = 0.25  # that this process stays, so that who watches it sees what it has used by the end
DRAIN_S = 10.0  # beyond the request timeout: a part that has not come by then does not come
LOCAL = "local"  # stands for the only process where there is no master


def emit(event: str, **fields: Any) -> None:
    """One line for the process that started us; harmless on a terminal."""
    sys.stdout.write(json.dumps({"perwatt": event, **fields}) + "\n")
    sys.stdout.flush()


def give_up(environment: Any, message: str, event: str = "lost") -> None:
    """Ends the run without a trial. The workers are told first: whoever started us ends us as soon as it hears. event:
    "absent" where there are no generators to try again with."""
    environment.process_exit_code = 1
    environment.runner.quit()
    emit(event, message=message)


class Conductor:
    """Runs in the master or in the only process.

    Args:
        announce: ("window" or "cut", its message), to every generator.
        reception: of a master.
    """

    def __init__(
        self,
        plan: Plan,
        environment: Any,
        out: Path | None,
        local_live: Callable[[], dict[str, float] | None],
        announce: Callable[[str, dict[str, Any]], None],
        reception: Reception | None = None,
    ) -> None:
        self._local_live = local_live
        self._announce = announce
        self._reception = reception
        self.plan = plan
        self.environment = environment
        self.out = out
        self.parts: dict[str, Part] = {}
        self.lost: dict[str, str] = {}  # when and by whom, in words
        self.window: tuple[float, float] | None = None
        self.started_at = ""
        self._spawned = False
        self._ready: set[str] = set()
        self._members: dict[str, Member] = {}
        self._live: dict[str, dict[str, float]] = {}
        self._done = False
        self.trial: Trial | None = None

    # ---- the beginning

    def spawned(self) -> None:
        """Locust has started all its users."""
        self._spawned = True
        self._agree()

    def ready(self, client: str = LOCAL) -> None:
        """A generator has its requests ready."""
        self._ready.add(client)
        self._agree()

    def _agree(self) -> None:
        """Fixes the window from now, once everyone is ready."""
        runner = self.environment.runner
        expected = self.plan.processes if self.plan.rate_qps else getattr(runner, "worker_count", 1)
        if self.window is not None or not self._spawned or len(self._ready) < expected:
            return
        lead_s = self.plan.warmup_s + LEAD_S if self.plan.bind else max(self.plan.warmup_s, LEAD_S)
        start = float(math.ceil(time.monotonic() + lead_s))
        length = float(math.ceil(self.plan.duration_s)) if self.plan.duration_s else None
        self.window = (start, start + length if length else math.inf)
        began = datetime.fromtimestamp(time.time() + start - time.monotonic(), UTC)
        self.started_at = began.isoformat(timespec="seconds").replace("+00:00", "Z")
        reception = self._reception
        self._members = {LOCAL: Member("", "")}
        if reception is not None:
            known = sorted(
                (reception.guests[client].number, client) for client in self._ready & reception.guests.keys()
            )
            self._members = {
                client: Member(reception.name(client), reception.guests[client].hello.machine) for _, client in known
            }
        stop = self.window[1] if length else None
        emit("window", start=start, stop=stop, started_at=self.started_at)
        gevent.spawn(self._watch)
        self._announce("window", {"start": start, "stop": stop})

    # ---- an early end

    def cut(self, session: Session | None) -> None:
        """Somebody pressed stop: the window ends at the next whole second."""
        if self.window is not None and math.isinf(self.window[1]):
            stop = session.window[1] if session else float(math.ceil(time.monotonic()))
            self.window = (self.window[0], stop)

    def end_early(self) -> None:
        """No more is wanted: the window ends within two seconds, for everyone."""
        if self.window is None:
            return
        stop = max(float(math.ceil(time.monotonic() + LEAD_S)), self.window[0] + 1)
        if stop < self.window[1]:
            self.window = (self.window[0], stop)
            emit("cut", stop=stop)
            self._announce("cut", {"stop": stop})

    # ---- the window

    def report(self, client: str, live: dict[str, float]) -> None:
        self._live[client] = live

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
            self._look_for_lost(now)

    def _look_for_lost(self, now: float) -> None:
        assert self.window is not None
        late = now > self.window[1] + self.plan.timeout_s + DRAIN_S
        for client, member in self._members.items():
            if client in self.parts or client in self.lost:
                continue
            name = member.name or "the generator"
            if late:
                self.lost[client] = f"{name} did not report its part"
            elif self._reception is not None and self._reception.unheard(client):
                self.lost[client] = f"{name} was lost, {max(now - self.window[0], 0.0):.0f} s into the window"
        if self.lost:
            self.end_early()
            self._complete()

    # ---- the end

    def collect(self, client: str, part: Part) -> None:
        if client in self._members and client not in self.lost:
            self.parts[client] = part
            self._complete()

    def _complete(self) -> None:
        if self._done or len(self.parts) + len(self.lost) < len(self._members):
            return
        self._done = True
        if not self.parts:
            why = "it was stopped, or this machine is far too busy"
            give_up(self.environment, f"no part of the trial is there: {'; '.join(self.lost.values())}; {why}")
            return
        # Workers report their Locust statistics once a second; the last of them must have come.
        gevent.spawn_later(REPORT_S if len(self._members) > 1 else 0.0, self._conclude)

    def _conclude(self) -> None:
        assert self.window is not None
        total = self.environment.runner.stats.total
        view = LocustView(
            requests=total.num_requests,
            failures=total.num_failures,
            p50_ms=float(total.get_response_time_percentile(0.5) or 0),
            p99_ms=float(total.get_response_time_percentile(0.99) or 0),
        )
        there = [client for client in self._members if client in self.parts]
        parts = [self.parts[client] for client in there]
        stop = self.window[1]
        if math.isinf(stop):
            stop = self.window[0] + len(parts[0].slices) * 60.0
        members = [self._members[client] for client in there]
        self.trial = merge_parts(
            self.plan, parts, stop - self.window[0], self.started_at, view, members, list(self.lost.values())
        )
        if self.out is not None:
            write_atomically(self.out, msgspec.json.encode(self.trial))
            emit("trial", path=str(self.out), lost=len(self.lost))
        if self.plan.duration_s:
            self.environment.process_exit_code = 0
            gevent.spawn_later(WATCHED_S, self.environment.runner.quit)
