"""The OpenAPI document, made from the table of operations and the structs of the bodies.

What bodies hold is said by `body_schema.py`. What depends on the served index (its fields, dimensions, generations) is
told by `GET /v1/indexes/{index}` and not here, so that a client generated from this document outlives a rebuild.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from service.http.api.body_schema import NAME, bodies, ref
from service.http.api.routes import OPERATIONS, Operation
from service.wire import limits
from service.wire.problems import KINDS, MEDIA_TYPE

if TYPE_CHECKING:
    from embed import Fingerprint

_PARAMETER = re.compile(r"\{(\w+)\}")

PARAMETERS: dict[str, dict[str, Any]] = {
    "index": {
        "description": "An alias, or the id of the generation that is served under it.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 128},
    },
    "alias": {"description": "An alias.", "schema": {"type": "string", "pattern": NAME}},
    "id": {
        "description": "The external id of a document, percent-encoded; it may hold slashes.",
        "schema": {"type": "string", "minLength": 1},
    },
    "rebuild": {
        "description": "The id of a rebuild, as it was answered when it was started.",
        "schema": {"type": "string", "minLength": 1},
    },
    "model": {
        "description": "The name of a model, or its fingerprint; it may hold slashes.",
        "schema": {"type": "string", "minLength": 1},
    },
}


def document(
    version: str,
    model: Fingerprint | None,
    keys: bool = False,
    operations: Sequence[Operation] = OPERATIONS,
    reranker: str | None = None,
) -> dict[str, Any]:
    """`model` is the one that is loaded: the only one that a request for embeddings may name.

    Args:
        keys: whether the server asks for one.
        operations: that the server has.
        reranker: its name, None where there is none, "" for whatever it may be.
    """
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, keys)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "perwatt",
            "version": version,
            "summary": "Semantic search that knows what a query costs.",
            "description": "Every error is application/problem+json with a code of a closed list. "
            "A higher score is better for every metric; ids are strings; the same request on the "
            "same generation gives the same order.",
        },
        "paths": paths,
        "components": {
            "schemas": bodies(model, reranker),
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key (pw_…) of scope search, write, admin or metrics.",
                }
            },
        },
    }


def _operation(operation: Operation, keys: bool) -> dict[str, Any]:
    documented: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "responses": {
            str(operation.status): _answer(operation),
            **_problems((*operation.problems, *_of_the_way(operation))),
        },
    }
    parameters = [
        {"name": name, "in": "path", "required": True, **PARAMETERS[name]}
        for name in _PARAMETER.findall(operation.path)
    ]
    if operation.method == "GET" and operation.path.endswith("/documents/{id}"):
        parameters.append(
            {
                "name": "fields",
                "in": "query",
                "description": f"At most {limits.FIELDS} payload fields, separated by commas; all when absent.",
                "schema": {"type": "string", "pattern": f"^[^,]*(,[^,]*){{0,{limits.FIELDS - 1}}}$"},
            }
        )
    if operation.name in ("start_rebuild", "put_documents", "delete_document", "delete_documents"):
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "A request with the key of an earlier one does nothing and is answered as that one was.",
                "schema": {"type": "string", "minLength": 1, "maxLength": limits.KEY_CHARACTERS},
            }
        )
    if operation.path.startswith("/v1/aliases/"):
        parameters.append(
            {
                "name": "If-Match",
                "in": "header",
                "description": "The etag of the alias as it was looked at.",
                "schema": {"type": "string"},
            }
        )
    if parameters:
        documented["parameters"] = parameters
    if operation.scope != "open":
        documented["security"] = [{"key": []}] if keys else [{"key": []}, {}]  # an open server takes one and needs none
    if operation.asks is not None:
        documented["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": ref(operation.asks.__name__)}},
        }
    return documented


def _of_the_way(operation: Operation) -> tuple[str, ...]:
    """Problems that come from around the endpoint: auth, and the line of those who wait."""
    auth = () if operation.scope == "open" else ("unauthenticated", "forbidden", "quota-exceeded")
    return (*auth, "overloaded") if operation.asks is not None else auth


def _answer(operation: Operation) -> dict[str, Any]:
    if isinstance(operation.gives, str):
        content = {operation.gives: {"schema": {"type": "string"}}}
    else:
        schema = {"type": "object"} if operation.gives is None else ref(operation.gives.__name__)
        content = {"application/json": {"schema": schema}}
    return {"description": "OK", "content": content}


def _problems(codes: tuple[str, ...]) -> dict[str, Any]:
    """One response a status; its description names the codes that come with it."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(KINDS[code].status, []).append(code)
    return {
        str(status): {
            "description": "; ".join(f"{code}: {KINDS[code].title}" for code in of_status),
            "content": {MEDIA_TYPE: {"schema": ref("Problem")}},
        }
        for status, of_status in sorted(by_status.items())
    }
