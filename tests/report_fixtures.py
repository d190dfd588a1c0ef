"""Records whose reports are read."""

from __future__ import annotations

import pytest
from loadtest_records import three_arms

from loadtest.record.run_record import Record


@pytest.fixture
def records() -> list[Record]:
    return three_arms()
