"""Running before other programs, where the kernel lets us."""

from __future__ import annotations

import os

NORMAL = "normal"


def go_first(pid: int, before: int = 1) -> str:
    """Let the process run as soon as it has something to do, if we may; returns how it runs.

    A request that is due while another program has the core is sent a time slice late, some milliseconds. The generator
    uses little CPU and must only not be kept waiting, which is what the kernel's real-time class is for (Linux leaves
    5 % of a core to the others even then). It needs root or CAP_SYS_NICE; without it the checks judge the lag as ever.
    Of two that go first, the one with the higher `before` does.
    """
    try:
        os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(before))
        return "real time"
    except (AttributeError, OSError):
        return NORMAL
