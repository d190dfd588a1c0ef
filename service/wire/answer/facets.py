"""How many documents hold what."""

from __future__ import annotations

from msgspec import Struct

from service.wire.answer.search import Usage


class FacetValue(Struct, frozen=True):
    value: str | bool | int | float
    count: int


class CountedRange(Struct, frozen=True, omit_defaults=True):
    """Its bounds are those of a condition of a filter, which keeps as many."""

    count: int
    gt: int | float | str | None = None
    gte: int | float | str | None = None
    lt: int | float | str | None = None
    lte: int | float | str | None = None


class FacetCounts(Struct, frozen=True, omit_defaults=True):
    """count: documents that were looked at. present: of them, those that have a value. distinct: how many values there
    are. values: the most frequent ones, ties in their own order. ranges: in the order of the request, or ascending."""

    field: str
    type: str
    count: int
    present: int
    distinct: int | None = None
    values: list[FacetValue] | None = None
    ranges: list[CountedRange] | None = None


class FacetsAnswer(Struct, frozen=True, omit_defaults=True):
    """facets: in the order of the request. count: documents that the request's filter keeps, or the best k of them."""

    index: str
    generation: str
    count: int
    facets: list[FacetCounts]
    usage: Usage
    took_ms: float
    seq: int = 0
