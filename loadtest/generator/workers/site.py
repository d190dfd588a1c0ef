"""What one of Locust's processes holds of a trial: the only one, the master, or a worker."""

from __future__ import annotations

import gc
import math
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import msgspec
from gevent import monkey
from locust.runners import MasterRunner, WorkerRunner

from loadtest.errors import LoadTestError
from loadtest.generator.exchange import LOCAL, Conductor, emit, give_up
from loadtest.generator.locust_views import stats
from loadtest.generator.locust_views.tab import Row, live_rows, trial_rows
from loadtest.generator.priority import NORMAL, go_first
from loadtest.generator.session import Part, Session
from loadtest.generator.workers.errand import Errand
from loadtest.generator.workers.greeting import MACHINE
from loadtest.generator.workers.reception import Reception
from loadtest.generator.workers.secret import TOKEN
from loadtest.targets.named import target_of
from loadtest.workload.plan import Plan
from loadtest.workload.queries import read_queries
from loadtest.workload.requests import ReadyMade, Workload
from loadtest.workload.truth import Truth

WAIT_S = 120.0  # for all generators to come and to have their requests ready


class Site:
    """What this process holds of the current test; there is one Locust environment a process."""

    def __init__(self, environment: Any) -> None:
        self.environment = environment
        self.session: Session | None = None
        self.conductor: Conductor | None = None
        self.reception: Reception | None = None
        self.errand: Errand | None = None  # of a worker
        self._early: Callable[[], Plan] | None = None
        self.rate_per_user = 0.0
        self._users = 0

    def listen(self) -> None:
        """To the others' messages, before anything begins."""
        runner, options = self.environment.runner, self.environment.parsed_options
        hear: dict[str, Callable[[Any], object]] = {}
        if isinstance(runner, WorkerRunner):
            self.errand = Errand(runner, os.environ.get(MACHINE, ""), self.prepare)
            hear = {
                "perwatt_window": lambda msg: self.begin(msg.data),
                "perwatt_cut": lambda msg: self.cut(msg.data),
            }
        elif isinstance(runner, MasterRunner):
            plan = Plan.load(Path(options.plan)) if options.plan else None
            reception = self.reception = Reception(runner, plan, lambda event, words: emit(event, message=words))
            hear = {
                "perwatt_hello": lambda msg: reception.greet(msg.node_id, msg.data),
                "perwatt_clock": lambda msg: reception.tell_time(msg.node_id, msg.data["asked"]),
                "perwatt_ready": lambda msg: self._heard_ready(msg.node_id),
                "perwatt_failed": lambda msg: self._heard_failed(reception.name(msg.node_id), msg.data["why"]),
                "perwatt_part": lambda msg: self._heard_part(msg.node_id, msg.data["part"]),
            }
            if plan is not None:
                gevent.spawn_later(WAIT_S, self._lose_patience, plan, reception)
        for kind, listener in hear.items():
            runner.register_message(kind, lambda environment, msg, listener=listener, **_: listener(msg))
        if self._early is not None:
            self.start(self._early)

    def start(self, plan_of: Callable[[], Plan]) -> None:
        """Locust starts a test; of a worker that may be before `listen`, for which it is kept then."""
        if isinstance(self.environment.runner, WorkerRunner) and self.errand is None:
            self._early = plan_of
            return
        try:
            self._start(plan_of)
        except LoadTestError as error:
            if self.errand is not None:
                self.errand.fail(str(error))
            elif self.environment.parsed_options.plan:
                gevent.spawn(give_up, self.environment, str(error))
            raise

    def _start(self, plan_of: Callable[[], Plan]) -> None:
        """A worker that gets its plan from a master elsewhere has it already, or soon."""
        runner, options = self.environment.runner, self.environment.parsed_options
        self._users = 0
        if self.errand is not None and self.errand.elsewhere:
            self.errand.start()
            return
        plan = plan_of()
        if not isinstance(runner, WorkerRunner):
            out = Path(options.trial) if options.trial else None
            self.conductor = Conductor(plan, self.environment, out, self.live, self.announce, self.reception)
        if isinstance(runner, MasterRunner):
            return
        self.prepare(plan)
        if self.errand is not None:
            self.errand.start()
        elif self.conductor is not None:
            self.conductor.ready()

    def prepare(self, plan: Plan) -> None:
        """The requests made, and a session that can send them."""
        self.rate_per_user = (
            plan.rate_qps / plan.processes if plan.rate_qps else self.environment.parsed_options.rate_per_user
        )
        target = target_of(plan)
        if plan.wires:
            workload: Workload = ReadyMade(plan, ReadyMade.read(Path(plan.wires)))
        else:
            queries = read_queries(Path(plan.queries), field=plan.queries_field, limit=plan.queries_limit)
            workload = Workload(plan, queries, target)
        workload.prebuild(lambda: gevent.sleep(0))
        if self.errand is not None and self.errand.elsewhere and not plan.wires:
            target.ask(workload.prepared(0), "answers the first query")  # by this host's way there, and its key
            target.close()
        gc.freeze()  # a full collection would otherwise walk all requests again and stall the loop
        truth = Truth.load(Path(plan.truth)) if plan.truth else None
        raw = monkey.get_original("socket", "socket")
        priority = go_first(0) if plan.first else NORMAL  # not before: starting and preparing is work for anyone
        self.session = Session(target, workload, gevent.get_hub().loop, raw, truth)
        self.session.priority = priority
        self.session.on_batch = self._log

    def live(self) -> dict[str, float] | None:
        return self.session.live() if self.session is not None else None

    def rows(self) -> list[Row]:
        """What the web UI's tab shows."""
        conductor = self.conductor
        if conductor is None or conductor.window is None:
            return []
        if conductor.trial is not None:
            return trial_rows(conductor.trial, conductor.plan.slo_p99_ms)
        live = conductor.live()
        if live is None or time.monotonic() < conductor.window[0]:
            return [{"name": "State", "value": "warming up"}]
        return live_rows(live)

    def join(self) -> None:
        """One more user: one more stream. A planned trial has one a generator, which begins when all have agreed."""
        self._users += 1
        if self.session is not None and not self.session.plan.rate_qps:
            self._open_stream(self._users - 1, time.monotonic())

    def _open_stream(self, user: int, begin: float) -> None:
        assert self.session is not None
        number = 0
        if self.errand is not None:
            number = max(self.environment.runner.worker_index, 0) if self.errand.number is None else self.errand.number
        self.session.pump.open_stream(self.rate_per_user, self.session.plan.seed, (number, user), begin)

    def _log(self, service_s: Any, failed: Counter[str]) -> None:
        stats.feed(self.environment.runner.stats, "POST", "search", service_s, failed)

    def announce(self, kind: str, message: dict[str, Any]) -> None:
        """To every generator, from its conductor."""
        if isinstance(self.environment.runner, MasterRunner):
            self.environment.runner.send_message(f"perwatt_{kind}", message)
        elif kind == "window":
            self.begin(message)
        else:
            self.cut(message)

    def begin(self, message: dict[str, Any]) -> None:
        if self.session is None:  # it came when the test had begun, or could not make its requests
            return
        plan = self.session.plan
        start = self._here(message["start"])
        stop = self._here(message["stop"]) if message["stop"] is not None else math.inf
        self.session.begin((start, stop))
        if plan.rate_qps:
            self._open_stream(0, start - plan.warmup_s)
        gevent.spawn(self._finish, self.session)

    def _here(self, there_s: float) -> float:
        """A time of the master's on our clock."""
        return there_s if self.errand is None else self.errand.clock.here(there_s)

    def _finish(self, session: Session) -> None:
        while not session.ended:
            gevent.sleep(0.05)
        try:
            part = session.part(self.errand.apart_s if self.errand is not None else 0.0)
        except Exception as error:
            emit("lost", message=f"a generator process could not add up its part: {error!r}")
            raise
        finally:
            session.close()
        if self.errand is not None:
            self.environment.runner.send_message("perwatt_part", {"part": msgspec.json.encode(part).decode()})
            emit("part", planned=part.planned, answered=part.answered)
        elif self.conductor is not None:
            self.conductor.collect(LOCAL, part)

    def end_early(self) -> None:
        if self.conductor is not None:
            self.conductor.end_early()

    def cut(self, message: dict[str, Any]) -> None:
        if self.session is not None:
            self.session.end_at(self._here(message["stop"]))

    def stop(self) -> None:
        """Somebody pressed stop."""
        if self.session is not None and math.isinf(self.session.window[1]):
            self.session.stop_now()
        if self.conductor is not None:
            self.conductor.cut(self.session)

    # ---- what a master hears of its workers

    def _heard_ready(self, client: str) -> None:
        if self.conductor is not None:
            self.conductor.ready(client)

    def _heard_failed(self, name: str, why: str) -> None:
        """Without it the load would be another one."""
        gevent.spawn(give_up, self.environment, f"{name} cannot take part: {why}", "absent")

    def _heard_part(self, client: str, part: str) -> None:
        if self.conductor is not None:
            self.conductor.collect(client, msgspec.json.decode(part, type=Part))

    def _lose_patience(self, plan: Plan, reception: Reception) -> None:
        if self.conductor is not None and self.conductor.window is not None:
            return
        message = f"{plan.processes} generators were expected, and {len(reception.guests)} came within {WAIT_S:g} s"
        if plan.bind:
            port = plan.bind.rpartition(":")[2]
            message += f". On each host: perwatt loadtest worker HOST:{port}, with the same {TOKEN}"
        give_up(self.environment, message, "absent")
