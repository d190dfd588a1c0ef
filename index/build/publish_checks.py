"""The checks between a finished build and what is served. A check that fails leaves the generation on disk,
unserved.

recall  the lower end of the 95 % interval, at the effort that would be served, reaches the target
count   at least `min_count_ratio` (0.5) of the rows of the generation that is served now: a nightly build over half an
        input succeeds in every other way
"""

from typing import Any

from index.disk.manifest import read_manifest
from index.disk.root import Root
from index.errors import GenerationError, NotFoundError

MIN_COUNT_RATIO = 0.5


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
