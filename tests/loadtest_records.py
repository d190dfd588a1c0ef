"""Run records of three simulated arms in three blocks, for tests of what is read from records."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

from loadtest.prices.table import find_price
from loadtest.record.run_record import Record, write_record
from loadtest.record.trial import ValidityCheck
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
