"""Counts of facets are those that a loop over the payloads gives, whatever was written since the build."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from filter_language import DATES, DECLARED, TYPES, WORDS, survives

import index
from index import InputError, build_generation
from index.changes.delta import Delta
from index.changes.log_file import Change
from index.changes.view import View
from index.facets.ranges import Range, count_ranges, count_steps
from index.facets.values import count_present, count_values, kept_numbers
from index.search.filtering import parse

COUNT, DIM = 900, 4
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNITS = [("published", unit) for unit in ("hour", "day", "week", "month", "quarter", "year")]
FILTERS: list[dict[str, Any]] = [
    {"field": "year", "gte": 0},
    {"field": "lang", "in": ["de", "日本", ""]},
    {"and": [{"field": "draft", "eq": True}, {"field": "lang", "eq": "fr"}, {"field": "year", "eq": 2}]},  # very few
    {"not": {"field": "tags", "exists": True}},
    {"field": "lang", "in": []},
]


def payload(rng: random.Random, new: bool = False) -> dict[str, Any]:
    """new: with values that no document of the generation has."""
    values = {
        "lang": rng.choice(["neu", "ö", *WORDS] if new else WORDS),
        "year": rng.choice([*range(-3, 9), 2**63 - 1, -(2**63)]),
        "price": rng.choice([-1.5, -0.0, 0.0, 1e-300, 2.5, 3, 1e300, 7.25 if new else 0.1]),
        "draft": rng.random() < 0.3,
        "published": rng.choice(DATES),
        "tags": rng.choices(["neu", *WORDS] if new else WORDS, k=rng.randint(0, 3)),  # some of them twice
    }
    return {name: value for name, value in values.items() if rng.random() < 0.8}


class Changed:
    """A generation, what was written since, and what the documents are by now."""

    def __init__(self, generation: index.Generation, documents: dict[str, dict[str, Any]]) -> None:
        self.generation, self.documents = generation, documents
        self._delta = Delta(generation, 0)

    def view(self) -> Any:
        return View(self.generation, self._delta.snapshot()) if self._delta.seq else self.generation

    def write(self, rng: random.Random, count: int) -> None:
        changes = []
        for seq in range(self._delta.seq + 1, self._delta.seq + 1 + count):
            id_ = f"d{rng.randrange(COUNT + 700)}"
            if rng.random() < 0.3:
                self.documents.pop(id_, None)
                changes.append(Change(seq, id_, None))
                continue
            self.documents[id_] = payload(rng, new=True)
            vector = np.ones(DIM, np.float32).tobytes()
            changes.append(Change(seq, id_, vector, json.dumps(self.documents[id_]).encode(), b"0" * 16))
        self._delta.apply(changes)

    def kept(self, given: dict[str, Any] | None) -> tuple[Any, list[dict[str, Any]]]:
        """The parts that are counted over, and the payloads of the documents in them."""
        view = self.view()
        there = [each for each in self.documents.values() if given is None or survives(each, given)]
        return view.parts(None if given is None else view.survivors(parse(given))), there


@pytest.fixture(scope="module", params=[0, 300, 1200], ids=["as-built", "written", "written-much"])
def changed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Changed]:
    rng = random.Random(5)
    documents = {f"d{number}": payload(rng) for number in range(COUNT)}
    path = build_generation(
        np.ones((COUNT, DIM), np.float32), list(documents), root=tmp_path_factory.mktemp("facets"), name="docs",
        payload=list(documents.values()), filterable=DECLARED, family="flat", threads=1,
    )  # fmt: skip
    with index.open_generation(path) as opened:
        made = Changed(opened, documents)
        made.write(rng, request.param)
        yield made


def held(name: str, document: dict[str, Any]) -> list[Any]:
    """What a document has of a field, as it is counted: once each."""
    value = document.get(name)
    if value is None:
        return []
    if name == "published":
        moment = datetime.fromisoformat(value)
        return [((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) // timedelta(microseconds=1)]
    return sorted(set(value)) if name == "tags" else [value]


@pytest.mark.parametrize("given", [None, *FILTERS])
def test_values_are_those_of_a_loop_over_the_documents(changed: Changed, given: dict[str, Any] | None) -> None:
    parts, there = changed.kept(given)
    for name, type_ in TYPES.items():
        counts = Counter(value for document in there for value in held(name, document))
        words = type_.startswith("keyword")
        expected = sorted(
            counts.items(),
            key=lambda pair: (-pair[1], pair[0].encode() if words else -pair[0] if type_ == "bool" else pair[0]),
        )
        assert count_present(parts, name) == sum(document.get(name) is not None for document in there)
        for top in (1, 3, 100):
            found = count_values(parts, name, top)
            assert (found.best, found.distinct) == (expected[:top], len(expected)), (name, top)


@pytest.mark.parametrize("given", [None, *FILTERS])
@pytest.mark.parametrize(
    ("name", "step"),
    [("year", 3), ("year", 1), ("year", 2**62), ("price", 0.1), ("price", 1e299), *UNITS],
)  # fmt: skip
def test_ranges_beside_each_other_hold_every_value_once(
    changed: Changed, given: dict[str, Any] | None, name: str, step: Any
) -> None:
    parts, there = changed.kept(given)
    if step == 0.1:  # which is no step for 1e300
        parts, there = changed.kept({"field": "price", "lt": 10})
    values = sorted(value for document in there for value in held(name, document))
    found = count_steps(kept_numbers(parts, name), TYPES[name], step)
    assert sum(count for _, count in found) == len(values)
    lows = [-np.inf if each.low is None else each.low for each, _ in found]
    assert lows == sorted(set(lows))
    for (low, high, above, below), count in found:
        assert not above
        inside = [
            value for value in values
            if (low is None or value >= low) and (high is None or value < high or (not below and value == high))
        ]  # fmt: skip
        assert len(inside) == count > 0
    assert count_ranges(kept_numbers(parts, name), [each for each, _ in found]) == [count for _, count in found]


def test_days_weeks_and_years_begin_where_a_calendar_says() -> None:
    def moment(text: str) -> int:
        return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)

    given = np.array([moment("1969-12-28T23:59:59.999999+00:00"), moment("2024-02-29T12:30:00+00:00")])
    began = {
        "hour": ("1969-12-28T23:00", "2024-02-29T12:00"), "day": ("1969-12-28T00:00", "2024-02-29T00:00"),
        "week": ("1969-12-22T00:00", "2024-02-26T00:00"), "month": ("1969-12-01T00:00", "2024-02-01T00:00"),
        "quarter": ("1969-10-01T00:00", "2024-01-01T00:00"), "year": ("1969-01-01T00:00", "2024-01-01T00:00"),
    }  # fmt: skip
    for unit, texts in began.items():
        found = count_steps(given, "date", unit)
        assert [each.low for each, _ in found] == [moment(f"{text}:00+00:00") for text in texts], unit
    ends = np.array([moment("0001-01-03T00:00:00+00:00"), moment("9999-12-31T00:00:00+00:00")])
    assert [(each.low, each.high) for each, _ in count_steps(ends, "date", "year")] == [
        (moment("0001-01-01T00:00:00+00:00"), moment("0002-01-01T00:00:00+00:00")),
        (moment("9999-01-01T00:00:00+00:00"), None),  # no date is later
    ]


@pytest.mark.parametrize(
    ("type_", "values", "step", "said"),
    [
        ("int", [1, 2], 1.5, "steps of an integer"),
        ("int", [1, 2], "day", "steps of a number"),
        ("date", [1, 2], 3, "a unit of hour"),
        ("float", [1.0, 1e300], 0.5, "too small for values like 1e"),
        ("int", list(range(1001)), 1, "make 1,001 ranges"),
    ],
)
def test_a_step_that_does_not_suit_is_refused(type_: str, values: list[Any], step: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        count_steps(np.array(values), type_, step)


def test_bounds_belong_to_a_range_or_not() -> None:
    values = np.array([1, 2, 2, 3])
    given = [Range(2, 3, above, below) for above in (False, True) for below in (False, True)]
    assert count_ranges(values, given) == [3, 2, 1, 0]
    assert count_ranges(
        values, [Range(None, 2, False, False), Range(2, None, True, False), Range(2, 2, True, True)]
    ) == [3, 1, 0]
