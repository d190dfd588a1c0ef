"""Ratios hold what was planted, A/A holds 1.00, and intervals cover as often as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.analysis.ratio import blocks_needed, detectable, paired_ratio
from loadtest.errors import RecordError
from loadtest.selftest.virtual import aa_proof, coverage, planted_proof

pytest_plugins = ["planted_records_fixtures"]


# ---- ratios
def test_aa_includes_one_in_at_least_95_of_100_experiments() -> None:
    assert aa_proof().passed


def test_the_interval_covers_as_often_as_it_says_over_many_experiments() -> None:
    """The hundred are not a lucky hundred; and an interval that always covered would be of no use."""
    held = coverage(1.0, 1000, blocks=6, seed=1)
    assert 940 <= held <= 990


@pytest.mark.parametrize("factor", [1.40, 1.05])
def test_a_planted_factor_is_recovered(factor: float) -> None:
    assert planted_proof(factor).passed


def test_a_shared_slow_hour_cancels_within_its_block() -> None:
    hours = np.random.default_rng(0).normal(0, 0.5, 8)
    base = {b: 1000 * math.exp(h) for b, h in enumerate(hours)}
    ratio = paired_ratio({b: v * 1.1 for b, v in base.items()}, base)
    assert (ratio.low, ratio.high) == pytest.approx((1.1, 1.1))


@given(st.lists(st.tuples(st.floats(1, 1e6), st.floats(1, 1e6)), min_size=3, max_size=12))
def test_swapping_the_arms_inverts_the_ratio(pairs: list[tuple[float, float]]) -> None:
    one = {i: a for i, (a, _) in enumerate(pairs)}
    other = {i: b for i, (_, b) in enumerate(pairs)}
    there, back = paired_ratio(one, other), paired_ratio(other, one)
    assert there.estimate * back.estimate == pytest.approx(1)
    if there.decided_by == back.decided_by == "t":
        assert there.low * back.high == pytest.approx(1)


def test_the_wider_interval_decides() -> None:
    skewed = dict(enumerate([1.0, 1.01, 0.99, 1.0, 1.02, 3.0]))
    ratio = paired_ratio(skewed, dict.fromkeys(range(6), 1.0))
    assert ratio.low < 1 < ratio.high
    assert ratio.decided_by == "t"


def test_too_few_blocks_know_no_interval_and_no_shared_block_is_an_error() -> None:
    ratio = paired_ratio({0: 2.0, 1: 2.0}, {0: 1.0, 1: 1.0})
    assert (ratio.low, ratio.high) == (0, math.inf)
    assert math.isinf(detectable(ratio))
    with pytest.raises(RecordError, match="share no block"):
        paired_ratio({0: 1.0}, {1: 1.0})
    with pytest.raises(RecordError, match="above 0"):
        paired_ratio({0: 0.0}, {0: 1.0})


def test_blocks_needed_and_detectable_effect_are_each_others_inverse() -> None:
    ratio = paired_ratio(dict(enumerate([1.0, 1.1, 0.9, 1.05, 0.97, 1.02])), dict.fromkeys(range(6), 1.0))
    assert blocks_needed(ratio, detectable(ratio)) in (6, 7)
    assert blocks_needed(ratio, detectable(ratio) / 2) > 20
