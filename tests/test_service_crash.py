"""Some seconds of `make test-crash`: a service killed over and over loses nothing that it acknowledged."""

import time
from pathlib import Path

import pytest
from crash import Crash
from patience import patient


@pytest.mark.parametrize("seconds", [4, pytest.param(20, marks=pytest.mark.long)])
def test_a_service_that_is_killed_over_and_over_loses_nothing(tmp_path: Path, seconds: float) -> None:
    crash = Crash(17, tmp_path)
    ends_s = time.monotonic() + patient(60)
    crash.run(patient(seconds))
    while not (crash.place.counts["done"] and crash.place.counts["searched"]) and time.monotonic() < ends_s:
        crash.run(patient(2))  # the machine is so busy that each service was killed before it had done anything
    assert crash.place.counts["done"] > 0
    assert crash.place.counts["searched"] > 0
