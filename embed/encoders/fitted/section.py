"""The file of a fitted query encoder in a generation: its layers in float16, and how often each token was taught.

A safetensors file. The embeddings are the model's own and not in it. The hash that refuses a changed file is the
generation's; what a file says of itself is checked all the same, since a library reads it.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.numpy import save_file

from embed.encoders.contract import Vectors
from embed.errors import ModelError
from embed.models.safetensors_file import read_tensors

FILE = "queries.safetensors"
SUPPORT = "support"


class FittedSection(NamedTuple):
    """
    Args:
        layers: float32 tensors by their BERT names.
        support: log2(1 + how many taught texts a token was in), float32 (vocabulary,).
    """

    layers: dict[str, Vectors]
    support: Vectors


def write_section(folder: Path, section: FittedSection) -> None:
    tensors = {name: values.astype(np.float16) for name, values in section.layers.items()}
    save_file(tensors | {SUPPORT: section.support.astype(np.float16)}, folder / FILE)


def read_section(folder: Path) -> FittedSection:
    """Raises ModelError for a file that is not what `write_section` writes."""
    tensors = read_tensors(folder / FILE)
    support = tensors.pop(SUPPORT, None)
    if support is None or not tensors:
        raise ModelError(f"{folder / FILE} is no fitted query encoder: it lacks layers or {SUPPORT!r}. Build again.")
    return FittedSection(tensors, support)


def supported(ids: list[list[int]], vocabulary: int) -> Vectors:
    """How often each token was taught, from the token ids of the texts."""
    once_each = np.fromiter(chain.from_iterable(map(set, ids)), np.int64)
    counts = np.bincount(once_each, minlength=vocabulary)
    support: Vectors = np.log2(1.0 + counts).astype(np.float32)
    return support
