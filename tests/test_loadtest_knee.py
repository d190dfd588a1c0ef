"""The search for the knee against queues whose knee is known on paper, in virtual time."""

from __future__ import annotations

import math

import numpy as np
import pytest

from loadtest.errors import InvalidRun, TargetError
from loadtest.experiment.curve import load_curve, queries_per_joule_over_curve
from loadtest.experiment.effort import cheapest_effort
from loadtest.experiment.knee import Measure, find_knee
from loadtest.power.energy import Energy
from loadtest.record.intervals import quantile_interval_s
from loadtest.record.objective import Objective
from loadtest.record.trial import RecallEstimate, ServerSide, Trial, ValidityCheck
from loadtest.selftest.simulate import Queue, md1_response_cdf, mmc_response_tail, paper_knee_qps, simulated_trial
from loadtest.targets.named import FOLDER
from loadtest.targets.template import read_template


def measure_of(queue: Queue, seed: int) -> Measure:
    number = [seed]

    def measure(rate: float, duration: float, role: str) -> Trial:
        number[0] += 1
        return simulated_trial(queue, rate, duration, number[0], role)

    return measure


@pytest.mark.parametrize(
    ("queue", "slo_s", "seed"),
    [
        (Queue(0.001), 0.010, 100),
        (Queue(0.010, 8, constant=False), 0.080, 200),
    ],
)
def test_the_knee_is_the_one_on_paper_within_three_percent(queue: Queue, slo_s: float, seed: int) -> None:
    """Other queues than those of `perwatt loadtest selftest`, which runs among the tests too."""
    knee, trials = find_knee(measure_of(queue, seed), Objective(p99_ms=slo_s * 1e3), search_s=30, confirm_s=90)
    paper = paper_knee_qps(queue, slo_s)
    assert knee.knee_qps == pytest.approx(paper, rel=0.03)
    assert knee.confirmed
    assert paper * 0.85 < knee.sustained_qps < paper * 1.03
    assert knee.knee_low_qps <= knee.knee_qps <= knee.knee_high_qps
    assert [t.role for t in trials][-1] == "confirm"


def test_the_paper_agrees_with_what_is_known() -> None:
    """M/M/1's tail is exponential; M/D/1's mean wait at 80 % load is two service times."""
    assert mmc_response_tail(0.01, 800, 0.001, 1) == pytest.approx(math.exp(-200 * 0.01))
    times = np.linspace(0, 0.06, 20_001)
    tails = [1 - md1_response_cdf(t, 800, 0.001) for t in times]
    assert np.trapezoid(tails, times) == pytest.approx(0.001 + 0.002, rel=1e-3)


def test_simulated_waits_follow_the_paper() -> None:
    trial = simulated_trial(Queue(0.001), 800, 300, 5)
    for q in (0.5, 0.9, 0.99):
        assert md1_response_cdf(trial.response_s(q), 800, 0.001) == pytest.approx(q, abs=0.02 * (1 - q) + 0.004)


def test_four_servers_are_first_come_first_served() -> None:
    arrivals = np.array([0.0, 0.0, 0.0, 0.0, 0.1])
    queue = Queue(1.0, 2)
    assert queue.response_s(arrivals, np.random.default_rng(0)).tolist() == pytest.approx([1, 1, 2, 2, 2.9])


def test_an_objective_below_the_service_time_cannot_be_met_and_says_so() -> None:
    with pytest.raises(TargetError, match="not met even at"):
        find_knee(measure_of(Queue(0.1), 1), Objective(p99_ms=50))


def test_the_limit_ends_the_search_and_is_told() -> None:
    knee, _ = find_knee(measure_of(Queue(0.001), 1), Objective(p99_ms=100), limit_qps=200)
    assert knee.reached_limit
    assert knee.sustained_qps == 200


def stumbling(stumbles: int, queue: Queue) -> Measure:
    """The first `stumbles` trials fail a check of the generator."""
    inner, left = measure_of(queue, 1), [stumbles]

    def measure(rate: float, duration: float, role: str) -> Trial:
        trial = inner(rate, duration, role)
        if left[0] > 0:
            left[0] -= 1
            trial.gates = [ValidityCheck("schedule lag, p99", False, "1 s", "≤ 2 ms")]
        return trial

    return measure


def test_a_stumble_of_the_generator_is_repeated_and_kept_as_voided() -> None:
    knee, trials = find_knee(stumbling(2, Queue(0.001)), Objective(p99_ms=20))
    assert [t.role for t in trials[:3]] == ["voided", "voided", "search"]
    assert knee.confirmed


