"""How long tests wait for what must come before they fail: seconds of a native run, times PERWATT_TEST_PATIENCE.

deploy/images/suite.sh sets it where the processor is emulated. It stretches only waits that end as soon as what they
wait for is there, never a limit that is itself the thing tested.
"""

from __future__ import annotations

import os

_TIMES = float(os.environ.get("PERWATT_TEST_PATIENCE", "1"))


def patient(seconds: float) -> float:
    return seconds * _TIMES
