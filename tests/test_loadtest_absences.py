"""What is not there has its true reason, and the same one wherever it is missed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from loadtest_records import three_arms

from loadtest.analysis.compare import compare
from loadtest.analysis.fleet import SHAPES, Demand, fleet
from loadtest.analysis.reading import Reading, readings
from loadtest.machine import Machine, read_machine
from loadtest.power import show as power_show
from loadtest.record.run_record import Record
from loadtest.report.compare_page import compare_page
from loadtest.report.markdown import markdown
from loadtest.report.run_page import run_page
from loadtest.report.summary import run_lines


@pytest.fixture
def records() -> list[Record]:
    return three_arms()


def missed(record: Record) -> Record:
    """One trial at a fixed rate that missed its objective, on a machine that the models know."""
    trial = record.trials[0]
    trial.role, trial.answered = "run", trial.answered // 2
    machine = read_machine(ask_imds=False)
    machine.microarchitecture, machine.cores, machine.emulated = "Sapphire Rapids", 2, []
    record.kind, record.knee, record.trials, record.price = "run", None, [trial], None
    record.server, record.shared, record.label.simulated = machine, True, False
    return record


WHY = "no power sensor of this machine can be read (perwatt power says why)"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: None, f"not measured: {WHY}; not modelled: the objective was missed, so there is no rate"),
        (lambda r: setattr(r, "power_notes", ["RAPL: package-0 could not be read"]), "the sensor failed while it ran"),
        (lambda r: setattr(r, "shared", False), "the service ran on another machine, and no sensor of that one"),
        (lambda r: r.trials.clear() or setattr(r, "kind", "knee"), "not modelled: the search did not come to its end"),
    ],
)
def test_an_absence_of_joules_has_its_true_reason_everywhere(
    records: list[Record], change: Callable[[Record], None], says: str
) -> None:
    record = missed(records[0])
    change(record)
    how = Reading(record).per_joule.how
    assert says in how
    text = markdown(run_page(Reading(record)))
    assert text.count(how) == 3, "the figure, the section of energy, and what this run cannot say"
    assert f"queries a joule: none ({how})" in run_lines(Reading(record))
    assert "no model knows" not in text


def met(record: Record) -> Record:
    missed(record).trials[0].answered = record.trials[0].planned
    return record


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: setattr(m, "microarchitecture", "unknown"), "no power model knows its processor (A new one)"),
        (lambda m: setattr(m, "cores", None), "how many physical cores it has cannot be seen"),
        (lambda m: setattr(m, "microarchitecture", "Zilog Z80"), "no power model has figures for Zilog Z80"),
    ],
)
def test_why_a_machine_is_not_modelled_is_said_alike_by_power_report_and_fleet(
    records: list[Record], change: Callable[[Machine], None], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = met(records[0])
    assert Reading(record).per_joule.evidence == "modelled"
    text = markdown(run_page(Reading(record)))
    assert text.count(WHY) == 2, "a modelled figure says why it was not measured"
    assert record.server is not None
    record.server.cpu = "A new one"
    change(record.server)
    assert Reading(record).per_joule.how == f"not measured: {WHY}; not modelled: {says}"
    demand = Demand(100, SHAPES["flat"])
    assert says in fleet([Reading(record)], demand).why_no_energy
    assert says in markdown(run_page(Reading(record), demand)).split("### Fleet")[1].split("###")[0]
    monkeypatch.setattr(power_show, "read_machine", lambda root, ask_imds: record.server)
    monkeypatch.setattr(power_show, "probe", lambda *_, **__: [])
    assert says in power_show.show(Path("/"), None, None, None, 0)[-1]


def test_a_price_that_is_not_there_has_its_reason(records: list[Record]) -> None:
    record = met(records[0])
    assert markdown(run_page(Reading(record))).count("was not told (--instance NAME") == 2
    record.notes = ["no price: no price of 'z9.large' is known"]
    text = markdown(run_page(Reading(record)))
    assert text.count("o price of 'z9.large' is known") == 3  # the last is the note itself


def test_a_comparison_without_joules_says_why_of_both_classes(records: list[Record]) -> None:
    found = compare(readings(records), "x86", "arm")
    assert found.unmetered == "a simulation draws no power"
    assert found.unmodelled == ""
    for record in records:
        record.price = None
    found = compare(readings(records), "x86", "arm")
    assert "x86: the machine under test was not described" in found.unmodelled.replace("arm:", "x86:")
    assert found.unmodelled in markdown(compare_page(found, readings(records)))
