"""Weights of documents by a masked-language model: those of PyTorch, by either formula, from every published layout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sparse_models import WORDS, masked_model

from embed.errors import ModelError
from embed.models.folder import find_model
from embed.sparse.encoder import SparseEncoder, sparse_of_build

TEXTS = [("Rye", "Bake it in a hot oven with steam."), ("", "a"), ("", ""), ("Bread", "steam " * 90)]


def as_router(path: Path, table: np.ndarray[Any, Any], formula: str) -> None:
    """What sentence-transformers writes beside it: a Router of a table for queries and this network for documents."""
    from safetensors.numpy import save_file

    module = "sentence_transformers.sparse_encoder.models"
    (path / "modules.json").write_text(
        json.dumps([{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Router"}])
    )
    types = {"q": f"{module}.SparseStaticEmbedding", "": f"{module}.MLMTransformer", "p": f"{module}.SpladePooling"}
    structure = {"query": ["q"], "document": ["", "p"]}
    (path / "router_config.json").write_text(json.dumps({"types": types, "structure": structure}))
    for folder in ("q", "p"):
        (path / folder).mkdir()
    save_file({"weight": table}, path / "q" / "model.safetensors")
    (path / "q" / "config.json").write_text('{"frozen": true}')
    shutil.copy(path / "tokenizer.json", path / "q" / "tokenizer.json")
    (path / "p" / "config.json").write_text(
        json.dumps({"pooling_strategy": "max", "activation_function": formula, "word_embedding_dimension": len(table)})
    )


def by_torch(path: Path, texts: list[str], formula: str) -> Any:
    """As the cards of OpenSearch's models print it."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    network = transformers.AutoModelForMaskedLM.from_pretrained(path).eval()
    asked = tokenizer(
        texts, padding=True, truncation=True, max_length=48, return_tensors="pt", return_token_type_ids=False
    )
    with torch.no_grad():
        values = torch.max(network(**asked)[0] * asked["attention_mask"].unsqueeze(-1), dim=1).values
        values = torch.log(1 + torch.relu(values))
        return (torch.log(1 + values) if formula == "log1p_relu" else values).numpy()


@pytest.mark.parametrize(
    ("kind", "tied", "act", "formula"),
    [("bert", True, "gelu", "relu"), ("bert", False, "relu", "log1p_relu"), ("distilbert", True, "gelu", "log1p_relu")],
)
def test_weights_are_those_of_pytorch(kind: str, tied: bool, act: str, formula: str, tmp_path: Path) -> None:
    path = masked_model(tmp_path / "model", kind, tied, act)
    vocabulary = json.loads((path / "config.json").read_text())["vocab_size"]
    table = np.random.default_rng(1).uniform(0, 9, vocabulary).astype(np.float32)
    table[::3] = 0
    if formula == "log1p_relu":
        as_router(path, table, formula)
    encoder = SparseEncoder(path, 2)
    texts = [f"{title} {text}".strip() for title, text in TEXTS if text]
    wanted = by_torch(path, texts, formula)
    assert (wanted > 0.1).sum(axis=1).min() > 100
    np.testing.assert_allclose(np.stack(list(encoder.weights(texts))), wanted, atol=1e-4)

    table = encoder.table
    found = encoder.impacts(TEXTS)
    assert found.ends.tolist()[1] == found.ends.tolist()[2]  # the third has nothing to weigh
    step = encoder.described["step"]
    rows = np.insert(wanted, 2, 0, axis=0)
    for row, (start, end) in enumerate(zip([0, *found.ends[:-1]], found.ends, strict=True)):
        whole = np.zeros(vocabulary)
        whole[found.tokens[start:end]] = found.impacts[start:end] * step
        asked = np.where(table > 0, rows[row].clip(max=255 * step), 0)
        np.testing.assert_allclose(whole, asked, atol=0.51 * step)
    encoder.close()


def test_a_document_weighs_the_same_whatever_it_is_weighed_with(tmp_path: Path) -> None:
    encoder = SparseEncoder(masked_model(tmp_path / "model"), 1)
    together, alone = encoder.impacts(TEXTS), [encoder.impacts([each]) for each in TEXTS]
    assert np.array_equal(together.impacts, np.concatenate([each.impacts for each in alone]))
    assert encoder.described["id"] == SparseEncoder(tmp_path / "model", 2).described["id"]


def test_the_table_is_by_tokens_and_what_it_does_not_name_weighs_nothing(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    path = masked_model(tmp_path / "model")
    table = SparseEncoder(path, 1).table
    tokens = Tokenizer.from_file(str(path / "tokenizer.json"))
    assert {word: float(table[tokens.token_to_id(word)]) for word in ("steam", "oven", "bread")} == {
        word: WORDS[word] for word in ("steam", "oven", "bread")
    }
    assert (table > 0).sum() == 3


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"weighs documents by Transformer, Pooling, Normalize; expected"):
        SparseEncoder(find_model().path)
    path = masked_model(tmp_path / "model")
    (path / "idf.json").write_text("[1]")
    with pytest.raises(ModelError, match=r"idf\.json is no object"):
        SparseEncoder(path)
    (path / "idf.json").unlink()
    with pytest.raises(ModelError, match=r"no table of query weights"):
        SparseEncoder(path)
    with pytest.raises(ModelError, match=r"weights of .*model, which cannot be had: .*--sparse none"):
        sparse_of_build(str(path), 1, served=True)
