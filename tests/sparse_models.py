"""Models that weigh documents: one by counting their words, quick, without a network, and easily worked out; and a
tiny network as it is published."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from index.build.rows.sparse import Impacts

STEP = 1 / 64
WORDS = {"steam": 5.5, "oven": 4.25, "bread": 3.0, "[CLS]": 0.0, "no token at all": 2.0}


class CountingModel:
    """Of the words w0 … w199, of which every fifth weighs nothing in a query. `ghosts`: each word brings the next one
    along, which the document does not say."""

    given = "counting"

    def __init__(self, words: int = 200, id_: str = "sha256:0") -> None:
        self._id, self.weighed = id_, list[str]()
        self._words = {f"w{number}": number + 1 for number in range(words)} | {"[UNK]": 0}
        weights = np.random.default_rng(3).uniform(0.1, 9.0, words + 1).astype(np.float32)
        weights[::5] = 0
        self.table = weights

    @property
    def described(self) -> dict[str, Any]:
        return {"name": "counting", "id": self._id, "step": STEP}

    @property
    def tokenizer(self) -> str:
        made = Tokenizer(WordLevel(self._words, unk_token="[UNK]"))
        made.pre_tokenizer = Whitespace()
        return made.to_str()

    @cache  # noqa: B019  # of a few models in a test run
    def weights(self, text: str) -> dict[int, int]:
        """Impacts of a document by their tokens."""
        counts = Counter(self._words[word] for word in text.split() if word in self._words)
        ghosts = {token % (len(self.table) - 1) + 1: 1 for token in counts}
        more = len(text.strip()) % 23 + 1  # many values near each other, and equal ones
        return {token: min(255, 10 * count + token % 7 + more) for token, count in (ghosts | counts).items()}

    def impacts(self, documents: Sequence[tuple[str, str]]) -> Impacts:
        self.weighed += [text for _, text in documents]
        found = [sorted(self.weights(f"{title} {text}").items()) for title, text in documents]
        flat = [pair for each in found for pair in each]
        return (
            np.array([token for token, _ in flat], np.uint32),
            np.array([impact for _, impact in flat], np.uint8),
            np.cumsum([len(each) for each in found], dtype=np.int64),
        )

    def close(self) -> None:
        """There is nothing to let go of."""

    def scores(self, query: str, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Of every document, by exact arithmetic."""
        steps = np.rint(self.table * 1024).astype(np.int64)
        asked = dict.fromkeys(self._words[word] for word in query.split() if word in self._words)
        sums = [sum(int(steps[token]) * self.weights(text).get(token, 0) for token in asked) for text in texts]
        return np.array(sums, np.float32) * np.float32(STEP / 1024)


def many_words(rows: int, seed: int = 0) -> list[str]:
    """Texts of rare and frequent words in clumps, so that some blocks of rows are far better than others."""
    random = np.random.default_rng(seed)
    topics = random.integers(0, 60, rows // 40 + 1)
    return [
        " ".join(
            f"w{word}" for word in np.minimum(199, topics[row // 40] + random.geometric(0.2, random.integers(1, 9)))
        )
        for row in range(rows)
    ]


def masked_model(path: Path, kind: str = "bert", tied: bool = True, act: str = "gelu") -> Path:
    """A tiny network with random weights, as transformers saves it, with a table of WORDS in idf.json."""
    import torch
    import transformers

    torch.manual_seed(11)
    shape: dict[str, Any]
    if kind == "bert":
        shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        config: Any = transformers.BertConfig(**shape, hidden_act=act, tie_word_embeddings=tied)
        network: Any = transformers.BertForMaskedLM(config)
    else:
        config = transformers.DistilBertConfig(dim=64, n_layers=2, n_heads=2, hidden_dim=64, tie_word_embeddings=tied)
        network = transformers.DistilBertForMaskedLM(config)
    with torch.no_grad():  # fresh weights give hardly a logit above 0
        for weight in network.parameters():
            weight.mul_(4) if weight.ndim > 1 else weight.add_(torch.randn_like(weight) * 0.3)
    network.eval().save_pretrained(path)
    return _with_words(path, WORDS)


def tiny_masked_model(path: Path, words: Mapping[str, float]) -> Path:
    """A network of one layer, written without PyTorch, whose import takes longer than most tests."""
    from safetensors.numpy import save_file

    random, vocabulary, width = np.random.default_rng(11), 30_522, 64
    tensors: dict[str, npt.NDArray[np.float32]] = {}

    def dense(name: str) -> None:
        tensors[f"{name}.weight"] = random.normal(0, 0.08, (width, width)).astype(np.float32)
        tensors[f"{name}.bias"] = random.normal(0, 0.3, width).astype(np.float32)

    def norm(name: str) -> None:
        tensors[f"{name}.weight"] = random.normal(1, 0.3, width).astype(np.float32)
        tensors[f"{name}.bias"] = random.normal(0, 0.3, width).astype(np.float32)

    for name, rows in (("word", vocabulary), ("position", 512), ("token_type", 2)):
        rows_of = random.normal(0, 0.08, (rows, width)).astype(np.float32)
        tensors[f"bert.embeddings.{name}_embeddings.weight"] = rows_of
    layer = "bert.encoder.layer.0"
    for part in ("self.query", "self.key", "self.value", "output.dense"):
        dense(f"{layer}.attention.{part}")
    for part in ("intermediate.dense", "output.dense"):
        dense(f"{layer}.{part}")
    dense("cls.predictions.transform.dense")
    for part in ("bert.embeddings", f"{layer}.attention.output", f"{layer}.output", "cls.predictions.transform"):
        norm(f"{part}.LayerNorm")
    tensors["cls.predictions.bias"] = random.normal(0, 0.3, vocabulary).astype(np.float32)
    path.mkdir(parents=True)
    save_file(tensors, path / "model.safetensors")
    config = {"model_type": "bert", "vocab_size": vocabulary, "hidden_size": width, "num_hidden_layers": 1}
    config |= {"num_attention_heads": 2, "intermediate_size": width, "max_position_embeddings": 512}
    config |= {"hidden_act": "gelu", "type_vocab_size": 2, "layer_norm_eps": 1e-12}
    (path / "config.json").write_text(json.dumps(config))
    return _with_words(path, words)


def _with_words(path: Path, words: Mapping[str, float]) -> Path:
    """The network in the folder with a tokenizer, and these words in its table."""
    from embed.models.folder import find_model

    for name in ("tokenizer.json", "vocab.txt"):
        shutil.copy(find_model().path / name, path / name)
    tokenizer = json.loads((find_model().path / "tokenizer_config.json").read_text())
    (path / "tokenizer_config.json").write_text(json.dumps(tokenizer | {"model_max_length": 48}))
    (path / "idf.json").write_text(json.dumps(dict(words)))
    return path
