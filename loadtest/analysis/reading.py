"""Reading one run record: the figures that reports show, each with its evidence class, or the reason why it is not
shown.

The reasons are one sentence for each case, so that all commands and reports say the same. Nothing here is stored. A
record holds what was seen; what it means is worked out each time it is read, so a better model of power next year reads
this year's records.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from loadtest import units
from loadtest.analysis.figure import Capacity, PerJoule
from loadtest.experiment.curve import queries_per_joule_over_curve
from loadtest.power.energy import Energy
from loadtest.power.models import Side, modelled_watts, unmodelled
from loadtest.prices.price import Price
from loadtest.record.run_record import Record
from loadtest.record.trial import Interference, Trial
from loadtest.record.validity_checks import INTERFERENCE, remedies, taken

BEYOND = 1.05  # of the interval's upper end


@dataclass(frozen=True, eq=False)
class Reading:
    """What a record comes to. Each figure is worked out when it is first asked for, and once.

    Args:
        record: what was seen; it does not change any more.
    """

    record: Record

    @property
    def arm(self) -> str:
        return self.record.label.arm

    @property
    def place(self) -> str:
        """Where in the experiment it was made, in words."""
        return f"{self.arm}, block {self.record.label.block}"

    @cached_property
    def id(self) -> str:
        return self.record.id

    @cached_property
    def invalid(self) -> list[str]:
        """Why no number may be shown; empty when they may."""
        return self.record.invalid

    @cached_property
    def remedies(self) -> list[str]:
        """What would help an invalid run, each piece of advice once."""
        return list(dict.fromkeys(remedy for trial in self.record.failed for remedy in remedies(trial)))

    @cached_property
    def capacity(self) -> Capacity | None:
        """Of a knee; of a single run that met its objective, the achieved rate, as a lower bound without an
        interval."""
        record = self.record
        if self.invalid:
            return None
        if record.knee is not None:
            knee = record.knee
            return Capacity(knee.knee_qps, knee.knee_low_qps, knee.knee_high_qps, knee.sustained_qps)
        for trial in record.trials:
            if trial.role in ("run", "soak") and not record.objective.misses(trial, strict=False, proven=True):
                return Capacity(trial.achieved_qps, trial.achieved_qps, trial.achieved_qps, trial.achieved_qps)
        return None

    @property
    def no_capacity(self) -> str:
        """Why `capacity` is None."""
        if self.invalid:
            return "the run is invalid"
        if self.record.kind == "indexing":
            return "it made an index and answered no query"
        if self.unfinished:
            return "the search did not come to its end"
        if not any(trial.role in ("run", "soak") for trial in self.record.trials):
            return "a load curve alone shows no capacity; perwatt loadtest knee does"
        return "the objective was missed"

    @property
    def unfinished(self) -> bool:
        """The search for the knee did not come to its end."""
        return self.record.kind == "knee" and self.record.knee is None

    @property
    def unconfirmed(self) -> bool:
        """The search came to its end, and no longer trial near its rate met the objective."""
        return self.record.knee is not None and not self.record.knee.confirmed

    @cached_property
    def beyond_knee(self) -> list[Trial]:
        """Trials that met the objective where the knee says that it cannot be met: the machine was not the same."""
        record, knee = self.record, self.record.knee
        if knee is None or knee.reached_limit:
            return []
        limit_qps = BEYOND * max(knee.knee_high_qps, knee.bracket_qps[1])
        faster = [trial for trial in record.trials if trial.role != "voided" and trial.offered_qps > limit_qps]
        return [trial for trial in faster if not record.objective.misses(trial, strict=False)]

    @cached_property
    def interference(self) -> list[Interference]:
        """What others took in the trials that count."""
        return [each for trial in self.record.trials if trial.role != "voided" for each in trial.interference]

    @cached_property
    def disturbance(self) -> str:
        """What other programs took in the worst trials, of a run that was told to let that pass; empty if it was
        little."""
        worst: dict[str, Interference] = {}
        for each in self.interference:
            if each.share > max(worst[each.whose].share if each.whose in worst else 0.0, INTERFERENCE):
                worst[each.whose] = each
        if not worst:
            return ""
        return (
            f"other programs took {' and '.join(taken(each) for each in worst.values())} in the worst trial, where a "
            f"valid one allows {units.percent(INTERFERENCE, 1)}; --allow-interference let it pass"
        )

    @cached_property
    def trial(self) -> Trial | None:
        """Whose latencies and joules stand for the run: the passed confirmation, else the single run."""
        record = self.record
        confirmed = [t for t in record.trials if t.role == "confirm" and not record.objective.misses(t, strict=True)]
        single = [t for t in record.trials if t.role in ("run", "soak")]
        return next(reversed(confirmed or single), None)

    @property
    def seen_before(self) -> str:
        """The share of the texts asked that the service did not encode again, and how they were drawn: a rate means
        nothing without it. Empty where no text was asked, or the service does not say."""
        asked = self.record.asked
        share = None if self.trial is None else self.trial.cached_share
        if share is None:
            return ""
        drawn = "" if asked is None else f" ({asked.queries:,} distinct ones asked, {asked.popularity})"
        return f"{units.percent(share) if share else 'none'} of the query texts came from the service's cache{drawn}"

    @cached_property
    def missed(self) -> list[str]:
        """Which parts of the objective `trial` missed."""
        return self.record.objective.misses(self.trial, strict=False, proven=True) if self.trial is not None else []

    @cached_property
    def curve(self) -> list[Trial]:
        """The levels of the load curve by their rate, without idle."""
        return sorted((t for t in self.record.trials if t.role == "curve"), key=lambda t: t.offered_qps)

    @cached_property
    def metered_levels(self) -> list[tuple[Trial, Energy]]:
        """Idle and the levels of the load curve, as far as they were metered."""
        trials = [] if self.record.elsewhere else self.record.trials
        return [(t, t.energy) for t in trials if t.role in ("idle", "curve") and t.energy is not None]

    @property
    def one_of_several(self) -> str:
        """Said where what is known of a machine is of one among those that serve; else empty."""
        price = self.record.price
        return "" if price is not None and price.machines > 1 else self.record.elsewhere

    @property
    def price(self) -> Price | None:
        """Of all that serves: one machine's price is none of a router's and its shards'."""
        return None if self.one_of_several else self.record.price

    @property
    def cores(self) -> float | None:
        """Physical cores of what is under test, from the price table's instance, else from the machine itself: of one
        that has the CPUs of some alone, their share, since two of them may be one core."""
        whole, threads = self._size("cores", "cores"), self._size("vcpus", "threads")
        if whole is None or self.record.cores_served is None or not threads:
            return whole
        return whole * min(1.0, self.record.cores_served / threads)

    @property
    def vcpus(self) -> int | None:
        whole, served = self._size("vcpus", "threads"), self.record.cores_served
        return whole if served is None or self.one_of_several else min(served, whole or served)

    def _size(self, of_price: str, of_machine: str) -> int | None:
        """Of the whole machine."""
        record = self.record
        if self.one_of_several:
            return None
        found: int | None = None
        if record.price is not None:
            found = getattr(record.price, of_price)
        elif record.server is not None:
            found = getattr(record.server, of_machine)
        return found

    @property
    def microarchitecture(self) -> str | None:
        for told in (self.record.price, self.record.server):
            if told is not None and told.microarchitecture != "unknown":
                return told.microarchitecture
        return None

    @cached_property
    def utilisation(self) -> tuple[float, str]:
        """Share of the machine's CPU that the service used at the headline trial, and how that is known."""
        trial, threads = self.trial, self.vcpus
        if trial is not None and threads and not math.isnan(trial.cores_used) and not self.record.unseen:
            return min(trial.cores_used / threads, 1.0), "measured: CPU time of the service's processes"
        return 1.0, "assumed: full load at the knee"

    @property
    def side(self) -> Side | None:
        """The machine as the power models see it; None when its microarchitecture or cores are unknown."""
        micro, cores = self.microarchitecture, self.cores
        return None if micro is None or cores is None else Side(micro, float(cores), round(self.utilisation[0], 3))

    @cached_property
    def per_joule(self) -> PerJoule:
        """Measured if the headline trial was metered, else modelled if a model knows the machine, else none."""
        trial, found, side = self.trial, self.capacity, self.side
        energy = None if trial is None or self.record.elsewhere else trial.energy
        if trial is not None and energy is not None and energy.joules > 0 and not self.invalid:
            value = trial.answered / energy.joules
            how = f"{energy.source}, {energy.samples} readings"
            if self.record.shared:
                how += "; the generator ran on the same machine and is in these joules"
            return PerJoule("measured", value, value, value, energy.domain, how)
        if found is None:
            return PerJoule.none(self.no_joules, f"{self.no_capacity}, so there is no rate to divide by watts")
        if self.unconfirmed:
            return PerJoule.none(self.no_joules, "no trial confirmed a rate, so there is none to divide by watts")
        power = modelled_watts(side.microarchitecture, side.cores, side.utilisation) if side else None
        if power is None:
            return PerJoule.none(self.no_joules, self.no_model or "")
        how = f"modelled from {', '.join(power.models)}; utilisation {self.utilisation[1]}"
        return PerJoule("modelled", found.qps / power.high_w, found.qps / power.mid_w, found.qps / power.low_w,
                        "whole server, modelled", how)  # fmt: skip

    @cached_property
    def per_joule_over_curve(self) -> float | None:
        levels = [trial for trial in self.record.trials if trial.role in ("curve", "idle")]
        return None if self.record.elsewhere else queries_per_joule_over_curve(levels)

    @property
    def no_joules(self) -> str:
        """Why no sensor's joules stand for the run."""
        record = self.record
        if record.label.simulated:
            return "a simulation draws no power"
        if record.elsewhere:
            return f"a sensor is of one machine, and {record.elsewhere}"
        if record.power_notes:
            return f"the sensor failed while it ran ({record.power_notes[0]})"
        if any(trial.energy is not None for trial in record.trials):
            return "what was metered was no confirmed trial"
        if record.kind != "indexing" and not record.shared:
            return "the service ran on another machine, and no sensor of that one was named (--redfish, --shelly)"
        return "no power sensor of this machine can be read (perwatt power says why)"

    @property
    def no_model(self) -> str | None:
        """Why no model says what the machine under test draws; None when one does."""
        if self.one_of_several:
            return f"{self.one_of_several}, and --instance does not say on what"
        server, price = self.record.server, self.record.price
        if server is None and price is None:
            return "the machine under test was not described (--server-facts, or --instance)"
        cpu = server.cpu if server is not None else price.instance if price else ""
        return unmodelled(self.microarchitecture, self.cores, cpu)

    @property
    def no_price(self) -> str:
        """Why the machine has no price."""
        if self.one_of_several:
            return f"{self.one_of_several}: name all machines, --instance 'c8g.large + 8*r8g.4xlarge'"
        for note in self.record.notes:
            if note.startswith("no price: "):
                return note.removeprefix("no price: ")
        return (
            "which machine this is in a price table was not told (--instance NAME; --prices FILE for one of your own)"
        )

    @property
    def per_dollar(self) -> float | None:
        if self.capacity is None or self.price is None:
            return None
        return 3600 * self.capacity.qps / self.price.usd_per_hour

    @property
    def usd_per_million(self) -> float | None:
        return 1e6 / self.per_dollar if self.per_dollar else None


def readings(records: Iterable[Record]) -> list[Reading]:
    return [Reading(record) for record in records]
