"""A tiny cross-encoder with random weights, as transformers saves it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from embed.models.folder import find_model


def make_cross_encoder(path: Path, outputs: int = 1, max_length: int = 64, identity: bool = True) -> Path:
    import torch
    import transformers

    torch.manual_seed(7)
    config = transformers.BertConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128, num_labels=outputs
    )
    network = transformers.BertForSequenceClassification(config).eval()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            # Fresh weights are so small that every pair would have nearly the same score, and biases are zero.
            weight.normal_(std=0.1) if name.endswith("bias") else weight.mul_(5)
    network.save_pretrained(path)
    for name in ("tokenizer.json", "vocab.txt"):
        shutil.copy(find_model().path / name, path / name)
    tokenizer = json.loads((find_model().path / "tokenizer_config.json").read_text())
    (path / "tokenizer_config.json").write_text(json.dumps(tokenizer | {"model_max_length": max_length}))
    if identity:
        found = json.loads((path / "config.json").read_text())
        found["sentence_transformers"] = {"activation_fn": "torch.nn.modules.linear.Identity"}
        (path / "config.json").write_text(json.dumps(found))
    return path
