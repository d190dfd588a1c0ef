"""Watts that nobody measured, with the interval they deserve.

On a cloud no guest can read power. What remains are published models and the servers' own SPECpower results; they
disagree by more than the effect people argue about. So a modelled power is an interval, per physical core, over a named
set of models, and a ratio of two machines is formed **inside each model** (its own constants on both sides) before the
models are put together. Mixing them would compare one model's Arm with another's x86.

Nothing here knows an architecture's name: two machines of one microarchitecture under different names are the same
machine, and their ratio is the ratio of their cores, exactly, because their unknown power is the same unknown.

`coefficients.csv` has every row with its source and date, also the ones that are not used, with the reason.
"""

from __future__ import annotations

import csv
import math
from functools import cache
from pathlib import Path

import msgspec

from loadtest.errors import PowerError

TABLE = Path(__file__).with_name("coefficients.csv")
Z95 = 1.6448536269514722  # the standard normal's 95th percentile: p5 and p95 are ± this many deviations


class Coefficient(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Watts per physical core, idle and full: low and high are the 5th and 95th percentile or the model's own range."""

    model: str
    microarchitecture: str
    idle_low: float
    idle_mid: float
    idle_high: float
    max_low: float
    max_mid: float
    max_high: float
    systems: str
    used: str
    note: str
    source: str
    as_of: str

    def watts(self, cores: float, utilisation: float) -> tuple[float, float, float]:
        """Low, middle, high in W, linear in the utilisation (0 to 1)."""

        def at(idle: float, full: float) -> float:
            return cores * (idle + utilisation * (full - idle))

        return (
            at(self.idle_low, self.max_low),
            at(self.idle_mid, self.max_mid),
            at(self.idle_high, self.max_high),
        )


def read_coefficients(path: Path) -> list[Coefficient]:
    """All rows; PowerError names the first that has no source or date, or is out of order."""
    rows = []
    with path.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            where = f"{path.name}, line {number}"
            try:
                one = msgspec.convert(row, Coefficient, strict=False)
            except msgspec.ValidationError as error:
                raise PowerError(f"{where}: {error}") from error
            if not one.source.startswith("https://") or len(one.as_of) != 10 or not one.note:
                raise PowerError(f"{where} ({one.model}, {one.microarchitecture}): a row needs source, date and note")
            if not (one.idle_low <= one.idle_mid <= one.idle_high and one.max_low <= one.max_mid <= one.max_high):
                raise PowerError(f"{where} ({one.model}, {one.microarchitecture}): low, mid and high are out of order")
            rows.append(one)
    return rows


@cache
def coefficients() -> tuple[Coefficient, ...]:
    return tuple(row for row in read_coefficients(TABLE) if row.used == "yes")


class Modelled(msgspec.Struct, frozen=True):
    """Watts as an interval over the named models."""

    low_w: float
    mid_w: float
    high_w: float
    models: tuple[str, ...]


def modelled_watts(microarchitecture: str, cores: float, utilisation: float) -> Modelled | None:
    """The envelope of all models that know the microarchitecture; None when none does."""
    rows = [row for row in coefficients() if row.microarchitecture == microarchitecture]
    if not rows:
        return None
    each = [row.watts(cores, utilisation) for row in rows]
    middle = math.exp(sum(math.log(mid) for _, mid, _ in each) / len(each))
    return Modelled(
        min(low for low, _, _ in each),
        middle,
        max(high for _, _, high in each),
        tuple(row.model for row in rows),
    )


def unmodelled(microarchitecture: str | None, cores: float | None, cpu: str) -> str | None:
    """Why no model says what such a machine draws; None when one does. cpu: its name, for the reason."""
    if microarchitecture in (None, "unknown"):
        return f"no power model knows its processor ({cpu})"
    if cores is None:
        return "how many physical cores it has cannot be seen"
    if not any(row.microarchitecture == microarchitecture for row in coefficients()):
        return f"no power model has figures for {microarchitecture}"
    return None


class PowerRatio(msgspec.Struct, frozen=True):
    """P_candidate / P_baseline as a lognormal belief; `by_model` are the middles that it spans."""

    median: float
    log_sd: float
    by_model: dict[str, float]

    def quantile(self, z: float) -> float:
        return self.median * math.exp(z * self.log_sd)


class Side(msgspec.Struct, frozen=True):
    """A machine as the models see it."""

    microarchitecture: str
    cores: float
    utilisation: float


def power_ratio(candidate: Side, baseline: Side) -> PowerRatio | None:
    """The belief about P_candidate / P_baseline; None when no model knows both.

    Its 5th and 95th percentile are the lowest and highest that any model in common allows.
    """
    if candidate.microarchitecture == baseline.microarchitecture and candidate.utilisation == baseline.utilisation:
        return PowerRatio(
            candidate.cores / baseline.cores,
            0.0,
            {"same silicon": candidate.cores / baseline.cores},
        )
    ours = {row.model: row for row in coefficients() if row.microarchitecture == candidate.microarchitecture}
    theirs = {row.model: row for row in coefficients() if row.microarchitecture == baseline.microarchitecture}
    logs, edges, by_model = [], [], {}
    for model in sorted(ours.keys() & theirs.keys()):
        low, mid, high = ours[model].watts(candidate.cores, candidate.utilisation)
        other_low, other_mid, other_high = theirs[model].watts(baseline.cores, baseline.utilisation)
        centre = math.log(mid / other_mid)
        # Independent deviations of the two sides add in quadrature.
        down = math.hypot(math.log(mid / low), math.log(other_high / other_mid))
        up = math.hypot(math.log(high / mid), math.log(other_mid / other_low))
        logs.append(centre)
        edges += [centre - down, centre + up]
        by_model[model] = mid / other_mid
    if not logs:
        return None
    low, high = min(edges), max(edges)
    return PowerRatio(math.exp((low + high) / 2), (high - low) / 2 / Z95, by_model)
