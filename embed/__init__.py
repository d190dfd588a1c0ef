"""Documents into vectors: reading, chunking, encoding, and the folder of vectors on disk.

Each line imports only what stands below it:

    cli.py         `perwatt embed`
    options.py     options that several commands have
    opening.py     what is opened before the first text
    stopping.py    a signal becomes an exception
    bench/         text to vector beside other runtimes
    pipeline.py    documents in, a vectors folder out, window by window
    window.py      the vectors of one window: those that are not there yet are computed
    ahead.py       the next item made while the last is worked on
    progress.py    how far the run is
    sparse/        documents to weights of tokens, for queries that need no model
    documents/     readers of files and installed packages, chunks, rows
    rerankers/     a query and documents to scores, by a model that reads both at once
    encoders/      texts to vectors: the contract and the backends
    models/        a model's folder, its fingerprint, what is made from it once
    kernels/       our own kernels for BERT-shaped models
    vectors/       the folder of vectors: fragments, manifest, cache; files that are whole or not there
    errors.py      what can go wrong

What it is not: it knows neither an index nor HTTP; `index` reads the folder it writes, and `service` calls its encoder.
Training or fine-tuning a model is sentence-transformers' work.

Names are looked up when they are first used: a file of vectors must not cost the import of a tokenizer.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embed.encoders.contract import Encoder
    from embed.encoders.load import load_encoder
    from embed.encoders.remote.encoder import open_remote
    from embed.errors import EmbedError, ModelError
    from embed.models.fingerprint import Fingerprint
    from embed.rerankers.load import load_reranker

_PLACES = {
    "EmbedError": "embed.errors",
    "Encoder": "embed.encoders.contract",
    "Fingerprint": "embed.models.fingerprint",
    "ModelError": "embed.errors",
    "load_encoder": "embed.encoders.load",
    "load_reranker": "embed.rerankers.load",
    "open_remote": "embed.encoders.remote.encoder",
}

__all__ = ["EmbedError", "Encoder", "Fingerprint", "ModelError", "load_encoder", "load_reranker", "open_remote"]


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'embed' has no attribute {name!r}")
