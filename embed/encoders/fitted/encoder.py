"""A fitted encoder at work: the vector of a query, or the word that the whole model should make it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from embed.encoders.contract import Encoder, Vectors
from embed.encoders.fitted.predictor import Predictor
from embed.encoders.fitted.section import read_section
from embed.encoders.native import NativeEncoder
from embed.errors import ModelError

CHARACTERS_A_TOKEN = 16  # beyond it a text is longer than any that was measured: it is not even cut into tokens


class FittedQuery(NamedTuple):
    """vector: float32 (dim,), of unit length. tokens: as the model counts them."""

    vector: Vectors
    tokens: int


class FittedEncoder:
    """Safe to call from several threads. Closing it is its model's business."""

    def __init__(self, student: NativeEncoder, support: Vectors, predictor: Predictor) -> None:
        self._student, self._support, self._predictor = student, support, predictor
        self._longest = CHARACTERS_A_TOKEN * predictor.longest

    def encode(self, text: str) -> FittedQuery | None:
        """The query's vector, or None where the loss foretold for it is more than was asked for."""
        if len(text) > self._longest:
            return None
        [ids] = self._student.token_ids([text], "query")
        if not self._predictor.accepts(ids, self._support):
            return None
        vector = self._student.encode_ids([ids], np.array([len(ids)], np.int32))[0]
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
    return FittedEncoder(student, section.support, Predictor.from_dict(entry["predictor"]))
