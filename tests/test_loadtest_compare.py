"""Ratios hold what was planted, A/A holds 1.00, and whatever may not be compared is refused."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.analysis.compare import compare
from loadtest.analysis.ratio import blocks_needed, detectable, paired_ratio
from loadtest.analysis.reading import readings
from loadtest.analysis.sensitivity import break_evens, joule_tornado, tornado
from loadtest.analysis.unpaired import compare_unpaired
from loadtest.analysis.verdict import Verdict, judge
from loadtest.errors import RecordError
from loadtest.power.energy import Energy
from loadtest.prices.table import find_price
from loadtest.record.histogram import Histogram
from loadtest.record.run_record import Record, ServiceFacts
from loadtest.record.trial import ServerSide, ValidityCheck
from loadtest.selftest.example import MEAN_S, simulated_record
from loadtest.selftest.simulate import Queue, paper_knee_qps
from loadtest.selftest.virtual import aa_proof, coverage, planted_proof

X86, ARM = find_price("c7i.2xlarge"), find_price("c8g.2xlarge")

# A machine that is 1.30 times as fast gains a little more than 1.30 at a fixed objective: its queue has more room below
# it.
PLANTED = paper_knee_qps(Queue(MEAN_S / 1.3, constant=False), 0.020) / paper_knee_qps(
    Queue(MEAN_S, constant=False), 0.020
)


@pytest.fixture(scope="module")
def base() -> list[Record]:
    """Four blocks each of a baseline, its replica, and a candidate that is 1.30 times as fast."""
    found = []
    for block in range(4):
        for arm, speed, price in (("x86", 1.0, X86), ("x86 again", 1.0, X86), ("arm", 1.3, ARM)):
            found.append(simulated_record(arm, block, speed, seed=3, price=price, curve=False))
    return found


@pytest.fixture
def records(base: list[Record]) -> list[Record]:
    return [msgspec.convert(msgspec.to_builtins(record), Record) for record in base]


def of(records: list[Record], arm: str) -> list[Record]:
    return [record for record in records if record.label.arm == arm]


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


@pytest.mark.parametrize(
    ("low", "high", "verdict", "status"),
    [
        (1.01, 1.2, Verdict.BETTER, 0),
        (0.99, 1.1, Verdict.EQUAL, 0),
        (0.985, 0.995, Verdict.EQUAL, 0),
        (0.8, 0.95, Verdict.WORSE, 1),
        (0.8, 1.1, Verdict.INCONCLUSIVE, 2),
        (0.0, math.inf, Verdict.INCONCLUSIVE, 2),
        (math.nan, math.nan, Verdict.INVALID, 3),
    ],
)
def test_verdicts_and_their_exit_statuses(low: float, high: float, verdict: Verdict, status: int) -> None:
    assert judge(low, high, 0.02) is verdict
    assert verdict.exit_status == status


# ---- comparisons of records


def test_a_comparison_finds_what_was_planted_and_names_its_noise(records: list[Record]) -> None:
    found = compare(readings(records), "x86", "arm", replica="x86 again")
    assert found.per_second is not None
    assert found.per_dollar is not None
    assert found.per_second.low <= PLANTED <= found.per_second.high
    price = X86.usd_per_hour / ARM.usd_per_hour
    assert found.per_dollar.estimate == pytest.approx(found.per_second.estimate * price)
    assert found.verdict is Verdict.BETTER
    assert found.replica is not None
    assert found.replica.low <= 1 <= found.replica.high
    assert 0 < found.noise_floor < 0.5
    assert found.break_even_power == found.per_second


def test_without_joules_the_models_give_a_belief_and_not_a_measurement(records: list[Record]) -> None:
    found = compare(readings(records), "x86", "arm")
    assert found.per_joule is None
    assert found.modelled is not None
    assert found.modelled.p5 < found.modelled.p50 < found.modelled.p95
    assert 0.5 < found.modelled.wins < 1
    assert found.verdicts["per joule"] is Verdict.INCONCLUSIVE


def test_measured_joules_are_compared_in_one_domain_and_never_in_two(records: list[Record]) -> None:
    for record in records:
        for trial in record.trials:
            watts = 60.0 if record.label.arm == "arm" else 100.0
            trial.energy = Energy("RAPL", "package", watts * trial.window_s, trial.window_s, 9, {})
    found = compare(readings(records), "x86", "arm")
    assert found.per_joule is not None
    assert found.joule_domain == "package"
    assert found.per_joule.estimate > 1.3
    assert found.modelled is None
    for record in of(records, "arm"):
        for trial in record.trials:
            assert trial.energy is not None
            trial.energy.domain = "wall"
    found = compare(readings(records), "x86", "arm")
    assert found.per_joule is None
    assert "unlike domains (package, wall)" in found.reasons[0]


def test_an_invalid_run_makes_the_comparison_invalid(records: list[Record]) -> None:
    of(records, "arm")[2].trials[-1].gates = [ValidityCheck("generator CPU", False, "99 %", "≤ 70 %")]
    found = compare(readings(records), "x86", "arm")
    assert found.verdict is Verdict.INVALID
    assert found.per_second is None
    assert "arm, block 2" in found.problems[0]


def test_a_replica_that_differs_from_its_original_voids_the_experiment(records: list[Record]) -> None:
    for record in of(records, "x86 again"):
        assert record.knee is not None
        record.knee.knee_qps *= 1.5
    found = compare(readings(records), "x86", "arm", replica="x86 again")
    assert found.verdict is Verdict.INVALID
    assert "the replica of the baseline came out at" in found.problems[0]


def test_what_may_not_be_compared_is_refused(records: list[Record]) -> None:
    with pytest.raises(RecordError, match="no arm 'sparc'"):
        compare(readings(records), "x86", "sparc")
    arm = of(records, "arm")
    arm[0].label.simulated = False
    with pytest.raises(RecordError, match="simulated and measured"):
        compare(readings(records), "x86", "arm")
    arm[0].label.simulated = True
    arm[0].objective = msgspec.structs.replace(arm[0].objective, p99_ms=5)
    with pytest.raises(RecordError, match="different objectives"):
        compare(readings(records), "x86", "arm")


def test_different_questions_are_refused_but_an_effort_of_its_own_is_equal_recall(records: list[Record]) -> None:
    for record in of(records, "arm"):
        assert record.asked is not None
        record.asked.fingerprint = "sha256:with another effort"
    assert compare(readings(records), "x86", "arm").verdict is Verdict.BETTER
    for record in of(records, "arm"):
        assert record.asked is not None
        record.asked.k = 5
    with pytest.raises(RecordError, match="different questions"):
        compare(readings(records), "x86", "arm")


def test_two_runs_of_an_arm_in_one_block_are_refused(records: list[Record]) -> None:
    of(records, "arm")[1].label.block = 0
    with pytest.raises(RecordError, match="two runs in block 0"):
        compare(readings(records), "x86", "arm")


def test_sensitivity_shows_what_could_turn_the_verdict(records: list[Record]) -> None:
    found = compare(readings(records), "x86", "arm")
    bars = tornado(found)
    assert {bar.what for bar in bars} == {"noise of the measurement", "price of arm", "price of x86"}
    assert not any(bar.decides for bar in bars)
    models = {bar.what: bar for bar in joule_tornado(found)}
    assert models["all models with their spread"].decides
    points = {p.what: p for p in break_evens(found, of(records, "arm")[0].price, of(records, "x86")[0].price)}
    assert found.per_second is not None
    assert points["power ratio ρ*"].value == found.per_second.estimate
    assert points["price of arm"].value == pytest.approx(X86.usd_per_hour * found.per_second.estimate)


# ---- the check


def test_the_gate_lets_the_same_pass_and_stops_a_loss(records: list[Record]) -> None:
    same = compare_unpaired(readings(of(records, "x86 again")), readings(of(records, "x86")), 0.15)
    assert same.verdict.exit_status == 0
    slower = compare_unpaired(readings(of(records, "x86")), readings(of(records, "arm")), 0.05)
    assert slower.verdict is Verdict.WORSE
    assert slower.low <= 1 / PLANTED <= slower.high


def test_one_run_a_side_cannot_tell(records: list[Record]) -> None:
    found = compare_unpaired(readings(of(records, "x86")[:1]), readings(of(records, "arm")[:1]), 0.05)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "at least 3" in found.why


def test_an_invalid_run_stops_the_gate(records: list[Record]) -> None:
    records[0].trials[-1].gates = [ValidityCheck("generator CPU", False, "99 %", "≤ 70 %")]
    found = compare_unpaired(readings(of(records, "arm")), readings(of(records, "x86")), 0.05)
    assert found.verdict is Verdict.INVALID
    assert "generator CPU" in found.why


# ---- what would have been compared by mistake


def test_a_fixed_rate_or_a_limit_shows_no_capacity_to_compare(records: list[Record]) -> None:
    for record in of(records, "arm"):
        record.knee, record.kind = None, "run"
        record.trials[-1].role = "run"
    found = compare(readings(records), "x86", "arm")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert any("loaded at a fixed rate" in reason for reason in found.reasons)
    unpaired = compare_unpaired(readings(of(records, "arm")), readings(of(records, "x86")), 0.05)
    assert unpaired.verdict is Verdict.INCONCLUSIVE


def test_a_search_that_ended_at_its_limit_is_a_lower_bound(records: list[Record]) -> None:
    knee = of(records, "x86")[0].knee
    assert knee is not None
    knee.reached_limit = True
    found = compare(readings(records), "x86", "arm")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "raise --limit-rate" in found.reasons[0]


@pytest.mark.parametrize(
    ("name", "value", "gate_refuses"),
    [("generation", "docs-2", False), ("count", 999, True), ("model", "sha256:1", True), ("dim", 8, True)],
)
def test_different_indexes_are_refused_but_a_gate_takes_a_rebuilt_one(
    records: list[Record], name: str, value: object, gate_refuses: bool
) -> None:
    for record in records:
        record.served = ServiceFacts("http://x", "docs", "docs-1", "sha256:0", 1000, 384, "cosine")
    compare(readings(records), "x86", "arm")
    for record in of(records, "arm"):
        assert record.served is not None
        setattr(record.served, name, value)
    with pytest.raises(RecordError, match=f"served different indexes: {name} is"):
        compare(readings(records), "x86", "arm")
    if gate_refuses:
        with pytest.raises(RecordError, match="different indexes"):
            compare_unpaired(readings(of(records, "arm")), readings(of(records, "x86")), 0.05)
    else:
        compare_unpaired(readings(of(records, "arm")), readings(of(records, "x86")), 0.05)


def test_an_index_that_was_switched_in_between_voids_the_run(records: list[Record]) -> None:
    empty = Histogram().encode()
    for trial, generation in zip(records[0].trials, ("docs-1", "docs-2"), strict=False):
        trial.server = ServerSide(10, empty, empty, generations=[generation])
    assert "switched while it was measured: answers came from docs-1, docs-2" in records[0].invalid[0]
