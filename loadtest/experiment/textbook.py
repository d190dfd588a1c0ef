"""The same load the way Locust's documentation makes it, to be set beside ours: users who wait for their answer.

Each user sends, waits for the answer, and then waits for what is left of its period (`constant_throughput`). So many
users at so many tasks a second are the wanted rate as long as the service is quick. When it is not, every user simply
sends less often; nobody counts the requests that were due and not made, the slow times are the ones sampled least, and
the exit status is 0. What comes out is kept in the record next to our own trial at the same rate.

The load itself is `textbook_user.py`, a locustfile as anyone would write it.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

from loadtest.errors import LoadTestError
from loadtest.record.results import Textbook
from loadtest.workload.plan import Plan

LOCUSTFILE = Path(__file__).with_name("textbook_user.py")
PERIODS = 4.0  # users are so many that each may take four objectives for a request before the rate suffers


def users_for(rate_qps: float, slo_p99_ms: float) -> int:
    return max(math.ceil(rate_qps * slo_p99_ms / 1e3 * PERIODS), 8)


def measure_textbook(plan: Plan, folder: Path, cpus: list[int] | None = None) -> Textbook:
    """Run it for the plan's duration at the plan's rate."""
    file = folder / "textbook-plan.json"
    plan.save(file)
    users = users_for(plan.rate_qps, plan.slo_p99_ms)
    command = [
        sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary", "--json",
        "--users", str(users), "--spawn-rate", str(users), "--run-time", f"{math.ceil(plan.duration_s)}s",
        "--stop-timeout", f"{math.ceil(plan.timeout_s)}s",  # what is in flight at the end is answered and counted
        "--host", plan.url, "--plan", str(file), "--loglevel", "ERROR", "--exit-code-on-error", "0",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=LOCUSTFILE.parents[1],
    )  # fmt: skip
    if cpus:
        os.sched_setaffinity(process.pid, cpus)
    try:
        said, complaint = process.communicate(timeout=plan.duration_s + 120)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise LoadTestError("Locust's own load did not end; it was stopped") from None
    return _read(said, complaint, plan, users, process.returncode)


def _read(said: str, complaint: str, plan: Plan, users: int, status: int) -> Textbook:
    start = said.find("[")
    try:
        entries = json.loads(said[start:])
        entry = next(one for one in entries if one["name"] == "search")
    except (ValueError, KeyError, StopIteration):
        last = "\n".join(complaint.strip().splitlines()[-5:])
        raise LoadTestError(f"Locust's own load gave no statistics (status {status}):\n{last}") from None
    seconds = max(entry["last_request_timestamp"] - entry["start_time"], math.ceil(plan.duration_s))
    return Textbook(
        offered_qps=plan.rate_qps,
        users=users,
        duration_s=float(math.ceil(plan.duration_s)),
        answered_qps=round((entry["num_requests"] - entry["num_failures"]) / seconds, 3),
        failures=entry["num_failures"],
        p50_ms=percentile(entry["response_times"], 0.5),
        p99_ms=percentile(entry["response_times"], 0.99),
        exit_status=status,
    )


def percentile(counts: dict[str, int], share: float) -> float:
    """As Locust does it: the first value from above with no more than `share` of all requests below it."""
    below = total = sum(counts.values())
    for value, number in sorted(((float(value), number) for value, number in counts.items()), reverse=True):
        below -= number
        if below <= int(total * share):
            return value
    return 0.0
