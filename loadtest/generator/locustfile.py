"""The open-loop search load for Locust: `locust -f loadtest/generator/locustfile.py --host http://127.0.0.1:8000
--queries q.jsonl`.

A Locust user here is one Poisson stream of `--rate-per-user` queries a second, so the users slider of the web UI is the
offered load. Locust's console, CSV and HTML keep working and show service time in Locust's rounding; what counts
(response time from the schedule, shed sends, the generator's own health) is in the web UI's tab "Open loop" and in the
trial that `--trial` names, and `perwatt loadtest run` makes a run record of it.
"""

from __future__ import annotations

import gc
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import gevent
import msgspec
from gevent import monkey
from locust import User, events, runners, task
from locust.runners import MasterRunner, WorkerRunner

from loadtest.generator import locust_stats
from loadtest.generator.exchange import Conductor, emit, stop_from, window_from
from loadtest.generator.locust_tab import Row, add_tab, live_rows, trial_rows
from loadtest.generator.priority import NORMAL, go_first
from loadtest.generator.session import Part, Session
from loadtest.targets.named import target_of
from loadtest.workload.filters import read_filters
from loadtest.workload.plan import Plan
from loadtest.workload.queries import read_queries
from loadtest.workload.requests import ReadyMade, Workload
from loadtest.workload.truth import Truth

runners.WORKER_REPORT_INTERVAL = 1.0  # the live line is once a second


def options(parser: Any) -> None:
    add = parser.add_argument
    add(
        "--plan",
        default="",
        help="a plan written by perwatt loadtest; the options below are then unused",
        include_in_web_ui=False,
    )
    add(
        "--trial",
        default="",
        help="write the trial (raw record, JSON) to this file",
        include_in_web_ui=False,
    )
    add("--search-index", default="default", help="name of the index to search")
    add("--queries", default="", help="query file (.jsonl, .txt, .npy) or vectors folder")
    add(
        "--rate-per-user",
        type=float,
        default=50.0,
        help="queries/s of each user (a Poisson stream)",
    )
    add("--measure-s", type=float, default=0.0, help="length of the window; 0: until stopped")
    add("--warmup-s", type=float, default=2.0, help="load before the window begins")
    add("--top-k", type=int, default=10, help="neighbours asked for")
    add("--effort", type=int, default=0, help="search effort; 0: the index's own")
    add("--popularity", default="uniform", help="uniform or zipf:<exponent>")
    add("--mode", default="", choices=["", "dense", "lexical", "hybrid"], help="search mode; empty: the index's own")
    add("--filters", default="", help='file with a {"share": 0.2, "filter": {...}} a line')
    add("--slo-p99-ms", type=float, default=100.0, help="objective that the generator's health is judged by")
    add("--max-in-flight", type=int, default=1024, help="connections of each process")
    add("--schedule-seed", type=int, default=1, help="seed of arrivals and choice of queries")


def plan_of(parsed: Any, host: str | None) -> Plan:
    if parsed.plan:
        return Plan.load(Path(parsed.plan))
    return Plan(
        url=host or "",
        index=parsed.search_index,
        queries=parsed.queries,
        rate_qps=0.0,  # whatever the users add up to
        duration_s=parsed.measure_s,
        warmup_s=parsed.warmup_s,
        k=parsed.top_k,
        effort=parsed.effort or None,
        popularity=parsed.popularity,
        mode=parsed.mode or None,
        filters=read_filters(Path(parsed.filters) if parsed.filters else None),
        slo_p99_ms=parsed.slo_p99_ms,
        max_in_flight=parsed.max_in_flight,
        seed=parsed.schedule_seed,
    )


