"""The same load as Locust sees it: its own statistics of our requests, and a closed loop beside our open one.

Locust is good at what it is for. Two things make its own figures unfit for a latency objective: times are rounded to
whole milliseconds below 100 ms (two digits above), and users who wait for their answers send less when the service is
slow, so the load that was asked for is not the load that was made. Both are shown on this very run, not asserted.
"""

from __future__ import annotations

from loadtest import units
from loadtest.record.results import Textbook
from loadtest.record.run_record import Record
from loadtest.record.trial import Trial
from loadtest.report.page import Section, Table


def locust_section(record: Record, trial: Trial | None) -> Section | None:
    """None when neither was recorded."""
    parts: list[Table | str] = []
    if trial is not None and trial.locust is not None and trial.locust.requests:
        parts.append(_same_requests(trial))
    if record.textbook:
        parts.append(_beside(record))
    if not parts:
        return None
    lead = (
        "Locust carries this load; its own statistics of it are kept, and are not what the verdict is made of. It "
        "rounds to whole milliseconds below 100 ms and to two digits above, counts from the send, and does not know of "
        "requests that were due and not made."
    )
    if record.textbook:
        lead += (
            " The second table sets our open loop beside a closed one as Locust's documentation writes it "
            "(constant_throughput), told to offer the same rate."
        )
    return Section("Beside Locust", lead, list(parts))


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


def _beside(record: Record) -> Table:
    rows = []
    for found in record.textbook:
        ours = ours_at(record, found)
        told = f"{units.digits(found.offered_qps)}/s"
        if ours is not None:
            unsent = f"{units.count(ours.shed + ours.missed)} not sent, {units.count(sum(ours.errors.values()))} failed"
            met = not record.objective.misses(ours, strict=False)
            rows.append([
                told, "open loop (ours)", f"{units.digits(ours.achieved_qps)}/s",
                *_both(ours.response_s(0.5), ours.response_s(0.99)),
                f"{'objective met' if met else 'objective missed'}; {unsent}",
            ])  # fmt: skip
        short = found.answered_qps < 0.97 * found.offered_qps
        said = f"exit status {found.exit_status}, {units.count(found.failures)} failures"
        said += f"; silently {1 - found.answered_qps / found.offered_qps:.0%} below the rate" if short else ""
        rows.append([
            told, f"closed loop, {units.count(found.users)} users", f"{units.digits(found.answered_qps)}/s",
            f"{found.p50_ms:g} ms", f"{found.p99_ms:g} ms", said,
        ])  # fmt: skip
    return Table(["Told to offer", "By", "Answered", "p50", "p99", "What it reports"], rows)


def ours_at(record: Record, found: Textbook) -> Trial | None:
    """Our own sound trial at the rate that Locust was told, the longest one."""
    near = [
        trial
        for trial in record.trials
        if trial.role in ("confirm", "beyond", "run") and abs(trial.offered_qps / found.offered_qps - 1) < 1e-6
    ]
    return max(near, key=lambda trial: trial.window_s, default=None)
