"""Two engines are compared like two machines: at equal quality of the same documents and queries, by their names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from loadtest_records import three_arms, write_all

from loadtest.analysis.compare import compare
from loadtest.analysis.engines import effort_in_words, engine_in_words, measure_in_words, objective_in_words
from loadtest.analysis.reading import Reading
from loadtest.cli.reports import compare as compare_command
from loadtest.errors import RecordError
from loadtest.record.objective import Objective
from loadtest.record.run_record import Asked, Record, ServiceFacts, read_record
from loadtest.record.trial import RecallEstimate
from loadtest.report.compare_page import compare_page
from loadtest.report.markdown import markdown
from loadtest.report.run_page import run_page
from loadtest.report.summary import run_lines

PROVEN = RecallEstimate(0.97, 0.96, 0.98, 300, 10)
POSTGRES = ServiceFacts(
    "http://x", "docs", count=1000, engine="PostgreSQL with pgvector",
    version={"postgresql": "16.2", "pgvector": "0.6.2"}, settings={"indexes": ["CREATE INDEX … USING hnsw"]},
    effort_name="hnsw.ef_search",
)  # fmt: skip
OURS = ServiceFacts("http://x", "docs", "docs-1", "sha256:0", 1000, 384, "cosine", version={"perwatt": "0.1.0"})


@pytest.fixture
def two_engines() -> list[Record]:
    """x86 is pgvector's and arm perwatt's; both proved a recall of 0.95 on the same queries."""
    records = [record for record in three_arms() if record.label.arm != "x86 again"]
    for record in records:
        foreign = record.label.arm == "x86"
        record.served = msgspec.structs.replace(POSTGRES if foreign else OURS)
        record.objective = Objective(p99_ms=record.objective.p99_ms, recall=0.95)
        if record.knee is not None:
            record.knee.objective = record.objective
        bytes_ = "sha256:postgres" if foreign else "sha256:ours"
        record.asked = Asked(
            40, "vector", bytes_, "uniform", [], 10, questions="sha256:same", truth="exact search of v.npy"
        )
        for trial in record.trials:
            trial.recall, trial.effort = PROVEN, 40
    return records


def found(records: list[Record]) -> str:
    """The report as Markdown."""
    readings = [Reading(record) for record in records]
    return markdown(compare_page(compare(readings, "x86", "arm"), readings))


def test_engine_version_settings_and_knob_stand_in_the_comparison(two_engines: list[Record]) -> None:
    text = found(two_engines)
    assert "| Engine | PostgreSQL with pgvector (postgresql 16.2, pgvector 0.6.2) | perwatt 0.1.0 |" in text
    assert "CREATE INDEX … USING hnsw" in text
    assert "| Search effort | hnsw.ef_search 40 | 40 |" in text
    assert "and recall ≥ 0.95" in text


def test_compare_names_engine_version_settings_effort_and_quality_of_both(
    two_engines: list[Record], tmp_path: Path
) -> None:
    folder = write_all(two_engines, tmp_path / "runs")
    done = CliRunner().invoke(compare_command, [str(folder), "--baseline", "x86", "--candidate", "arm"])
    assert done.exit_code == 0, done.output
    assert (
        "  x86: simulated, at the price of c7i.2xlarge; PostgreSQL with pgvector (postgresql 16.2, pgvector 0.6.2), "
        'index settings {"indexes":["CREATE INDEX … USING hnsw"]}; effort hnsw.ef_search 40; recall@10 0.970 '
        "(0.960 to 0.980)\n"
    ) in done.output
    assert "  arm: simulated, at the price of c8g.2xlarge; perwatt 0.1.0; effort 40; recall@10" in done.output


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: setattr(r, "objective", Objective(p99_ms=r.objective.p99_ms)), "that of .* is not known"),
        (lambda r: [setattr(trial, "recall", None) for trial in r.trials], "at equal quality alone"),
        (lambda r: setattr(r.served, "count", 999), r"held .* documents: fill both with the same"),
        (lambda r: setattr(r.asked, "questions", "sha256:other"), "were asked different questions"),
        (lambda r: setattr(r.asked, "questions", ""), "were asked different questions"),
        (lambda r: setattr(r.asked, "k", 5), "were asked different questions"),
        (
            lambda r: setattr(r, "objective", Objective(r.objective.p99_ms, 0.95, measure="ndcg")),
            "different objectives",
        ),
    ],
)
def test_unlike_quality_is_not_divided(
    two_engines: list[Record], change: Callable[[Record], object], says: str
) -> None:
    for record in two_engines:
        if record.label.arm == "arm":
            change(record)
    with pytest.raises(RecordError, match=says):
        compare([Reading(record) for record in two_engines], "x86", "arm")


def test_a_run_of_another_engine_says_what_was_measured_and_against_what(two_engines: list[Record]) -> None:
    record = next(record for record in two_engines if record.label.arm == "x86")
    text = markdown(run_page(Reading(record)))
    assert "PostgreSQL with pgvector (postgresql 16.2, pgvector 0.6.2)" in text
    assert "| Answers held against | exact search of v.npy |" in text
    assert "were compared with exact search of v.npy: recall@10 is 0.9700" in text
    assert "Kernels" not in text
    assert any(line.startswith("recall@10 0.9700") for line in run_lines(Reading(record)))


def test_judgements_are_named_as_what_they_are(two_engines: list[Record]) -> None:
    record = two_engines[0]
    record.objective = Objective(p99_ms=100, recall=0.6, measure="ndcg")
    estimate = msgspec.structs.replace(PROVEN, measure="ndcg")
    for trial in record.trials:
        trial.recall = estimate
    assert objective_in_words(record) == "nDCG ≥ 0.6"
    assert measure_in_words(estimate) == "nDCG@10"
    assert any(line.startswith("nDCG@10 0.9700") for line in run_lines(Reading(record)))
    assert "nDCG@10 under load" in markdown(run_page(Reading(record)))


@pytest.mark.parametrize(
    ("engine", "version", "words"),
    [
        (None, {"perwatt": "0.1.0", "faiss": "1.15"}, "perwatt 0.1.0"),
        ("perwatt", None, "perwatt, version not told"),
        ("Chroma", "1.0.0", "Chroma 1.0.0"),
        ("Milvus", None, "Milvus, version not told"),
        ("X", {"build": {"a": 1}}, "X"),
    ],
)
def test_a_version_of_any_shape_becomes_words(engine: str | None, version: object, words: str) -> None:
    assert engine_in_words(ServiceFacts("http://x", "docs", engine=engine, version=version)) == words


def test_a_record_from_before_there_were_engines_is_perwatts_own(tmp_path: Path) -> None:
    record = three_arms()[0]
    record.served = OURS
    old = msgspec.to_builtins(record)
    for name in ("engine", "settings", "effort_name"):
        del old["served"][name]
    del old["objective"]["measure"]
    (tmp_path / "old.json").write_bytes(msgspec.json.encode(old))
    read = read_record(tmp_path / "old.json")
    assert read.served is not None
    assert engine_in_words(read.served) == "perwatt 0.1.0"
    assert effort_in_words(read, read.trials[0]) == "default"
    assert read.objective == record.objective
