"""Was it the service that was measured, or ourselves, or somebody else? The checks that a trial must pass before its
numbers are shown.

A generator that is itself too slow reports its own queue as the service's, and reports a lower rate as if nothing had
happened. So each way of being too slow has a check with a number. A check that could not be checked says so; it is not
taken as passed. Only sheds blame the service: all connections were waiting for it.

A trial far beyond what the service can do needs no fine clock: when the time from the actual send alone misses the
objective by more than every stall of ours together, it is a miss whoever was late, and lag, stalls and the ceiling are
not judged.

Other programs on the CPUs of the service or of the generator are judged whoever was slow. A CPU gives a program no
more than the others leave of it, so a share that they take is a share that the knee loses; and p99 is about one request
in a hundred, so neighbours who hold the CPU for longer than that are in it. The limit is INTERFERENCE.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from loadtest import units
from loadtest.record.histogram import Histogram
from loadtest.record.results import Calibration
from loadtest.record.trial import Interference, OneGenerator, Trial, ValidityCheck

SHARE_OF_SLO = 0.10  # what the generator may add to p99 before it matters
CPU_LIMIT = 0.70
CPU_SECONDS = 0.05  # this share of the seconds may be above it: a garbage collection is not a saturation
SENT = 0.995
HEADROOM = 3.0
# Of the CPUs' time. The search for a knee narrows to 3 %, so it does not see a smaller loss. A quiet machine's own
# housekeeping takes about 1 %, and in a trial of a few seconds the kernel's counting errs by as much.
INTERFERENCE = 0.05

REMEDIES = {
    "generator": "Give the generator more processes (--generators) or a machine of its own.",
    "lost generator": "Look at the generator that was lost and at its host: what perwatt loadtest worker said, memory, "
    "the network to the master.",
    "service": "The service did not keep up: offer less, or allow more connections (--max-in-flight).",
    "network": "Something between the two takes time, or the clocks disagree: measure without what is in between.",
    "other programs": "End the other programs, or say --allow-interference (make report LENIENT=1), and the report "
    "says that they ran.",
}


def validity_checks(
    trial: Trial, slo_p99_ms: float, calibration: Calibration | None, allow_interference: bool = False
) -> list[ValidityCheck]:
    """All checks of a trial, in the order in which they should be read. Of several generators each is judged, and who
    fails is named."""
    allowed_s = SHARE_OF_SLO * slo_p99_ms / 1e3
    found = [_lag(trial, allowed_s), _cpu(trial), _stall(trial, allowed_s)]
    if beyond_doubt(trial, slo_p99_ms / 1e3):
        _not_judged(found[0], found[2])
    if trial.planned:
        found += [_missed(trial), _shed(trial)]
    if trial.generator.each or trial.generator.lost:
        found.append(_to_the_end(trial))
    found.append(_ceiling(trial, calibration, allowed_s))
    if beyond_doubt(trial, slo_p99_ms / 1e3):
        _not_judged(found[-1])
    found += [_clocks(trial, slo_p99_ms), _others(trial, allow_interference)]
    return found


def _not_judged(*failed: ValidityCheck) -> None:
    for check in failed:
        if check.ok is False:
            check.ok = None
            check.found += " (the service is overloaded beyond doubt: not judged)"


def beyond_doubt(trial: Trial, slo_s: float) -> bool:
    """The service missed the objective by more than we could have been late: the send itself and every stall."""
    stalls = Histogram.decode(trial.generator.stall)
    if not trial.answered or not stalls.total:
        return False
    late_s = trial.lag_s(0.999) + stalls.max_s()
    return trial.service_s(0.99) - late_s > slo_s


def _worst(trial: Trial, value: Callable[[OneGenerator], float], whole: float) -> tuple[float, str]:
    """The highest value of the generators, and whose it is; `whole` where there is only one."""
    ranked = [(each, one.name) for one in trial.generator.each if not math.isnan(each := value(one))]
    return max(ranked) if ranked else (whole, "")


def _by(name: str, ok: bool | None) -> str:
    return f" by {name}" if name and not ok else ""


def _lag(trial: Trial, allowed_s: float) -> ValidityCheck:
    lag_s, whose = _worst(trial, lambda one: Histogram.decode(one.lag).quantile_s(0.99), trial.lag_s(0.99))
    ok = lag_s <= allowed_s if trial.sent else None
    found = units.seconds(lag_s) + _by(whose, ok)
    return ValidityCheck("schedule lag, p99", ok, found, f"≤ {units.seconds(allowed_s)}")


def _cpu(trial: Trial) -> ValidityCheck:
    limit = f"≤ {CPU_LIMIT:.0%} of a core in {1 - CPU_SECONDS:.0%} of the seconds"
    names = [one.name for one in trial.generator.each] or [""] * len(trial.generator.cpu)
    sampled = [(np.array(shares), name) for shares, name in zip(trial.generator.cpu, names, strict=True) if shares]
    if not sampled:
        return ValidityCheck("generator CPU", None, "not sampled", limit)
    above, busiest, whose = max(
        (float((shares > CPU_LIMIT).mean()), float(np.quantile(shares, 1 - CPU_SECONDS)), name)
        for shares, name in sampled
    )
    ok = above <= CPU_SECONDS
    return ValidityCheck("generator CPU", ok, f"{busiest:.0%} of a core{_by(whose, ok)}", limit)


def _stall(trial: Trial, allowed_s: float) -> ValidityCheck:
    histogram = Histogram.decode(trial.generator.stall)
    whole_s = histogram.quantile_s(0.99)
    stall_s, whose = _worst(trial, lambda one: Histogram.decode(one.stall).quantile_s(0.99), whole_s)
    ok = stall_s <= allowed_s if histogram.total else None
    found = units.seconds(stall_s) + _by(whose, ok)
    return ValidityCheck("event-loop stall, p99", ok, found, f"≤ {units.seconds(allowed_s)}")


def _missed(trial: Trial) -> ValidityCheck:
    share, whose = _worst(
        trial, lambda one: one.missed / one.planned if one.planned else 0.0, trial.missed / trial.planned
    )
    ok = share <= 1 - SENT
    return ValidityCheck("sends made on time", ok, f"{share:.2%} missed{_by(whose, ok)}", f"≤ {1 - SENT:.1%}")


def _shed(trial: Trial) -> ValidityCheck:
    shed = trial.shed / trial.planned
    return ValidityCheck(
        "connections to spare",
        shed <= 1 - SENT,
        f"{shed:.2%} shed",
        f"≤ {1 - SENT:.1%} with {trial.generator.max_in_flight} in flight a process",
        cause="service",
    )


def _to_the_end(trial: Trial) -> ValidityCheck:
    facts = trial.generator
    limit = f"all {len(facts.each) + len(facts.lost)}"
    found = "; ".join(facts.lost) or f"{len(facts.each)} reported"
    return ValidityCheck("generators to the end", not facts.lost, found, limit, cause="lost generator")


def _ceiling(trial: Trial, calibration: Calibration | None, allowed_s: float) -> ValidityCheck:
    limit = f"≥ {HEADROOM:g} × {units.rate(trial.offered_qps)} against a null server"
    if calibration is None:
        return ValidityCheck("generator ceiling", None, "not calibrated", limit)
    p99_s = calibration.p99_ms / 1e3
    enough = calibration.sustained_qps >= HEADROOM * trial.offered_qps * 0.995
    return ValidityCheck(
        "generator ceiling",
        enough and p99_s <= allowed_s,
        f"{units.rate(calibration.sustained_qps)} with p99 {units.seconds(p99_s)}",
        f"{limit}, p99 ≤ {units.seconds(allowed_s)}",
    )


def _clocks(trial: Trial, slo_p99_ms: float) -> ValidityCheck:
    """The service's own times and ours, of the same requests, must agree; judged below overload only."""
    allowed_s = 1e-3 + SHARE_OF_SLO * slo_p99_ms / 1e3
    limit = f"median differs ≤ {units.seconds(allowed_s)}"
    server = trial.server
    took = Histogram.decode(server.took) if server is not None else Histogram()
    if server is None or took.total < 20:
        return ValidityCheck(
            "client and server clocks agree",
            None,
            "too few sampled answers with took_ms",
            limit,
            "network",
        )
    apart_s = Histogram.decode(server.service).quantile_s(0.5) - took.quantile_s(0.5)
    overloaded = trial.response_s(0.99) * 1e3 > slo_p99_ms
    found = f"ours is {units.seconds(apart_s)} longer"
    return ValidityCheck(
        "client and server clocks agree",
        None if overloaded else -1e-4 <= apart_s <= allowed_s,
        found + (" (overloaded: not judged)" if overloaded else ""),
        limit,
        "network",
    )


