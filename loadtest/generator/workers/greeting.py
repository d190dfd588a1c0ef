"""Who comes to generate load, and who is not let in: a part of another version would be added up with ours."""

from __future__ import annotations

import os
import platform

import msgspec

from embed.vectors.provenance import installed, own_version

# Of a worker whose master is on another host, in its environment: Locust overwrites options by those of the master.
MACHINE = "PERWATT_LOADTEST_MACHINE"


class Hello(msgspec.Struct, frozen=True):
    """What a worker says of itself. machine: tells machines apart; empty where it was started with the master."""

    host: str
    pid: int
    perwatt: str
    locust: str
    machine: str = ""


def hello(machine: str = "") -> Hello:
    return Hello(platform.node(), os.getpid(), own_version(), installed("locust") or "", machine)


def refusal(guest: Hello) -> str | None:
    """Why it may not take part; None where it may."""
    ours = hello()
    for what in ("perwatt", "locust"):
        here, there = getattr(ours, what), getattr(guest, what)
        if here != there:
            return (
                f"the worker on {guest.host} has {what} {there}, and the master {here}: their parts do not add up. "
                "Install the same version on both"
            )
    return None
