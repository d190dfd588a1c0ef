"""The same load as Locust sees it: its own statistics of our requests.

Locust is good at what it is for. Its own figures are unfit for a latency objective: times are rounded to whole
milliseconds below 100 ms (two digits above), they count from the send, and nobody counts the requests that were due and
not made. That is shown on this very run, not asserted.
"""

from __future__ import annotations

from loadtest import units
from loadtest.record.trial import Trial
from loadtest.report.page import Section, Table


def locust_section(trial: Trial | None) -> Section | None:
    """None when it was not recorded."""
    if trial is None or trial.locust is None or not trial.locust.requests:
        return None
    lead = (
        "Locust carries this load; its own statistics of it are kept, and are not what the verdict is made of. It "
        "rounds to whole milliseconds below 100 ms and to two digits above, counts from the send, and does not know of "
        "requests that were due and not made."
    )
    return Section("Beside Locust", lead, [_same_requests(trial)])


def _same_requests(trial: Trial) -> Table:
    locust = trial.locust
    assert locust is not None
    rows = [
        ["Locust's statistics", units.count(locust.requests), f"{locust.p50_ms:g} ms", f"{locust.p99_ms:g} ms"],
        ["Ours, from the send", units.count(trial.answered), *_both(trial.service_s(0.5), trial.service_s(0.99))],
        ["Ours, from the due time", units.count(trial.planned), *_both(trial.response_s(0.5), trial.response_s(0.99))],
    ]
    return Table(
        ["The same requests", "Requests", "p50", "p99"],
        rows,
        note="Locust's count includes the warm-up; it has no notion of a window by due time.",
    )


def _both(p50_s: float, p99_s: float) -> tuple[str, str]:
    return units.seconds(p50_s), units.seconds(p99_s)
