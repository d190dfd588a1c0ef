"""Histograms count exactly as HdrHistogram does, and a quantile knows about what was never answered."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from loadtest.record.histogram import COUNTS_LEN, DIGITS, HIGHEST_US, LOWEST_US, Histogram, slot_top_us, slots


@given(st.lists(st.integers(1, HIGHEST_US), min_size=1, max_size=200))
def test_counts_lie_where_the_library_puts_them(values: list[int]) -> None:
    reference = HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)
    for value in values:
        reference.record_value(value)
    ours = Histogram.of_seconds(np.array(values) / 1e6)
    assert reference.counts_len == COUNTS_LEN
    assert (np.frombuffer(reference.counts, np.int64)[:COUNTS_LEN] == ours.counts).all()
    assert reference.encode().decode() == ours.encode()


@pytest.mark.parametrize("value", [1, 2, 2047, 2048, 2049, 4095, 4096, 4097, 10**6, HIGHEST_US - 1, HIGHEST_US])
def test_a_slot_reaches_from_below_its_value_to_above_it_within_a_thousandth(value: int) -> None:
    top = int(slot_top_us(slots(value)))
    assert value <= top <= value * 1.001 + 1


def test_values_outside_the_range_are_held_at_its_ends() -> None:
    assert Histogram.of_seconds([0.0, -1.0]).quantile_s(1.0) == 1e-6
    assert Histogram.of_seconds([1e9]).max_s() == pytest.approx(HIGHEST_US / 1e6, rel=1e-3)


@given(st.lists(st.floats(1e-6, 100), min_size=1, max_size=300), st.floats(0.01, 1))
def test_a_quantile_is_the_smallest_value_that_so_many_do_not_exceed(values: list[float], q: float) -> None:
    exact = np.sort(values)[max(math.ceil(q * len(values) - 1e-9), 1) - 1]
    assert Histogram.of_seconds(values).quantile_s(q) == pytest.approx(exact, rel=1e-3, abs=2e-6)


def test_unanswered_requests_are_slower_than_anything() -> None:
    histogram = Histogram.of_seconds([0.001] * 99)
    assert histogram.quantile_s(0.99, beyond=1) == pytest.approx(0.001)
    assert math.isinf(histogram.quantile_s(0.99, beyond=2))
    assert math.isinf(Histogram().quantile_s(0.5, beyond=1))
    assert math.isnan(Histogram().quantile_s(0.5))


def test_encoding_survives_the_round_trip_and_an_empty_one_does_too() -> None:
    histogram = Histogram.of_seconds(np.random.default_rng(0).exponential(0.01, 5000))
    assert Histogram.decode(histogram.encode()) == histogram
    assert Histogram.decode(Histogram().encode()).total == 0


def test_merging_adds_and_leaves_the_parts_alone() -> None:
    one, two = Histogram.of_seconds([0.001] * 3), Histogram.of_seconds([0.002] * 4)
    assert Histogram.merged([one, two]).total == 7
    assert (one.total, two.total) == (3, 4)


def test_the_mean_follows_the_values() -> None:
    histogram = Histogram.of_seconds([0.001] * 50 + [0.1] * 50)
    assert histogram.mean_s() == pytest.approx(0.0505, rel=1e-3)


def test_what_was_decoded_is_the_readers_own() -> None:
    whole = Histogram.of_seconds([0.001, 0.002, 3.0])
    mine = Histogram.decode(whole.encode())
    assert mine == whole
    mine.record_s([0.5])
    assert Histogram.decode(whole.encode()) == whole != mine
