"""The API as one table: what the server routes and what /openapi.json documents are read from the
same rows.

The endpoints are registered as plain Starlette routes: raw request in, response out. FastAPI's own
parameter and response handling costs about 30 µs a request (0.165, measured beside a route without
it) and would decode what msgspec has decoded. Its generated documentation goes with it, hence
`schema.py`, and a fuzzer that compares the documentation with the server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service import (
    aliases,
    answers,
    batch,
    documents,
    embeddings,
    indexes,
    measuring,
    operations,
    requests,
    search,
)
from service.page import FILES, Page

Endpoint = Callable[[Request], Awaitable[Response]]
BODY = ("bad-json", "unknown-field", "invalid-value", "body-too-large", "unsupported-encoding")
FIND = ("index-not-found", "generation-gone")
TIME = ("deadline-exceeded",)
SWITCH = ("index-not-found", "forbidden", "precondition-failed", "model-mismatch", "insufficient-memory")


class Operation(NamedTuple):
    method: str
    path: str
    endpoint: Endpoint
    summary: str
    asks: Any = None  # struct of the request body
    gives: Any = None  # struct of the 200 answer; None: any JSON object; a str: a media type
    problems: tuple[str, ...] = ()
    access: str = "search"  # scope of the key that it needs; "open": none

    @property
    def name(self) -> str:
        return str(getattr(self.endpoint, "__name__", self.path))


OPERATIONS = (
    Operation(
        "POST",
        "/v1/indexes/{index}/search",
        search.search,
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
        batch.search_batch,
        "Up to 256 queries; results in order, a problem object for each that failed.",
        requests.BatchRequest,
        answers.BatchAnswer,
        (*BODY, *FIND, *TIME),
    ),
    Operation(
        "GET",
        "/v1/indexes/{index}/documents/{id}",
        documents.document,
        "The payload of one document.",
        gives=answers.DocumentAnswer,
        problems=(*FIND, "document-not-found", "invalid-value"),
    ),
    Operation(
        "POST",
        "/v1/embeddings",
        embeddings.embeddings,
        "Texts to vectors in OpenAI's shape, by the model that is loaded.",
        requests.EmbeddingsRequest,
        answers.EmbeddingsAnswer,
        (*BODY, *TIME, "model-mismatch", "dimension-mismatch"),
    ),
    Operation(
        "GET",
        "/v1/indexes",
        indexes.list_indexes,
        "Every index that is served.",
        gives=indexes.IndexList,
    ),
    Operation(
        "GET",
        "/v1/indexes/{index}",
        indexes.get_index,
        "One index: its generation, model, size and measured recall.",
        gives=indexes.IndexInfo,
        problems=FIND,
    ),
    Operation(
        "POST",
        "/v1/indexes/{index}/recall",
        measuring.recall,
        "Measure recall@k of what is served, against an exact search.",
        requests.RecallRequest,
        answers.RecallAnswer,
        (*BODY, *FIND, *TIME, "forbidden", "filter-field-not-indexed", "overloaded"),
        access="admin",
    ),
    Operation(
        "PUT",
        "/v1/aliases/{alias}",
        aliases.switch,
        "Serve another generation, once it has been checked.",
        requests.SwitchRequest,
        indexes.IndexInfo,
        (*BODY, *SWITCH),
        access="admin",
    ),
    Operation(
        "POST",
        "/v1/aliases/{alias}/rollback",
        aliases.rollback,
        "Serve the generation that was served before.",
        gives=indexes.IndexInfo,
        problems=("invalid-value", *SWITCH),
        access="admin",
    ),
    Operation("GET", "/livez", operations.livez, "Whether the process is alive.", access="open"),
    Operation(
        "GET",
        "/readyz",
        operations.readyz,
        "Whether requests should be sent here.",
        problems=("not-ready",),
        access="open",
    ),
    Operation("GET", "/metrics", operations.metrics, "Prometheus metrics.", gives="text/plain", access="metrics"),
    Operation("GET", "/version", operations.version, "Versions, kernels, model and limits."),
    Operation("GET", "/openapi.json", operations.openapi, "This document."),
)


def routes() -> list[Route]:
    """Hot ones first: the router compares paths in order."""
    page = Page()
    return [
        *(Route(routed(operation.path), operation.endpoint, methods=[operation.method]) for operation in OPERATIONS),
        *(Route(path, page.page, methods=["GET"]) for path in FILES),
    ]


def accesses() -> list[tuple[str, str, str]]:
    """(method, path as routed, access) of every route: what the gate decides by."""
    return [
        *((operation.method, routed(operation.path), operation.access) for operation in OPERATIONS),
        *(("GET", path, "open") for path in FILES),
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
    """As the router reads it: a document id takes the rest of the path."""
    return path.replace("/documents/{id}", "/documents/{id:rest}")
