"""Latency histograms: HdrHistogram's layout, counted by numpy.

Counts lie exactly as HdrHistogram lays them out (1 µs to one hour, three significant digits), so that a histogram is
encoded and decoded by the library itself and any HdrHistogram tool can read what is in a run record. Counting is done
here in batches: the library's `record_value` costs 3 µs a value in Python, which would be a fifth of the generator's
time.

One thing differs from the textbook: a quantile may be asked *with* requests that were never answered. A send that had
to be dropped and an answer that never came are not absent from the sample, they are its worst part. They are counted as
beyond every recorded value, so the quantile is infinite as soon as it reaches into them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import ArrayLike, NDArray

from loadtest.errors import RecordError

LOWEST_US = 1
HIGHEST_US = 3_600_000_000  # one hour
DIGITS = 3

_HALF_BITS = 10  # 2 · 10³ values need 2^11 sub-buckets; half of them is 2^10
_HALF = 1 << _HALF_BITS
_BUCKETS = math.ceil(math.log2(HIGHEST_US + 1)) - _HALF_BITS  # the last one holds the hour
COUNTS_LEN = (_BUCKETS + 1) * _HALF


def slots(values_us: ArrayLike) -> NDArray[np.int64]:
    """Where each value is counted. Below 1 µs counts as 1 µs, above one hour as one hour."""
    values = np.clip(np.asarray(values_us, dtype=np.float64), LOWEST_US, HIGHEST_US).astype(np.int64)
    # frexp gives the position of the highest set bit exactly for integers below 2^53; log2 does not.
    bits = np.frexp(values.astype(np.float64))[1].astype(np.int64)
    bucket = np.maximum(bits - (_HALF_BITS + 1), 0)
    where: NDArray[np.int64] = (bucket << _HALF_BITS) + (values >> bucket)
    return where


def slot_top_us(slot: ArrayLike) -> NDArray[np.int64]:
    """The highest value that is counted in the slot: what a quantile answers."""
    slot = np.asarray(slot, dtype=np.int64)
    bucket = np.maximum((slot >> _HALF_BITS) - 1, 0)
    top: NDArray[np.int64] = ((slot - (bucket << _HALF_BITS) + 1) << bucket) - 1
    return top


class Histogram:
    """Counts of durations in µs. `counts` is int64 (COUNTS_LEN,), in HdrHistogram's order."""

    __slots__ = ("counts",)

    def __init__(self, counts: NDArray[np.int64] | None = None) -> None:
        self.counts = np.zeros(COUNTS_LEN, np.int64) if counts is None else counts

    @classmethod
    def of_seconds(cls, values_s: ArrayLike) -> Histogram:
        histogram = cls()
        histogram.record_s(values_s)
        return histogram

    @classmethod
    def merged(cls, parts: Iterable[Histogram]) -> Histogram:
        whole = cls()
        for part in parts:
            whole.counts += part.counts
        return whole

    def record_s(self, values_s: ArrayLike) -> None:
        values = np.asarray(values_s, dtype=np.float64)
        if values.size:
            np.add.at(self.counts, slots(np.rint(values * 1e6)), 1)

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    def quantile_s(self, q: float, beyond: int = 0) -> float:
        """The smallest recorded duration that a share `q` of all requests does not exceed, in seconds.

        `beyond` requests were never answered: they count in the share and lie above everything recorded. Returns inf
        when the quantile falls among them, nan when there is nothing at all.
        """
        total = self.total + beyond
        if total == 0:
            return math.nan
        rank = max(math.ceil(q * total - 1e-9), 1)
        running = np.cumsum(self.counts)
        if rank > running[-1]:
            return math.inf
        return float(slot_top_us(np.searchsorted(running, rank))) / 1e6

    def mean_s(self) -> float:
        """Mean of what was recorded, from slot middles; nan when empty."""
        used = np.flatnonzero(self.counts != 0)
        if not used.size:
            return math.nan
        tops = slot_top_us(used)
        bottoms = np.where(used > 0, slot_top_us(np.maximum(used - 1, 0)) + 1, 0)
        return float(np.average((tops + bottoms) / 2, weights=self.counts[used])) / 1e6

    def max_s(self) -> float:
        used = np.flatnonzero(self.counts != 0)
        return float(slot_top_us(used[-1])) / 1e6 if used.size else math.nan

    def encode(self) -> str:
        """HdrHistogram V2, compressed, base64: what every HdrHistogram tool reads."""
        histogram = HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)
        used = np.flatnonzero(self.counts != 0)
        if used.size:
            into = np.frombuffer(histogram.counts, dtype=np.int64)
            into[:COUNTS_LEN] = self.counts
            histogram.set_internal_tacking_values(int(used[0]), int(used[-1]), self.total)
        return str(histogram.encode().decode("ascii"))

    @classmethod
    def decode(cls, text: str) -> Histogram:
        """Raises RecordError for what is no histogram."""
        return cls.decoded([text])

    @classmethod
    def decoded(cls, texts: Iterable[str]) -> Histogram:
        """All of them together."""
        histogram = cls()
        for text in texts:
            used, counts = filled(text)
            histogram.counts[used] += counts
        return histogram

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and bool((self.counts == other.counts).all())

    __hash__ = None  # type: ignore[assignment]  # mutable


@lru_cache(maxsize=4096)
def filled(text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The slots of an encoded histogram that are not empty, ascending, and their counts; nobody may write into either.

    They are kept, because a report reads each slice many times.
    """
    try:
        decoded = HdrHistogram.decode(text)
    except Exception as error:  # the library lets through whatever base64, zlib and ctypes raise
        raise RecordError(
            f"a histogram cannot be decoded ({type(error).__name__}: {error}); the file is damaged"
        ) from error
    found = np.frombuffer(decoded.counts, dtype=np.int64)[:COUNTS_LEN]
    used = np.flatnonzero(found != 0)  # numpy searches truths several times faster than numbers
    return used, found[used]
