"""How far the run is: a bar on a terminal, else a line every ten seconds.

What counts is what is embedded: texts found again cost next to nothing, and a time left computed from them would be far
too short. How many there will be to embed is foretold from the share of the input that was read, less what this model
had embedded before; once the last record is in, it is exact."""

import sys
import time
from collections.abc import Sequence
from typing import Protocol, TextIO

from tqdm import tqdm

from embed.documents.document import DocumentSource
from embed.vectors.record import EmbedRecord

LINE_EVERY_S = 10.0


class EmbedProgress(Protocol):
    def show(self, record: EmbedRecord) -> None:
        """To be called before the first text is embedded, and whenever some more are."""

    def close(self) -> None: ...


class Silent:
    """For tests, notebooks and --quiet."""

    def show(self, record: EmbedRecord) -> None:
        pass

    def close(self) -> None:
        pass


class Terminal:
    """unit: what a row is called ("docs", "chunks")."""

    def __init__(self, sources: Sequence[DocumentSource], unit: str, stream: TextIO | None = None) -> None:
        self._sources = sources
        self._unit = unit
        self._stream = stream or sys.stderr
        self._bar = (
            tqdm(file=self._stream, unit=f" {unit}", dynamic_ncols=True, smoothing=0.1)
            if self._stream.isatty()
            else None
        )
        self._started = self._last_line = time.monotonic()

    def show(self, record: EmbedRecord) -> None:
        now, left = time.monotonic(), self._left(record)
        total = None if left is None else record.embedded + left
        if not record.embedded:
            self._started = now
        if self._bar is not None:
            if not record.embedded:
                self._bar.unpause()  # its time begins with the first text embedded
            self._bar.total = total
            self._bar.set_postfix(reused=record.reused, refresh=not record.embedded)
            self._bar.update(record.embedded - self._bar.n)
        elif now - self._last_line >= LINE_EVERY_S:
            self._last_line = now
            self._stream.write(self._line(record, left, now - self._started) + "\n")
            self._stream.flush()

    def _line(self, record: EmbedRecord, left: int | None, seconds: float) -> str:
        line = f"{record.embedded:,}" + ("" if left is None else f" of ~{record.embedded + left:,}") + " embedded"
        if record.embedded and seconds:
            rate = record.embedded / seconds
            line += "" if left is None else f", {format_seconds(left / rate)} to go"
            line += f" ({rate:.0f} {self._unit}/s, {record.reused:,} reused)"
        else:
            line += f" ({record.reused:,} reused)"
        return line

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def _left(self, record: EmbedRecord) -> int | None:
        """About how many rows are still to be embedded; None where nothing tells."""
        number, done = record.reached
        sizes = [source.size_bytes for source in self._sources]
        read = sum(sizes[:number]) + min(done, sizes[number])
        if not read or any(source.path is None and not source.size_bytes for source in self._sources):
            return None
        to_read = round(record.rows * (sum(sizes) - read) / read)
        new = record.rows - record.reused
        # What was known at the start comes first, as after a kill, or is spread over the input, as after a change: of
        # the two, what leaves more. Texts that repeat others of this input are spread over it.
        beyond = record.rows - min(record.known, record.reused)
        after_kill = max(0, to_read - max(0, record.known - record.reused)) * (new / beyond if beyond else 1.0)
        after_change = to_read * new / record.rows
        return new - record.embedded + round(max(after_kill, after_change))


def format_seconds(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
