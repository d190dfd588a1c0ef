"""How far a job is: counted the same way, and shown in the same line, whatever its workers run on."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TextIO

from tqdm import tqdm

from embed.progress import LINE_EVERY_S, format_seconds


@dataclass
class Tally:
    """One stage of a job.

    Args:
        weights: of the tasks that are to be done, how much work each is.
        cores: that a running task keeps for itself.
        usd_per_core_hour: what an hour of one costs, where that is known.
        spent_usd: by the stages before.
        clock: seconds.
    """

    stage: str
    weights: Mapping[int, float]
    there: int = 0
    cores: float = 1
    usd_per_core_hour: float | None = None
    spent_usd: float = 0.0
    done: set[int] = field(default_factory=set)
    failed: dict[int, str] = field(default_factory=dict)
    bad: dict[int, str] = field(default_factory=dict)  # those of the failed whose input is at fault
    retried: int = 0
    core_seconds: float = 0.0

    def __post_init__(self) -> None:
        self._running: dict[int, float] = {}
        self._started = time.monotonic()

    def begin(self, task: int) -> None:
        self._running[task] = time.monotonic()

    def end(self, task: int) -> None:
        """An attempt is over, however it ended."""
        self.core_seconds += self.cores * (time.monotonic() - self._running.pop(task))

    def follow(self, running: set[int]) -> None:
        """Begins and ends attempts so that these are running, where others decide which."""
        for task in self._running.keys() - running:
            self.end(task)
        for task in running - self._running.keys():
            self.begin(task)

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def total(self) -> int:
        return len(self.weights) + self.there

    @property
    def left(self) -> list[int]:
        return [task for task in self.weights if task not in self.done and task not in self.failed]

    @property
    def usd(self) -> float | None:
        """Dollars so far: the cores that were kept, whether what they did counted or not."""
        if self.usd_per_core_hour is None:
            return None
        now = time.monotonic()
        running = sum(self.cores * (now - since) for since in self._running.values())
        return self.spent_usd + (self.core_seconds + running) / 3600 * self.usd_per_core_hour

    def line(self) -> str:
        """How far it is, at what rate, how long it will take, and what it has cost."""
        seconds, left = time.monotonic() - self._started, self.left
        said = [f"{self.stage}: {len(self.done) + self.there:,} of {self.total:,} done"]
        said += [f"{self.running} running"] if self.running else []
        said += [f"{len(self.failed)} failed", f"{self.retried} retried"]
        if self.done and seconds > 0:
            said.append(f"{len(self.done) / seconds * 60:,.1f} a minute")
        work = sum(self.weights[task] for task in self.done)
        if left and work:
            to_go = sum(self.weights[task] for task in left) / work * seconds
            said.append(f"{format_seconds(to_go)} to go")
        if (usd := self.usd) is not None:
            said.append(f"${usd:,.4f} so far")
        return ", ".join(said)


class JobDisplay:
    """A line that changes on a terminal; else a new one every ten seconds and at the end of a stage."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._bar = tqdm(file=self._stream, bar_format="{desc}", dynamic_ncols=True) if self._stream.isatty() else None
        self._last_line = time.monotonic()

    def show(self, tally: Tally) -> None:
        if self._bar is not None:
            self._bar.set_description_str(tally.line())
        elif time.monotonic() - self._last_line >= LINE_EVERY_S:
            self.say(tally.line())

    def say(self, line: str) -> None:
        """A line that stays."""
        self._last_line = time.monotonic()
        if self._bar is not None:
            self._bar.clear()
        self._stream.write(line + "\n")
        self._stream.flush()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
