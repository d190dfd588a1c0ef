"""A reading of a record works each figure out once, for all that is said of it."""

from __future__ import annotations

import pytest
from loadtest_records import three_arms

from loadtest.analysis.compare import compare
from loadtest.analysis.decision import Plans
from loadtest.analysis.fleet import SHAPES, Demand
from loadtest.analysis.reading import Reading, readings
from loadtest.record.run_record import Record
from loadtest.report.compare_page import compare_page
from loadtest.report.data import report_json
from loadtest.report.run_page import run_page
from loadtest.report.summary import run_lines


def test_a_record_is_judged_once_whatever_is_made_of_its_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[Record] = []
    invalid = Record.invalid.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(Record, "invalid", property(lambda record: (judged.append(record), invalid(record))[1]))
    runs = readings(three_arms())
    demand = Demand(100, SHAPES["flat"])
    found = compare(runs, "x86", "arm", replica="x86 again")
    for _ in range(2):
        compare_page(found, runs, Plans(demand))
        report_json(runs, found)
        for run in runs:
            run_page(run, demand)
            run_lines(run)
    assert sorted(map(id, judged)) == sorted(id(run.record) for run in runs)


def test_a_reading_does_not_change() -> None:
    reading = Reading(three_arms()[0])
    with pytest.raises(AttributeError):
        reading.record = three_arms()[1]  # type: ignore[misc]
    assert reading.per_joule is reading.per_joule
    assert reading.capacity is reading.capacity
