"""Sixteen texts by which a model can be recognised later.

A fingerprint says which weights were meant; canaries say what numbers came out. The service embeds
them again when it loads a generation and compares. Chosen are the texts with the smallest hashes: a
random sample of the corpus that needs no second pass, is the same in every run, and mostly stays
when some documents change."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

COUNT = 16
# Enough to exercise the model; the service embeds all of them at every load, before it answers.
LONGEST_CHARACTERS = 512
# Where no corpus is at hand: an encoder elsewhere is asked for them, since the same name of a model may stand for other
# numbers there.
FIXED_CANARIES = (
    "How do I rotate an API key?",
    "The moon covers the sun completely and the corona becomes visible.",
    "SELECT id, name FROM users WHERE created_at > now() - interval '7 days'",
    "Une omelette aux champignons, à point, s'il vous plaît.",
)


class Canaries:
    """Offered every text of the corpus, keeps sixteen."""

    def __init__(self) -> None:
        self._texts: dict[bytes, str] = {}

    def offer(self, hashes: NDArray[np.bytes_], texts: Sequence[str]) -> None:
        """hashes: (n,) 'S16', one for each text."""
        for number in np.argsort(hashes)[:COUNT]:
            self._texts[bytes(hashes[number])] = texts[number][:LONGEST_CHARACTERS].strip()
        self._texts = {key: self._texts[key] for key in sorted(self._texts)[:COUNT]}

    def texts(self) -> list[str]:
        """At most sixteen, each at most 512 characters, in the order of their hashes."""
        return list(dict.fromkeys(self._texts.values()))


def as_json(texts: Sequence[str], vectors: NDArray[np.float32]) -> list[dict[str, object]]:
    """vectors: (n, dim); nine digits give every float32 back exactly."""
    return [
        {"text": text, "vector": [float(f"{value:.9g}") for value in vector.tolist()]}
        for text, vector in zip(texts, vectors, strict=True)
    ]


def recorded(
    manifest: Mapping[str, Any] | None, texts: Sequence[str], fingerprint_id: str
) -> list[dict[str, object]] | None:
    """The canaries of an earlier run, if they are these texts under this model."""
    if not manifest or (manifest["model"] or {}).get("id") != fingerprint_id:
        return None
    canaries: list[dict[str, object]] = manifest.get("canaries", [])
    return canaries if [canary["text"] for canary in canaries] == list(texts) else None


def least_cosine(made: NDArray[np.float32], now: NDArray[np.float32]) -> float:
    """Between the rows of two float32 (n, dim) of the same texts; not a number where a row has no length."""
    with np.errstate(invalid="ignore", divide="ignore"):
        lengths = np.linalg.norm(made, axis=1) * np.linalg.norm(now, axis=1)
        return float((np.einsum("ij,ij->i", made, now) / lengths).min())
