"""Each call of the API once: its parameters, the request they make, and the type of its answer.

The two clients use these functions as methods; their docstrings are what the caller of a client reads.
"""

from __future__ import annotations

import binascii
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar, cast
from urllib.parse import quote

import msgspec

from service.client.problems import UnreachableError
from service.wire.answer.documents import DeleteAnswer, DocumentAnswer, PutAnswer
from service.wire.answer.embeddings import EmbeddingsAnswer
from service.wire.answer.facets import FacetsAnswer
from service.wire.answer.indexes import IndexInfo, IndexList
from service.wire.answer.rebuilds import RebuildAnswer, RebuildList
from service.wire.answer.recall import RecallAnswer
from service.wire.answer.search import BatchAnswer, BatchItem, SearchAnswer, SeveralAnswer
from service.wire.answer.usage import UsageAnswer

T = TypeVar("T")
Vector = Sequence[float]
Query = Mapping[str, Any]
EMBEDDED = 256  # texts of a request: so few that it is answered well within a client's patience


class Call(msgspec.Struct, Generic[T], frozen=True):
    """
    Args:
        changes: whether it changes the server, so that it is not repeated when it may have been done.
    """

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


def search(
    index: str,
    *,
    text: str | None = None,
    vector: Vector | None = None,
    id: str | None = None,
    k: int = 10,
    **more: Any,
) -> Call[SearchAnswer]:
    """Searches by exactly one of text, vector (numbers, or a NumPy vector), id and ids.

    Args:
        more: any other field of a search, as ids, not_ids, filter, fields, mode, params, explain, highlight, timeout_ms
            and expect.
    """
    query = sendable({"text": text, "vector": vector, "id": id, "k": k, **more})
    return Call("POST", f"/v1/indexes/{_part(index)}/search", SearchAnswer, query)


def search_batch(
    index: str, queries: Sequence[Query], *, timeout_ms: int | None = None
) -> Call[BatchAnswer[BatchItem]]:
    """Up to 256 queries, each a mapping with the fields of a search but `min_seq`. One that failed has its `error`
    set."""
    body = {"queries": [sendable(query) for query in queries], "timeout_ms": timeout_ms}
    return Call("POST", f"/v1/indexes/{_part(index)}/search/batch", BatchAnswer[BatchItem], body)


def search_indexes(
    indexes: Sequence[str], *, text: str | None = None, vector: Vector | None = None, k: int = 10, **more: Any
) -> Call[SeveralAnswer]:
    """Searches several indexes at once, by a text or a vector.

    Args:
        more: `merge` ("score" or "rank"), and filter, fields, mode, params, timeout_ms, explain and highlight.
    """
    body = sendable({"indexes": list(_several(indexes, "indexes")), "text": text, "vector": vector, "k": k, **more})
    return Call("POST", "/v1/search", SeveralAnswer, body)


def facets(index: str, facets: Sequence[Mapping[str, Any]], **more: Any) -> Call[FacetsAnswer]:
    """How many documents hold what.

    Args:
        facets: each a mapping with `field`, and `top`, `ranges` or `step`.
        more: `filter`, and for the best of a query text, vector or id, and k, mode and params as in a search.
    """
    body = sendable({"facets": list(facets), **more})
    return Call("POST", f"/v1/indexes/{_part(index)}/facets", FacetsAnswer, body)


def document(index: str, id: str, *, fields: Sequence[str] | None = None) -> Call[DocumentAnswer]:
    """One document.

    Args:
        fields: of its payload; all when None.
    """
    chosen = "" if fields is None else "?fields=" + quote(",".join(_several(fields, "fields")), safe=",")
    return Call("GET", f"/v1/indexes/{_part(index)}/documents/{_part(id)}{chosen}", DocumentAnswer)


def put(index: str, documents: Sequence[Mapping[str, Any]], *, key: str | None = None) -> Call[PutAnswer]:
    """Writes up to 1,000 documents, each a mapping with `id`, and `payload`, `text` or `vector`. They are on the
    disk when it returns; what could not be written is in `failed`.

    Args:
        key: an `Idempotency-Key`: written once, however often it is sent, so that one that is sent again does not
            replace what others have written since.
    """
    body = {"documents": [sendable(document) for document in documents]}
    return Call("PUT", f"/v1/indexes/{_part(index)}/documents", PutAnswer, body, _keyed(key), changes=key is None)


def delete(
    index: str,
    *,
    ids: Sequence[str] | None = None,
    filter: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    key: str | None = None,
) -> Call[DeleteAnswer]:
    """Deletes documents by ids or by a filter; one that is not there is not counted.

    Args:
        key: an `Idempotency-Key`: deleted once, however often it is sent.
    """
    asked = sendable({"ids": ids, "filter": filter, "dry_run": dry_run})
    path = f"/v1/indexes/{_part(index)}/documents/delete"
    return Call("POST", path, DeleteAnswer, asked, _keyed(key), changes=key is None)


