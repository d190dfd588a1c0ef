"""Figures that a reading is made of: capacity with its interval, joules with their evidence."""

from __future__ import annotations

import math

import msgspec


class Capacity(msgspec.Struct, frozen=True):
    """Queries a second at the objective: the estimate with its interval, and what a confirmation promised."""

    qps: float
    low: float
    high: float
    sustained_qps: float

    @property
    def promised_qps(self) -> float:
        """What was confirmed; where nothing was, the lower end of the search."""
        return self.sustained_qps or self.low


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
