"""Joules of a window, and what was metered."""

from __future__ import annotations

import msgspec


class Energy(msgspec.Struct, forbid_unknown_fields=True):
    """Joules over exactly the window. `domain` names what was metered; unlike domains are never divided."""

    source: str
    domain: str
    joules: float
    window_s: float
    samples: int
    per_channel_j: dict[str, float]
    note: str = ""

    @property
    def watts(self) -> float:
        """The mean over the window."""
        return self.joules / self.window_s
