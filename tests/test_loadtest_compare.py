"""A comparison finds what was planted and names its noise, and whatever may not be compared is refused."""

from __future__ import annotations

import math

import msgspec
import pytest
from loadtest_records import ARM, X86

from loadtest.analysis.compare import compare
from loadtest.analysis.reading import readings
from loadtest.analysis.sensitivity import break_evens, joule_tornado, tornado
from loadtest.analysis.unpaired import compare_unpaired
from loadtest.analysis.verdict import Verdict, judge
from loadtest.errors import RecordError
from loadtest.power.energy import Energy
from loadtest.record.histogram import Histogram
from loadtest.record.run_record import Record, ServiceFacts
from loadtest.record.trial import RecallEstimate, ServerSide, ValidityCheck
from loadtest.selftest.example import MEAN_S
from loadtest.selftest.simulate import Queue, paper_knee_qps

pytest_plugins = ["planted_records_fixtures"]


# A machine that is 1.30 times as fast gains a little more than 1.30 at a fixed objective: its queue has more room below
# it.
PLANTED = paper_knee_qps(Queue(MEAN_S / 1.3, constant=False), 0.020) / paper_knee_qps(
    Queue(MEAN_S, constant=False), 0.020
)


@pytest.fixture
def records(base: list[Record]) -> list[Record]:
    return [msgspec.convert(msgspec.to_builtins(record), Record) for record in base]


def of(records: list[Record], arm: str) -> list[Record]:
    return [record for record in records if record.label.arm == arm]


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
    assert found.verdicts["per joule"] is Verdict.BETTER
    for record in records:
        record.shared = True
    beside = compare(readings(records), "x86", "arm")
    assert beside.verdicts["per joule"] is Verdict.INCONCLUSIVE, "they are the generator's, too"
    assert any("the joules hold those of the generator" in reason for reason in beside.reasons)
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


def test_rates_at_unequal_recall_decide_nothing_though_nobody_asked_for_one(records: list[Record]) -> None:
    """A release that halves its default effort is quicker, and finds less."""
    for record in records:
        record.objective = msgspec.structs.replace(record.objective, recall=None)
        mean = 0.90 if record.label.arm == "arm" else 0.99
        record.trials[-1].recall = RecallEstimate(mean, mean - 0.01, mean + 0.005, 300, 10)
    unpaired = compare_unpaired(readings(of(records, "arm")), readings(of(records, "x86")), 0.05)
    paired = compare(readings(records), "x86", "arm")
    assert unpaired.verdict is paired.verdict is Verdict.INCONCLUSIVE
    assert "arm found 0.900 of the true neighbours and x86 0.990" in unpaired.why
    assert any("at equal recall alone" in reason for reason in paired.reasons)
    for record in of(records, "arm"):
        record.trials[-1].recall = RecallEstimate(0.985, 0.975, 0.99, 300, 10)
    assert compare(readings(records), "x86", "arm").verdict is Verdict.BETTER


def test_a_build_that_no_longer_proves_the_objective_does_not_pass_the_gate(records: list[Record]) -> None:
    for record in of(records, "arm"):
        assert record.knee is not None
        record.knee = msgspec.structs.replace(record.knee, confirmed=False)
    found = compare_unpaired(readings(of(records, "arm")), readings(of(records, "x86")), 0.05)
    assert found.verdict is Verdict.WORSE
    assert "no run proves the objective any more" in found.why
    both = compare_unpaired(readings(of(records, "arm")), readings(of(records, "arm")), 0.05)
    assert both.verdict is Verdict.INCONCLUSIVE


def test_an_arm_is_not_compared_with_itself(records: list[Record]) -> None:
    with pytest.raises(RecordError, match="with another one, not with itself"):
        compare(readings(records), "x86", "x86")
    with pytest.raises(RecordError, match="not with itself"):
        compare(readings(records), "x86", "arm", replica="x86")


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
