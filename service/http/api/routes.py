"""The API as one table: the routes of the server, who may call them, and the contents of /openapi.json.

Who may call is enforced in one place, for every row alike (`access/auth.py`). The endpoints are registered as plain
Starlette routes: raw request in, response out. FastAPI's own parameter and response handling costs about 30 µs a
request (0.165, measured beside a route without it) and would decode again what msgspec has decoded. Without it there is
no generated documentation either, hence `schema.py`, and a fuzzer that compares the documentation with the server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from service.access.auth import UNKNOWN, RouteScope
from service.endpoints import (
    aliases,
    documents,
    embeddings,
    indexes,
    models,
    operations,
    rebuilds,
    recall,
    searching,
    usage,
    writes,
)
from service.wire import parts
from service.wire.answer.documents import DeleteAnswer, DocumentAnswer, PutAnswer
from service.wire.answer.embeddings import EmbeddingsAnswer
from service.wire.answer.facets import FacetsAnswer
from service.wire.answer.indexes import IndexInfo, IndexList
from service.wire.answer.rebuilds import RebuildAnswer, RebuildList
from service.wire.answer.recall import RecallAnswer
from service.wire.answer.search import BatchAnswer, SearchAnswer, SeveralAnswer
from service.wire.answer.usage import UsageAnswer
from service.wire.request.documents import DeleteRequest, PutRequest
from service.wire.request.embeddings import EmbeddingsRequest
from service.wire.request.facets import FacetsRequest
from service.wire.request.generations import RebuildRequest, SwitchRequest
from service.wire.request.recall import RecallRequest
from service.wire.request.search import BatchRequest, SearchRequest, SeveralRequest

Endpoint = Callable[[Request], Awaitable[Response]]
BODY = ("bad-json", "unknown-field", "invalid-value", "body-too-large", "unsupported-encoding")
FIND = ("index-not-found", "generation-gone")
TIME = ("encoder-unavailable", "deadline-exceeded")
QUERY = (*BODY, *FIND, *TIME, "dimension-mismatch", "filter-field-not-indexed")
WRITE = ("forbidden", "not-ready", "overloaded", *TIME)
SWITCH = ("index-not-found", "forbidden", "precondition-failed", "model-mismatch", "insufficient-memory")


class Operation(NamedTuple):
    method: str
    path: str
    scope: RouteScope  # that a key must have; "open": none is asked for
    endpoint: Endpoint
    summary: str
    asks: Any = None  # struct of the request body
    gives: Any = None  # struct of the 200 answer; None: any JSON object; a str: a media type
    problems: tuple[str, ...] = ()
    status: int = 200  # of its answer
    openai: bool = False  # in OpenAI's shape, its errors too

    @property
    def name(self) -> str:
        return str(getattr(self.endpoint, "__name__", self.path))


OPERATIONS = (
    Operation(
        "POST",
        "/v1/indexes/{index}/search",
        "search",
        searching.search,
        "One query by text, vector or the id of a document.",
        SearchRequest,
        SearchAnswer,
        (*QUERY, "document-not-found", "precondition-failed"),
    ),
    Operation(
        "POST",
        "/v1/indexes/{index}/search/batch",
        "search",
        searching.search_batch,
        "Up to 256 queries; results in order, a problem object for each that failed.",
        BatchRequest,
        BatchAnswer,
        (*BODY, *FIND, *TIME, "precondition-failed"),
    ),
    Operation(
        "POST",
        "/v1/search",
        "search",
        searching.search_indexes,
        "One query over several indexes, and one list of hits.",
        SeveralRequest,
        SeveralAnswer,
        (*QUERY, "forbidden"),
    ),
    Operation(
        "POST",
        "/v1/indexes/{index}/facets",
        "search",
        searching.facets,
        "How many documents hold what: values and ranges of declared fields, for a filter or a query's best.",
        FacetsRequest,
        FacetsAnswer,
        (*QUERY, "document-not-found", "precondition-failed"),
    ),
    Operation(
        "POST",
        "/v1/indexes/{index}/part",
        "search",
        searching.part,
        "What a router asks of a shard: rankings and documents, before they are merged.",
        parts.PartRequest,
        parts.PartAnswer,
        (*QUERY, "precondition-failed"),
    ),
    Operation(
        "POST",
        "/v1/indexes/{index}/documents/delete",
        "write",
        writes.delete_documents,
        "Delete documents by their ids or by a filter.",
        DeleteRequest,
        DeleteAnswer,
        (*BODY, *FIND, *WRITE, "filter-field-not-indexed", "precondition-failed"),
    ),
    Operation(
        "GET",
        "/v1/indexes/{index}/documents/{id}",
        "search",
        documents.document,
        "The payload of one document.",
        gives=DocumentAnswer,
        problems=(*FIND, "document-not-found", "invalid-value"),
    ),
    Operation(
        "PUT",
        "/v1/indexes/{index}/documents",
        "write",
        writes.put_documents,
        "Write up to 1,000 documents; on the disk before the answer, a problem for each that was not written.",
        PutRequest,
        PutAnswer,
        (*BODY, *FIND, *WRITE, "quota-exceeded", "precondition-failed"),
    ),
    Operation(
        "DELETE",
        "/v1/indexes/{index}/documents/{id}",
        "write",
        writes.delete_document,
        "Delete one document.",
        gives=DeleteAnswer,
        problems=(*FIND, *WRITE, "document-not-found", "invalid-value", "precondition-failed"),
    ),
    Operation(
        "POST",
        "/v1/embeddings",
        "search",
        embeddings.embeddings,
        "Texts to vectors in OpenAI's shape, by the model that is loaded.",
        EmbeddingsRequest,
        EmbeddingsAnswer,
        (*BODY, *TIME, "model-mismatch", "dimension-mismatch"),
        openai=True,
    ),
    Operation(
        "GET",
        "/v1/models",
        "search",
        models.list_models,
        "The model that /v1/embeddings answers for, in OpenAI's shape.",
        gives=models.ModelList,
        openai=True,
    ),
    Operation(
        "GET",
        "/v1/models/{model}",
        "search",
        models.get_model,
        "That model by one of its names.",
        gives=models.ListedModel,
        problems=("model-not-found",),
        openai=True,
    ),
    Operation("GET", "/v1/indexes", "search", indexes.list_indexes, "Every index that is served.", gives=IndexList),
    Operation(
        "GET",
        "/v1/indexes/{index}",
        "search",
        indexes.get_index,
        "One index: its generation, model, size and measured recall.",
        gives=IndexInfo,
        problems=FIND,
    ),
    Operation(
        "POST",
        "/v1/indexes/{index}/recall",
        "admin",
        recall.recall,
        "Measure recall@k of what is served, against an exact search.",
        RecallRequest,
        RecallAnswer,
        (*BODY, *FIND, *TIME, "forbidden", "filter-field-not-indexed", "overloaded"),
    ),
    Operation(
        "PUT",
        "/v1/aliases/{alias}",
        "admin",
        aliases.switch,
        "Serve another generation, once it has been checked.",
        SwitchRequest,
        IndexInfo,
        (*BODY, *SWITCH),
    ),
    Operation(
        "POST",
        "/v1/aliases/{alias}/rollback",
        "admin",
        aliases.rollback,
        "Serve the generation that was served before.",
        gives=IndexInfo,
        problems=("invalid-value", *SWITCH),
    ),
    Operation(
        "POST",
        "/v1/rebuilds",
        "admin",
        rebuilds.start_rebuild,
        "Build a new generation of an index, and serve it when its checks pass; answers at once.",
        RebuildRequest,
        RebuildAnswer,
        (*BODY, "index-not-found", "forbidden", "rebuild-running", "precondition-failed", "not-ready"),
        status=202,
    ),
    Operation(
        "GET",
        "/v1/rebuilds",
        "admin",
        rebuilds.list_rebuilds,
        "The rebuilds that run or have run, the newest first.",
        gives=RebuildList,
        problems=("forbidden",),
    ),
    Operation(
        "GET",
        "/v1/rebuilds/{rebuild}",
        "admin",
        rebuilds.get_rebuild,
        "How far a rebuild is, or how it ended.",
        gives=RebuildAnswer,
        problems=("rebuild-not-found", "forbidden"),
    ),
    Operation(
        "DELETE",
        "/v1/rebuilds/{rebuild}",
        "admin",
        rebuilds.cancel_rebuild,
        "End a rebuild; what is served stays.",
        gives=RebuildAnswer,
        problems=("rebuild-not-found", "forbidden"),
        status=202,
    ),
    Operation(
        "GET",
        "/v1/usage",
        "own",
        usage.usage,
        "What each key has used, in queries, tokens, distances, processor time, joules and dollars.",
        gives=UsageAnswer,
    ),
    Operation("GET", "/livez", "open", operations.livez, "Whether the process is alive."),
    Operation(
        "GET", "/readyz", "open", operations.readyz, "Whether requests should be sent here.", problems=("not-ready",)
    ),
    Operation("GET", "/metrics", "metrics", operations.metrics, "Prometheus metrics.", gives="text/plain"),
    Operation("GET", "/version", "search", operations.version, "Versions, kernels, model and limits."),
    Operation("GET", "/openapi.json", "search", operations.openapi, "This document."),
)

# Names of those whose problems carry OpenAI's error: its calls, and whatever no route has, which may be one misspelt.
OPENAI = frozenset({UNKNOWN, *(operation.name for operation in OPERATIONS if operation.openai)})