class Site:
    """What this process holds of the current test; there is one Locust environment a process."""

    def __init__(self, environment: Any) -> None:
        self.environment = environment
        self.session: Session | None = None
        self.conductor: Conductor | None = None
        self.rate_per_user = 0.0
        self._users = 0

    def start(self) -> None:
        options = self.environment.parsed_options
        plan = plan_of(options, self.environment.host)
        self.rate_per_user = plan.rate_qps / plan.processes if plan.rate_qps else options.rate_per_user
        self._users = 0
        runner = self.environment.runner
        if not isinstance(runner, WorkerRunner):
            out = Path(options.trial) if options.trial else None
            self.conductor = Conductor(plan, self.environment, out, self.live)
        if not isinstance(runner, MasterRunner):
            target = target_of(plan)
            if plan.wires:
                workload: Workload = ReadyMade(plan, ReadyMade.read(Path(plan.wires)))
            else:
                queries = read_queries(Path(plan.queries), field=plan.queries_field, limit=plan.queries_limit)
                workload = Workload(plan, queries, target)
            workload.prebuild()
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
        """One more user: one more stream."""
        assert self.session is not None
        stream = (max(self.environment.runner.worker_index, 0), self._users)
        self._users += 1
        self.session.pump.open_stream(self.rate_per_user, self.session.plan.seed, stream, time.monotonic())

    def _log(self, service_s: Any, failed: Counter[str]) -> None:
        locust_stats.feed(self.environment.runner.stats, "POST", "search", service_s, failed)

    def begin(self, window: tuple[float, float]) -> None:
        assert self.session is not None
        self.session.begin(window)
        gevent.spawn(self._finish, self.session)

    def _finish(self, session: Session) -> None:
        while not session.ended:
            gevent.sleep(0.05)
        try:
            part = session.part()
        except Exception as error:
            emit("lost", message=f"a generator process could not add up its part: {error!r}")
            raise
        finally:
            session.close()
        if isinstance(self.environment.runner, WorkerRunner):
            self.environment.runner.send_message("perwatt_part", {"part": msgspec.json.encode(part).decode()})
        elif self.conductor is not None:
            self.conductor.collect("local", part)

    def end_early(self) -> None:
        message = self.conductor.end_early() if self.conductor is not None else None
        if message is None:
            return
        if isinstance(self.environment.runner, MasterRunner):
            self.environment.runner.send_message("perwatt_cut", message)
        else:
            self.cut(message)

    def cut(self, message: dict[str, Any]) -> None:
        if self.session is not None:
            self.session.end_at(stop_from(message))

    def hear(self, client: str, part: str) -> None:
        """In the master: a worker's part."""
        if self.conductor is not None:
            self.conductor.collect(client, msgspec.json.decode(part, type=Part))


_SITES: dict[int, Site] = {}


def site_of(environment: Any) -> Site:
    return _SITES.setdefault(id(environment), Site(environment))


def listen(environment: Any, **_: Any) -> None:
    site = site_of(environment)
    runner = environment.runner
    add_tab(environment, site.rows)
    if isinstance(runner, WorkerRunner):
        runner.register_message("perwatt_window", lambda environment, msg, **_: site.begin(window_from(msg.data)))
        runner.register_message("perwatt_cut", lambda environment, msg, **_: site.cut(msg.data))
    elif isinstance(runner, MasterRunner):
        runner.register_message(
            "perwatt_part",
            lambda environment, msg, **_: site.hear(msg.node_id, msg.data["part"]),
        )
    if environment.parsed_options.plan:
        # Ctrl-C reaches everyone on the terminal. Whoever started us decides: it asks for what there is, or kills us.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if not isinstance(runner, WorkerRunner):
            gevent.signal_handler(signal.SIGUSR1, site.end_early)


def test_start(environment: Any, **_: Any) -> None:
    site_of(environment).start()


def spawned(user_count: int, **_: Any) -> None:
    for site in _SITES.values():
        conductor = site.conductor
        if conductor is None or conductor.window is not None:
            continue
        message = conductor.agree()
        if isinstance(site.environment.runner, MasterRunner):
            site.environment.runner.send_message("perwatt_window", message)
        else:
            site.begin(window_from(message))


def stopping(environment: Any, **_: Any) -> None:
    site = site_of(environment)
    if site.session is not None and site.session.window[1] == float("inf"):
        site.session.stop_now()
    if site.conductor is not None:
        site.conductor.cut(site.session)


def report(client_id: str, data: dict[str, Any]) -> None:
    for site in _SITES.values():
        if site.session is not None:
            data["perwatt"] = site.session.live()


def hear(client_id: str, data: dict[str, Any]) -> None:
    """In the master: a worker's counters for the live line."""
    for site in _SITES.values():
        if site.conductor is not None and "perwatt" in data:
            site.conductor.report(client_id, data["perwatt"])


class SearchUser(User):
    """One Poisson stream of searches. It sends nothing itself: it joins the process's pump and waits."""

    @task
    def search(self) -> None:
        site_of(self.environment).join()
        gevent.event.Event().wait()

    def on_stop(self) -> None:
        site = site_of(self.environment)
        if site.session is not None:
            site.session.pump.close_streams(1)


hooks: Any = events  # locust does not type its events
hooks.init_command_line_parser.add_listener(options)
hooks.init.add_listener(listen)
hooks.test_start.add_listener(test_start)
hooks.spawning_complete.add_listener(spawned)
hooks.test_stopping.add_listener(stopping)
hooks.report_to_master.add_listener(report)
hooks.worker_report.add_listener(hear)
