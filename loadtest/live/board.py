"""What a run has told so far: a row a second, what it is held against, and whether the generator may be believed."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from typing import Any, NamedTuple

from loadtest.record.validity_checks import CPU_LIMIT, SENT, SHARE_OF_SLO

ROWS = 3600  # an hour; the page draws the end of a longer soak


class Check(NamedTuple):
    """One of the generator's own checks on what there is so far. blame: whose fault it is when it fails."""

    name: str
    ok: bool
    found: str
    limit: str
    blame: str


class Board:
    """
    Args:
        title: of the page.
        slo_p99_ms, recall: the objective; None: no recall is asked for.
    """

    def __init__(self, title: str, slo_p99_ms: float, recall: float | None = None) -> None:
        self.title, self.slo_p99_ms, self.recall = title, slo_p99_ms, recall
        self._lock = threading.Lock()
        self._began_s = time.monotonic()
        self._rows: deque[dict[str, Any]] = deque(maxlen=ROWS)
        self._dropped = 0
        self._before: dict[str, Any] = {}
        self._ended: list[str] = []

    def add(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Takes what the generator told; returns it with what follows from it."""
        row = {**fields, "t": round(time.monotonic() - self._began_s, 1)}
        before, elapsed_s = self._before, fields["elapsed_s"]
        if before.get("role") != fields["role"] or before.get("elapsed_s", math.inf) >= elapsed_s:
            before = {"elapsed_s": 0.0, "answered": 0}  # another trial
        passed_s = max(elapsed_s - before["elapsed_s"], 1e-9)
        row["answered_qps"] = (fields["answered"] - before["answered"]) / passed_s
        row["recall"] = fields["recalls"] / fields["recall_queries"] if fields["recall_queries"] else None
        row["checks"] = [check._asdict() for check in checks(fields, self.slo_p99_ms)]
        row = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in row.items()
        }
        self._before = fields
        with self._lock:
            self._dropped += len(self._rows) == ROWS
            self._rows.append(row)
        return row

    def end(self, lines: list[str]) -> None:
        """What the run came to."""
        with self._lock:
            self._ended = lines

    def state(self, after: int = 0) -> dict[str, Any]:
        """What the page is told that has seen `after` rows."""
        with self._lock:
            rows = list(self._rows)[max(after - self._dropped, 0) :]
            return {
                "title": self.title,
                "slo_p99_ms": self.slo_p99_ms,
                "recall": self.recall,
                "next": self._dropped + len(self._rows),
                "rows": rows,
                "ended": self._ended,
            }


def checks(fields: dict[str, Any], slo_p99_ms: float) -> list[Check]:
    """As a trial is judged at its end (`record/validity_checks.py`), on what there is so far."""
    planned, allowed_ms = max(fields["planned"], 1), SHARE_OF_SLO * slo_p99_ms
    lag_ms, missed, shed = fields["lag_p99_ms"], fields["missed"] / planned, fields["shed"] / planned
    return [
        Check("late sends, p99", not lag_ms > allowed_ms, f"{lag_ms:.3g} ms", f"≤ {allowed_ms:g} ms", "generator"),
        Check("busiest process", fields["cpu"] <= CPU_LIMIT, f"{fields['cpu']:.0%}", f"≤ {CPU_LIMIT:.0%}", "generator"),
        Check("not sent in time", missed <= 1 - SENT, f"{missed:.2%}", f"≤ {1 - SENT:.1%}", "generator"),
        Check("no connection free", shed <= 1 - SENT, f"{shed:.2%}", f"≤ {1 - SENT:.1%}", "service"),
    ]
