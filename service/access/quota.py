"""Request quotas of keys: one token bucket for each key, shared by all workers.

A bucket is stored as one number, the time at which it will be full again (the generic cell rate algorithm). It is
equivalent to counting tokens and needs neither a second number nor a timer: every request moves that time 1/rate into
the future, and a request is refused while it lies further ahead than the burst allows. A batch is admitted as one
request and then charged for its other queries, because its size is unknown until its body was read. The debt delays the
next request.

The numbers lie in memory that the workers share. A change is made under a file lock on that one number, which costs two
system calls and is only done for keys that have a quota.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import time

from service.access.keys import KEYS
from service.wire.problems import Problem

SLOT_BYTES = 8


class Quotas:
    """The table; `descriptor` is that of a memory file of `table()`, handed from the parent to its workers."""

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = table() if descriptor is None else descriptor
        self._memory = mmap.mmap(self._descriptor, KEYS * SLOT_BYTES)
        self._full_at_s = memoryview(self._memory).cast("d")

    def of(self, slot: int, rate_per_s: float, burst: int | None) -> Quota:
        """burst: None is a second's worth, but at least one."""
        return Quota(self, slot, rate_per_s, max(1, round(rate_per_s)) if burst is None else burst)

    def advance(self, slot: int, interval_s: float, allowed_s: float) -> float:
        """Takes `interval_s` from a bucket that holds `allowed_s`. 0.0, or the seconds until it could be taken."""
        at = slot * SLOT_BYTES
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, SLOT_BYTES, at)
        try:
            now_s = time.monotonic()  # one clock for all processes of the machine
            full_at_s = max(self._full_at_s[slot], now_s)
            wait_s = full_at_s + interval_s - now_s - allowed_s
            if wait_s > 1e-9:  # a nanosecond: the rounding of the sums
                return wait_s
            self._full_at_s[slot] = full_at_s + interval_s
            return 0.0
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, SLOT_BYTES, at)

    def forgive(self, slot: int) -> None:
        """Fills the bucket when its slot goes to another key, which must not inherit the debt of the one before."""
        self._full_at_s[slot] = 0.0


class Quota:
    """The bucket of one key: `rate_per_s` requests a second, `burst` of them at once."""

    def __init__(self, quotas: Quotas, slot: int, rate_per_s: float, burst: int) -> None:
        self._quotas = quotas
        self._slot = slot
        self.rate_per_s = rate_per_s
        self.burst = burst

    def take(self) -> None:
        """Takes one request; raises Problem quota-exceeded with the time to wait."""
        wait_s = self._quotas.advance(self._slot, 1 / self.rate_per_s, self.burst / self.rate_per_s)
        if wait_s:
            raise Problem(
                "quota-exceeded",
                f"This key may ask {self.rate_per_s:g} times a second and {self.burst} times at once; "
                f"ask again in {wait_s:.3f} s.",
                headers={"retry-after": str(max(1, -int(-wait_s // 1)))},
                retry_after_s=round(wait_s, 3),
            )

    def charge(self, cost: float) -> None:
        if cost > 0:
            self._quotas.advance(self._slot, cost / self.rate_per_s, float("inf"))


def table() -> int:
    """Descriptor of a memory file of zeros with a place for every key."""
    descriptor = os.memfd_create("perwatt-quotas")
    os.ftruncate(descriptor, KEYS * SLOT_BYTES)
    return descriptor
