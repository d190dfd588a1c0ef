"""What callers used, key by key."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class KeyUsage(Struct, frozen=True, omit_defaults=True):
    """What the callers with one key used since the service started.

    Args:
        key: its name; "(no key)", "(former keys)" and "(service)" are what no key there is has used.
        queries: answered, those of a batch each.
        tokens: of texts, encoded or seen before.
        vectors_scored: distances computed.
        cpu_s: processor time of encode, search and payload; of "(service)" all else that its processes did.
        share: of the processor time of all keys' queries, to divide a bill by; for those who see all keys.
        joules: joules_low and joules_high are there too where they are modelled.
    """

    key: str
    queries: int
    tokens: int
    vectors_scored: int
    cpu_s: float
    share: float | None = None
    joules: float | None = None
    joules_low: float | None = None
    joules_high: float | None = None
    dollars: float | None = None


class UsageAnswer(Struct, frozen=True, omit_defaults=True):
    """
    Args:
        since: when the service started, and with it all these numbers.
        energy: what the joules are: measured, modelled or unknown.
        energy_of: how they were measured or modelled, or why they are unknown.
        usd_per_cpu_hour: the price that dollars were counted with.
        keys: those that have used anything, the dearest first; a key that is not for all sees its own.
        whole: all of them together, counted apart from the keys; for those who see all.
    """

    since: str
    energy: Literal["measured", "modelled", "unknown"]
    energy_of: str
    keys: list[KeyUsage]
    usd_per_cpu_hour: float | None = None
    whole: KeyUsage | None = None
