"""What a person sees of a run."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest

from embed import progress
from embed.cli import skipped, summary
from embed.documents.document import DocumentError, DocumentSource, Faults
from embed.progress import Terminal, format_seconds
from embed.vectors.record import EmbedRecord


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines_of(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def test_without_a_terminal_a_line_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stream = Clock(monkeypatch), io.StringIO()
    record = EmbedRecord(rows=100, reached=(0, 250))
    shown = Terminal([DocumentSource("a.jsonl", "jsonl", size_bytes=1000)], "docs", stream)
    for done in range(0, 100, 5):
        record.embedded = done
        shown.show(record)
        clock.now += 1
    shown.close()
    assert lines_of(stream) == ["50 of ~400 embedded, 70 s to go (5 docs/s, 0 reused)"]


def test_what_is_found_again_counts_neither_as_done_nor_as_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was killed at 40,000 of 100,000 goes on with the rest at 50 a second."""
    clock, stream = Clock(monkeypatch), io.StringIO()
    record = EmbedRecord(known=40_000)
    shown = Terminal([DocumentSource("a.jsonl", "jsonl", size_bytes=1_000_000)], "docs", stream)
    for rows in (10_000, 20_000, 30_000, 40_000):
        record.rows = record.reused = rows
        record.reached = (0, rows * 10)
        shown.show(record)
        clock.now += 5.5
    record.rows, record.reached = 50_000, (0, 500_000)
    shown.show(record)
    for _ in range(11):
        clock.now += 1
        record.embedded += 50
        shown.show(record)
    assert lines_of(stream) == [
        "0 of ~60,000 embedded (30,000 reused)",
        "0 of ~60,000 embedded (40,000 reused)",
        "500 of ~60,000 embedded, 19 min 50 s to go (50 docs/s, 40,000 reused)",
    ]


def test_where_one_text_in_twenty_changed_one_in_twenty_is_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stream = Clock(monkeypatch), io.StringIO()
    record = EmbedRecord(known=100_000, rows=10_000, reused=9500, reached=(0, 1000))
    shown = Terminal([DocumentSource("a.jsonl", "jsonl", size_bytes=10_000)], "docs", stream)
    shown.show(record)
    clock.now += progress.LINE_EVERY_S
    record.embedded = 100
    shown.show(record)
    assert lines_of(stream) == ["100 of ~5,000 embedded, 8 min 10 s to go (10 docs/s, 9,500 reused)"]


def test_the_sources_before_count_as_read_and_those_after_by_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stream = Clock(monkeypatch), io.StringIO()
    sources = [
        DocumentSource(name, "csv", path=Path(name), size_bytes=size)
        for name, size in (("a", 100), ("b", 400), ("c", 500))
    ]
    record = EmbedRecord(rows=300, embedded=100, reached=(1, 200))
    clock.now += progress.LINE_EVERY_S
    shown = Terminal(sources, "docs", stream)
    shown.show(record)
    clock.now += progress.LINE_EVERY_S
    shown.show(record)
    assert lines_of(stream)[0].startswith("100 of ~1,000 embedded, ")


def test_the_total_of_stdin_is_not_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stream = Clock(monkeypatch), io.StringIO()
    sources = [DocumentSource("a", "csv", path=Path("a"), size_bytes=10), DocumentSource("stdin", "jsonl", 1)]
    shown = Terminal(sources, "docs", stream)
    clock.now += progress.LINE_EVERY_S
    shown.show(EmbedRecord(rows=100, embedded=50, reached=(0, 5)))
    assert lines_of(stream) == ["50 embedded (5 docs/s, 0 reused)"]


def test_on_a_terminal_a_bar_of_what_is_embedded() -> None:
    stream = FakeTerminal()
    shown = Terminal([DocumentSource("a.jsonl", "jsonl", size_bytes=1000)], "chunks", stream)
    shown.show(EmbedRecord(rows=140, reused=40, reached=(0, 500)))
    shown.show(EmbedRecord(rows=140, reused=40, embedded=100, reached=(0, 500)))
    shown.close()
    assert "100/200" in stream.getvalue()
    assert "chunks" in stream.getvalue()
    assert "reused=40" in stream.getvalue()


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "0 s"), (99.4, "99 s"), (125, "2 min 05 s"), (3599, "59 min 59 s"), (7860, "2 h 11 min")],
)
def test_seconds_read_well(seconds: float, written: str) -> None:
    assert format_seconds(seconds) == written


def test_the_summary_says_what_was_done_and_what_comes_next() -> None:
    record = EmbedRecord(
        documents=3000, rows=3000, embedded=2000, reused=1000, skipped=2, tokens=500_000, cut=7, embedding_seconds=40.0
    )
    lines = summary(record, Path("vectors/My Corpus"), 256, chunked=False).splitlines()
    assert lines[0] == "3,000 documents: 2,000 embedded, 1,000 reused, 2 skipped"
    assert "50 documents/s, 12,500 tokens/s, peak memory" in lines[1]
    assert lines[2].startswith("7 documents reached the model's 256 tokens")
    assert "--chunk-tokens" in lines[2]
    assert lines[3] == "vectors/My Corpus is written. Next: perwatt build 'vectors/My Corpus' --index my-corpus"


def test_skipped_records_are_shown_up_to_five() -> None:
    faults = Faults("skip")
    for number in range(3):
        faults.meet(DocumentError(f"f:{number}: bad"))
    assert skipped(faults) == "skipped 3 records:\n  f:0: bad\n  f:1: bad\n  f:2: bad"
    for number in range(4):
        faults.meet(DocumentError(f"f:{number + 3}: bad"))
    assert skipped(faults).endswith("f:4: bad\n  … and 2 more")
