"""Reading one run record: the figures that reports show, each with its evidence class, or the reason why it is not
shown.

The reasons are one sentence for each case, so that all commands and reports say the same. Nothing here is stored. A
record holds what was seen; what it means is worked out each time, so a better model of power next year reads this
year's records.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

import msgspec

from loadtest import units
from loadtest.errors import RecordError
from loadtest.experiment.curve import queries_per_joule_over_curve
from loadtest.power.models import Modelled, Side, modelled_watts, unmodelled
from loadtest.prices.price import Price
from loadtest.record.run_record import Record
from loadtest.record.trial import Interference, Trial
from loadtest.record.validity_checks import INTERFERENCE, taken

BEYOND = 1.05  # of the interval's upper end


class Capacity(msgspec.Struct, frozen=True):
    """Queries a second at the objective: the estimate with its interval, and what a confirmation promised."""

    qps: float
    low: float
    high: float
    sustained_qps: float


def capacity(record: Record) -> Capacity | None:
    """Of a knee; of a single run that met its objective, the achieved rate, as a lower bound without an interval."""
    if record.invalid:
        return None
    if record.knee is not None:
        knee = record.knee
        return Capacity(knee.knee_qps, knee.knee_low_qps, knee.knee_high_qps, knee.sustained_qps)
    for trial in record.trials:
        if trial.role in ("run", "soak") and not record.objective.misses(trial, strict=False):
            return Capacity(trial.achieved_qps, trial.achieved_qps, trial.achieved_qps, trial.achieved_qps)
    return None


def no_capacity(record: Record) -> str:
    """Why `capacity` is None."""
    if record.invalid:
        return "the run is invalid"
    if record.kind == "indexing":
        return "it made an index and answered no query"
    if record.kind == "knee" and record.knee is None:
        return "the search did not come to its end"
    if not any(trial.role in ("run", "soak") for trial in record.trials):
        return "a load curve alone shows no capacity; perwatt loadtest knee does"
    return "the objective was missed"


def beyond_its_knee(record: Record) -> list[Trial]:
    """Trials that met the objective where the knee says that it cannot be met: the machine was not the same."""
    knee = record.knee
    if knee is None or knee.reached_limit:
        return []
    limit_qps = BEYOND * max(knee.knee_high_qps, knee.bracket_qps[1])
    return [
        trial
        for trial in record.trials
        if trial.role != "voided" and trial.offered_qps > limit_qps and not record.objective.misses(trial, strict=False)
    ]


def disturbance(record: Record) -> str:
    """What other programs took in the worst trials, of a run that was told to let that pass; empty if it was little."""
    worst: dict[str, Interference] = {}
    for each in (each for trial in record.trials if trial.role != "voided" for each in trial.interference):
        if each.share > max(worst[each.whose].share if each.whose in worst else 0.0, INTERFERENCE):
            worst[each.whose] = each
    if not worst:
        return ""
    return (
        f"other programs took {' and '.join(taken(each) for each in worst.values())} in the worst trial, where a valid "
        f"one allows {units.percent(INTERFERENCE, 1)}; --allow-interference let it pass"
    )


def headline_trial(record: Record) -> Trial | None:
    """The trial whose latencies and joules stand for the run: the passed confirmation, else the single run."""
    confirmed = [t for t in record.trials if t.role == "confirm" and not record.objective.misses(t, strict=True)]
    if confirmed:
        return confirmed[-1]
    single = [t for t in record.trials if t.role in ("run", "soak")]
    return single[-1] if single else None


def cores_of(record: Record) -> int | None:
    """Physical cores of the machine under test: from the price table's instance, else from the machine itself."""
    if record.cores_served is not None:
        return record.cores_served
    if record.price is not None:
        return record.price.cores
    return record.server.cores if record.server is not None else None


def vcpus_of(record: Record) -> int | None:
    if record.cores_served is not None:
        return record.cores_served
    if record.price is not None:
        return record.price.vcpus
    return record.server.threads if record.server is not None else None


def microarchitecture_of(record: Record) -> str | None:
    if record.price is not None and record.price.microarchitecture != "unknown":
        return record.price.microarchitecture
    if record.server is not None and record.server.microarchitecture != "unknown":
        return record.server.microarchitecture
    return None


def utilisation(record: Record) -> tuple[float, str]:
    """Share of the machine's CPU that the service used at the headline trial, and how that is known."""
    trial = headline_trial(record)
    threads = vcpus_of(record)
    if trial is not None and threads and not math.isnan(trial.cores_used):
        return min(trial.cores_used / threads, 1.0), "measured: CPU time of the service's processes"
    return 1.0, "assumed: full load at the knee"


