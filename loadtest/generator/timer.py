"""A timer that is exact to tens of microseconds inside gevent's loop.

libev waits in epoll_wait, whose timeout is whole milliseconds and is rounded up: a plain gevent timer sends requests up
to 1 ms late, which at a 10 ms objective is the whole allowance for the generator. Linux's timerfd is a file descriptor
that becomes readable at an absolute time of the monotonic clock, and epoll reports it at once. Elsewhere (macOS) the
loop's own timer is used; its lag is measured and judged like any other.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Callable
from typing import Any

_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
_TFD_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC if sys.platform == "linux" else 0


class _TimeSpec(ctypes.Structure):
    _fields_ = (("sec", ctypes.c_long), ("nsec", ctypes.c_long))


class _ITimerSpec(ctypes.Structure):
    _fields_ = (("interval", _TimeSpec), ("value", _TimeSpec))


class AbsoluteTimer:
    """Calls `callback()` from the loop once the monotonic clock reaches the time it was last set to."""

    def __init__(self, loop: Any, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._fd = -1
        if sys.platform == "linux":
            libc = ctypes.CDLL(None, use_errno=True)
            self._fd = libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_FLAGS)
            if self._fd < 0:
                raise OSError(ctypes.get_errno(), "timerfd_create")
            self._settime = libc.timerfd_settime
            self._spec = _ITimerSpec()
            self._at = ctypes.byref(self._spec)
            self._watcher = loop.io(self._fd, 1)
            self._watcher.start(self._expired)
        else:
            self._watcher = loop.timer(0.0)

    def set(self, at_s: float) -> None:
        """Expire at `at_s` of time.monotonic(); at once, if that has passed."""
        if self._fd >= 0:
            value = self._spec.value
            value.sec = int(at_s)
            value.nsec = max(int((at_s - int(at_s)) * 1e9), 1)  # all zero would disarm it
            self._settime(self._fd, _TFD_TIMER_ABSTIME, self._at, None)
        else:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = self._loop.timer(max(at_s - time.monotonic(), 0.0))
            self._watcher.start(self._callback)

    def _expired(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return  # it was set again after it had expired
        self._callback()

    def close(self) -> None:
        self._watcher.stop()
        self._watcher.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
