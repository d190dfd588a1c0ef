"""Records survive their file, reports are the same bytes each time, and an invalid run shows no number."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from loadtest_records import invalid, three_arms, write_all

from loadtest import units
from loadtest.analysis.compare import compare
from loadtest.analysis.indexing_cost import items_per_joule
from loadtest.analysis.reading import Reading, readings
from loadtest.analysis.unpaired import compare_unpaired
from loadtest.errors import RecordError
from loadtest.experiment.indexing import indexing_record, read_steps
from loadtest.machine import read_machine
from loadtest.power.energy import Energy
from loadtest.power.metered import Metered
from loadtest.record.histogram import Histogram
from loadtest.record.run_record import Record, read_record, write_record
from loadtest.record.trial import Interference, LocustView, Trial
from loadtest.record.validity_checks import validity_checks
from loadtest.report import sample
from loadtest.report.compare_page import compare_page
from loadtest.report.data import report_json
from loadtest.report.html import html
from loadtest.report.markdown import markdown
from loadtest.report.run_page import run_page
from loadtest.report.summary import run_lines
from loadtest.selftest.example import example_records


@pytest.fixture
def records() -> list[Record]:
    return three_arms()


@pytest.fixture
def folder(records: list[Record], tmp_path: Path) -> Path:
    return write_all(records, tmp_path / "runs")


# ---- the file


def test_a_record_survives_its_file(records: list[Record], tmp_path: Path) -> None:
    write_record(records[0], tmp_path / "a" / "run.json")
    again = read_record(tmp_path / "a" / "run.json")
    assert again == records[0]
    assert again.id == records[0].id
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d | {"format": "perwatt-run/9"}, "format 'perwatt-run/9'"),
        (lambda d: d | {"surprise": 1}, "damaged or of another version"),
        (lambda d: {"format": "perwatt-run/1"}, "damaged or of another version"),
        (lambda d: [], "is not a run record"),
    ],
)
def test_a_record_that_is_not_understood_is_refused(
    records: list[Record], tmp_path: Path, change: Any, says: str
) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(change(msgspec.to_builtins(records[0]))))
    with pytest.raises(RecordError, match=says):
        read_record(path)


def test_a_truncated_record_is_refused(records: list[Record], tmp_path: Path) -> None:
    path = write_record(records[0], tmp_path / "run.json")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RecordError, match="is not a run record"):
        read_record(path)


# ---- pages


def pages(records: list[Record]) -> list[str]:
    found = compare(readings(records), "x86", "arm", replica="x86 again")
    both = [run_page(Reading(records[0])), compare_page(found, readings(records))]
    return [render(page) for page in both for render in (html, markdown)] + [report_json(readings(records), found)]


@pytest.fixture(scope="module")
def written() -> list[str]:
    """HTML and Markdown of a run, HTML and Markdown of a comparison, JSON."""
    return pages(three_arms())


def test_reports_made_twice_are_identical_bytes(records: list[Record], folder: Path, written: list[str]) -> None:
    again = [read_record(folder / f"{r.label.block}-{r.label.arm}.json") for r in records]
    assert pages(again) == written


def test_the_page_stands_alone(written: list[str]) -> None:
    for text in written:
        assert not re.search(r"<(script|link|img|iframe)|@import|url\(|src=", text)
    page = written[2]
    for loaded in re.findall(r'(?:href|src)="?([^">]+)', page):
        assert not loaded.startswith("http")


def test_every_chart_is_well_formed_and_says_what_it_shows(written: list[str]) -> None:
    for page in written[0:3:2]:
        charts = re.findall(r"<svg .*?</svg>", page, re.S)
        assert len(charts) >= 6
        for chart in charts:
            root = ElementTree.fromstring(re.sub(r"class=(wide|narrow)", r'class="\1"', chart, count=1))
            assert root.attrib["aria-label"]
            numbers = [
                float(v) for e in root.iter() for k, v in e.attrib.items() if k in ("x", "y", "x1", "x2", "cx", "cy")
            ]
            width = float(root.attrib["width"])
            assert all(-1 <= n <= max(width, 900) for n in numbers)


def test_the_verdict_comes_first_with_its_interval_and_evidence(written: list[str]) -> None:
    text = written[3]
    second = text.splitlines()[4]
    assert second.startswith("**Better: 1.")
    assert "(simulated)" in second
    assert re.search(r"\(\d\.\d\d to \d\.\d\d, 95 %\)", second)


def test_simulated_runs_say_so_across_the_top_and_never_say_measured(written: list[str]) -> None:
    for text in written[:4]:
        assert "nothing was measured" in text
    assert "evidence measured" not in written[2]


def test_modelled_joules_are_never_called_measured(records: list[Record]) -> None:
    record = records[0]
    record.label.simulated = False
    assert Reading(record).per_joule.evidence == "modelled"
    page = run_page(Reading(record))
    joule = next(f for f in page.figures if f.label == "Queries a joule")
    assert joule.evidence == "modelled"
    assert "–" in joule.value  # an interval, not a number


def test_measured_joules_name_their_domain_and_a_shared_machine(records: list[Record]) -> None:
    record = records[0]
    for trial in record.trials:
        trial.energy = Energy("RAPL", "package", 50 * trial.window_s, trial.window_s, 60, {})
    record.shared = True
    found = Reading(record).per_joule
    assert (found.evidence, found.domain) == ("measured", "package")
    assert found.low == found.mid == found.high
    assert "the generator ran on the same machine" in found.how


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


def test_text_from_outside_cannot_break_the_page(records: list[Record]) -> None:
    records[0].label.arm = '<script>alert("x")</script>'
    text = html(run_page(Reading(records[0])))
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


# ---- indexing


def test_embedding_and_building_are_priced_from_their_own_records(tmp_path: Path) -> None:
    run = {"documents": 1000, "embedded": 800, "reused": 200, "tokens": 90_000, "seconds": 40.0, "cpu_seconds": 75.0}
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "embed.json").write_text(json.dumps({"format": 1, "count": 1000, "run": run}))
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "manifest.json").write_text(json.dumps({"count": 1000, "build": {"seconds": 10.0}}))
    record = indexing_record([tmp_path / "v", tmp_path / "g"], instance="c8g.2xlarge")
    assert [(s.step, s.items, s.seconds) for s in record.indexing] == [("embed", 800, 40), ("build", 1000, 10)]
    text = markdown(run_page(Reading(record)))
    assert "200 of 1,000 documents were known before" in text
    assert units.digits(800 / (40 / 3600 * 0.31904)) in text
    with pytest.raises(RecordError, match="neither a vectors folder"):
        indexing_record([tmp_path])
    (tmp_path / "g" / "manifest.json").write_text("{}")
    with pytest.raises(RecordError, match="does not say what building took"):
        indexing_record([tmp_path / "g"])


# ---- beside Locust, the fleet and the limits in the page


def test_locusts_own_figures_stand_beside_ours_on_the_same_run(records: list[Record]) -> None:
    record = records[0]
    assert "### Beside Locust" not in markdown(run_page(Reading(record)))
    confirmed = Reading(record).trial
    assert confirmed is not None
    confirmed.locust = LocustView(confirmed.answered + 50, 0, 7.0, 17.0)
    text = markdown(run_page(Reading(record)))
    section = text[text.index("### Beside Locust") :].split("###")[1]
    assert "| Locust's statistics |" in section
    assert "7 ms | 17 ms" in section


def test_a_record_with_the_closed_loop_of_older_versions_is_still_read(records: list[Record], tmp_path: Path) -> None:
    old = json.loads(msgspec.json.encode(records[0])) | {"textbook": [{"offered_qps": 100.0, "users": 90}]}
    (tmp_path / "old.json").write_text(json.dumps(old))
    assert "Beside Locust" not in markdown(run_page(Reading(read_record(tmp_path / "old.json"))))


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


def test_indexing_is_on_the_bill_of_a_load_test_and_its_joules_are_metered_or_modelled(
    records: list[Record], tmp_path: Path
) -> None:
    (tmp_path / "v").mkdir()
    run = {"documents": 1000, "embedded": 1000, "seconds": 40.0, "cpu_seconds": 75.0}
    (tmp_path / "v" / "embed.json").write_text(json.dumps({"format": 1, "count": 1000, "run": run}))
    (tmp_path / "i" / "docs-1").mkdir(parents=True)
    build = {"seconds": 10.0, "cpu_seconds": 20.0}
    (tmp_path / "i" / "docs-1" / "manifest.json").write_text(json.dumps({"count": 1000, "build": build}))
    (tmp_path / "i" / "current").write_text(json.dumps({"generation": "docs-1"}))
    energy = Energy("RAPL", "package", 500.0, 41.0, 80, {})
    metered = Metered(command=["x"], exit_status=0, seconds=41.0, cpu_seconds=75.0, energy=energy)
    (tmp_path / "e.json").write_bytes(msgspec.json.encode(metered))
    record = records[0]
    record.indexing = read_steps([tmp_path / "v", tmp_path / "i"], [f"embed={tmp_path / 'e.json'}"])
    embedded, built = (items_per_joule(Reading(record), step) for step in record.indexing)
    assert (embedded.evidence, embedded.mid, embedded.domain) == ("measured", 2.0, "package")
    assert built.evidence == "modelled"
    assert 0 < built.low < built.mid < built.high
    text = markdown(run_page(Reading(record)))
    assert "### Indexing" in text
    assert "2.00 (package, measured)" in text
    for bad in ("embed", f"walk={tmp_path / 'e.json'}"):
        with pytest.raises(RecordError, match="expected STEP=FILE"):
            read_steps([tmp_path / "v"], [bad])
    (tmp_path / "e.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(metered, seconds=3.0)))
    with pytest.raises(RecordError, match="another run"):
        read_steps([tmp_path / "v"], [f"embed={tmp_path / 'e.json'}"])


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
    assert found.verdict.exit_status == 2
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


def test_the_committed_sample_is_what_the_example_makes() -> None:
    folder = Path(sample.__file__).parent
    made = sample.sample_files(example_records())
    assert sorted(made) == sorted(p.name for p in (*folder.glob("sample-*.svg"), folder / "SAMPLE.md"))
    for name, text in made.items():
        assert (folder / name).read_text("utf-8") == text, (
            f"{name}: run perwatt loadtest example --sample loadtest/report"
        )
    assert "Both machines below are simulated" in made["SAMPLE.md"]
    for name in made:
        if name.endswith(".svg"):
            ElementTree.fromstring(made[name])
