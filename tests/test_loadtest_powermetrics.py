"""A Mac's power against a stand-in for Apple's tool, which writes samples in its format."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from loadtest.errors import PowerError
from loadtest.power.meter import read_all
from loadtest.power.powermetrics import joules, powermetrics_sources, samples
from loadtest.power.probe import choose, probe
from loadtest.power.sources import PowerSource, Unreadable

# The fields, units and order of `powermetrics --samplers cpu_power --format plist` on an M1, without its clusters.
SAMPLE = b"""<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
<key>is_delta</key><true/>
<key>elapsed_ns</key><integer>200000000</integer>
<key>hw_model</key><string>MacBookAir10,1</string>
<key>processor</key><dict>
\t<key>cpu_energy</key><integer>1600</integer>
\t<key>cpu_power</key><real>8000</real>
\t<key>gpu_energy</key><integer>390</integer>
\t<key>gpu_power</key><real>1950</real>
\t<key>ane_energy</key><integer>10</integer>
\t<key>ane_power</key><real>50</real>
\t<key>combined_power</key><real>10000</real>
</dict>
</dict>
</plist>
"""
TOOL = """#!{python}
import sys, time
sample = {sample!r}
assert sys.argv[1:7] == ["--samplers", "cpu_power", "--format", "plist", "--sample-rate", "200"], sys.argv
once = "--sample-count" in sys.argv
while True:
    sys.stdout.buffer.write(sample)
    sys.stdout.buffer.flush()
    if once: break
    time.sleep(0.01)
    sys.stdout.buffer.write(b"\\0")
"""


def running() -> list[psutil.Process]:
    """The tools, those among them that have ended and were not waited for."""
    found = []
    for each in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if each.name() == "powermetrics":
                found.append(each)
    return found


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """A tool goes on until this process ends, and this process has other tests to run."""
    yield
    deadline = time.monotonic() + 20
    while (left := running()) and time.monotonic() < deadline:
        for each in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        time.sleep(0.01)
    assert left == []


def tool(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str = TOOL, sample: bytes = SAMPLE) -> None:
    program = folder / "powermetrics"
    program.write_text(text.format(python=sys.executable, sample=sample))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_joules_add_up_from_the_first_reading_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool(tmp_path, monkeypatch)
    found = probe(tmp_path)
    source = next(each for each in found if isinstance(each, PowerSource))
    assert (source.name, source.domain, source.averages_s) == ("powermetrics", "apple-soc", 0.2)
    assert choose(found) is source
    first = read_all(source).values[0]
    deadline = time.monotonic() + 20
    while (later := read_all(source).values[0]) < first + 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    # Each sample is of two joules.
    assert later >= first + 6
    assert (later - first) % 2 == pytest.approx(0)


def test_elapsed_time_and_power_or_the_energies_of_the_parts() -> None:
    assert joules(SAMPLE) == pytest.approx(2.0)
    assert joules(SAMPLE.replace(b"<key>combined_power</key><real>10000</real>", b"")) == pytest.approx(2.0)


def test_samples_are_parted_wherever_the_pipe_is_cut() -> None:
    class Slow(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            return self.read(7)

    assert [joules(each) for each in samples(Slow(SAMPLE + b"\0" + SAMPLE))] == pytest.approx([2.0, 2.0])


@pytest.mark.parametrize(
    "wrong", [b"", b"no list", b"<plist><dict/></plist>", b"<plist><array/></plist>", b"<plist><x"]
)
def test_other_samples_are_named(wrong: bytes) -> None:
    with pytest.raises(PowerError, match="powermetrics wrote"):
        joules(wrong)


def test_a_tool_that_refuses_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool(tmp_path, monkeypatch, "#!/bin/sh\necho powermetrics must be invoked as the superuser >&2\nexit 1\n")
    [found] = powermetrics_sources()
    assert isinstance(found, Unreadable)
    assert "superuser" in found.why
    assert "sudo" in found.remedy


def test_a_tool_that_ends_on_the_way_is_an_error_and_not_a_low_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool(tmp_path, monkeypatch, TOOL.replace("if once: break", "break"))
    [source] = powermetrics_sources()
    assert isinstance(source, PowerSource)

    def read_on() -> None:
        for _ in range(2000):
            read_all(source)
            time.sleep(0.01)

    with pytest.raises(PowerError, match="powermetrics ended"):
        read_on()
