"""How far the run is: a bar on a terminal, else a line every ten seconds.

The total is estimated from the share of the input that was read, and exact once the last record is
in. The rate that a person wants to see is of texts embedded, not of rows found again, so the two
are shown apart."""

import sys
import time
from collections.abc import Sequence
from typing import Protocol, TextIO

from tqdm import tqdm

from embed.documents import Source
from embed.record import Record

LINE_EVERY_S = 10.0


class Progress(Protocol):
    def show(self, done: int, read: int, record: Record) -> None:
        """done: rows with a vector; read: rows taken from the input so far."""

    def close(self) -> None: ...


class Silent:
    """For tests, notebooks and --quiet."""

    def show(self, done: int, read: int, record: Record) -> None:
        pass

    def close(self) -> None:
        pass


class Terminal:
    """unit: what a row is called ("docs", "chunks")."""

    def __init__(self, sources: Sequence[Source], unit: str, stream: TextIO | None = None) -> None:
        self._sources = sources
        self._unit = unit
        self._stream = stream or sys.stderr
        self._bar = (
            tqdm(file=self._stream, unit=f" {unit}", dynamic_ncols=True, smoothing=0.1)
            if self._stream.isatty()
            else None
        )
        self._started = self._last_line = time.monotonic()

    def show(self, done: int, read: int, record: Record) -> None:
        total = self._total(read)
        if self._bar is not None:
            self._bar.total = total
            self._bar.set_postfix(reused=record.reused, refresh=False)
            self._bar.update(done - self._bar.n)
            return
        now = time.monotonic()
        if now - self._last_line >= LINE_EVERY_S:
            self._last_line = now
            rate = done / (now - self._started)
            rest = f" of ~{total:,}, {format_seconds((total - done) / rate)} to go" if total and rate else ""
            self._stream.write(f"{done:,}{rest} ({rate:.0f} {self._unit}/s, {record.reused:,} reused)\n")
            self._stream.flush()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def _total(self, read: int) -> int | None:
        size = sum(source.size_bytes for source in self._sources)
        done = sum(min(source.done_bytes, source.size_bytes) for source in self._sources)
        unknown = any(source.name == "stdin" for source in self._sources)
        return None if unknown or not done else round(read * size / done)


def format_seconds(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
