"""The open-loop search load for Locust: `locust -f loadtest/generator/locustfile.py --host http://127.0.0.1:8000
--queries q.jsonl`.

A Locust user here is one Poisson stream of `--rate-per-user` queries a second, so the users slider of the web UI is the
offered load. Locust's console, CSV and HTML keep working and show service time in Locust's rounding; what counts
(response time from the schedule, shed sends, the generator's own health) is in the web UI's tab "Open loop" and in the
trial that `--trial` names, and `perwatt loadtest run` makes a run record of it.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import gevent
from locust import User, events, runners, task
from locust.runners import WorkerRunner

from loadtest.generator.locust_views.tab import add_tab
from loadtest.generator.workers import secret
from loadtest.generator.workers.greeting import MACHINE
from loadtest.generator.workers.site import Site
from loadtest.workload.filters import read_filters
from loadtest.workload.plan import Plan

runners.WORKER_REPORT_INTERVAL = 1.0  # the live line is once a second
secret.protect()  # before Locust opens a socket


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
    add(
        "--mode",
        default="",
        choices=["", "dense", "lexical", "sparse", "hybrid"],
        help="search mode; empty: the index's own",
    )
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


_SITES: dict[int, Site] = {}


def site_of(environment: Any) -> Site:
    return _SITES.setdefault(id(environment), Site(environment))


def listen(environment: Any, **_: Any) -> None:
    site, options = site_of(environment), environment.parsed_options
    add_tab(environment, site.rows)
    site.listen()
    if options.plan or os.environ.get(MACHINE):
        # Ctrl-C reaches everyone on the terminal. Whoever started us decides: it asks for what there is, or kills us.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if not isinstance(environment.runner, WorkerRunner):
            gevent.signal_handler(signal.SIGUSR1, site.end_early)


def test_start(environment: Any, **_: Any) -> None:
    site_of(environment).start(lambda: plan_of(environment.parsed_options, environment.host))


def spawned(user_count: int, **_: Any) -> None:
    for site in _SITES.values():
        if site.conductor is not None:
            site.conductor.spawned()


def stopping(environment: Any, **_: Any) -> None:
    site_of(environment).stop()


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
        session = site_of(self.environment).session
        if session is not None and not session.plan.rate_qps:
            session.pump.close_streams(1)


hooks: Any = events  # locust does not type its events
hooks.init_command_line_parser.add_listener(options)
hooks.init.add_listener(listen)
hooks.test_start.add_listener(test_start)
hooks.spawning_complete.add_listener(spawned)
hooks.test_stopping.add_listener(stopping)
hooks.report_to_master.add_listener(report)
hooks.worker_report.add_listener(hear)
