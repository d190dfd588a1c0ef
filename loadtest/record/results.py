""""""

from __future__ import annotations

import msgspec

from loadtest.record.objective import Objective


class Calibration(msgspec.Struct, forbid_unknown_fields=True):
    """The highest rate tried against the null server whose tail met the allowance, and that tail."""

    sustained_qps: float
    p99_ms: float
    lag_p99_ms: float
    cpu: float  # mean share of a core, the busiest process
    processes: int
    tried: list[tuple[float, float, float]]  # offered q/s, answered share, p99 ms
    answer_bytes: int = 0  # of the body that the null server sent


class Knee(msgspec.Struct, forbid_unknown_fields=True):
    """`reached_limit`: the search stopped at the highest rate it was allowed to offer; the true knee is higher."""

    objective: Objective
    sustained_qps: float
    knee_qps: float
    knee_low_qps: float
    knee_high_qps: float
    bracket_qps: tuple[float, float]
    tolerance: float
    confirmed: bool
    reached_limit: bool = False
