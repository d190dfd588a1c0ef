"""DistilBERT, and models of BERT's first years, under the names that BERT's tensors have now.

DistilBERT is the same network without segments, and every tensor has a counterpart. What was once called gamma and beta
is the weight and the bias of a norm. So what packs BERT's tensors for the kernels packs these. Of configurations, what
a reader of BERT's needs is mapped.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

_NEW = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
_OLD = re.compile(r"LayerNorm\.(gamma|beta)$")
_LAYER = re.compile(r"transformer\.layer\.(\d+)\.(.+)\.(weight|bias)")
_PARTS = {
    "attention.q_lin": "attention.self.query",
    "attention.k_lin": "attention.self.key",
    "attention.v_lin": "attention.self.value",
    "attention.out_lin": "attention.output.dense",
    "sa_layer_norm": "attention.output.LayerNorm",
    "ffn.lin1": "intermediate.dense",
    "ffn.lin2": "output.dense",
    "output_layer_norm": "output.LayerNorm",
}
_HEAD = {
    "vocab_transform": "cls.predictions.transform.dense",
    "vocab_layer_norm": "cls.predictions.transform.LayerNorm",
    "vocab_projector": "cls.predictions.decoder",
}
_SETTINGS = {
    "dim": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "hidden_dim": "intermediate_size",
    "activation": "hidden_act",
}


def bert_config(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration as BERT would have it; any other than DistilBERT's unchanged."""
    if config.get("model_type") != "distilbert":
        return config
    return {_SETTINGS.get(name, name): value for name, value in config.items()} | {"model_type": "bert"}


def bert_tensors(tensors: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """The tensors under BERT's names, with segments that add nothing in place of none; any others unchanged."""
    tensors = {_OLD.sub(lambda old: _NEW[old[0]], name): values for name, values in tensors.items()}
    words = tensors.get("distilbert.embeddings.word_embeddings.weight")
    if words is None:
        return tensors
    renamed = {_name(name.removeprefix("distilbert.")): values for name, values in tensors.items()}
    return renamed | {"embeddings.token_type_embeddings.weight": np.zeros((2, words.shape[1]), np.float32)}


def _name(name: str) -> str:
    if layer := _LAYER.fullmatch(name):
        number, part, kind = layer.groups()
        return f"encoder.layer.{number}.{_PARTS.get(part, part)}.{kind}"
    part, _, kind = name.rpartition(".")
    return f"{_HEAD.get(part, part)}.{kind}"
