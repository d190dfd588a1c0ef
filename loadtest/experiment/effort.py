"""Equal recall: the cheapest search effort that proves the target, found on each machine for itself.

Two machines are compared at the same recall, not at the same parameter. The effort is doubled until the *lower* 95 %
bound of recall meets the target and then narrowed, so a machine does not win by being a little less exact.
"""

from __future__ import annotations

from collections.abc import Callable

from loadtest.errors import TargetError, WorkloadError
from loadtest.record.trial import RecallEstimate
from loadtest.targets.contract import Target
from loadtest.targets.questions import recall_at
from loadtest.workload.requests import Workload
from loadtest.workload.truth import Truth

LOWEST, HIGHEST = 8, 4096


def cheapest_effort(
    recall_at: Callable[[int], RecallEstimate],
    target: float,
    tell: Callable[[str], None] = lambda line: None,
    lowest: int = 1,
    highest: int = HIGHEST,
) -> tuple[int, RecallEstimate]:
    """The smallest effort (to about 5 %) whose lower recall bound is at least `target`, and the recall it has.
    lowest, highest: that may be asked."""
    seen: dict[int, RecallEstimate] = {}

    def proves(effort: int) -> bool:
        if effort not in seen:
            seen[effort] = recall_at(effort)
            tell(f"effort {effort}: {seen[effort].measure} {seen[effort].mean:.4f}, lower bound {seen[effort].low:.4f}")
        return seen[effort].low >= target

    low, high = lowest - 1, min(max(LOWEST, lowest), highest)
    while not proves(high):
        if high == highest:
            best = seen[high]
            raise TargetError(
                f"{best.measure} {target:g} is not proven even at effort {high}: {best.mean:.4f}, lower bound "
                f"{best.low:.4f} "
                f"over {best.queries} queries. More queries narrow the bound; otherwise the index itself must be finer"
            )
        low, high = high, min(2 * high, highest)
    while high - low > max(high // 20, 1):
        middle = (low + high) // 2
        if middle and proves(middle):
            high = middle
        else:
            low = middle
    return high, seen[high]


def asked_effort(
    target: Target, workload: Workload, truth: Truth | None, recall: float | None, tell: Callable[[str], None]
) -> int:
    """What `--effort auto` comes to. WorkloadError where it has no meaning."""
    if target.able.effort is None:
        raise WorkloadError(f"--effort auto: {target.name} has no effort to set")
    if truth is None:
        raise WorkloadError("--effort auto: nothing is known that answers could be held against")
    if recall is None:
        raise WorkloadError("--effort auto needs --recall: it is the cheapest effort that proves it")
    found, _ = cheapest_effort(
        lambda effort: recall_at(target, workload, truth, effort),
        recall,
        tell,
        target.able.lowest_effort,
        min(target.able.highest_effort or HIGHEST, HIGHEST),
    )
    return found
