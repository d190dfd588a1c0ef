"""Each call of the API once: how it is asked, and what its answer is. The two clients send and receive."""

from __future__ import annotations

import binascii
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

from service.client.answers import (
    Answer,
    ClientBatchAnswer,
    ClientDocument,
    ClientRecall,
    Deleted,
    Embeddings,
    Index,
    Indexes,
    Put,
)
from service.client.problems import UnreachableError

T = TypeVar("T")
Vector = Sequence[float]
Query = Mapping[str, Any]
EMBEDDED = 256  # texts of a request: so few that it is answered well within a client's patience


class Call(msgspec.Struct, Generic[T], frozen=True):
    """changes: whether it changes the server, so that it is not repeated when it may have been done."""

    method: str
    path: str
    gives: type[T]
    body: Any = None
    headers: dict[str, str] = {}
    changes: bool = False

    def content(self) -> bytes | None:
        return None if self.body is None else msgspec.json.encode(self.body)

    def decode(self, content: bytes) -> T:
        try:
            return msgspec.json.decode(content, type=self.gives)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UnreachableError(f"The answer is none of perwatt ({error}); is that the right address?") from None


def search(index: str, query: Query) -> Call[Answer]:
    return Call("POST", f"/v1/indexes/{_part(index)}/search", Answer, sendable(query))


def search_batch(index: str, queries: Sequence[Query], timeout_ms: int | None) -> Call[ClientBatchAnswer]:
    body = {"queries": [sendable(query) for query in queries], "timeout_ms": timeout_ms}
    return Call("POST", f"/v1/indexes/{_part(index)}/search/batch", ClientBatchAnswer, body)


def document(index: str, id_: str, fields: Sequence[str] | None) -> Call[ClientDocument]:
    chosen = "" if fields is None else "?fields=" + quote(",".join(_several(fields, "fields")), safe=",")
    return Call("GET", f"/v1/indexes/{_part(index)}/documents/{quote(id_, safe='')}{chosen}", ClientDocument)


def put(index: str, documents: Sequence[Mapping[str, Any]]) -> Call[Put]:
    body = {"documents": [sendable(document) for document in documents]}
    return Call("PUT", f"/v1/indexes/{_part(index)}/documents", Put, body)  # again is the same: no change that repeats


def delete(index: str, asked: Mapping[str, Any]) -> Call[Deleted]:
    return Call("POST", f"/v1/indexes/{_part(index)}/documents/delete", Deleted, sendable(asked))


def embeddings(texts: Sequence[str], kind: str) -> Call[Embeddings]:
    return Call("POST", "/v1/embeddings", Embeddings, {"input": list(texts), "input_type": kind})


def parts(texts: Sequence[str]) -> list[Sequence[str]]:
    """Of as many texts as one request should have."""
    return [texts[first : first + EMBEDDED] for first in range(0, len(_several(texts, "texts")), EMBEDDED)]


def indexes() -> Call[Indexes]:
    return Call("GET", "/v1/indexes", Indexes)


def get_index(index: str) -> Call[Index]:
    return Call("GET", f"/v1/indexes/{_part(index)}", Index)


def recall(index: str, asked: Mapping[str, Any]) -> Call[ClientRecall]:
    body = {name: value for name, value in asked.items() if value is not None}
    return Call("POST", f"/v1/indexes/{_part(index)}/recall", ClientRecall, body)


def version() -> Call[dict[str, Any]]:
    return Call("GET", "/version", dict[str, Any])


def ready() -> Call[dict[str, Any]]:
    return Call("GET", "/readyz", dict[str, Any])


def switch(alias: str, generation: str, etag: str | None) -> Call[Index]:
    headers = {} if etag is None else {"if-match": f'"{etag}"'}
    return Call("PUT", f"/v1/aliases/{_part(alias)}", Index, {"generation": generation}, headers, changes=True)


def rollback(alias: str, etag: str | None) -> Call[Index]:
    headers = {} if etag is None else {"if-match": f'"{etag}"'}
    return Call("POST", f"/v1/aliases/{_part(alias)}/rollback", Index, None, headers, changes=True)


def sendable(query: Query) -> dict[str, Any]:
    """A query as JSON: what is None is left out, and a vector goes as base64 of float32, a third of the bytes."""
    body = {name: value for name, value in query.items() if value is not None}
    vector = body.get("vector")
    if vector is not None and not isinstance(vector, str):
        body["vector"] = binascii.b2a_base64(_float32(vector), newline=False).decode()
    return body


def address(url: str) -> str:
    """`url`, if it is one; raises ValueError."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"url is {url!r}, expected an address like http://127.0.0.1:8000.")
    return url


def authorization(key: str) -> str:
    """The header of a key; raises ValueError for what is none and could not be sent."""
    if not (key.isascii() and key.isprintable()):
        raise ValueError(
            "The key has characters that no key has; expected one as `perwatt keys create` prints it, pw_…."
        )
    return f"Bearer {key}"


def _several(given: Sequence[str], name: str) -> Sequence[str]:
    """`given`, unless it is a text, which would be taken apart into letters."""
    if isinstance(given, str):
        raise TypeError(f"{name} is the text {given[:40]!r}, expected a list of texts: [{given[:40]!r}].")
    return given


def _float32(vector: Vector) -> bytes:
    """Little-endian float32 bytes of numbers, of an array, or of a NumPy vector, which is not imported for it."""
    convert = getattr(vector, "astype", None)
    if convert is not None:
        return bytes(convert("<f4").tobytes())
    numbers = array("f", vector)
    if array("H", [1]).tobytes() != b"\1\0":
        numbers.byteswap()
    return numbers.tobytes()


def _part(name: str) -> str:
    return quote(name, safe="")
