"""Every way in which a generator can be too slow has a check that closes."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from loadtest.errors import LoadTestError
from loadtest.generator.calibration import calibrate
from loadtest.record.histogram import Histogram
from loadtest.record.results import Calibration
from loadtest.record.trial import Interference, OneGenerator, ServerSide, Trial
from loadtest.record.validity_checks import INTERFERENCE, reasons, remedies, validity_checks
from loadtest.selftest.simulate import Queue, simulated_trial

SLO_MS = 20.0
GOOD = Calibration(sustained_qps=2000, p99_ms=0.5, lag_p99_ms=0.1, cpu=0.2, processes=1, tried=[])


def encoded(seconds: float) -> str:
    return Histogram.of_seconds(np.full(1000, seconds)).encode()


def trial(**generator: Any) -> Trial:
    made = simulated_trial(Queue(0.001), 500, 30, 1)
    made.server = ServerSide(100, encoded(0.0012), encoded(0.0015))
    made.interference = [Interference("service", 2, 0.02, 0.0), Interference("generator", 1, 0.01, 0.0)]
    for name, value in generator.items():
        setattr(made.generator, name, value)
    return made


def closed(made: Trial, calibration: Calibration | None = GOOD) -> list[str]:
    made.gates = validity_checks(made, SLO_MS, calibration)
    return [check.name for check in made.gates if check.ok is False]


def test_a_quiet_generator_passes_every_gate() -> None:
    made = trial()
    assert closed(made) == []
    assert all(check.ok for check in made.gates)
    assert made.valid


@pytest.mark.parametrize(
    ("generator", "name"),
    [
        ({"lag": encoded(0.0021)}, "schedule lag, p99"),
        ({"stall": encoded(0.0021)}, "event-loop stall, p99"),
        ({"cpu": [[0.2] * 30, [0.71] * 30]}, "generator CPU"),
    ],
)
def test_each_slowness_closes_its_own_gate(generator: dict[str, Any], name: str) -> None:
    made = trial(**generator)
    assert closed(made) == [name]
    assert made.spoiled
    assert name in reasons(made)[0]


def test_one_busy_second_in_thirty_is_not_saturation() -> None:
    assert closed(trial(cpu=[[0.2] * 29 + [0.95]])) == []


OTHERS = "CPU taken by other programs"


@pytest.mark.parametrize("whose", ["service", "generator", "service and generator"])
def test_other_programs_beyond_their_share_spoil_a_trial_whoever_they_disturb(whose: str) -> None:
    made = trial()
    made.interference[-1] = Interference(whose, 4, 4 * INTERFERENCE, 0.0)
    assert closed(made) == []
    made.interference[-1] = Interference(whose, 4, 4 * INTERFERENCE + 0.02, 0.0)
    assert closed(made) == [OTHERS]
    assert made.spoiled
    [reason] = reasons(made)
    assert f"1.0 % of the service's 2 CPUs and 5.5 % of the {whose}'s 4 CPUs, expected ≤ 5 %" in reason
    [remedy] = remedies(made)
    assert remedy.startswith("End the other programs, or say --allow-interference")


def test_other_programs_may_be_allowed_and_are_still_told() -> None:
    made = trial()
    made.interference = [Interference("service", 1, 0.83, 0.0)]
    made.gates = validity_checks(made, SLO_MS, GOOD, allow_interference=True)
    assert made.valid
    assert not made.spoiled
    [check] = [check for check in made.gates if check.name == OTHERS]
    assert check.ok is None
    assert check.found == "83 % of the service's CPU (--allow-interference: not judged)"


def test_missed_sends_blame_the_generator_and_sheds_the_service() -> None:
    made = trial()
    made.missed = made.planned // 100
    assert closed(made) == ["sends made on time"]
    assert made.spoiled
    made = trial()
    made.shed = made.planned // 100
    assert closed(made) == ["connections to spare"]
    assert not made.spoiled
    assert not made.valid


@pytest.mark.parametrize("changes", [{"sustained_qps": 1400.0}, {"p99_ms": 2.1}])
def test_a_ceiling_below_three_times_the_rate_or_with_a_tail_is_too_low(changes: dict[str, float]) -> None:
    import msgspec

    assert closed(trial(), msgspec.structs.replace(GOOD, **changes)) == ["generator ceiling"]


def test_what_could_not_be_checked_is_not_passed() -> None:
    made = trial()
    made.server = None
    made.generator.cpu, made.interference = [], []
    closed(made, None)
    unknown = {check.name for check in made.gates if check.ok is None}
    assert unknown == {
        "generator ceiling", "client and server clocks agree", "generator CPU", "CPU taken by other programs",
    }  # fmt: skip


def test_clocks_that_disagree_are_found_below_overload_only() -> None:
    made = trial()
    made.server = ServerSide(100, encoded(0.001), encoded(0.008))
    assert closed(made) == ["client and server clocks agree"]
    assert not made.spoiled
    made.server = ServerSide(100, encoded(0.008), encoded(0.001))
    assert closed(made) == ["client and server clocks agree"], "an answer cannot be faster than its making"
    made.response = encoded(1.0)
    assert closed(made) == []


def test_calibration_climbs_until_the_tail_grows_and_falls_when_it_must() -> None:
    def measure(rate: float) -> Trial:
        return simulated_trial(Queue(1 / 9000), rate, 2, 1)

    found = calibrate(measure, 2000, allowed_ms=2.0, ceiling=True)
    assert 4500 <= found.sustained_qps <= 9000
    assert len(found.tried) >= 3
    low = calibrate(measure, 40_000, allowed_ms=2.0)
    assert 0 < low.sustained_qps < 9000
    assert calibrate(measure, 2000, allowed_ms=1e-6).sustained_qps == 0


def test_an_overload_beyond_doubt_needs_no_fine_clock_and_a_stumble_below_it_does() -> None:
    late = {"lag": encoded(0.040), "stall": encoded(0.040)}
    overloaded = trial(**late)
    overloaded.service = encoded(3.0)
    low = msgspec.structs.replace(GOOD, sustained_qps=600.0)
    assert closed(overloaded, low) == []
    assert [check.name for check in overloaded.gates if "overloaded beyond doubt" in check.found] == [
        "schedule lag, p99", "event-loop stall, p99", "generator ceiling",
    ]  # fmt: skip
    close = trial(**late)
    close.service = encoded(0.090)  # 20 ms are allowed, and 80 ms of it may have been ours
    assert closed(close, low) == ["schedule lag, p99", "event-loop stall, p99", "generator ceiling"]


def test_one_hiccup_is_not_a_ceiling_and_a_generator_that_never_ends_is_one() -> None:
    asked: list[float] = []

    def measure(rate: float) -> Trial:
        asked.append(rate)
        if rate > 4000:
            raise LoadTestError("the generator did not report its part")
        queue = Queue(1 / 9000) if len(asked) != 2 else Queue(1 / 2100)  # the second trial meets a neighbour
        return simulated_trial(queue, rate, 2, 1)

    found = calibrate(measure, 2000, allowed_ms=2.0, ceiling=True)
    assert asked == [2000, 3000, 3000, 4500, 4500]
    assert found.sustained_qps == 3000
    assert found.tried[-1] == (4500, 0.0, 0.0)


def test_a_generator_that_never_comes_to_an_end_has_no_ceiling_and_loses_nothing() -> None:
    def measure(rate: float) -> Trial:
        raise LoadTestError("1 of 1 generator processes did not report their part")

    found = calibrate(measure, 900, allowed_ms=2.0)
    assert (found.sustained_qps, found.processes) == (0, 0)
    assert [rate for rate, _, _ in found.tried] == pytest.approx([900, 900, 600, 600, 400, 400])
    judged = trial()
    judged.gates = validity_checks(judged, 100, found)
    assert "generator ceiling" in [check.name for check in judged.gates if check.ok is False]


def one_of_two(**starved: Any) -> Trial:
    """Of two generators, as much as each had to send."""
    made = trial(cpu=[[0.2] * 30, [0.2] * 30])
    quiet, half = made.generator.lag, made.planned // 2
    names = ("generator 1 of 2 (host-a, process 7)", "generator 2 of 2 (host-b, process 7)")
    made.generator.each = [OneGenerator(name, half, 0, quiet, quiet) for name in names]
    for name, value in starved.items():
        setattr(made.generator.each[1], name, value)
    return made


@pytest.mark.parametrize(
    ("starved", "name"),
    [
        ({"lag": encoded(0.0021)}, "schedule lag, p99"),
        ({"stall": encoded(0.0021)}, "event-loop stall, p99"),
        ({"missed": 100}, "sends made on time"),
    ],
)
def test_one_starved_generator_of_two_spoils_the_trial_and_is_named(starved: dict[str, Any], name: str) -> None:
    assert closed(one_of_two()) == []
    made = one_of_two(**starved)  # what both saw together is within every limit
    assert closed(made) == [name]
    assert made.spoiled
    assert "generator 2 of 2 (host-b, process 7)" in reasons(made)[0]


def test_a_busy_generator_is_not_hidden_by_many_idle_ones() -> None:
    made = trial(cpu=[[0.1] * 30 for _ in range(40)])
    made.generator.each = [OneGenerator(f"generator {n + 1} of 40", 1, 0, *[made.generator.lag] * 2) for n in range(40)]
    assert closed(made) == []
    made.generator.cpu[36] = [0.99] * 30
    assert closed(made) == ["generator CPU"]
    assert "99% of a core by generator 37 of 40" in reasons(made)[0]


def test_a_generator_that_did_not_come_to_the_end_spoils_the_trial() -> None:
    made = one_of_two()
    made.generator.lost = ["generator 3 of 3 (host-c, process 7) was lost, 12 s into the window"]
    assert closed(made) == ["generators to the end"]
    assert made.spoiled
    assert "host-c" in reasons(made)[0]
    assert "perwatt loadtest worker" in remedies(made)[0]
