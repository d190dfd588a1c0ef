"""A fitted encoder at work: the vector of a query, or the word that the whole model should make it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embed.encoders.contract import Counts, Encoder, Vectors
from embed.encoders.fitted.predictor import Predictor
from embed.encoders.fitted.section import read_section
from embed.encoders.native import NativeEncoder
from embed.errors import ModelError

CHARACTERS_A_TOKEN = 16  # beyond it a text is longer than any that was measured: it is not even cut into tokens


class FittedEncoder:
    """Safe to call from several threads. Closing it is its model's business.

    Args:
        name: the generation's, by which its vectors are told from others in a cache.
    """

    def __init__(self, student: NativeEncoder, support: Vectors, predictor: Predictor, name: str) -> None:
        self.name = name
        self._student, self._support, self._predictor = student, support, predictor
        self._longest = CHARACTERS_A_TOKEN * predictor.longest

    def token_ids(self, text: str) -> list[int] | None:
        """Of a query, as the model has them; None for one that is longer than any that was measured."""
        if len(text) > self._longest:
            return None
        [ids] = self._student.token_ids([text], "query")
        return ids

    def accepts(self, ids: Sequence[int]) -> bool:
        """Whether the loss foretold for such a query is no more than was asked for."""
        return self._predictor.accepts(ids, self._support)

    def encode_ids(self, ids: Sequence[Sequence[int]], lengths: Counts) -> Vectors:
        """float32 (q, dim), of unit length, of queries that it accepts."""
        return self._student.encode_ids(ids, lengths)

    def encode(self, text: str) -> Vectors | None:
        """The query's vector, float32 (dim,), or None where the whole model should make it."""
        ids = self.token_ids(text)
        if ids is None or not self.accepts(ids):
            return None
        vector: Vectors = self.encode_ids([ids], np.array([len(ids)], np.int32))[0]
        return vector


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
