"""Run records of three simulated arms in three blocks, for tests of what is read from records."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from loadtest.power.energy import Energy
from loadtest.prices.table import find_price
from loadtest.record.histogram import Histogram
from loadtest.record.run_record import Record, ServiceFacts, write_record
from loadtest.record.trial import ServerSide, ValidityCheck
from loadtest.selftest.example import simulated_record

X86, ARM = find_price("c7i.2xlarge"), find_price("c8g.2xlarge")
ARMS = (("x86", 1.0, "c7i.2xlarge"), ("x86 again", 1.0, "c7i.2xlarge"), ("arm", 1.2, "c8g.2xlarge"))


@cache
def made() -> tuple[Record, ...]:
    """Not to be changed; the curve is in the first block alone."""
    return tuple(
        simulated_record(arm, block, speed, seed=12, price=find_price(instance), curve=block == 0)
        for block in range(3)
        for arm, speed, instance in ARMS
    )


def three_arms() -> list[Record]:
    """The same records, the test's own."""
    return [msgspec.convert(msgspec.to_builtins(record), Record) for record in made()]


def invalid(record: Record) -> Record:
    record.trials[-1].gates = [ValidityCheck("generator CPU", False, "99 % of a core", "≤ 70 %")]
    return record


def write_all(records: list[Record], folder: Path) -> Path:
    """A file each, named by its block and arm."""
    for record in records:
        write_record(record, folder / f"{record.label.block}-{record.label.arm}.json")
    return folder


def sharded(replicas: list[int] | None, cores: float, seen: int | None = None, block: int = 0, **more: Any) -> Record:
    """A knee of an index in so many shards that keeps so many CPUs busy. seen: of the servers behind the router."""
    [record] = [each for each in three_arms() if (each.label.arm, each.label.block) == ("x86", block)]
    record.label.simulated = False
    record.label.arm = "one piece" if replicas is None else f"{len(replicas)} shards"
    record.served = ServiceFacts("http://r", "docs", f"docs-{replicas}", None, 1000, 8, "cosine", replicas=replicas)
    empty = Histogram().encode()
    for trial in record.trials:
        trial.server = ServerSide(0, empty, empty, cores_used=cores)
        trial.server.servers = sum(replicas or []) if seen is None else seen
        trial.energy = Energy("rapl", "package", 100.0 * cores, trial.window_s, 9, {})
    return msgspec.structs.replace(record, **more)
