"""What follows the pooling: Dense modules, fewer dimensions than there are, and length 1.

A text's vector is made alone, so it does not depend on what it was encoded with. Beside the network this is little: a
Dense module of 384 × 768 is a thousandth of the multiplications of six layers over 32 tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from embed.encoders.contract import Vectors
from embed.errors import ModelError
from embed.models.modules import Module, activation_of
from embed.models.safetensors_file import read_tensors

FUNCTIONS: dict[str, Callable[[Vectors], Vectors]] = {
    "none": lambda values: values,
    "tanh": np.tanh,
    "relu": lambda values: np.maximum(values, np.float32(0)),
}


class DenseLayer:
    """
    Args:
        module: a Dense module whose weights are there.
        width: of the vectors that it takes.
    """

    def __init__(self, module: Module, width: int) -> None:
        tensors = read_tensors(module.path / "model.safetensors")
        weight, bias = tensors.get("linear.weight"), tensors.get("linear.bias")
        if weight is None or weight.ndim != 2 or weight.shape[1] != width:
            found = "none" if weight is None else " × ".join(map(str, weight.shape))
            raise ModelError(f"{module.path} has weights of {found}, expected linear.weight of … × {width}.")
        self.weight: Vectors = weight
        self.bias: Vectors = np.zeros(len(weight), np.float32) if bias is None else bias
        self.activation = activation_of(module) or "none"

    def __call__(self, vector: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return FUNCTIONS[self.activation](self.weight @ vector + self.bias)


class Projection:
    """
    Args:
        dense: in their order.
        width: of the pooled vectors.
        dim: numbers that are kept, the first ones.
        normalize: whether they are scaled to length 1.
    """

    def __init__(self, dense: Sequence[Module], width: int, dim: int, normalize: bool) -> None:
        self.layers: list[DenseLayer] = []
        for module in dense:
            self.layers.append(DenseLayer(module, width))
            width = len(self.layers[-1].weight)
        self._dim, self._normalize = dim, normalize

    def __call__(self, pooled: Vectors) -> Vectors:
        """float32 (n, dim) of float32 (n, width)."""
        if not self.layers:
            return shortened(pooled, self._dim, self._normalize)
        vectors = np.empty((len(pooled), self._dim), np.float32)
        for row, vector in enumerate(pooled):
            for layer in self.layers:
                vector = layer(vector)
            vectors[row] = vector[: self._dim]
        return unit(vectors) if self._normalize else vectors


def shortened(vectors: Vectors, dim: int, normalize: bool) -> Vectors:
    """The first `dim` numbers of each, scaled to length 1 if the whole ones were."""
    if vectors.shape[1] == dim and not normalize:
        return vectors
    cut: Vectors = np.ascontiguousarray(vectors[:, :dim])
    return unit(cut) if normalize else cut


def unit(vectors: Vectors) -> Vectors:
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    scaled: Vectors = (vectors / np.maximum(lengths, 1e-12)[:, None]).astype(np.float32)
    return scaled
