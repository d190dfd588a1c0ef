"""Any other sentence-transformers model as an ONNX graph, exported by PyTorch.

The whole pipeline is exported, pooling and normalisation included, so nothing here needs to know what the modules do.
It needs the `torch` extra once, when the graph is made; serving the made graph does not."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

from embed.errors import ModelError
from embed.models.folder import ModelFolder

OPSET = 18


def export(folder: ModelFolder, target: Path) -> None:
    """Writes input_ids, attention_mask int64 (batch, tokens) → sentence_embedding float32 (batch, dim) to `target`."""
    try:
        import torch
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise ModelError(
            f"{folder.name} is a {folder.config.get('model_type')} model with {folder.pooling} "
            "pooling, which PyTorch has to export once. Install perwatt with its torch extra "
            "(make setup-torch), or use a BERT-shaped model."
        ) from None

    class Pipeline(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = SentenceTransformer(str(folder.path), device="cpu").eval()

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            features = {"input_ids": input_ids, "attention_mask": attention_mask}
            return self.model(features)["sentence_embedding"]

    sample = torch.ones((2, 8), dtype=torch.int64)
    # Some models skip the mask when it hides nothing, and the exporter would take that path for the only one.
    mask = sample.clone()
    mask[1, 5:] = 0
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens", max=folder.max_length)}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        try:
            torch.onnx.export(
                Pipeline(),
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
