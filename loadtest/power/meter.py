"""From readings to joules over exactly a window.

A counter is read at both ends of the window and often enough in between that it cannot wrap twice; a wrap is told by
the counter going backwards. A gauge is sampled and integrated by trapezoids, its ends held. A source that vanishes in
mid-run (a driver unloaded, a plug gone) voids the energy of the trial and is named; a part is never presented as the
whole.
"""

from __future__ import annotations

import math
import threading
import time

import msgspec

from loadtest.errors import PowerError
from loadtest.power.energy import Energy
from loadtest.power.sources import PowerChannel, PowerSource, ReadingKind

PERIOD_S = 0.5


class MeterReading(msgspec.Struct):
    """Monotonic seconds and the value of each channel, in the source's order."""

    at_s: float
    values: list[float]


def read_all(source: PowerSource) -> MeterReading:
    """All channels at once; the time is the middle of the reading."""
    before = time.monotonic()
    values = []
    for channel in source.channels:
        try:
            values.append(channel.read())
        except (OSError, ValueError) as error:
            raise PowerError(f"{source.name}: {channel.name} could not be read: {error}") from error
    return MeterReading((before + time.monotonic()) / 2, values)


def joules(channel: PowerChannel, times_s: list[float], values: list[float], start: float, stop: float) -> float:
    """Energy of one channel in [start, stop], from readings that reach beyond both ends (or are held to them)."""
    if len(times_s) < 2:
        raise PowerError(f"{channel.name}: {len(times_s)} readings are too few for an energy")
    if channel.kind is ReadingKind.COUNTER:
        running = [0.0]
        for i in range(1, len(values)):
            step = values[i] - values[i - 1]
            if step < 0:
                if channel.wraps_at_j is None:
                    raise PowerError(f"{channel.name} went backwards by {-step:g} J and its range is not known")
                step += channel.wraps_at_j
            running.append(running[-1] + step)
        return _at(times_s, running, stop) - _at(times_s, running, start)
    area = 0.0
    inner = [t for t in times_s if start < t < stop]
    points = [start, *inner, stop]
    heights = [_at(times_s, values, t) for t in points]
    for i in range(1, len(points)):
        area += (points[i] - points[i - 1]) * (heights[i] + heights[i - 1]) / 2
    return area


def _at(times_s: list[float], values: list[float], t: float) -> float:
    """Linear interpolation, held at the ends."""
    if t <= times_s[0]:
        return values[0]
    for i in range(1, len(times_s)):
        if t <= times_s[i]:
            share = (t - times_s[i - 1]) / (times_s[i] - times_s[i - 1])
            return values[i - 1] + share * (values[i] - values[i - 1])
    return values[-1]


def energy(source: PowerSource, readings: list[MeterReading], start: float, stop: float) -> Energy:
    times = [reading.at_s for reading in readings]
    each = {
        channel.name: joules(channel, times, [r.values[i] for r in readings], start, stop)
        for i, channel in enumerate(source.channels)
    }
    window = stop - start
    notes = [source.note] if source.note else []
    if source.averages_s > window / 4:
        notes.append(f"the sensor averages over {source.averages_s:g} s, too long for a window of {window:g} s")
    return Energy(
        source=source.name,
        domain=source.domain,
        joules=sum(each.values()),
        window_s=window,
        samples=len(readings),
        per_channel_j=each,
        note="; ".join(notes),
    )


class Meter:
    """Reads a source in a thread over [start, stop) of time.monotonic(), with a reading exactly at both ends."""

    def __init__(self, source: PowerSource, period_s: float = PERIOD_S) -> None:
        self.source = source
        self._period_s = period_s
        self._readings: list[MeterReading] = []
        self._problem: PowerError | None = None
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._window = (0.0, 0.0)

    def begin(self, start: float, stop: float) -> None:
        """Start reading at `start`, in the future, until `stop`."""
        self._window = (start, stop)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def begin_now(self) -> None:
        """Start with a reading made before this returns; `end_now` makes the last one."""
        first = read_all(self.source)
        self._readings.append(first)
        self.begin(first.at_s, math.inf)

    def end_now(self) -> None:
        """End what `begin_now` began: the window is from the first reading to one made here."""
        self._ended.set()
        assert self._thread is not None
        self._thread.join(self._period_s + 30)
        if self._problem is None:
            try:
                self._readings.append(read_all(self.source))
            except PowerError as error:
                self._problem = error
        self._window = (self._window[0], self._readings[-1].at_s)

    def cut(self, stop: float) -> None:
        """The window of `begin` ends at `stop` already, which is still to come."""
        self._window = (self._window[0], min(self._window[1], stop))

    def _run(self) -> None:
        due = self._window[0]
        try:
            while not self._ended.wait(max(due - time.monotonic(), 0)):
                self._readings.append(read_all(self.source))
                if due >= self._window[1]:
                    return
                due = min(max(due + self._period_s, time.monotonic()), self._window[1])
        except PowerError as error:
            self._problem = error

    def result(self) -> Energy:
        """The energy of the window; PowerError when the source failed in between."""
        if self._thread is not None:
            self._thread.join(self._period_s + 30)
        if self._problem is not None:
            raise PowerError(f"no energy for this trial: {self._problem}")
        return energy(self.source, self._readings, *self._window)
