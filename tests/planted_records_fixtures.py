"""Records of simulated machines with a known ratio between them."""

from __future__ import annotations

import pytest
from loadtest_records import ARM, X86

from loadtest.record.run_record import Record
from loadtest.selftest.example import simulated_record


@pytest.fixture(scope="module")
def base() -> list[Record]:
    """Four blocks each of a baseline, its replica, and a candidate that is 1.30 times as fast."""
    found = []
    for block in range(4):
        for arm, speed, price in (("x86", 1.0, X86), ("x86 again", 1.0, X86), ("arm", 1.3, ARM)):
            found.append(simulated_record(arm, block, speed, seed=3, price=price, curve=False))
    return found
