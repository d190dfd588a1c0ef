"""`make test-overload`: three times more than the server can do, for minutes.

    python -m service.bench.overload ROOT INDEX [SECONDS]

First the peak: as many texts a second as a fixed crowd of callers gets answered (wrk). Then three times that rate is
offered on a schedule that does not wait for answers, each request with a deadline of its own. The promises: what is
answered in time stays at `GOODPUT` of the peak, everything else is refused with 503 (or 504 when its own time is up),
and within `RECOVERY_S` of the end of the overload half the peak is served without a refusal. Exit status 1 when one is
broken.

The server has one core and this program another. The peak is measured before and after, because a machine that has
become slower or faster meanwhile makes the first ratio worthless; and a schedule that was not kept is no overload. Both
are exit status 2: nothing was proved, whatever the figures say.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from service.bench.load import wrk
from service.bench.offered import offer, served
from service.bench.process import Server

GOODPUT = 0.90
RECOVERY_S = 5.0
TIMES = 3
CROWD = 64
CONNECTIONS = 600
TIMEOUT_MS = 1000
LATE_S = 1.25 * TIMEOUT_MS / 1e3  # an answer after that is none
OFFERED = 0.98  # of the schedule that has to have been kept
STEADY = 0.10  # by how much the two peaks may differ
PEAK_S = 8
TEXTS = 1000
FINE = {"answered", "status 503", "status 504", "shed", "missed"}


def prove(server: Server, port: int, index: str, seconds: float) -> tuple[list[str], list[str]]:
    """The promises that were broken, and why nothing was proved."""
    path = f"/v1/indexes/{index}/search"
    bodies = [
        json.dumps({"text": f"how do I count the words of a file to {number}", "k": 3, "timeout_ms": TIMEOUT_MS})
        for number in range(TEXTS)
    ]
    [core] = os.sched_getaffinity(0)

    def peak(length_s: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            return wrk(Path(folder), server, port, path, bodies, length_s, CROWD, str(core))["per_s"]

    peak(1)
    best = peak(PEAK_S)
    print(f"peak: {best:,.0f} texts a second", flush=True)
    over = offer(port, path, bodies, TIMES * best, seconds, CONNECTIONS, LATE_S)
    goodput = over.fates["answered"] / seconds / best
    print(f"offered {TIMES} × for {seconds:g} s: goodput {goodput:.2f} of the peak; {dict(over.fates)}", flush=True)
    after = offer(port, path, bodies, best / 2, 2 * RECOVERY_S, CONNECTIONS, LATE_S)
    print(f"then half the peak: last refusal by {after.last_failure_s:.2f} s; {dict(after.fates)}", flush=True)
    again = peak(PEAK_S)
    print(f"peak again: {again:,.0f} texts a second", flush=True)
    broken, invalid = [], []
    if goodput < GOODPUT:
        broken.append(f"goodput {goodput:.2f} < {GOODPUT}")
    if odd := {kind: count for kind, count in over.fates.items() if kind not in FINE}:
        broken.append(f"neither answered nor refused in time: {odd}")
    if after.last_failure_s > RECOVERY_S:
        broken.append(f"recovery took {after.last_failure_s:.1f} s")
    if abs(again / best - 1) > STEADY:
        invalid.append(f"the peak was {best:,.0f} before and {again:,.0f} after")
    offered = 1 - (over.fates["shed"] + over.fates["missed"]) / over.fates.total()
    if offered < OFFERED:
        invalid.append(f"only {offered:.0%} of the schedule was offered")
    return broken, invalid


def main(root: str, index: str, seconds: str = "120") -> int:
    with served(root, index) as (server, port):
        broken, invalid = prove(server, port, index, float(seconds))
    print("; ".join(broken) or "every promise held")
    if invalid:
        print(f"but nothing was proved: {'; '.join(invalid)}")
    return 2 if invalid else len(broken) > 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
