"""A learned sparse model on disk: which network weighs documents, by which formula, and what weighs queries.

It is a folder in sentence-transformers' layout, or one of transformers with an `idf.json` beside it, as OpenSearch
publishes both in one. What weighs queries has to be a table: a model that needs a network for them is refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from embed.errors import ModelError
from embed.models.bert_names import bert_config
from embed.models.folder import ModelFolder, local_path, sha256_file
from embed.models.modules import Module, modules_of, read_json
from embed.models.safetensors_file import read_tensors

Formula = Literal["relu", "log1p_relu"]
# What an impact of 1 weighs, by formula. 8 bits then reach to 3.98 and 1.99: logits of 52 and of 543.
STEPS: dict[Formula, float] = {"relu": 1 / 64, "log1p_relu": 1 / 128}
TABLES = ("SparseStaticEmbedding", "IDF")  # the second is what it was called before
IDF_FILE = "idf.json"
# Of a folder without modules, whose formula stands in its card alone.
TWICE = re.compile(r"opensearch-neural-sparse-encoding-doc-v3(-.*)?", re.IGNORECASE)


@dataclass(frozen=True)
class SparseFolder:
    """
    Args:
        documents: the network, as the kernels would run it.
        formula: what becomes of a logit, in sentence-transformers' words.
        queries: the folder of the query's tokenizer.
        table: what a token weighs in a query, float32 (vocabulary,).
    """

    documents: ModelFolder
    formula: Formula
    queries: Path
    table: npt.NDArray[np.float32]

    @property
    def name(self) -> str:
        return self.documents.name

    def as_dict(self) -> dict[str, Any]:
        """What decides the weights, and an id over it."""
        fields = {
            "weights_sha256": self.documents.weights_sha256,
            "tokenizer_sha256": self.documents.tokenizer_sha256,
            "query_tokenizer_sha256": sha256_file(self.queries / "tokenizer.json"),
            "table_sha256": hashlib.sha256(self.table.tobytes()).hexdigest(),
            "formula": self.formula,
            "step": STEPS[self.formula],
            "max_length": self.documents.max_length,
        }
        told = "\n".join(f"{name}={value}" for name, value in fields.items())
        return {"name": self.name, "id": "sha256:" + hashlib.sha256(told.encode()).hexdigest(), **fields}


def find_sparse(model: str | Path) -> SparseFolder:
    """The model in a folder, or of a name on the model hub. Raises ModelError for one of another kind."""
    path = local_path(str(model))
    name = path.resolve().name if Path(model).is_dir() else str(model)
    modules = modules_of(path, "document")
    formula = _formula(modules, name)
    documents = _network(modules[0].path if modules else path, name)
    queries = _table_module(modules_of(path, "query"))
    if queries is not None:
        return SparseFolder(documents, formula, queries, _of_module(queries))
    if not (path / IDF_FILE).is_file():
        raise ModelError(
            f"{name} has no table of query weights, neither {IDF_FILE} nor a SparseStaticEmbedding module: its queries "
            "go through a network too. Take one that is inference-free, like opensearch-neural-sparse-encoding-doc-v3."
        )
    return SparseFolder(documents, formula, documents.path, _of_idf(path / IDF_FILE, documents))


def _formula(modules: Sequence[Module], name: str) -> Formula:
    if not modules:
        return "log1p_relu" if TWICE.fullmatch(name.rsplit("/", 1)[-1]) else "relu"
    if [module.kind for module in modules[1:]] != ["SpladePooling"]:
        kinds = ", ".join(module.kind for module in modules)
        raise ModelError(f"{name} weighs documents by {kinds}; expected a masked-language model and SpladePooling.")
    config = modules[1].config({})
    formula, pooling = config.get("activation_function", "relu"), config.get("pooling_strategy", "max")
    if formula not in STEPS or pooling != "max":
        raise ModelError(f"{name} pools by {pooling} of {formula}; expected max, of {' or '.join(STEPS)}.")
    known: Formula = formula
    return known


def _network(path: Path, name: str) -> ModelFolder:
    config = bert_config(read_json(path / "config.json"))
    for needed in ("model.safetensors", "tokenizer.json"):
        if not (path / needed).is_file():
            raise ModelError(f"{path} has no {needed}. Save the model anew with SparseEncoder(…).save_pretrained(…).")
    own = read_json(path / "sentence_bert_config.json", {}).get("max_seq_length")
    own = own or read_json(path / "tokenizer_config.json", {}).get("model_max_length")
    positions = int(config.get("max_position_embeddings", 512))
    return ModelFolder(
        name=name,
        path=path,
        config=config,
        pooling="tokens",
        normalize=False,
        dim=int(config.get("hidden_size", 0)),
        max_length=min(int(own or positions), positions),
        lower_case=False,
        query_prefix="",
        document_prefix="",
    )


def _table_module(modules: Sequence[Module]) -> Path | None:
    if len(modules) == 1 and modules[0].kind in TABLES:
        return modules[0].path
    return None


def _of_module(path: Path) -> npt.NDArray[np.float32]:
    if not (path / "model.safetensors").is_file():
        raise ModelError(f"{path} has no model.safetensors, which holds the table of query weights.")
    table = read_tensors(path / "model.safetensors").get("weight")
    if table is None or table.ndim != 1:
        raise ModelError(f"{path / 'model.safetensors'} has no tensor 'weight' of one dimension.")
    return _checked(table, path)


def _of_idf(path: Path, documents: ModelFolder) -> npt.NDArray[np.float32]:
    """By the documents' tokenizer; a token that the file does not name weighs nothing."""
    given = read_json(path)
    tokenizer = Tokenizer.from_file(str(documents.tokenizer))
    table = np.zeros(int(documents.config["vocab_size"]), np.float32)
    try:
        for token, weight in given.items():
            place = tokenizer.token_to_id(token)
            if place is not None and place < len(table):
                table[place] = weight
    except (AttributeError, TypeError, ValueError):
        raise ModelError(f"{path} is no object of tokens and their weights.") from None
    return _checked(table, path)


def _checked(table: npt.NDArray[np.float32], path: Path) -> npt.NDArray[np.float32]:
    if not np.isfinite(table).all() or not (table > 0).any():
        raise ModelError(f"{path} has a table of query weights in which no token weighs anything, or without end.")
    return table
