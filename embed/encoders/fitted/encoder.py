"""A fitted encoder at work: the vector of a query, or the word that the whole model should make it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from embed.encoders.contract import Encoder, Vectors
from embed.encoders.fitted.predictor import Predictor
from embed.encoders.fitted.section import read_section
from embed.encoders.native import NativeEncoder
from embed.encoders.query_cache import QueryCache
from embed.errors import ModelError

CHARACTERS_A_TOKEN = 16  # beyond it a text is longer than any that was measured: it is not even cut into tokens


class FittedQuery(NamedTuple):
    """vector: float32 (dim,), of unit length. tokens: as the model counts them. cached: it was seen before."""

    vector: Vectors
    tokens: int
    cached: bool = False


class FittedEncoder:
    """Safe to call from several threads. Closing it is its model's business.

    Args:
        name: the generation's, by which its vectors are told from others in a cache.
    """

    def __init__(self, student: NativeEncoder, support: Vectors, predictor: Predictor, name: str) -> None:
        self._name = name
        self._student, self._support, self._predictor = student, support, predictor
        self._longest = CHARACTERS_A_TOKEN * predictor.longest

    def encode(self, text: str, cache: QueryCache | None = None) -> FittedQuery | None:
        """The query's vector, or None where the loss foretold for it is more than was asked for.

        Args:
            cache: where it is looked up first, and kept.
        """
        if len(text) > self._longest:
            return None
        [ids] = self._student.token_ids([text], "query")
        if not self._predictor.accepts(ids, self._support):
            return None
        key = b"" if cache is None else cache.key(ids, self._name)
        seen = None if cache is None else cache.get(key)
        if seen is not None:
            return FittedQuery(np.frombuffer(seen, np.float32), len(ids), True)
        vector = self._student.encode_ids([ids], np.array([len(ids)], np.int32))[0]
        if cache is not None:
            cache.put(key, vector.tobytes())
        return FittedQuery(vector, len(ids))


def open_fitted(folder: Path, entry: dict[str, Any], model: Encoder) -> FittedEncoder:
    """The fitted encoder of a generation's folder.

    Args:
        entry: What its manifest says of it, `query_encoder`.
        model: The generation's own, whose embeddings it shares.

    Raises:
        ModelError: The model does not run on our kernels here, or the section is not one for it.
    """
    if not isinstance(model, NativeEncoder):
        raise ModelError(
            f"a fitted query encoder runs on perwatt's own kernels, and this model on {model.backend}; queries go "
            "through the whole model"
        )
    section = read_section(folder)
    try:
        student = model.with_layers(section.layers)
    except (ValueError, TypeError) as error:
        raise ModelError(
            f"{folder} has a query encoder of another shape than its model: {error}. Build again."
        ) from None
    return FittedEncoder(student, section.support, Predictor.from_dict(entry["predictor"]), folder.name)
