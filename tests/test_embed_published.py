"""The families the native encoder is for, each in its published shape, beside sentence-transformers.

The shapes, pooling, prefixes, lengths and file layouts are those of the published models; the weights are random, from
a fixed seed, because the real ones are hundreds of megabytes each (all-MiniLM-L6-v2, in the other tests, is the real
one). `make test` gives three of them two of their twelve layers, `make test-long` gives all of them all. fp32 says
whether the arithmetic is the model's; int8 on random weights says that every width, depth and length goes through the
same kernels. gte-base has the shape of e5-base-v2 and gte-small's lack of prefixes.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from embed import load_encoder
from embed.encoders.precision import LEAST_MEAN_COSINE, cosine
from embed.models.folder import find_model


class Published(NamedTuple):
    name: str
    hidden: int
    heads: int
    inner: int
    pooling: str
    max_length: int
    lower_case: bool
    query_prefix: str = ""
    document_prefix: str = ""


ASKED = "Represent this sentence for searching relevant passages: "
SMALL, BASE = (384, 12, 1536), (768, 12, 3072)
MODELS = (
    Published("all-MiniLM-L12-v2", *SMALL, "mean", 128, False),
    Published("e5-small-v2", *SMALL, "mean", 512, False, "query: ", "passage: "),
    Published("bge-small-en-v1.5", *SMALL, "cls", 512, True, ASKED),
    Published("gte-small", *SMALL, "mean", 512, False),
    Published("e5-base-v2", *BASE, "mean", 512, False, "query: ", "passage: "),
    Published("bge-base-en-v1.5", *BASE, "cls", 512, True, ASKED),
)


def make(model: Published, layers: int, folder: Path) -> Path:
    """The model as its authors' repository holds it, modules.json and all, with random weights."""
    import torch
    import transformers

    torch.manual_seed(11)
    path = folder / model.name
    config = transformers.BertConfig(
        hidden_size=model.hidden,
        num_hidden_layers=layers,
        num_attention_heads=model.heads,
        intermediate_size=model.inner,
        max_position_embeddings=512,
    )
    network = transformers.BertModel(config).eval()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.ndim == 2 and "embeddings" not in name:
                weight.mul_(2)  # a fresh layer adds too little to the residual stream to be seen
            elif name.endswith("bias"):
                weight.normal_(std=0.05)  # and its biases are zero
    network.save_pretrained(path)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copy(find_model().path / name, path / name)
    kinds = ("models.Transformer", "models.Pooling", "models.Normalize")
    modules = [
        {"idx": place, "name": str(place), "path": at, "type": f"sentence_transformers.{kind}"}
        for place, (at, kind) in enumerate(zip(("", "1_Pooling", "2_Normalize"), kinds, strict=True))
    ]
    modes = {f"pooling_mode_{mode}": False for mode in ("max_tokens", "mean_sqrt_len_tokens")}
    modes |= {f"pooling_mode_{mode}": mode.startswith(model.pooling) for mode in ("cls_token", "mean_tokens")}
    (path / "1_Pooling").mkdir()
    files: dict[str, Any] = {
        "modules.json": modules,
        "1_Pooling/config.json": {"word_embedding_dimension": model.hidden, **modes},
        "sentence_bert_config.json": {"max_seq_length": model.max_length, "do_lower_case": model.lower_case},
    }
    for file, content in files.items():
        (path / file).write_text(json.dumps(content))
    return path


# The short ones have every width, pooling, length, case and kind of prefix between them.
SHORT = ("all-MiniLM-L12-v2", "bge-small-en-v1.5", "e5-base-v2")


@pytest.mark.parametrize(
    ("model", "layers"),
    [
        *(pytest.param(model, 2, id=model.name) for model in MODELS if model.name in SHORT),
        *(pytest.param(model, 12, id=f"{model.name}-whole", marks=pytest.mark.long) for model in MODELS),
    ],
)
def test_a_published_shape_agrees_with_sentence_transformers(
    model: Published, layers: int, tmp_path: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentence_transformers import SentenceTransformer

    monkeypatch.setenv("PERWATT_CACHE", str(tmp_path / "cache"))  # large, and wanted by nobody else
    path = make(model, layers, tmp_path)
    folder = find_model(path)
    assert (folder.pooling, folder.normalize, folder.dim) == (model.pooling, True, model.hidden)
    assert folder.max_length == model.max_length
    assert (folder.query_prefix, folder.document_prefix) == (model.query_prefix, model.document_prefix)

    long = [*texts, "words up to the limit " * 200]
    plain = SentenceTransformer(str(path), device="cpu")
    # One at a time: in a batch, every text is padded to the longest.
    options: dict[str, Any] = {"show_progress_bar": False, "batch_size": 1}
    documents = plain.encode([model.document_prefix + text for text in long], **options)
    queries = plain.encode([model.query_prefix + text for text in texts], **options)

    exact = load_encoder(path, precision="fp32")
    assert exact.backend.startswith("native")
    vectors, tokens = exact.encode_counted(long)
    assert tokens.max() == model.max_length
    assert np.abs(vectors - documents).max() < 1e-4
    assert np.abs(exact.encode(texts, "query") - queries).max() < 1e-4

    small = load_encoder(path, precision="int8")
    assert small.backend == exact.backend
    near = cosine(small.encode(long), np.asarray(documents))
    assert near.mean() > LEAST_MEAN_COSINE
    assert near.max() < 1 - 1e-7  # it is really another arithmetic


@pytest.mark.parametrize(
    ("name", "query", "document"),
    [
        ("intfloat/multilingual-e5-base", "query: ", "passage: "),
        ("BAAI/bge-large-en", ASKED, ""),
        ("BAAI/bge-small-zh-v1.5", "为这个句子生成表示以用于检索相关文章：", ""),
        ("thenlper/gte-large", "", ""),
        ("my-e5-small-v2-finetuned", "", ""),
    ],
)
def test_prefixes_that_stand_only_in_a_models_card(name: str, query: str, document: str, tmp_path: Path) -> None:
    from embed.models.folder import describe

    path = shutil.copytree(find_model().path, tmp_path / "model")
    folder = describe(path, name)
    assert (folder.query_prefix, folder.document_prefix) == (query, document)
    prompts = {"prompts": {"query": "find: ", "document": ""}}  # what the model itself says goes before the table
    (path / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    assert describe(path, name).query_prefix == "find: "
