"""What an index must hold after writes of which some were acknowledged, some refused, and of some nobody knows.

A document is a seed: its vector and payload are made from it, so a hit that is half of one document and half of another
is seen. A dictionary of ids and seeds is all that there is to know of an index.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import httpx
import numpy as np
from changing import vector
from numpy.typing import NDArray

Effects = dict[str, int | None]  # of a write: the seed of what it puts, None for what it deletes
TOLERANCE = 1e-5  # of a score: float32 on both sides, added up in another order


class Written:
    """The dictionary, and the writes that may or may not have been done. Those have no documents in common."""

    def __init__(self, known: Mapping[str, int]) -> None:
        self.known = dict(known)
        self.open: list[Effects] = []

    def done(self, effects: Effects) -> None:
        for id_, seed in effects.items():
            if seed is None:
                self.known.pop(id_, None)
            else:
                self.known[id_] = seed

    @property
    def undecided(self) -> set[str]:
        return {id_ for effects in self.open for id_ in effects}

    def settle(self, found: Mapping[str, int]) -> None:
        """Holds against what the index has: of each open write all or nothing, of the others exactly what is known."""
        for effects in self.open:
            all_of_it = all(found.get(id_) == seed for id_, seed in effects.items())
            nothing = all(found.get(id_) == self.known.get(id_) for id_ in effects)
            there = {id_: found.get(id_) for id_ in effects}
            before = {id_: self.known.get(id_) for id_ in effects}
            assert all_of_it or nothing, f"half of a write: {effects} over {before} became {there}"
            if all_of_it:
                self.done(effects)
        self.open.clear()
        assert found == self.known, differences(self.known, found)


def differences(known: Mapping[str, int], found: Mapping[str, int]) -> str:
    lost = {id_: seed for id_, seed in known.items() if id_ not in found}
    strange = {id_: seed for id_, seed in found.items() if id_ not in known}
    other = {id_: (known[id_], found[id_]) for id_ in known.keys() & found.keys() if known[id_] != found[id_]}
    return f"lost {lost}; nobody wrote {strange}; known and found {other}"


@lru_cache(1 << 14)
def direction(seed: int) -> NDArray[np.float32]:
    given = vector(seed)
    return given / np.float32(np.linalg.norm(given))


def seeds_of(hits: Iterable[Mapping[str, Any]], query: int) -> dict[str, int]:
    """The ids of hits with their seeds, in their order. Raises AssertionError where a score is not the one that the
    hit's own vector gives with that of `query`, or where they are out of order."""
    hits = list(hits)
    seeds = [int(hit["payload"]["seed"]) for hit in hits]
    if not seeds:
        return {}
    scores = np.array([hit["score"] for hit in hits])
    expected = np.stack([direction(seed) for seed in seeds]) @ direction(query)
    assert np.abs(scores - expected).max() < TOLERANCE, f"scores {scores} of seeds {seeds} for {query}: {expected}"
    assert (np.diff(scores) <= 0).all(), f"scores out of order: {scores}"
    found = {hit["id"]: seed for hit, seed in zip(hits, seeds, strict=True)}
    assert len(found) == len(hits), "an id came twice"
    return found


def asking(query: int, **asked: Any) -> dict[str, Any]:
    """The body of an exact search for everything, nearest to the vector of a seed first."""
    return {"vector": vector(query).tolist(), "k": 1000, "params": {"exact": True}, "fields": ["seed"], **asked}


def everything(client: httpx.Client, query: int, **asked: Any) -> dict[str, int]:
    """All that the index holds."""
    answer = client.post("/v1/indexes/docs/search", json=asking(query, **asked))
    assert answer.status_code == 200, answer.text
    return seeds_of(answer.json()["hits"], query)