def test_a_generator_that_goes_on_stumbling_gives_no_knee() -> None:
    trials: list[Trial] = []
    with pytest.raises(InvalidRun, match="say nothing about the service: schedule lag, p99: 1 s"):
        find_knee(stumbling(99, Queue(0.001)), Objective(p99_ms=20), trials=trials)
    assert [t.role for t in trials] == ["voided", "voided", "search"]


def test_one_bad_trial_does_not_halve_the_capacity() -> None:
    inner, queue = measure_of(Queue(0.001), 3), Queue(0.001)
    bad = simulated_trial(queue, 1050, 30, 1)
    calls = [0]

    def measure(rate: float, duration: float, role: str) -> Trial:
        calls[0] += 1
        trial = inner(rate, duration, role)
        if calls[0] == 2:
            trial.response = bad.response
        return trial

    knee, _ = find_knee(measure, Objective(p99_ms=20), search_s=30, confirm_s=60)
    assert knee.knee_qps == pytest.approx(paper_knee_qps(queue, 0.020), rel=0.03)


def slowing(queue: Queue, slower: Queue) -> Measure:
    """A server on a machine that is fast while trials are short; it refuses what it cannot answer in time."""
    short, long = measure_of(queue, 1), measure_of(slower, 2)

    def measure(rate: float, duration: float, role: str) -> Trial:
        if role != "confirm":
            return short(rate, duration, role)
        capacity_qps = 0.9 / slower.mean_s
        trial = long(min(rate, capacity_qps), duration, role)
        trial.offered_qps, refused = rate, round(max(rate - capacity_qps, 0.0) * duration)
        trial.planned, trial.sent = trial.planned + refused, trial.sent + refused
        trial.errors = {"status 429": refused} if refused else {}
        return trial

    return measure


def test_a_confirmation_that_fails_by_far_is_not_followed_by_one_three_percent_lower() -> None:
    told: list[str] = []
    knee, _ = find_knee(
        slowing(Queue(0.001), Queue(0.0015)), Objective(p99_ms=60), search_s=4, confirm_s=30, tell=told.append
    )
    confirmations = [line for line in told if line.startswith("confirm")]
    assert knee.confirmed
    assert 0.75 * 600 < knee.sustained_qps <= 600
    assert len(confirmations) <= 6
    assert knee.bracket_qps[0] <= 600 < 900 < knee.bracket_qps[1], "both were seen"
    assert knee.knee_low_qps <= 600, "the interval says that the machine was not the same"


def test_the_interval_of_p99_holds_the_truth_in_about_nine_of_ten_windows() -> None:
    """Near saturation, where it is hardest; an interval that took requests for independent holds it in four."""
    queue, rate = Queue(0.001), 880.0
    truth = next(t / 1e5 for t in range(1, 10_000) if md1_response_cdf(t / 1e5, rate, 0.001) >= 0.99)
    held = 0
    for seed in range(60):
        low, high = quantile_interval_s(simulated_trial(queue, rate, 30, seed).slices, 0.99, seed=seed)
        held += low <= truth <= high
    assert 49 <= held <= 59


def test_short_trials_still_leave_an_interval() -> None:
    """A trial of four seconds has too few slices to resample; the trials themselves are resampled too."""
    held = 0
    queue = Queue(0.002)
    paper = paper_knee_qps(queue, 0.020)
    for seed in range(10):
        knee, _ = find_knee(
            measure_of(queue, seed * 1000), Objective(p99_ms=20), start_qps=200, search_s=4, confirm_s=8
        )
        assert knee.knee_low_qps < knee.knee_qps < knee.knee_high_qps
        held += knee.knee_low_qps <= paper <= knee.knee_high_qps
    assert held >= 7


def test_too_few_slices_have_no_upper_bound() -> None:
    assert math.isinf(quantile_interval_s(simulated_trial(Queue(0.001), 500, 5, 1).slices, 0.99)[1])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"errors": {"status 500": 400}}, "failed"),
        ({"answered": 100}, "was answered"),
        ({"recall": RecallEstimate(0.90, 0.88, 0.92, 100, 10)}, "recall is 0.9000"),
    ],
)
def test_the_objective_is_more_than_latency(change: dict[str, object], says: str) -> None:
    trial = simulated_trial(Queue(0.001), 500, 30, 1, recall=RecallEstimate(0.97, 0.96, 0.98, 100, 10))
    objective = Objective(p99_ms=20, recall=0.95)
    assert objective.misses(trial, strict=True) == []
    for name, value in change.items():
        setattr(trial, name, value)
    assert any(says in missed for missed in objective.misses(trial, strict=False))


