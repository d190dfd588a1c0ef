"""Counts of a facet: of documents that lie here, and behind a router of all shards together, which are added up.

A shard tells every value that it has, and not the most frequent ones: what is seldom in each may be frequent in all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from index import FieldError, FilterError, InputError
from index.facets import ranges, values
from index.facets.ranges import STEPS, Range
from index.facets.values import Parts
from index.search.filtering import Between
from index.search.filtering import parse as parse_json
from service.query.admission import Deadline
from service.query.searched import SearchView
from service.query.served_view import ServedView
from service.routing.rows import RoutedSurvivors
from service.routing.view import RoutedView
from service.wire import filters, limits
from service.wire.answer.facets import CountedRange, FacetCounts, FacetValue
from service.wire.parts import PartCounts
from service.wire.problems import Problem
from service.wire.request.facets import Facet, FacetRange

_EPOCH = np.datetime64(0, "us")


async def counted(
    view: SearchView, facet: Facet, keep: Any, best: Sequence[int] | None, count: int, deadline: Deadline
) -> FacetCounts:
    """A facet as it is answered. Raises Problem for one that the index cannot count.

    Args:
        keep: what a filter keeps, None for all.
        best: rows instead, the best of a query.
        count: how many documents either of them is.
    """
    if isinstance(view, RoutedView):
        return _shown(view, facet, await _of_shards(view, facet, keep, best, deadline))
    assert isinstance(view, ServedView)
    if best is not None:
        keep = view.rows.only(np.array(best, np.int64))
    return _shown(view, facet, await counted_here(view, facet, keep, count, facet.top, deadline))


async def counted_here(
    view: ServedView, facet: Facet, keep: Any, count: int, top: int, deadline: Deadline
) -> PartCounts:
    """What `counted` adds up, of rows that lie here.

    Args:
        keep: as `Searchable.parts` takes it.
        count: how many rows that is.
        top: of the values, how many of the most frequent.
    """
    type_ = _type(view, facet)
    given = [_range(view, facet.field, each, place) for place, each in enumerate(facet.ranges or ())]
    try:
        found: PartCounts = await view.look(deadline, _counts, view, facet, type_, given, keep, count, top)
        return found
    except InputError as error:
        text = str(error)
        raise Problem("invalid-value", f"{text[0].upper()}{text[1:]}.", pointer="/step") from None


def _counts(
    view: ServedView, facet: Facet, type_: str, given: list[Range], keep: Any, count: int, top: int
) -> PartCounts:
    parts: Parts = view.rows.parts(keep)
    present = values.count_present(parts, facet.field)
    if facet.ranges is None and facet.step is None:
        held = values.count_values(parts, facet.field, top)
        return PartCounts(count, present, held.best, held.distinct)
    numbers = values.kept_numbers(parts, facet.field)
    if facet.step is None:
        return PartCounts(count, present, ranges=ranges.count_ranges(numbers, given))
    steps = ranges.count_steps(numbers, type_, facet.step)
    return PartCounts(count, present, steps=[(each.low, each.high, each.below, held) for each, held in steps])


async def _of_shards(
    view: RoutedView, facet: Facet, keep: RoutedSurvivors | None, best: Sequence[int] | None, deadline: Deadline
) -> PartCounts:
    type_ = _type(view, facet)
    parts = await view.tallies(facet, keep, best, deadline)
    count, present = sum(part.count for part in parts), sum(part.present for part in parts)
    if facet.ranges is not None:
        return PartCounts(
            count, present, ranges=[sum(each) for each in zip(*(part.ranges or () for part in parts), strict=True)]
        )
    if facet.step is not None:
        steps = Counter[tuple[Any, Any, bool]]()
        for part in parts:
            for low, high, below, held in part.steps or ():
                steps[low, high, below] += held
        if len(steps) > STEPS:
            raise Problem(
                "invalid-value",
                f"Steps of {facet.step} make {len(steps):,} ranges with documents, at most {STEPS:,} are counted.",
                pointer="/step",
            )
        ascending = sorted(steps.items(), key=lambda pair: (pair[0][0] is not None, pair[0][0]))
        return PartCounts(count, present, steps=[(*bounds, held) for bounds, held in ascending])
    held_in_all = Counter[Any]()
    for part in parts:
        if (part.distinct or 0) > len(part.values or ()):
            raise Problem(
                "invalid-value",
                f"{facet.field!r} has {part.distinct:,} different values in one shard, and a router adds up "
                f"{limits.PART_VALUES:,} of each at most: count in ranges, or among fewer documents.",
                pointer="/field",
            )
        for value, held in part.values or ():
            held_in_all[value] += held
    place = _place_of(type_)
    most = sorted(held_in_all.items(), key=lambda pair: (-pair[1], place(pair[0])))
    return PartCounts(count, present, most[: facet.top], len(most))


def _place_of(type_: str) -> Callable[[Any], Any]:
    """What values are sorted by where as many documents have them, as `values.count_values` does it."""
    if type_.startswith("keyword"):
        return str.encode
    return (lambda value: not value) if type_ == "bool" else lambda value: value


def _type(view: SearchView, facet: Facet) -> str:
    """Of the field of a facet; raises Problem for one that cannot be counted like this."""
    try:
        type_ = view.field_type(facet.field)
    except FieldError as error:
        raise Problem("filter-field-not-indexed", f"To count by it: {error}.", pointer="/field") from None
    if facet.ranges is not None and facet.step is not None:
        raise Problem("invalid-value", "A facet has ranges or a step, this one has both.", pointer="/step")
    by_range = facet.ranges is not None or facet.step is not None
    if by_range and type_ not in ("int", "float", "date"):
        raise Problem(
            "invalid-value",
            f"Ranges and steps are for int, float and date, and {facet.field!r} is {type_}.",
            pointer="/ranges" if facet.step is None else "/step",
        )
    return type_


def _range(view: ServedView, name: str, given: FacetRange, place: int) -> Range:
    """A range of the request as its field compares it, checked as the condition of a filter that it is."""
    try:
        node = parse_json({"field": name, **msgspec.to_builtins(given)}).tree
        assert isinstance(node, Between)  # no other operator can be in it
        _, low, high, above, below = view.generation.filters.bounds(node)
    except (FieldError, FilterError) as error:
        problem = filters.problem_of(error)
        problem.pointer = f"/ranges/{place}{error.at}"
        raise problem from None
    return Range(low, high, above, below)


def _shown(view: SearchView, facet: Facet, counts: PartCounts) -> FacetCounts:
    type_ = view.field_type(facet.field)
    found = FacetCounts(facet.field, type_, counts.count, counts.present)
    if counts.values is not None:
        best = [FacetValue(_value(value, type_), held) for value, held in counts.values]
        return msgspec.structs.replace(found, distinct=counts.distinct, values=best)
    if counts.steps is not None:
        return msgspec.structs.replace(found, ranges=[_step(*each, type_) for each in counts.steps])
    held_in = counts.ranges or [0] * len(facet.ranges or ())
    answered = [
        CountedRange(held, each.gt, each.gte, each.lt, each.lte)
        for each, held in zip(facet.ranges or (), held_in, strict=True)
    ]
    return msgspec.structs.replace(found, ranges=answered)


def _step(low: Any, high: Any, below: bool, count: int, type_: str) -> CountedRange:
    low, high = (None if bound is None else _value(bound, type_) for bound in (low, high))
    return CountedRange(count, gte=low, lt=high if below else None, lte=None if below else high)


def _value(value: Any, type_: str) -> Any:
    """A value as JSON has it, and a filter takes it."""
    if type_ != "date":
        return value
    whole, _, fraction = str(_EPOCH + np.timedelta64(value, "us")).partition(".")
    fraction = fraction.rstrip("0")
    return f"{whole}.{fraction}Z" if fraction else f"{whole}Z"
