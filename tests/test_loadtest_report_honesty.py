"""What a report says against itself: invalid runs, other programs, cut histograms, knees that nobody confirmed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from loadtest_records import invalid

from loadtest.analysis.compare import compare
from loadtest.analysis.reading import Reading, readings
from loadtest.analysis.unpaired import compare_unpaired
from loadtest.errors import RecordError
from loadtest.machine import read_machine
from loadtest.record.histogram import Histogram
from loadtest.record.run_record import Record, read_record
from loadtest.record.trial import Interference, Trial
from loadtest.record.validity_checks import validity_checks
from loadtest.report.compare_page import compare_page
from loadtest.report.data import report_json
from loadtest.report.html import html
from loadtest.report.markdown import markdown
from loadtest.report.run_page import run_page
from loadtest.report.summary import run_lines

pytest_plugins = ["report_fixtures"]


def test_an_invalid_run_shows_its_reasons_and_no_number(records: list[Record]) -> None:
    record = invalid(records[0])
    assert Reading(record).capacity is None
    assert Reading(record).per_dollar is None
    page = run_page(Reading(record))
    assert page.headline.word == "Invalid"
    assert page.figures == []
    text = markdown(page)
    assert "generator CPU: 99 % of a core" in text
    assert "q/s (95 %" not in text
    assert run_lines(Reading(record))[0].startswith("INVALID")
    assert json.loads(report_json([Reading(record)], None))["runs"][0]["capacity_qps"] is None


def test_a_knee_that_was_passed_at_another_moment_is_called_unsteady(records: list[Record]) -> None:
    record = records[0]
    assert "Unsteady" not in html(run_page(Reading(record)))
    quick = msgspec.convert(msgspec.to_builtins(record.trials[0]), Trial)
    assert record.knee is not None
    quick.role, quick.offered_qps = "beyond", record.knee.knee_high_qps * 1.5
    quick.planned = quick.answered
    record.trials.append(quick)
    page = markdown(run_page(Reading(record)))
    assert "**Unsteady: " in page
    assert "were answered within the objective at another moment" in page
    assert any(line.startswith("unsteady: ") for line in run_lines(Reading(record)))
    found = compare(readings(records), "x86", "arm")
    assert found.verdict.exit_status == 2
    assert any("x86 (block 0): more than its knee" in reason for reason in found.reasons)


def test_a_search_that_was_interrupted_is_called_so(records: list[Record]) -> None:
    records[0].knee = None
    records[0].notes = ["interrupted: of the search trial's 10 s 4 s were measured"]
    page = markdown(run_page(Reading(records[0])))
    assert "**Not finished**" in page
    assert "did not come to its end: interrupted: of the search trial's 10 s" in page
    assert "the search for the knee did not come to its end" in run_lines(Reading(records[0]))
    found = compare(readings(records), "x86", "arm")
    assert found.verdict.exit_status == 3
    assert "x86, block 0: no capacity: the search did not come to its end" in found.problems


def test_an_emulated_machine_is_invalid_whatever_it_measured(records: list[Record]) -> None:
    machine = read_machine(ask_imds=False)
    machine.emulated = ["process 1 runs under qemu-aarch64"]
    records[0].server = machine
    assert "is emulated" in run_page(Reading(records[0])).sections[0].parts[0].rows[0][0]  # type: ignore[union-attr]


def test_a_measured_run_says_what_it_cannot_say_and_a_simulated_one_need_not(records: list[Record]) -> None:
    record = records[0]
    assert "cannot say" not in markdown(run_page(Reading(record)))
    record.label.simulated = False
    record.shared, record.price, record.server = True, None, read_machine(ask_imds=False)
    record.server.virtualisation = "virtual"
    record.server.emulated = []  # such a run would be refused, not limited
    record.cores_served = 1
    text = markdown(run_page(Reading(record)))
    limits = text[text.index("### What this run cannot say") :]
    assert "cannot be seen from where the load came from" in limits
    disturbed(record, 0.0)
    assert "cannot be seen from where the load came from" not in markdown(run_page(Reading(record)))
    for words in ("not the noise between runs", "neighbours", f"had 1 of {record.server.threads} CPUs", "price table"):
        assert words in limits
    assert "No recall was asked for" not in limits


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d["trials"][0].update(window_s=0.0), "window or counts that cannot be"),
        (lambda d: d["trials"][0].update(answered=10**9), "window or counts that cannot be"),
        (lambda d: d["price"].update(source="a blog"), "its source is 'a blog'"),
        (lambda d: d["price"].update(usd_per_hour=0), "it costs 0"),
        (lambda d: d["knee"].update(knee_low_qps=1e9), "lies outside its interval"),
        (lambda d: d["knee"].update(knee_qps=float("nan")), "is not a run record"),
        (lambda d: d["trials"][0].update(planned=1.5), "damaged or of another version"),
    ],
)
def test_numbers_that_cannot_be_are_refused(records: list[Record], tmp_path: Path, change: Any, says: str) -> None:
    plain = msgspec.to_builtins(records[0])
    change(plain)
    path = tmp_path / "run.json"
    path.write_text(json.dumps(plain))
    with pytest.raises(RecordError, match=says):
        read_record(path)


@pytest.mark.parametrize("text", ["", "AAAA", "not base64 é", "HISTFAAAABl4nJNpmSzMwMDAxAABzFCaEUoz2X+AsQA/awK9"])
def test_a_histogram_that_was_cut_is_named(text: str) -> None:
    with pytest.raises(RecordError, match="cannot be decoded"):
        Histogram.decode(text)


def test_an_unconfirmed_knee_is_no_number_to_quote(records: list[Record]) -> None:
    record = records[0]
    record.label.simulated = False
    assert record.knee is not None
    record.knee.confirmed, record.knee.sustained_qps = False, 0.0
    page = run_page(Reading(record))
    assert page.headline.word == "Not confirmed"
    assert "95 % interval" not in page.headline.sentence
    assert [figure.value for figure in page.figures] == ["–", "–", "–"]
    assert all("no longer trial confirmed a rate" in figure.detail for figure in page.figures)
    assert Reading(record).per_joule.how.endswith("no trial confirmed a rate, so there is none to divide by watts")
    assert not any("a dollar" in line for line in run_lines(Reading(record)))
    assert "Which rate can be promised" in markdown(page)
    assert "[" not in run_lines(Reading(record))[0]


def test_a_knee_that_no_longer_trial_proved_decides_nothing(records: list[Record]) -> None:
    for record in records:
        record.label.simulated = False
    assert compare(readings(records), "x86", "arm").verdict.exit_status == 0
    assert records[0].knee is not None
    records[0].knee.confirmed = False
    found = compare(readings(records), "x86", "arm")
    assert {each.exit_status for each in found.verdicts.values()} == {2}
    assert any("x86 (block 0): no longer trial near the knee proved the objective" in each for each in found.reasons)


def disturbed(record: Record, share: float) -> Record:
    """As `loadtest knee --allow-interference` would have kept it; the worst trial is not the first."""
    record.label.simulated = False
    for number, trial in enumerate(record.trials):
        here = share if number == 1 else share / 3
        trial.interference = [Interference("service", 2, 2 * here, 0.0), Interference("generator", 1, 0.01, 0.0)]
        trial.gates = validity_checks(trial, record.objective.p99_ms, None, allow_interference=True)
    return record


def test_other_programs_that_were_allowed_are_told_in_the_first_lines(records: list[Record]) -> None:
    record = disturbed(records[0], 0.83)
    page = run_page(Reading(record))
    assert page.headline.word.startswith("Disturbed: ")
    assert page.headline.tone == "open"
    assert page.headline.sentence.startswith("Other programs took 83 % of the service's 2 CPUs in the worst trial")
    assert "--allow-interference let it pass" in page.headline.sentence
    assert run_lines(Reading(record))[0].startswith("disturbed: other programs took 83 %")
    first = html(page)
    assert first.index("Other programs took 83 %") < first.index("<dl class=figures>")
    # What was disturbed may be looked at, and decides nothing.
    for each in records:
        each.label.simulated = False
    found = compare(readings(records), "x86", "arm")
    assert {each.exit_status for each in found.verdicts.values()} == {2}
    assert any("x86 (block 0): other programs took 83 %" in reason for reason in found.reasons)
    arms = [[r for r in records if r.label.arm == arm] for arm in ("arm", "x86")]
    assert compare_unpaired(readings(arms[0]), readings(arms[1]), 0.05).verdict.exit_status == 2


def test_other_programs_that_were_not_allowed_make_the_run_invalid(records: list[Record]) -> None:
    record = records[0]
    record.trials[1].interference = [Interference("service", 1, 0.91, 0.0)]
    record.trials[1].gates = validity_checks(record.trials[1], record.objective.p99_ms, None)
    assert Reading(record).capacity is None
    page = run_page(Reading(record))
    assert page.headline.word == "Invalid"
    assert "CPU taken by other programs: 91 % of the service's CPU" in page.headline.sentence
    assert "End the other programs" in page.sections[0].lead
    assert any("End the other programs" in line for line in run_lines(Reading(record)))
    headline = compare_page(compare(readings(records), "x86", "arm"), readings(records)).headline
    assert "x86, block 0: " in headline.sentence
    assert "CPU taken by other programs: 91 %" in headline.sentence
    record.trials[1].role = "voided"
    assert not record.invalid, "a trial that was made again does not count"


def test_a_disturbed_machine_is_told_and_a_quiet_one_is_not(records: list[Record]) -> None:
    record = disturbed(records[0], 0.005)
    for trial in record.trials:
        trial.interference = trial.interference[:1]
    assert "quiet machine" not in markdown(run_page(Reading(record)))
    record.trials[0].interference = [Interference("service", 2, 0.08, 0.1)]
    text = markdown(run_page(Reading(record)))
    assert "4.0 % in the worst trial; the hypervisor gave " in text
    assert "Disturbed" not in text
