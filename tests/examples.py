"""How many examples Hypothesis makes up, each run its own: all in `make test-long`, a third of them in `make test`."""

from __future__ import annotations

import os

_PART = 1 if os.environ.get("PERWATT_ALL_EXAMPLES") else 3


def examples(many: int) -> int:
    return many // _PART
