"""A corpus that a query encoder can be fitted to in a second: many short documents of words that mean nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

SYLLABLES = ["ka", "lo", "mi", "tu", "re", "san", "ver", "dol", "bri", "net", "ous", "tal", "pe", "gri", "mo"]


def made_documents(count: int) -> list[dict[str, Any]]:
    """`_id`, title and text of each, the same on every machine."""
    random = np.random.default_rng(7)

    def words(number: int) -> str:
        return " ".join("".join(random.choice(SYLLABLES, int(random.integers(1, 4)))) for _ in range(number))

    return [
        {"_id": f"d{each:03}", "title": words(2), "text": words(int(random.integers(3, 6)))} for each in range(count)
    ]
