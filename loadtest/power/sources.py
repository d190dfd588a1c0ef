"""What a power source is: channels that are read, a domain that says what they cover, and reasons when they cannot be
read.

The **domain** names what was metered: `package` (the CPU), `package+dram`, `module` (CPU and its memory), `core`,
`wall` (the whole machine behind its plug). A query's joules at the wall and in the package differ by a factor of two or
more on the same machine, so unlike domains are never divided by each other.

A **counter** counts joules and wraps; energy is the difference of its ends, exact over the window. A **gauge** shows
watts; energy is the area under its samples.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from pathlib import Path

import msgspec


class ReadingKind(enum.Enum):
    COUNTER = "counter"
    GAUGE = "gauge"


class PowerChannel(msgspec.Struct, frozen=True):
    """One value that can be read: joules since some time (COUNTER, wrapping at `wraps_at_j`) or watts (GAUGE)."""

    name: str
    kind: ReadingKind
    read: Callable[[], float]
    wraps_at_j: float | None = None


class PowerSource(msgspec.Struct, frozen=True):
    """Channels of one domain from one place, whose sum is the power of that domain.

    `averages_s` is over how long the sensor itself averages; a shorter window tells nothing new. `given`: somebody
    said where it is, so it is the one that is meant.
    """

    name: str
    domain: str
    place: str
    channels: tuple[PowerChannel, ...]
    averages_s: float = 0.0
    note: str = ""
    given: bool = False


class Unreadable(msgspec.Struct, frozen=True):
    """A source that exists or could exist, why it cannot be read, and what would make it readable."""

    name: str
    why: str
    remedy: str


Probed = list[PowerSource | Unreadable]


def millionths(path: Path) -> Callable[[], float]:
    """How a channel reads a file of microwatts or microjoules, as sysfs shows them."""
    return lambda: int(path.read_text("ascii")) / 1e6