def start_rebuild(index: str, source: str = "changes", *, key: str | None = None) -> Call[RebuildAnswer]:
    """Starts a rebuild of an index beside the service, which takes an admin key where there are keys.

    Args:
        source: "changes", or a name of the server's configuration.
        key: an `Idempotency-Key`: started once, however often it is asked for.
    """
    body = {"index": index, "source": source}
    return Call("POST", "/v1/rebuilds", RebuildAnswer, body, _keyed(key), changes=key is None)


def rebuild(id: str) -> Call[RebuildAnswer]:
    """How far a rebuild is, or how it ended."""
    return Call("GET", f"/v1/rebuilds/{_part(id)}", RebuildAnswer)


def rebuilds() -> Call[RebuildList]:
    """The rebuilds that run or have run, the newest first."""
    return Call("GET", "/v1/rebuilds", RebuildList)


def cancel_rebuild(id: str) -> Call[RebuildAnswer]:
    """Ends a rebuild; what is served stays."""
    return Call("DELETE", f"/v1/rebuilds/{_part(id)}", RebuildAnswer)


def embeddings(texts: Sequence[str], *, kind: str = "document") -> Call[EmbeddingsAnswer]:
    return Call("POST", "/v1/embeddings", EmbeddingsAnswer, {"input": list(texts), "input_type": kind})


def vectors_of(answer: EmbeddingsAnswer) -> list[list[float]]:
    return [cast("list[float]", one.embedding) for one in answer.data]  # a str where base64 is asked for


def parts(texts: Sequence[str]) -> list[Sequence[str]]:
    """`texts` in parts, each as many as one request should have."""
    return [texts[first : first + EMBEDDED] for first in range(0, len(_several(texts, "texts")), EMBEDDED)]


def indexes() -> Call[IndexList]:
    return Call("GET", "/v1/indexes", IndexList)


def index(name: str) -> Call[IndexInfo]:
    """What is served under a name."""
    return Call("GET", f"/v1/indexes/{_part(name)}", IndexInfo)


def recall(index: str, *, queries: int = 200, k: int = 10, **more: Any) -> Call[RecallAnswer]:
    """Measures recall of what is served, which takes an admin key where there are keys.

    Args:
        more: texts (instead of a number of queries), filter, params, timeout_ms.
    """
    body = sendable({"queries": queries, "k": k, **more})
    return Call("POST", f"/v1/indexes/{_part(index)}/recall", RecallAnswer, body)


def version() -> Call[dict[str, Any]]:
    """Versions, SIMD kernels, the model, and the limits that requests are held to."""
    return Call("GET", "/version", dict[str, Any])


def usage() -> Call[UsageAnswer]:
    """What each key has used since the service started, as far as this one may see it."""
    return Call("GET", "/v1/usage", UsageAnswer)


def ready() -> Call[dict[str, Any]]:
    return Call("GET", "/readyz", dict[str, Any])


def switch(alias: str, generation: str, *, etag: str | None = None) -> Call[IndexInfo]:
    """Points an alias to a generation.

    Args:
        etag: of the state that the decision was made on; another one is ProblemError precondition-failed.
    """
    return Call("PUT", f"/v1/aliases/{_part(alias)}", IndexInfo, {"generation": generation}, _match(etag), changes=True)


def rollback(alias: str, *, etag: str | None = None) -> Call[IndexInfo]:
    """Points an alias to the generation it pointed to before.

    Args:
        etag: as for `switch`.
    """
    return Call("POST", f"/v1/aliases/{_part(alias)}/rollback", IndexInfo, None, _match(etag), changes=True)


def sendable(query: Query) -> dict[str, Any]:
    """A query as JSON: without fields that are None, and with the vector as base64 of float32, a third of the bytes."""
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
    """The header of a key; raises ValueError for characters that no key has and no header may hold."""
    if not (key.isascii() and key.isprintable()):
        raise ValueError(
            "The key has characters that no key has; expected one as `perwatt keys create` prints it, pw_…."
        )
    return f"Bearer {key}"


def _match(etag: str | None) -> dict[str, str]:
    return {} if etag is None else {"if-match": f'"{etag}"'}


def _several(given: Sequence[str], name: str) -> Sequence[str]:
    """`given`; raises TypeError for a single text, which would be taken apart into letters."""
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


def _keyed(key: str | None) -> dict[str, str]:
    return {} if key is None else {"idempotency-key": key}


def _part(name: str) -> str:
    """In a path. A name of dots alone is escaped too, or clients and proxies take it for a step through folders."""
    return name.replace(".", "%2E") if name in (".", "..") else quote(name, safe="")
