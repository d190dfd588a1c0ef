"""Some seconds of `make test-crash`: a service killed over and over loses nothing that it acknowledged."""

from pathlib import Path

import pytest
from crash import Crash
from patience import patient


@pytest.mark.parametrize("seconds", [4, pytest.param(20, marks=pytest.mark.long)])
def test_a_service_that_is_killed_over_and_over_loses_nothing(tmp_path: Path, seconds: float) -> None:
    crash = Crash(17, tmp_path)
    crash.run(patient(seconds))
    assert crash.place.counts["done"] > 0
    assert crash.place.counts["searched"] > 0
