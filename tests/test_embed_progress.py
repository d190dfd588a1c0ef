"""What a person sees of a run."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest

from embed import progress
from embed.cli import skipped, summary
from embed.documents import DocumentError, Faults, Source
from embed.progress import Terminal, format_seconds
from embed.record import Record


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_a_line_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stream = Clock(monkeypatch), io.StringIO()
    source = Source("a.jsonl", "jsonl", size_bytes=1000)
    shown = Terminal([source], "docs", stream)
    source.done_bytes = 250
    for done in range(0, 100, 5):
        clock.now += 1
        shown.show(done, 100, Record(reused=7))
    shown.close()
    assert stream.getvalue() == (
        "45 of ~400, 79 s to go (4 docs/s, 7 reused)\n95 of ~400, 64 s to go (5 docs/s, 7 reused)\n"
    )


def test_the_total_of_stdin_is_not_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stream = Clock(monkeypatch), io.StringIO()
    shown = Terminal([Source("stdin", "jsonl"), Source("a", "csv", size_bytes=10, done_bytes=5)], "docs", stream)
    clock.now += progress.LINE_EVERY_S
    shown.show(50, 100, Record())
    assert stream.getvalue() == "50 (5 docs/s, 0 reused)\n"


def test_on_a_terminal_a_bar() -> None:
    stream = FakeTerminal()
    source = Source("a.jsonl", "jsonl", size_bytes=1000, done_bytes=500)
    shown = Terminal([source], "chunks", stream)
    shown.show(100, 100, Record(reused=40))
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
    record = Record(
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