def _others(trial: Trial, allowed: bool) -> ValidityCheck:
    name, limit = "CPU taken by other programs", f"≤ {units.percent(INTERFERENCE, 1)} of each"
    if not trial.interference:
        return ValidityCheck(name, None, "cannot be seen from here", limit, "other programs")
    found = " and ".join(taken(each) for each in trial.interference)
    quiet = all(each.share <= INTERFERENCE for each in trial.interference)
    if not quiet and allowed:
        return ValidityCheck(name, None, f"{found} (--allow-interference: not judged)", limit, "other programs")
    return ValidityCheck(name, quiet, found, limit, "other programs")


def taken(by_others: Interference) -> str:
    """ "91 % of the service's CPU", "12 % of the generator's 4 CPUs"."""
    cpus = "CPU" if by_others.cpus == 1 else f"{by_others.cpus} CPUs"
    return f"{units.percent(by_others.share, 2)} of the {by_others.whose}'s {cpus}"


def reasons(trial: Trial) -> list[str]:
    """Sentences for the checks that failed."""
    return [
        f"{check.name}: {check.found}, expected {check.limit} ({check.cause})"
        for check in trial.gates
        if check.ok is False
    ]


def remedies(trial: Trial) -> list[str]:
    """What to do about them, a sentence for each cause."""
    return [REMEDIES[cause] for cause in dict.fromkeys(check.cause for check in trial.gates if check.ok is False)]
