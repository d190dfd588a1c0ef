"""A sentence-transformers model as an ONNX graph, exported by PyTorch.

The whole pipeline is exported, pooling and normalisation included, so nothing here needs to know what the modules do.
It needs the `torch` extra once, when the graph is made. The graph lies in the cache (`embed/models/cache.py`), and
a machine that has it there serves without PyTorch."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import warnings
from pathlib import Path
from typing import Any

from embed.errors import ModelError
from embed.models.cache import cache_folder, cached
from embed.models.folder import ModelFolder

# Changes whenever another graph is exported from the same model.
RECIPE = 2
OPSET = 18


def exported_graph(folder: ModelFolder, weights_sha256: str) -> Path:
    """The path of the ONNX file for `folder`, made first if it is not there.

    Raises:
        ModelError: it is not there, and PyTorch is not installed or cannot export the model.
    """
    config = hashlib.sha256(json.dumps(folder.config, sort_keys=True).encode()).hexdigest()
    recipe = [RECIPE, weights_sha256, "fp32", 0, folder.pooling, folder.normalize, config]
    name = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:24]
    return cached(f"{folder.path.name}-fp32-{name}.onnx", lambda target: export(folder, target))


def export(folder: ModelFolder, target: Path) -> None:
    """Writes input_ids, attention_mask int64 (batch, tokens) → sentence_embedding float32 (batch, dim) to `target`."""
    try:
        import torch

        model = pipeline(folder)
    except ImportError:
        raise ModelError(
            f"PyTorch has to export {folder.name} for ONNX Runtime once, and is not installed here. Install perwatt "
            "with its torch extra (make setup-torch), or load the model where that is installed and copy its two "
            f"files, {folder.path.name}-fp32-….onnx and .sha256, from the cache there to {cache_folder()}. A "
            "BERT-shaped model of usual widths needs neither."
        ) from None
    sample = torch.ones((2, 8), dtype=torch.int64)
    # Some models skip the mask when it hides nothing, and the exporter would take that path for the only one.
    mask = sample.clone()
    mask[1, 5:] = 0
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens", max=folder.max_length)}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        try:
            torch.onnx.export(
                model,
                (sample, mask),
                str(target),
                input_names=["input_ids", "attention_mask"],
                output_names=["sentence_embedding"],
                dynamic_shapes=(axes, axes),
                opset_version=OPSET,
                external_data=False,
                dynamo=True,
                verbose=False,
            )
        except Exception as error:  # the exporter raises whatever its stages raise
            first = str(error).strip().splitlines()[0] if str(error).strip() else ""
            raise ModelError(
                f"PyTorch could not export {folder.name} to ONNX ({type(error).__name__}: {first}). "
                "Use --backend torch."
            ) from error


def pipeline(folder: ModelFolder, **settings: Any) -> Any:
    """The model with all its modules as one torch.nn.Module: input_ids, attention_mask → sentence_embedding."""
    import torch
    from sentence_transformers import SentenceTransformer

    class Pipeline(torch.nn.Module):  # type: ignore[misc]  # mypy does not read torch
        def __init__(self) -> None:
            super().__init__()
            self.model = SentenceTransformer(str(folder.path), device="cpu", model_kwargs=settings).eval()

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.model({"input_ids": input_ids, "attention_mask": attention_mask})["sentence_embedding"]

    return Pipeline()
