"""Whether a model made the vectors that are moved: some of their texts are encoded again and compared.

An index that encodes queries by another model than its documents answers nonsense, and nothing about a vector tells. So
a model is recorded only after it was seen to give the texts the vectors that the source holds for them. Without one the
index answers vectors and ids, and refuses texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embed.encoders.contract import Encoder
from embed.errors import ModelError
from embed.models.folder import DEFAULT_MODEL
from service.moving.rows import Collection, MovingError

NO_MODEL = "none"
COUNT = 16
# Of the texts, so many must agree: the source may have cut a long one elsewhere, or edited a text after it was encoded.
AGREEING = 0.75
# Lengths of vectors decide in ip and l2, where a model of unit vectors and one without are two models.
SAME_LENGTH = 0.01


class TextSample:
    """Rows with a text, those of the smallest hashes: the same in every run, from all over the collection."""

    def __init__(self) -> None:
        self._rows: dict[bytes, tuple[str, NDArray[np.float32]]] = {}

    def offer(self, hashes: NDArray[np.bytes_], texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        for number in np.argsort(hashes)[: 2 * COUNT]:
            if texts[number]:
                self._rows[bytes(hashes[number])] = (texts[number], np.array(vectors[number]))
        self._rows = {key: self._rows[key] for key in sorted(self._rows)[:COUNT]}

    @property
    def texts(self) -> list[str]:
        return [text for text, _vector in self._rows.values()]

    @property
    def vectors(self) -> NDArray[np.float32]:
        return np.array([vector for _text, vector in self._rows.values()], np.float32)


class ModelCheck(NamedTuple):
    """How many of the sampled texts have the vector that the model gives them. least: the smallest cosine."""

    agreeing: int
    of: int
    least: float
    same_length: bool

    @property
    def holds(self) -> bool:
        return self.of > 0 and self.agreeing >= AGREEING * self.of


def compare(encoder: Encoder, sample: TextSample, dim: int) -> ModelCheck:
    """Encodes the texts of the sample, whose vectors have `dim` dimensions."""
    if not sample.texts or dim != encoder.dim:
        return ModelCheck(0, len(sample.texts), 0.0, True)
    theirs, ours = sample.vectors, encoder.encode(sample.texts, kind="document")
    lengths = np.linalg.norm(theirs, axis=1), np.linalg.norm(ours, axis=1)
    cosines = np.einsum("ij,ij->i", theirs, ours) / np.maximum(lengths[0] * lengths[1], np.finfo(np.float32).tiny)
    agreeing = cosines >= encoder.fingerprint.tolerance
    same = np.abs(lengths[0] - lengths[1]) <= SAME_LENGTH * lengths[1]
    return ModelCheck(int(agreeing.sum()), len(agreeing), float(cosines.min()), bool((same | ~agreeing).all()))


def default_named(model: str | None) -> bool:
    """Whether a source says that its vectors are of the model that perwatt brings."""
    return model is not None and model.rsplit("/", 1)[-1].lower() == DEFAULT_MODEL.lower()


def start_encoder(collection: Collection, model: str | None, precision: str, threads: int) -> Encoder | None:
    """The encoder that may have made the vectors: the one that was named, or perwatt's own where the source names that.

    Raises:
        ModelError: The model that was named cannot be had.
    """
    from embed import load_encoder

    if model == NO_MODEL or (model is None and not default_named(collection.model)):
        return None
    try:
        return load_encoder(model, precision=precision, threads=threads)
    except ModelError:
        if model is not None:
            raise
        return None


def refused(encoder: Encoder, agreement: ModelCheck, collection: Collection, dim: int) -> MovingError:
    """That the model which the user named is not the one of these vectors, of `dim` dimensions."""
    name = encoder.fingerprint.name
    if encoder.dim != dim:
        return MovingError(
            f"{name} makes vectors of {encoder.dim:,} dimensions, and those of {collection.name} have {dim:,}: another "
            "model made them"
        )
    if not agreement.of:
        return MovingError(
            f"whether {name} made the vectors of {collection.name} cannot be seen, because no row has a text: name the "
            "field with --text-field, or say --model none and search by vectors"
        )
    if agreement.holds:
        return MovingError(
            f"{name} gives vectors of other lengths than those of {collection.name}, which counts in this metric: "
            "--metric cosine compares directions alone"
        )
    return MovingError(
        f"{name} did not make the vectors of {collection.name}: of {agreement.of} texts, {agreement.agreeing} have the "
        f"vector that it gives them (smallest cosine {agreement.least:.2f}). Name the model that did, with "
        "--title-field where a title was encoded too; or say --model none, and the index answers vectors and refuses "
        "texts"
    )
