"""A closed-loop search load as Locust's documentation writes it: `locust -f loadtest/experiment/textbook_user.py --plan
PLAN`.

`textbook.py` runs it beside our own open loop, over the same queries at the same nominal rate.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from locust import FastHttpUser, constant_throughput, events, task

from loadtest.experiment.textbook import users_for
from loadtest.workload.plan import Plan
from loadtest.workload.queries import read_queries
from loadtest.workload.requests import Workload

MADE = 20_000  # requests prepared; they go round


class TextbookUser(FastHttpUser):
    """Sends, waits for the answer, waits for the rest of its period, sends again."""

    bodies: Iterator[str]
    path: str
    headers: dict[str, str]

    @task
    def search(self) -> None:
        self.client.post(self.path, data=next(self.bodies), headers=self.headers, name="search")


def options(parser: Any) -> None:
    parser.add_argument("--plan", default="", help="a plan written by perwatt loadtest")


def ready(environment: Any, **_: Any) -> None:
    plan = Plan.load(Path(environment.parsed_options.plan))
    workload = Workload(plan, read_queries(Path(plan.queries), field=plan.queries_field, limit=plan.queries_limit))
    TextbookUser.bodies = itertools.cycle(
        [workload.body(one).decode() for one in itertools.islice(workload.picks(), MADE)]
    )
    TextbookUser.path = f"{workload.address.prefix}/v1/indexes/{plan.index}/search"
    TextbookUser.headers = {"Content-Type": "application/json"}
    if key := os.environ.get("PERWATT_KEY"):
        TextbookUser.headers["Authorization"] = f"Bearer {key}"
    TextbookUser.wait_time = constant_throughput(plan.rate_qps / users_for(plan.rate_qps, plan.slo_p99_ms))


hooks: Any = events  # locust does not type its events
hooks.init_command_line_parser.add_listener(options)
hooks.test_start.add_listener(ready)