def side_of(*records: Record) -> Side | None:
    """The machine as the power models see it; None when its microarchitecture or cores are unknown.

    records: those of one arm; its utilisation is their mean.
    """
    micro, cores = microarchitecture_of(records[0]), cores_of(records[0])
    if micro is None or cores is None:
        return None
    return Side(micro, float(cores), round(fmean(utilisation(record)[0] for record in records), 3))


def price_of(records: Sequence[Record]) -> Price | None:
    """What an hour of the arm's machine costs; None unless every record has a price. RecordError when they differ."""
    prices = [record.price for record in records if record.price is not None]
    if len({price.usd_per_hour for price in prices}) > 1:
        raise RecordError(f"the runs of {records[0].label.arm} have different prices: price them alike")
    return prices[0] if len(prices) == len(records) else None


class PerJoule(msgspec.Struct, frozen=True):
    """Queries a joule. `evidence` is measured, modelled or none; low and high are equal for a measurement."""

    evidence: str
    low: float
    mid: float
    high: float
    domain: str
    how: str

    @classmethod
    def none(cls, unmeasured: str, unmodelled: str) -> PerJoule:
        return cls("none", math.nan, math.nan, math.nan, "", f"not measured: {unmeasured}; not modelled: {unmodelled}")


def queries_per_joule(record: Record) -> PerJoule:
    """Measured if the headline trial was metered, else modelled if a model knows the machine, else none."""
    trial = headline_trial(record)
    if trial is not None and trial.energy is not None and trial.energy.joules > 0 and not record.invalid:
        value = trial.answered / trial.energy.joules
        how = f"{trial.energy.source}, {trial.energy.samples} readings"
        if record.shared:
            how += "; the generator ran on the same machine and is in these joules"
        return PerJoule("measured", value, value, value, trial.energy.domain, how)
    found, power = capacity(record), modelled_power(record)
    if record.knee is not None and not record.knee.confirmed and found is not None:
        return PerJoule.none(no_joules(record), "no trial confirmed a rate, so there is none to divide by watts")
    if found is not None and power is not None:
        how = f"modelled from {', '.join(power.models)}; utilisation {utilisation(record)[1]}"
        return PerJoule("modelled", found.qps / power.high_w, found.qps / power.mid_w, found.qps / power.low_w,
                        "whole server, modelled", how)  # fmt: skip
    if found is None:
        return PerJoule.none(no_joules(record), f"{no_capacity(record)}, so there is no rate to divide by watts")
    return PerJoule.none(no_joules(record), no_model(record) or "")


def no_joules(record: Record) -> str:
    """Why no sensor's joules stand for the run."""
    if record.label.simulated:
        return "a simulation draws no power"
    if record.power_notes:
        return f"the sensor failed while it ran ({record.power_notes[0]})"
    if any(trial.energy is not None for trial in record.trials):
        return "what was metered was no confirmed trial"
    if record.kind != "indexing" and not record.shared:
        return "the service ran on another machine, and no sensor of that one was named (--redfish, --shelly)"
    return "no power sensor of this machine can be read (perwatt power says why)"


def no_model(record: Record) -> str | None:
    """Why no model says what the machine under test draws; None when one does."""
    if record.server is None and record.price is None:
        return "the machine under test was not described (--server-facts, or --instance)"
    cpu = record.server.cpu if record.server is not None else record.price.instance if record.price else ""
    return unmodelled(microarchitecture_of(record), cores_of(record), cpu)


def no_price(record: Record) -> str:
    """Why the machine has no price."""
    for note in record.notes:
        if note.startswith("no price: "):
            return note.removeprefix("no price: ")
    return "which machine this is in a price table was not told (--instance NAME; --prices FILE for one of your own)"


def modelled_power(record: Record) -> Modelled | None:
    side = side_of(record)
    return modelled_watts(side.microarchitecture, side.cores, side.utilisation) if side else None


def curve_queries_per_joule(record: Record) -> float | None:
    return queries_per_joule_over_curve([t for t in record.trials if t.role in ("curve", "idle")])


def queries_per_dollar(record: Record) -> float | None:
    found = capacity(record)
    if found is None or record.price is None:
        return None
    return 3600 * found.qps / record.price.usd_per_hour


def usd_per_million(record: Record) -> float | None:
    per_dollar = queries_per_dollar(record)
    return 1e6 / per_dollar if per_dollar else None
