"""Joules of any command: run it, read the machine's sensor meanwhile, keep what it took.

For the steps that are not load tests: `perwatt loadtest metered embed-energy.json perwatt embed docs.jsonl --out v`.
The joules are those of the whole machine (or of the domain that the sensor covers), so nothing else should be running.
"""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from loadtest.errors import PowerError, RecordError
from loadtest.power.energy import Energy
from loadtest.power.meter import Meter
from loadtest.power.sources import PowerSource

FORMAT = "perwatt-energy/1"


class Metered(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A command, how it ended, what it took and drew. `cpu_seconds` are user and system time with all children."""

    format: str = FORMAT
    command: list[str]
    exit_status: int
    seconds: float
    cpu_seconds: float
    energy: Energy


def run_metered(command: Sequence[str], source: PowerSource) -> Metered:
    """Run `command` to its end under the sensor `source`. PowerError when the sensor failed meanwhile."""
    meter = Meter(source)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    meter.begin_now()
    start = time.monotonic()
    try:
        try:
            status = subprocess.run(list(command), check=False).returncode
        except OSError as error:
            raise PowerError(f"{command[0]} cannot be started: {error}") from error
    finally:
        seconds = time.monotonic() - start
        meter.end_now()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Metered(
        command=list(command),
        exit_status=status,
        seconds=round(seconds, 3),
        cpu_seconds=round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 3),
        energy=meter.result(),
    )


def read_metered(path: Path) -> Metered:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Metered)
    except (OSError, msgspec.MsgspecError) as error:
        raise RecordError(f"{path} is not what perwatt loadtest metered writes: {error}") from error
    if found.format != FORMAT:
        raise RecordError(f"{path} has format {found.format!r}; this version reads {FORMAT!r}")
    if found.exit_status != 0:
        raise RecordError(f"{path}: the command it metered ended with status {found.exit_status}")
    return found
