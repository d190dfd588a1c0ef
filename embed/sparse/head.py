"""The head of a masked-language model: hidden states of a document to the largest logit of each token.

    transform    a dense layer, the activation, a norm
    decoder      a logit for each token of the vocabulary; its weights are often those of the word embeddings

A document goes through it alone, so what comes out does not depend on what it was encoded with. The vocabulary is gone
through in parts whose logits stay in the caches: of 256 tokens and a vocabulary of 30,522 all of them would be 31 MB.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from embed.encoders.contract import Vectors
from embed.errors import ModelError

_PART = 2048  # tokens of the vocabulary
_ROOT_HALF, _ROOT_2_OVER_PI = np.float32(0.5**0.5), np.float32((2 / np.pi) ** 0.5)


class MaskedHead:
    """
    Args:
        tensors: of the model, by BERT's names.
        config: its config.json, as BERT has it.

    Raises:
        ModelError: It has no such head.
    """

    def __init__(self, tensors: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any], name: str) -> None:
        def tensor(*names: str) -> Vectors:
            for each in names:
                if each in tensors:
                    return np.ascontiguousarray(tensors[each], np.float32)
            raise ModelError(
                f"{name} has no tensor {names[0]!r}, which the head of a masked-language model has: is it a model of "
                "vectors?"
            )

        transform = "cls.predictions.transform"
        self._dense, self._dense_bias = tensor(f"{transform}.dense.weight"), tensor(f"{transform}.dense.bias")
        self._gain, self._shift = tensor(f"{transform}.LayerNorm.weight"), tensor(f"{transform}.LayerNorm.bias")
        words = "embeddings.word_embeddings.weight"
        self._decoder = tensor("cls.predictions.decoder.weight", words, f"bert.{words}")
        self._bias = tensor("cls.predictions.decoder.bias", "cls.predictions.bias")
        self._epsilon = np.float32(config.get("layer_norm_eps", 1e-12))
        self._activation = str(config["hidden_act"])

    @property
    def vocabulary(self) -> int:
        return len(self._decoder)

    def largest(self, hidden: Vectors) -> Vectors:
        """Of each token of the vocabulary its largest logit, float32 (vocabulary,), over hidden states float32
        (positions, hidden) of one document."""
        states = _activated(hidden @ self._dense.T + self._dense_bias, self._activation)
        states -= states.mean(axis=1, keepdims=True)
        states /= np.sqrt(np.mean(states * states, axis=1, keepdims=True) + self._epsilon)
        states = states * self._gain + self._shift
        found = np.empty(self.vocabulary, np.float32)
        for start in range(0, self.vocabulary, _PART):
            part = slice(start, start + _PART)
            np.max(states @ self._decoder[part].T, axis=0, out=found[part])
        found += self._bias
        return found


def _activated(x: Vectors, kind: str) -> Vectors:
    found: Vectors
    if kind == "relu":
        found = np.maximum(x, np.float32(0))
    elif kind in ("gelu_new", "gelu_pytorch_tanh"):
        found = np.float32(0.5) * x * (1 + np.tanh(_ROOT_2_OVER_PI * (x + np.float32(0.044715) * x * x * x)))
    else:
        # The error function by formula 7.1.26 of Abramowitz and Stegun, error 1.5e-7, as the kernels have it.
        size = np.abs(x) * _ROOT_HALF
        t = 1 / (1 + np.float32(0.3275911) * size)
        total = np.zeros_like(x)
        for term in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
            total += np.float32(term)
            total *= t
        beyond = total * np.exp(-size * size)  # erfc(|x| / √2)
        found = np.maximum(x, np.float32(0)) - np.float32(0.5) * np.abs(x) * beyond
    return found
