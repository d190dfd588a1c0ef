"""The checks between a finished build and what is served. A check that fails leaves the generation on disk,
unserved.

recall  the lower end of the 95 % interval, at the effort that would be served, reaches the target
count   at least `min_count_ratio` (0.5) of the rows of the generation that is served now: a nightly build over half an
        input succeeds in every other way
speed   where it is asked for (`max_slowdown`): a search takes at most so many times what it takes in the served one
"""

import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from index.disk.manifest import read_manifest
from index.disk.root import Root
from index.errors import GenerationError, NotFoundError
from index.search.generation import Generation
from index.search.opening import open_generation

MIN_COUNT_RATIO = 0.5
TIMED, WARMED = 200, 20  # searches of each generation, in turn; and before them


def failed(
    root: Root, path: Path, manifest: dict[str, Any], min_count_ratio: float, max_slowdown: float | None
) -> list[str]:
    """Why the generation at `path` must not be served, by every check; nothing where it may."""
    name = manifest["name"]
    reasons = (
        recall_check(manifest),
        count_check(root, name, manifest["count"], min_count_ratio),
        None if max_slowdown is None else speed_check(root, name, path, max_slowdown),
    )
    return [reason for reason in reasons if reason]


def recall_check(manifest: dict[str, Any]) -> str | None:
    """Why the generation must not be served, or None."""
    measured, target = manifest["recall"], manifest["recall"]["target"]
    if measured["low"] >= target:
        return None
    return (
        f"recall@{measured['k']} is {measured['recall']:.4f} at effort {measured['effort']}, the largest that was "
        f"measured, and its lower bound {measured['low']:.4f} misses the target {target:g}"
    )


def count_check(root: Root, name: str, count: int, min_count_ratio: float) -> str | None:
    """Why a generation of `count` rows must not follow the served one, or None.

    A damaged one may always be replaced.
    """
    try:
        served = read_manifest(root.path(name))
    except (NotFoundError, GenerationError):
        return None
    least = served["count"] * min_count_ratio
    if count >= least:
        return None
    return (
        f"it has {count:,} rows, and {served['generation']}, which is served, has {served['count']:,}; "
        f"fewer than {min_count_ratio:g} of that looks like half an input (--min-count-ratio)"
    )


def speed_check(root: Root, name: str, path: Path, max_slowdown: float) -> str | None:
    """Why the generation at `path` must not follow the served one, or None.

    Both search for the same vectors, in turn and each at the effort it would be served with, so that whatever else the
    machine does slows both. A damaged one may always be replaced, and so may one of other vectors.
    """
    try:
        served = open_generation(root.path(name))
    except (NotFoundError, GenerationError):
        return None
    with served, open_generation(path) as new:
        if served.dim != new.dim:
            return None
        before_s, after_s = _seconds_a_search(served, new)
        if after_s <= before_s * max_slowdown:
            return None
        return (
            f"a search of it takes {after_s * 1e6:,.0f} µs, and of {served.id}, which is served, "
            f"{before_s * 1e6:,.0f}; more than {max_slowdown:g} times as long is refused (--max-slowdown)"
        )


def _seconds_a_search(served: Generation, new: Generation) -> tuple[float, float]:
    rows = np.linspace(0, new.count - 1, TIMED + WARMED).astype(int)
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn, row in enumerate(rows.tolist()):
        query = new.vectors(row, row + 1)
        for generation, taken in zip((served, new), seconds, strict=True):
            start_s = time.perf_counter()
            generation.search_rows(query, min(10, generation.count))
            if turn >= WARMED:
                taken.append(time.perf_counter() - start_s)
    return median(seconds[0]), median(seconds[1])
