"""The model's graph on disk, made once a machine and then only mapped.

Writing the graph of a small model takes about a second and quantises every weight; serving should not pay that at each
start. The file lies in `$PERWATT_CACHE` (default `~/.cache/perwatt`) under a name that covers all that went into it:
the weights, the precision, the limit of an int8 weight on this CPU and the version of the recipe. It can be deleted
at any time."""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path

from embed.errors import ModelError
from embed.kernels import features
from embed.models.cache import cached
from embed.models.folder import ModelFolder

# Changes whenever `onnx_bert` or `onnx_export` writes another graph from the same model.
RECIPE = 2


def prepared_graph(folder: ModelFolder, precision: str, weights_sha256: str) -> Path:
    """The path of the ONNX file for `folder`, made first if it is not there.

    Raises ModelError when the model's shape needs PyTorch to export and PyTorch is not installed, or for int8 when the
    model is not BERT-shaped.
    """
    limit = int8_weight_limit() if precision == "int8" else 0
    recipe = [RECIPE, weights_sha256, precision, limit, folder.pooling, folder.normalize]
    recipe.append(hashlib.sha256(json.dumps(folder.config, sort_keys=True).encode()).hexdigest())
    name = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:24]
    return cached(
        f"{folder.path.name}-{precision}-{name}.onnx",
        lambda target: _make(folder, precision, limit, target),
    )


def int8_weight_limit() -> int:
    """127, or 63 where the CPU's int8 multiply saturates: x86 without VNNI. See `onnx_bert.bert_graph`."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return 127
    return 127 if {"avx512_vnni", "avx_vnni"} & set(features()) else 63


def _make(folder: ModelFolder, precision: str, limit: int, target: Path) -> None:
    if folder.bert_shaped:
        from embed.encoders.onnx_bert import bert_graph, save

        save(bert_graph(folder, precision, limit), target)
    elif precision == "int8":
        raise ModelError(
            f"{folder.name} is a {folder.config.get('model_type')} model with "
            f"{folder.pooling} pooling; int8 is offered for BERT-shaped ones. Use --precision fp32."
        )
    else:
        from embed.encoders.onnx_export import export

        export(folder, target)