def test_recall_is_proven_by_its_lower_bound() -> None:
    trial = simulated_trial(Queue(0.001), 500, 30, 1, recall=RecallEstimate(0.96, 0.94, 0.98, 100, 10))
    objective = Objective(p99_ms=20, recall=0.95)
    assert objective.misses(trial, strict=False) == []
    assert "lower bound of recall" in objective.misses(trial, strict=True)[0]
    trial.recall = None
    assert "could not be measured" in objective.misses(trial, strict=True)[0]


def test_recall_may_have_to_be_proven_where_the_tail_is_taken_as_it_is() -> None:
    trial = simulated_trial(Queue(0.001), 500, 30, 1, recall=RecallEstimate(0.96, 0.94, 0.98, 100, 10))
    objective = Objective(p99_ms=trial.response_s(0.99) * 1e3, recall=0.95)  # whose upper bound is above it
    assert len(objective.misses(trial, strict=True)) == 2
    [missed] = objective.misses(trial, strict=False, proven=True)
    assert "lower bound of recall" in missed
    trial.recall = None
    assert objective.misses(trial, strict=False, proven=True) == ["recall was asked for and could not be measured"]


def test_answers_that_are_none_fail_the_objective() -> None:
    """A 200 that says that there are too many requests is quick, and not an answer."""
    trial = simulated_trial(Queue(0.001), 500, 30, 1)
    trial.server = ServerSide(sampled=1000, took="", service="", unreadable=1)
    objective = Objective(p99_ms=20)
    assert objective.misses(trial, strict=False) == []
    trial.server.unreadable = 20
    assert objective.misses(trial, strict=False) == ["2.00% of the sampled answers could not be read, above 0.10%"]


def test_the_line_of_the_tail_does_not_say_where_errors_begin() -> None:
    """From 700 queries a second on one in fifty fails, long before the tail does."""
    inner = measure_of(Queue(0.001), 1)

    def measure(rate: float, duration: float, role: str) -> Trial:
        trial = inner(rate, duration, role)
        if rate > 700:
            trial.errors = {"status 503": trial.planned // 50}
        return trial

    knee, _ = find_knee(measure, Objective(p99_ms=20), search_s=30, confirm_s=60)
    low, high = knee.bracket_qps
    assert low <= 700 <= high <= 760
    assert low <= knee.knee_qps <= high


def test_the_curve_rises_to_the_capacity_and_sums_energy_as_specpower_does() -> None:
    trials = load_curve(measure_of(Queue(0.001), 9), lambda: simulated_trial(Queue(0.001), 0, 10, 0, "idle"), 800)
    assert [round(t.offered_qps) for t in trials] == [0, *range(80, 801, 80)]
    assert queries_per_joule_over_curve(trials) is None
    for trial in trials:
        watts = 50 + trial.offered_qps / 10
        trial.energy = Energy("t", "package", watts * trial.window_s, trial.window_s, 2, {})
    expected = sum(t.achieved_qps for t in trials) / sum(50 + t.offered_qps / 10 for t in trials)
    assert queries_per_joule_over_curve(trials) == pytest.approx(expected)
    assert trials[3].energy is not None
    trials[3].energy.domain = "wall"
    assert queries_per_joule_over_curve(trials) is None


def test_the_cheapest_effort_that_proves_the_target_is_found() -> None:
    def recall_at(effort: int) -> RecallEstimate:
        mean = 1 - 0.5 * math.exp(-effort / 40)
        return RecallEstimate(mean, mean - 0.01, mean + 0.01, 300, 10)

    effort, recall = cheapest_effort(recall_at, 0.95)
    least = next(e for e in range(1, 500) if recall_at(e).low >= 0.95)
    assert least <= effort <= least * 1.06
    assert recall.low >= 0.95
    with pytest.raises(TargetError, match="not proven even at effort 4096"):
        cheapest_effort(recall_at, 0.999)


def test_an_effort_that_the_engine_refuses_is_not_asked() -> None:
    asked = []

    def recall_at(effort: int) -> RecallEstimate:
        asked.append(effort)
        return RecallEstimate(0.97, 0.96 if effort >= 900 else 0.9, 0.98, 300, 10)

    effort, _ = cheapest_effort(recall_at, 0.95, highest=1000)
    assert 900 <= effort <= 950
    assert max(asked) == 1000
    with pytest.raises(TargetError, match="not proven even at effort 1000"):
        cheapest_effort(recall_at, 0.97, highest=1000)
    assert read_template(FOLDER / "pgvector.toml").highest_effort == 1000
