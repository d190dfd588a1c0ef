"""What servers of embeddings are asked and what they answer: OpenAI's shape, text-embeddings-inference's, and our own.

Which of them a server speaks it tells itself. `GET /info` with a `model_id` is text-embeddings-inference, whose own
route gives unit vectors and cuts long texts (docs/openapi.json of huggingface/text-embeddings-inference, 1.7.1).
`GET /version` with the fingerprint of a model is a `perwatt serve`; its vectors are those of that model anywhere, so
they carry its fingerprint. Anything else is asked in OpenAI's shape, where one server may have many models.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit, urlunsplit

import msgspec
import numpy as np

from embed.encoders.contract import Kind, Vectors
from embed.encoders.remote.endpoint import Endpoint, RemoteAnswer
from embed.errors import ModelError
from embed.models.fingerprint import Fingerprint

BATCH = 32  # texts of a request where the server names no limit: enough for an accelerator, and a short wait for others
NAMED_MODELS = 5  # of a server that has more, in the sentence that asks for one


class Encodings(NamedTuple):
    """
    Args:
        vectors: float32 (n, dim), in the order of the texts.
        tokens: that the model read, of all texts together; 0 where the server does not say.
        model: as the server calls it in this answer; None where it does not say.
    """

    vectors: Vectors
    tokens: int
    model: str | None


class Rubbish(Exception):  # noqa: N818 - becomes an EncoderError that knows the address
    """What was answered is no list of vectors; says what was expected."""


class Shape(Protocol):
    """How one server is asked for vectors.

    Attributes:
        speaks: What a person would call it.
        model: Its name at the other end.
        batch: Texts of a request.
        fingerprint: Of a model whose fingerprint the server knows.
        url: That texts are posted to.
    """

    speaks: str
    model: str
    batch: int
    fingerprint: Fingerprint | None
    url: str

    def body(self, texts: Sequence[str], kind: Kind) -> Any: ...

    def read(self, answer: RemoteAnswer, count: int) -> Encodings:
        """Raises Rubbish."""


class _Embedding(msgspec.Struct):
    embedding: list[float] | str
    index: int


class _Spent(msgspec.Struct):
    prompt_tokens: int = 0
    total_tokens: int = 0


class _OpenAIEmbeddings(msgspec.Struct):
    data: list[_Embedding]
    model: str | None = None
    usage: _Spent | None = None


class _Info(msgspec.Struct):
    model_id: str
    max_client_batch_size: int = BATCH


class _Version(msgspec.Struct):
    perwatt: str
    model: dict[str, Any] | None


class _OfferedModel(msgspec.Struct):
    id: str


class _OfferedModels(msgspec.Struct):
    data: list[_OfferedModel]


@dataclass
class OpenAIShape:
    """`POST …/embeddings`. With a fingerprint it is a perwatt, which puts the prefixes itself and sends bytes."""

    url: str
    model: str
    fingerprint: Fingerprint | None = None
    speaks: str = "openai"
    batch: int = BATCH

    def body(self, texts: Sequence[str], kind: Kind) -> Any:
        asked = {"model": self.model, "input": texts}
        return asked if self.fingerprint is None else asked | {"input_type": kind, "encoding_format": "base64"}

    def read(self, answer: RemoteAnswer, count: int) -> Encodings:
        found = _decoded(answer.content, _OpenAIEmbeddings, "an object with data, a list of embeddings")
        rows = {one.index: one.embedding for one in found.data}
        if sorted(rows) != list(range(len(found.data))):
            raise Rubbish("expected an embedding for each index from 0 on")
        vectors = _matrix([_floats(rows[place]) for place in range(len(rows))], count)
        return Encodings(vectors, 0 if found.usage is None else found.usage.prompt_tokens, found.model)


@dataclass
class TeiShape:
    """`POST /embed` of text-embeddings-inference."""

    url: str
    model: str
    batch: int
    fingerprint: Fingerprint | None = None
    speaks: str = "text-embeddings-inference"

    def body(self, texts: Sequence[str], kind: Kind) -> Any:
        return {"inputs": texts, "normalize": True, "truncate": True}

    def read(self, answer: RemoteAnswer, count: int) -> Encodings:
        rows = _decoded(answer.content, list[list[float]], "a list of lists of numbers")
        said = answer.headers.get("x-compute-tokens", "")
        return Encodings(_matrix(rows, count), int(said) if said.isdigit() else 0, None)


def shape_of(endpoint: Endpoint, model: str | None) -> Shape:
    """How the server at the other end is asked, and for which model.

    Args:
        model: None takes the only one that it has.

    Raises:
        ModelError: It has several models and none was named, or it has another one.
        EncoderError: It does not answer.
    """
    parts = urlsplit(endpoint.address)
    path = parts.path.removesuffix("/embeddings").removesuffix("/embed")
    base = urlunsplit(parts._replace(path=path))
    root = urlunsplit(parts._replace(path=path.removesuffix("/v1")))
    info = told(endpoint, f"{root}/info", _Info)
    if info is not None and not parts.path.endswith("/embeddings"):
        if model is not None and model != info.model_id:
            raise ModelError(
                f"The encoder at {endpoint.address} has model {info.model_id!r}, and {model!r} was asked for."
            )
        return TeiShape(f"{root}/embed", info.model_id, max(1, info.max_client_batch_size))
    version = told(endpoint, f"{root}/version", _Version)
    if version is not None:
        if version.model is None:
            raise ModelError(f"The perwatt at {endpoint.address} has no model: its indexes are of bare vectors.")
        fingerprint = Fingerprint.from_dict(version.model)
        if model is not None and model not in fingerprint.names:
            raise ModelError(
                f"The perwatt at {endpoint.address} has model {fingerprint.name!r}, and {model!r} was asked for."
            )
        return OpenAIShape(f"{root}/v1/embeddings", fingerprint.name, fingerprint, "perwatt")
    api = base if path and base != root else f"{root}/v1"
    api = base if parts.path.endswith("/embeddings") else api
    return OpenAIShape(f"{api}/embeddings", model or _only_model(endpoint, f"{api}/models"))


def _only_model(endpoint: Endpoint, url: str) -> str:
    listed = told(endpoint, url, _OfferedModels)
    names: list[str] = [] if listed is None else [each.id for each in listed.data]
    if len(names) == 1:
        return names[0]
    some = ", ".join(names[:NAMED_MODELS]) + (", …" if len(names) > NAMED_MODELS else "")
    there = f"has {len(names)} models ({some})" if names else "does not list its models"
    raise ModelError(f"The encoder at {endpoint.address} {there}. Say which one to ask for with --model NAME.")


def told(endpoint: Endpoint, url: str, kind: type[Any]) -> Any:
    """What a server says of itself; None where it says nothing of that kind."""
    answer = endpoint.get(url)
    try:
        return msgspec.json.decode(answer.content, type=kind) if answer.status == 200 else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _decoded(content: bytes, kind: Any, expected: str) -> Any:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Rubbish(f"expected {expected}") from None


def _floats(given: list[float] | str) -> Any:
    if isinstance(given, list):
        return given
    try:
        return np.frombuffer(binascii.a2b_base64(given, strict_mode=True), "<f4")
    except ValueError:
        raise Rubbish("expected base64 of little-endian float32") from None


def _matrix(rows: Sequence[Any], count: int) -> Vectors:
    if len(rows) != count:
        raise Rubbish(f"expected {count} vectors and got {len(rows)}")
    if len({len(row) for row in rows}) > 1 or (rows and not len(rows[0])):
        raise Rubbish("expected vectors of one length")
    with np.errstate(over="ignore"):
        vectors = np.array(rows, np.float32)
    if not (np.isfinite(vectors).all() and np.any(vectors, axis=1).all()):
        raise Rubbish("expected vectors of finite numbers that are not all 0")
    return vectors
