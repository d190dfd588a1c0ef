"""What tests wait for and weigh where the processor is emulated: PERWATT_TEST_PATIENCE, set by deploy/images/suite.sh.

It stretches only waits that end as soon as what they wait for is there, never a limit that is itself the thing tested.
"""

from __future__ import annotations

import os

_TIMES = float(os.environ.get("PERWATT_TEST_PATIENCE", "1"))


def patient(seconds: float) -> float:
    """How long to wait before a test fails, from the seconds of a native run."""
    return seconds * _TIMES


# Keeps a server busy for a while with a few of it. Emulated, a text of 512 tokens takes ten seconds.
LONG = "word " * (1600 if _TIMES == 1 else 200)


def burden(texts: int) -> int:
    """How many texts are enough work for some seconds and no minute, from the number that is so natively."""
    return texts if _TIMES == 1 else max(2, texts // 6)
