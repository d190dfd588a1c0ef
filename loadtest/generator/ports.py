"""Ports for servers that cannot take one themselves and say which."""

from __future__ import annotations

import contextlib
import errno
import random
import socket
from pathlib import Path

HANDED_OUT = Path("/proc/sys/net/ipv4/ip_local_port_range")  # the kernel gives these to whoever asks for any
LOWEST, LINUX, TRIES = 10_000, 32_768, 100


def free_port() -> int:
    """A port of this machine that nobody listens on, and that no connection and no program which asks for any port
    comes by between this answer and its use. Raises OSError where there is none."""
    for port in random.sample(range(LOWEST, _first_handed_out()), TRIES):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError(errno.EADDRINUSE, f"{TRIES} ports above {LOWEST} were tried, and all are in use")


def _first_handed_out() -> int:
    first = LINUX
    with contextlib.suppress(OSError):
        first = int(HANDED_OUT.read_text().split()[0])
    return first if first >= LOWEST + TRIES else LINUX  # a machine that hands out all has none to set aside
