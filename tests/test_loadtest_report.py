"""Records survive their file, reports are the same bytes each time, and an invalid run shows no number."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from loadtest_records import three_arms, write_all

from loadtest import units
from loadtest.analysis.compare import compare
from loadtest.analysis.costs.indexing_cost import items_per_joule
from loadtest.analysis.reading import Reading, readings
from loadtest.errors import RecordError
from loadtest.experiment.indexing import indexing_record, read_steps
from loadtest.power.energy import Energy
from loadtest.power.metered import Metered
from loadtest.record.run_record import EncoderElsewhere, Record, read_record, write_record
from loadtest.record.trial import LocustView, ServerSide
from loadtest.report import sample
from loadtest.report.compare_page import compare_page
from loadtest.report.data import report_json
from loadtest.report.html import html
from loadtest.report.markdown import markdown
from loadtest.report.run_page import run_page
from loadtest.report.summary import run_lines
from loadtest.selftest.example import example_records

pytest_plugins = ["report_fixtures"]


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


def test_text_from_outside_cannot_break_the_page(records: list[Record]) -> None:
    records[0].label.arm = '<script>alert("x")</script>'
    text = html(run_page(Reading(records[0])))
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


# ---- indexing
def test_embedding_and_building_are_priced_from_their_own_records(tmp_path: Path) -> None:
    run: dict[str, Any] = {
        "documents": 1000, "embedded": 800, "reused": 200, "tokens": 90_000, "seconds": 40.0, "cpu_seconds": 75.0,
        "encoder_price": {"usd_per_million_tokens": 0.02, "cost_usd": 0.0018, "evidence": "given by the user"},
    }  # fmt: skip
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "embed.json").write_text(json.dumps({"format": 1, "count": 1000, "run": run}))
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "manifest.json").write_text(json.dumps({"count": 1000, "build": {"seconds": 10.0}}))
    record = indexing_record([tmp_path / "v", tmp_path / "g"], instance="c8g.2xlarge")
    assert [(s.step, s.items, s.seconds) for s in record.indexing] == [("embed", 800, 40), ("build", 1000, 10)]
    text = markdown(run_page(Reading(record)))
    assert "200 of 1,000 documents were known before" in text
    assert "embed: $0.00180 more for the tokens of a model elsewhere, at the price the user gave." in text
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


def test_no_rate_is_shown_without_what_the_cache_had_and_how_queries_were_drawn(records: list[Record]) -> None:
    def told(share: float | None) -> list[str]:
        changed = msgspec.convert(msgspec.to_builtins(records), list[Record])
        for trial in (trial for record in changed for trial in record.trials):
            trial.server = ServerSide(10, trial.response, trial.service, cached_share=share)
        return [*pages(changed), "\n".join(run_lines(Reading(changed[0])))]

    for page in told(0.625):
        assert "62.5 %" in page or '"cached_share": 0.625' in page
        assert "zipf:1" in page
    assert all("None of the query texts came" in page for page in told(0.0)[:2])
    assert "none of the query texts came from the service's cache (1,000 distinct ones asked, zipf:1)" in told(0.0)[-1]
    assert not any("query cache" in page or "query texts" in page for page in told(None))


def test_an_encoder_elsewhere_is_told_beside_the_machine_and_not_in_it(records: list[Record]) -> None:
    record = records[0]
    before = Reading(record).usd_per_million
    assert before is not None
    record.encoder = EncoderElsewhere(usd_per_million_tokens=0.02, joules_per_million_tokens=50.0)
    page = markdown(run_page(Reading(record)))
    assert "do not say how many tokens they took" in page
    for trial in record.trials:
        trial.server = ServerSide(sampled=9, took=trial.response, service=trial.service, tokens_mean=12.0)
    reading = Reading(record)
    page = markdown(run_page(reading))
    assert reading.usd_per_million == before
    assert "without the encoder elsewhere" in page
    assert "| Dollars a million queries, for encoding | $0.240 | $0.0200 a million tokens, given by the user |" in page
    assert (
        f"| Dollars a million queries, with this machine | {units.dollars(before + 0.24)} | the sum of both |" in page
    )
    assert "| Joules a query, of the other machine | 600 µJ | 50.0 J a million tokens, given by the user |" in page
    assert "the encoder elsewhere, besides: 12.0 tokens a query, $0.240 a million queries" in run_lines(reading)[-1]
    [told] = json.loads(report_json([reading], None))["runs"]
    assert told["encoder_elsewhere"] == {"tokens": 12.0, "usd": pytest.approx(0.24), "joules": 600.0}
    record.trials = [trial for trial in record.trials if trial.role != "confirm"]
    page = markdown(run_page(Reading(record)))
    assert "| Tokens a query | 12.0 | measured |" in page, "they do not hang on a rate, which nothing confirmed"
