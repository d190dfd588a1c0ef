"""The API as one table: the routes of the server, who may call them, and the contents of /openapi.json.

Who may call is enforced in one place, for every row alike (`access/auth.py`). The endpoints are registered as plain
Starlette routes: raw request in, response out. FastAPI's own parameter and response handling costs about 30 µs a
request (0.165, measured beside a route without it) and would decode again what msgspec has decoded. Without it there is
no generated documentation either, hence `schema.py`, and a fuzzer that compares the documentation with the server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from service.access.auth import UNKNOWN, RouteEntry, RouteScope
from service.endpoints import (
    aliases,
    documents,
    embeddings,
    indexes,
    models,
    operations,
    rebuilds,
    recall,
    routed_writes,
    searching,
    usage,
    writes,
)
from service.page.files import FILES, SearchPage
from service.wire import answers, parts, requests
from service.wire.answers.rebuilds import RebuildAnswer, RebuildList
from service.wire.requests.generations import RebuildRequest

Endpoint = Callable[[Request], Awaitable[Response]]
BODY = ("bad-json", "unknown-field", "invalid-value", "body-too-large", "unsupported-encoding")
FIND = ("index-not-found", "generation-gone")
TIME = ("encoder-unavailable", "deadline-exceeded")
WRITE = ("forbidden", "not-ready", "overloaded", "encoder-unavailable", "deadline-exceeded")
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
        requests.SearchRequest,
        answers.SearchAnswer,
        (
            *(*BODY, *FIND, *TIME),
            *("dimension-mismatch", "filter-field-not-indexed", "document-not-found"),
            "precondition-failed",
        ),
    ),
    Operation(
        "POST",
        "/v1/indexes/{index}/search/batch",
        "search",
        searching.search_batch,
        "Up to 256 queries; results in order, a problem object for each that failed.",
        requests.BatchRequest,
        answers.BatchAnswer,
        (*BODY, *FIND, *TIME, "precondition-failed"),
    ),
    Operation(
        "POST",
        "/v1/search",
        "search",
        searching.search_indexes,
        "One query over several indexes, and one list of hits.",
        requests.SeveralRequest,
        answers.SeveralAnswer,
        (*BODY, *FIND, *TIME, "dimension-mismatch", "filter-field-not-indexed", "forbidden"),
    ),
    Operation(
        "POST",
        "/v1/indexes/{index}/facets",
        "search",
        searching.facets,
        "How many documents hold what: values and ranges of declared fields, for a filter or a query's best.",
        requests.FacetsRequest,
        answers.FacetsAnswer,
        (
            *(*BODY, *FIND, *TIME),
            *("dimension-mismatch", "filter-field-not-indexed", "document-not-found", "precondition-failed"),
        ),
    ),
    Operation(
        "POST",
        "/v1/indexes/{index}/part",
        "search",
        searching.part,
        "What a router asks of a shard: rankings and documents, before they are merged.",
        parts.PartRequest,
        parts.PartAnswer,
        (*BODY, *FIND, *TIME, "dimension-mismatch", "filter-field-not-indexed", "precondition-failed"),
    ),
    Operation(
        "POST",
        "/v1/indexes/{index}/documents/delete",
        "write",
        writes.delete_documents,
        "Delete documents by their ids or by a filter.",
        requests.DeleteRequest,
        answers.DeleteAnswer,
        (*BODY, *FIND, *WRITE, "filter-field-not-indexed", "precondition-failed"),
    ),
    Operation(
        "GET",
        "/v1/indexes/{index}/documents/{id}",
        "search",
        documents.document,
        "The payload of one document.",
        gives=answers.DocumentAnswer,
        problems=(*FIND, "document-not-found", "invalid-value"),
    ),
    Operation(
        "PUT",
        "/v1/indexes/{index}/documents",
        "write",
        writes.put_documents,
        "Write up to 1,000 documents; on the disk before the answer, a problem for each that was not written.",
        requests.PutRequest,
        answers.PutAnswer,
        (*BODY, *FIND, *WRITE, "quota-exceeded", "precondition-failed"),
    ),
    Operation(
        "DELETE",
        "/v1/indexes/{index}/documents/{id}",
        "write",
        writes.delete_document,
        "Delete one document.",
        gives=answers.DeleteAnswer,
        problems=(*FIND, *WRITE, "document-not-found", "invalid-value", "precondition-failed"),
    ),
    Operation(
        "POST",
        "/v1/embeddings",
        "search",
        embeddings.embeddings,
        "Texts to vectors in OpenAI's shape, by the model that is loaded.",
        requests.EmbeddingsRequest,
        answers.EmbeddingsAnswer,
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
    Operation(
        "GET",
        "/v1/indexes",
        "search",
        indexes.list_indexes,
        "Every index that is served.",
        gives=answers.IndexList,
    ),
    Operation(
        "GET",
        "/v1/indexes/{index}",
        "search",
        indexes.get_index,
        "One index: its generation, model, size and measured recall.",
        gives=answers.IndexInfo,
        problems=FIND,
    ),
    Operation(
        "POST",
        "/v1/indexes/{index}/recall",
        "admin",
        recall.recall,
        "Measure recall@k of what is served, against an exact search.",
        requests.RecallRequest,
        answers.RecallAnswer,
        (*BODY, *FIND, *TIME, "forbidden", "filter-field-not-indexed", "overloaded"),
    ),
    Operation(
        "PUT",
        "/v1/aliases/{alias}",
        "admin",
        aliases.switch,
        "Serve another generation, once it has been checked.",
        requests.SwitchRequest,
        answers.IndexInfo,
        (*BODY, *SWITCH),
    ),
    Operation(
        "POST",
        "/v1/aliases/{alias}/rollback",
        "admin",
        aliases.rollback,
        "Serve the generation that was served before.",
        gives=answers.IndexInfo,
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
        (*BODY, "index-not-found", "forbidden", "rebuild-running", "not-ready"),
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
        gives=answers.UsageAnswer,
    ),
    Operation("GET", "/livez", "open", operations.livez, "Whether the process is alive."),
    Operation(
        "GET",
        "/readyz",
        "open",
        operations.readyz,
        "Whether requests should be sent here.",
        problems=("not-ready",),
    ),
    Operation("GET", "/metrics", "metrics", operations.metrics, "Prometheus metrics.", gives="text/plain"),
    Operation("GET", "/version", "search", operations.version, "Versions, kernels, model and limits."),
    Operation("GET", "/openapi.json", "search", operations.openapi, "This document."),
)

# What a router answers: searches, reads and writes, of which it asks its shards.
_ROUTED_WRITES: dict[Endpoint, Endpoint] = {
    writes.put_documents: routed_writes.put_documents,
    writes.delete_document: routed_writes.delete_document,
    writes.delete_documents: routed_writes.delete_documents,
}
ROUTED = tuple(
    operation._replace(endpoint=_ROUTED_WRITES.get(operation.endpoint, operation.endpoint))
    for operation in OPERATIONS
    if operation.path.startswith(("/v1/embeddings", "/v1/models", "/v1/usage"))
    or not operation.path.startswith("/v1/")
    or operation.endpoint
    in (
        *(searching.search, searching.search_batch, searching.search_indexes, searching.facets),
        *(documents.document, indexes.list_indexes, indexes.get_index, aliases.switch, aliases.rollback),
        recall.recall,
        *_ROUTED_WRITES,
    )
)

# Names of those whose problems carry OpenAI's error: its calls, and whatever no route has, which may be one misspelt.
OPENAI = frozenset({UNKNOWN, *(operation.name for operation in OPERATIONS if operation.openai)})


class _Route(Route):
    """One method of a path. Another is refused with all that the path takes, which several routes may have."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in (self.methods or ()):
            taken = {operation.method for operation in OPERATIONS if routed(operation.path) == self.path}
            allowed = sorted(taken | ({"HEAD"} if "GET" in taken else set()))
            raise HTTPException(405, headers={"allow": ", ".join(allowed)})
        await super().handle(scope, receive, send)


def routes(operations: Sequence[Operation] = OPERATIONS) -> list[Route]:
    """Hot ones first: the router compares paths in order."""
    page = SearchPage()
    return [
        *(_Route(routed(operation.path), operation.endpoint, methods=[operation.method]) for operation in operations),
        *(Route(path, page.page, methods=["GET"]) for path in FILES),
    ]


def entries(operations: Sequence[Operation] = OPERATIONS) -> list[RouteEntry]:
    """Every route as auth takes it."""
    return [
        *(
            RouteEntry(operation.method, routed(operation.path), operation.scope, operation.name)
            for operation in operations
        ),
        *(RouteEntry("GET", path, "open", "page") for path in FILES),
    ]


class Rest(Convertor[str]):
    """The rest of a path, whatever is in it: a document id may hold slashes, and line ends, which Starlette's `path`
    does not take."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("rest", Rest())


def routed(path: str) -> str:
    """As the router reads it: a document's id and a model's name take the rest of the path."""
    return path.replace("/documents/{id}", "/documents/{id:rest}").replace("{model}", "{model:rest}")
