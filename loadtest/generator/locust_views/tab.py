"""A tab in Locust's web UI with what Locust does not count: response times from the schedule, shed and missed sends,
and whether the generator may be believed.

Locust's own tables stay as they are and show the service time in its rounding. The tab is what Locust calls an extended
table: its rows ride in the answer of `/stats/requests` that the page polls anyway, so a script that reads that URL gets
them too, under `extended_stats`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from loadtest import units
from loadtest.record.trial import Trial
from loadtest.record.validity_checks import validity_checks

KEY = "perwatt"
TITLE = "Open loop"
Row = dict[str, str]


def add_tab(environment: Any, rows: Callable[[], list[Row]]) -> None:
    """Show `rows()` in a tab of the environment's web UI; nothing without one."""
    web = environment.web_ui
    if not web:
        return
    columns = [{"key": "name", "title": "What"}, {"key": "value", "title": "Value"}]
    web.template_args["extended_tabs"] = [{"title": TITLE, "key": KEY}]
    web.template_args["extended_tables"] = [{"key": KEY, "structure": columns}]

    def extend(response: Any) -> Any:
        from flask import request

        if request.path == "/stats/requests" and response.is_json:
            response.set_data(json.dumps({**response.json, "extended_stats": [{"key": KEY, "data": rows()}]}))
        return response

    web.app.after_request(extend)


def live_rows(live: dict[str, float]) -> list[Row]:
    """While the window runs."""
    return _rows(
        ("State", "measuring"),
        ("Due, answered", f"{live['planned']:.0f}, {live['answered']:.0f}"),
        ("Not sent: no connection free", f"{live['shed']:.0f}"),
        ("Not sent: generator late", f"{live['missed']:.0f}"),
        ("Errors", f"{live['errors']:.0f}"),
        ("Response time p50, from when it was due", units.milliseconds(live["p50_ms"])),
        ("Response time p99, from when it was due", units.milliseconds(live["p99_ms"])),
        ("Sends late, p99", units.milliseconds(live["lag_p99_ms"])),
        ("Generator CPU, busiest process", units.percent(live["cpu"])),
    )


def trial_rows(trial: Trial, slo_p99_ms: float) -> list[Row]:
    """After it: the same as in a run record, and each check that failed."""
    failed = [check for check in validity_checks(trial, slo_p99_ms, None) if check.ok is False]
    blame = "INVALID, the generator was the bottleneck" if any(g.cause == "generator" for g in failed) else "measured"
    found = _rows(
        ("State", blame),
        ("Offered, answered", f"{units.rate(trial.offered_qps)}, {units.rate(trial.achieved_qps)}"),
        ("Due, answered", f"{trial.planned}, {trial.answered}"),
        ("Not sent: no connection free", str(trial.shed)),
        ("Not sent: generator late", str(trial.missed)),
        ("Errors", ", ".join(f"{kind}: {n}" for kind, n in trial.errors.items()) or "0"),
        *((f"Response time {name}, from when it was due", units.seconds(trial.response_s(q))) for name, q in _TAILS),
        ("Service time p99, from when it was sent", units.seconds(trial.service_s(0.99))),
    )
    return found + _rows(*((f"Check: {check.name}", f"{check.found}, expected {check.limit}") for check in failed))


_TAILS = (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))


def _rows(*pairs: tuple[str, str]) -> list[Row]:
    return [{"name": name, "value": value} for name, value in pairs]
