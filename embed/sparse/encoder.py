"""Weighs documents: the network on our kernels, the head in NumPy, weights rounded to impacts of 8 bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from embed.documents.document import embedded_text
from embed.encoders.backends import usable_cores
from embed.encoders.contract import Vectors
from embed.encoders.native import NativeEncoder, unsuited
from embed.errors import ModelError
from embed.models.bert_names import bert_tensors
from embed.models.fingerprint import fingerprint_of
from embed.models.safetensors_file import read_tensors
from embed.sparse.folder import STEPS, find_sparse
from embed.sparse.head import MaskedHead

MOST_IMPACT = 255


class DocumentImpacts(NamedTuple):
    """Of some documents: tokens uint32 (n,) of one after the other, ascending in each; impacts uint8 (n,), from 1 on;
    ends int64 (documents,): where the tokens of each end."""

    tokens: npt.NDArray[np.uint32]
    impacts: npt.NDArray[np.uint8]
    ends: npt.NDArray[np.int64]


class SparseEncoder:
    """
    Args:
        model: Folder, or name on the model hub.
        threads: Of one call; by default the cores this process may use.

    Raises:
        ModelError: There is no such model, it is of another kind, or the kernels cannot run it.
    """

    def __init__(self, model: str | Path, threads: int | None = None) -> None:
        self._folder = find_sparse(model)
        self._given = str(Path(model).resolve()) if Path(model).is_dir() else str(model)
        documents = self._folder.documents
        why = unsuited(documents)
        if why is not None:
            raise ModelError(f"{documents.name} cannot weigh documents here: {why}.")
        self._head = MaskedHead(bert_tensors(read_tensors(documents.weights)), documents.config, documents.name)
        if len(self._folder.table) != self._head.vocabulary:
            raise ModelError(
                f"{documents.name} has {self._head.vocabulary:,} tokens, and {len(self._folder.table):,} in its table "
                "of query weights."
            )
        self._body = NativeEncoder(documents, fingerprint_of(documents, "fp32"), threads or usable_cores(), keep=False)
        self._wanted = self._folder.table > 0  # no query asks for the others, special tokens among them
        self._step = np.float32(STEPS[self._folder.formula])

    @property
    def given(self) -> str:
        """The folder, as a path from anywhere, or the name that it was loaded by."""
        return self._given

    @property
    def described(self) -> dict[str, Any]:
        """What decides the weights, with their "step", and an id over it."""
        return self._folder.as_dict()

    @property
    def table(self) -> npt.NDArray[np.float32]:
        """What each token of a query weighs, float32 (vocabulary,)."""
        return self._folder.table

    @property
    def tokenizer(self) -> str:
        """Of queries, as JSON."""
        return (self._folder.queries / "tokenizer.json").read_text(encoding="utf-8")

    def weights(self, texts: Sequence[str]) -> Iterator[Vectors]:
        """Of each text what each token weighs in it, float32 (vocabulary,). Raises TextError for what is no Unicode."""
        for states in self._body.token_states(self._body.token_ids(texts)):
            weights = np.log1p(np.maximum(self._head.largest(states), np.float32(0)))
            yield np.log1p(weights) if self._folder.formula == "log1p_relu" else weights

    def impacts(self, documents: Sequence[tuple[str, str]]) -> DocumentImpacts:
        """Of documents, each a title and a text, "" for what it lacks; of tokens that weigh something in a query."""
        texts = [embedded_text(title, text) for title, text in documents]
        weights = self.weights([text for text in texts if text])
        tokens, impacts, ends = [], [], np.zeros(len(texts), np.int64)
        for place, text in enumerate(texts):
            if text:
                rounded = np.rint(next(weights) / self._step).clip(0, MOST_IMPACT).astype(np.uint8)
                held = np.flatnonzero((rounded > 0) & self._wanted)
                tokens.append(held.astype(np.uint32))
                impacts.append(rounded[held])
                ends[place] = len(held)
        return DocumentImpacts(
            np.concatenate([np.zeros(0, np.uint32), *tokens]),
            np.concatenate([np.zeros(0, np.uint8), *impacts]),
            np.cumsum(ends),
        )

    def close(self) -> None:
        self._body.close()


def sparse_again(model: str, id_: str, threads: int) -> SparseEncoder:
    """The model that weighed documents before, by the id that it had then. Raises ModelError where it is not to be had
    or is another one now."""
    found = SparseEncoder(model, threads)
    if found.described["id"] != id_:
        found.close()
        raise ModelError(
            f"{model} is not the sparse model that it was: its id was {id_}. Bring that back, or build without it."
        )
    return found


def sparse_of_build(model: str, threads: int, *, served: bool) -> SparseEncoder:
    """For a build. Raises ModelError.

    Args:
        served: The model is that of the served generation, and was not asked for.
    """
    try:
        return SparseEncoder(model, threads)
    except ModelError as error:
        if not served:
            raise
        raise ModelError(
            f"The served generation has sparse weights of {model}, which cannot be had: {error} Say where it is with "
            "--sparse FOLDER, or build without such weights: --sparse none"
        ) from None
