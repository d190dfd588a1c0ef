"""Documents, writes and logs for tests of changes: made from seeds, so that a failure can be repeated."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index import build_generation
from index.changes.log_file import Change, Write

WORDS = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "zeta",
    "eta",
    "theta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "rho",
    "sigma",
]
FIELDS = ["lang:keyword", "year:int", "tags:keyword[]", "ok:bool", "score:float", "when:date"]
DIM = 24


def document(seed: int) -> dict[str, Any]:
    """A payload with words to search and a value, or none, for each of FIELDS."""
    rng = random.Random(seed)
    return {
        "title": " ".join(rng.choices(WORDS, k=3)),
        "text": " ".join(rng.choices(WORDS, k=rng.randint(1, 60))),
        "lang": rng.choice(["en", "de", "fr"]),
        "year": rng.choice([None, *range(2000, 2010)]),
        "tags": rng.sample(WORDS, 2),
        "ok": rng.random() < 0.5,
        "score": rng.random(),
        "when": f"20{rng.randint(10, 20)}-01-02",
    }


def vector(seed: int, dim: int = DIM) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(dim).astype(np.float32)


class Documents:
    """What an index should hold: ids with the seeds of their vectors and payloads."""

    def __init__(self, count: int, *, integers: bool = False) -> None:
        self.seeds = {number: number for number in range(count)}
        self._integers = integers

    def id_of(self, number: int) -> Any:
        return number if self._integers else f"d{number}"

    def build(self, root: Path, **settings: Any) -> Path:
        """A generation of all of them, in the order in which they were put."""
        seeds = list(self.seeds.values())
        return build_generation(
            np.stack([vector(seed) for seed in seeds]),
            [self.id_of(number) for number in self.seeds],
            root=root,
            name=settings.pop("name", "docs"),
            payload=[document(seed) for seed in seeds],
            filterable=FIELDS,
            threads=1,
            min_count_ratio=0.0,
            **settings,
        )

    def put(self, number: int, seed: int) -> Write:
        self.seeds[number] = seed
        return write(str(self.id_of(number)), seed)

    def delete(self, number: int) -> Write:
        self.seeds.pop(number, None)
        return Write(str(self.id_of(number)), None)


def write(id_: str, seed: int, dim: int = DIM) -> Write:
    return Write(id_, vector(seed, dim).tobytes(), json.dumps(document(seed)).encode(), seed.to_bytes(16, "little"))


def numbered(writes: Sequence[Write], first: int) -> list[Change]:
    """Writes as the log would number them from `first` on."""
    return [Change(seq, *given) for seq, given in enumerate(writes, first)]
