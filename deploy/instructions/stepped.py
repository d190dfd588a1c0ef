"""Instructions counted on this processor: a child process is led through its work one instruction at a time, by ptrace.

Some microseconds a step: a million instructions take seconds. An instruction that repeats itself counts once a
repetition. Linux alone, x86-64 and arm64.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.errors import CountingError

WORK = Path(__file__).with_name("work.py")

ATTACH, DETACH, CONT, SINGLESTEP, GETREGSET = 16, 17, 7, 9, 0x4204
NT_PRSTATUS = 1
# Where the address of the next instruction lies among the registers, in words.
COUNTER = {"x86_64": 16, "aarch64": 32}
REGISTERS = 64


class Vector(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def count(arguments: Sequence[str]) -> float:
    """Instructions a query of what `work.py` does with these arguments, the library's alone.

    Raises:
        CountingError: The system does not let one process lead another, or the work failed.
    """
    command = [sys.executable, str(WORK), *arguments, "--marked"]
    settings = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=settings) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        line = child.stdout.readline()
        if not line:
            raise CountingError(f"the work ended with {child.wait()} before it began: {' '.join(arguments)}")
        place = json.loads(line)
        try:
            _trace(ATTACH, child.pid)
            _stopped(child.pid)
            _trace(CONT, child.pid)
            child.stdin.write("\n")
            child.stdin.flush()
            while _stopped(child.pid) != signal.SIGUSR1:
                _trace(CONT, child.pid)
            steps = _steps(child.pid, int(place["start"]), int(place["end"]))
            _trace(DETACH, child.pid)
        finally:
            if child.poll() is None and sys.exc_info()[0] is not None:
                child.kill()
    return steps / int(place["queries"])


def _steps(process: int, start: int, end: int) -> int:
    """Until the next SIGUSR1, those at an address from `start` to before `end`."""
    words = (ctypes.c_uint64 * REGISTERS)()
    vector = Vector(ctypes.cast(words, ctypes.c_void_p), ctypes.sizeof(words))
    at, steps = COUNTER[platform.machine()], 0
    while True:
        vector.length = ctypes.sizeof(words)
        _trace(GETREGSET, process, NT_PRSTATUS, ctypes.addressof(vector))
        steps += start <= words[at] < end
        _trace(SINGLESTEP, process)
        if _stopped(process) == signal.SIGUSR1:
            return steps


def _stopped(process: int) -> int:
    """The signal that the process stopped at."""
    _, status = os.waitpid(process, 0)
    if not os.WIFSTOPPED(status):
        raise CountingError(f"the work ended on the way, with status {status}")
    return os.WSTOPSIG(status)


_ptrace = ctypes.CDLL(None, use_errno=True).ptrace
_ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_ptrace.restype = ctypes.c_long


def _trace(request: int, process: int, address: int = 0, data: int = 0) -> None:
    if _ptrace(request, process, address, data) == -1:
        error = ctypes.get_errno()
        raise CountingError(
            f"ptrace failed: {os.strerror(error)}. In a container it needs the capability SYS_PTRACE; "
            "/proc/sys/kernel/yama/ptrace_scope must be 0 or 1"
        )
