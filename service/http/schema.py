"""The OpenAPI document, made from the table of operations and the structs of the bodies.

Only what the types cannot say is added by hand: exactly one of text, vector and id, and which of them goes with which
mode; what a vector's string holds; a filter, which nests; a failed query of a batch is a problem object. What depends
on the served index (its fields, dimensions, generations) is told by `GET /v1/indexes/{index}` and not here, so that a
client generated from this document outlives a rebuild.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from index.disk.root import GENERATION_SUFFIX
from service.http.routes import OPERATIONS, Operation
from service.wire import limits
from service.wire.requests.documents import PutDocument
from service.wire.requests.search import SearchRequest
from service.wire.answers.search import BatchFailure, BatchResult
from service.wire.problems import KINDS, MEDIA_TYPE

if TYPE_CHECKING:
    from embed import Fingerprint

REF = "#/components/schemas/{name}"
NAME = "^[a-z0-9][a-z0-9_-]{0,62}$"
GENERATION = f"{NAME[:-1]}{GENERATION_SUFFIX}$"
BASE64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
FLOAT32 = 3.4028234663852886e38  # the largest
QUERY = ("text", "vector", "id", "ids")
BY = QUERY[:3]  # of facets
NULL = {"type": "null"}
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
    structs = [
        struct
        for operation in OPERATIONS
        for struct in (operation.asks, operation.gives)
        if isinstance(struct, type) and issubclass(struct, msgspec.Struct)
    ]
    _, components = msgspec.json.schema_components(
        [*structs, SearchRequest, PutDocument, BatchResult, BatchFailure], ref_template=REF
    )
    components = {**components, "Problem": _problem()}
    _by_hand(components, model)
    if reranker is None:
        del components["Rerank"]
        components["SearchRequest"]["properties"]["rerank"] = {"type": "null", "default": None}
    elif reranker:
        components["Rerank"]["properties"]["model"] = {"enum": [reranker, None], "default": None}
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
            "schemas": components,
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key (pw_…) of scope search, admin or metrics.",
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
            "content": {"application/json": {"schema": _ref(operation.asks)}},
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
        schema = {"type": "object"} if operation.gives is None else _ref(operation.gives)
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
            "content": {MEDIA_TYPE: {"schema": {"$ref": REF.format(name="Problem")}}},
        }
        for status, of_status in sorted(by_status.items())
    }


def _problem() -> dict[str, Any]:
    return {
        "title": "Problem",
        "description": "RFC 9457 problem details; more members may follow, by code.",
        "type": "object",
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "code": {"enum": list(KINDS)},
            "detail": {"type": "string"},
            "pointer": {"type": "string", "description": "JSON pointer to the value at fault."},
            "instance": {"type": "string", "description": "urn:request: and the X-Request-Id."},
            "error": {
                "type": "object",
                "description": "For OpenAI's clients, from calls in OpenAI's shape: message, type, param, code.",
            },
        },
        "required": ["type", "title", "status", "code", "detail"],
    }


def _by_hand(components: dict[str, Any], model: Fingerprint | None) -> None:
    query = components["SearchRequest"]
    components["RecallRequest"]["properties"]["filter"] = query["properties"]["filter"] = {
        "anyOf": [{"type": "null"}, {"$ref": REF.format(name="Filter")}],
        "default": None,
    }
    components["Filter"] = filter_schema()
    query["oneOf"] = [_query_by(name, QUERY) for name in QUERY]
    query["allOf"] = [
        {"anyOf": [{"properties": {"not_ids": NULL}}, {"properties": {"mode": {"const": "dense"}}}]},
        {"anyOf": [{"properties": {"highlight": NULL}}, _query_by("text", QUERY, k=limits.HIGHLIGHTED)]},
    ]
    facets = components["FacetsRequest"]
    facets["oneOf"] = [*(_query_by(name, BY) for name in BY), {"properties": dict.fromkeys(BY, NULL)}]
    several = components["SeveralRequest"]
    several["oneOf"] = [_query_by(name, BY[:2]) for name in BY[:2]]
    several["allOf"] = [
        *query["allOf"][1:],
        {"anyOf": [{"properties": {"merge": {"enum": ["rank", None]}}}, {"properties": {"mode": {"const": "dense"}}}]},
    ]
    several["properties"]["filter"] = query["properties"]["filter"]
    several["properties"]["indexes"]["uniqueItems"] = True
    facets["properties"]["filter"] = query["properties"]["filter"]
    components["Facet"]["properties"]["filter"] = query["properties"]["filter"]
    components["Facet"]["anyOf"] = [{"properties": {name: {"type": "null"}}} for name in ("ranges", "step")]
    several["properties"]["vector"] = facets["properties"]["vector"] = query["properties"]["vector"] = {
        "description": "An array of numbers, or the base64 of little-endian float32; of the index's dimensions.",
        "anyOf": [
            {"type": "array", "minItems": 1, "items": {"type": "number", "minimum": -FLOAT32, "maximum": FLOAT32}},
            {"type": "string", "minLength": 8, "pattern": BASE64, "contentEncoding": "base64"},
            {"type": "null"},
        ],
        "default": None,
    }
    zero = {"const": 0}
    components["Weights"]["not"] = {"required": ["dense", "lexical"], "properties": {"dense": zero, "lexical": zero}}
    components["SwitchRequest"]["properties"]["generation"]["pattern"] = GENERATION
    components["BatchRequest"]["properties"]["queries"]["items"] = {"$ref": REF.format(name="SearchRequest")}
    components["BatchAnswer"]["properties"]["results"]["items"] = {
        "anyOf": [{"$ref": REF.format(name=name)} for name in ("BatchResult", "BatchFailure")]
    }
    if model is not None:
        embeddings = components["EmbeddingsRequest"]["properties"]
        embeddings["model"] = {"enum": [*model.names, None], "default": None}
        embeddings["dimensions"] = {"enum": [model.dim, None], "default": None}
    components["PutDocument"]["properties"]["payload"] = {"type": "object", "default": {}}
    components["PutRequest"]["properties"]["documents"]["items"] = {"$ref": REF.format(name="PutDocument")}
    for name, fields in (("PutRequest", ("within",)), ("DeleteRequest", ("filter", "within"))):
        components[name]["properties"] |= dict.fromkeys(fields, query["properties"]["filter"])
    components["DeleteRequest"]["oneOf"] = [
        {"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in ("ids", "filter")
    ]
    part = components["PartRequest"]["properties"]
    part["filters"]["items"] = {"$ref": REF.format(name="Filter")}
    part["vectors"] = {"type": ["string", "null"], "pattern": BASE64, "contentEncoding": "base64", "default": None}
    components["WriteFailure"]["properties"]["error"] = {"$ref": REF.format(name="Problem")}
    components["BatchFailure"]["properties"]["error"] = {"$ref": REF.format(name="Problem")}


def _query_by(name: str, names: Sequence[str], k: int | None = None) -> dict[str, Any]:
    """A query that has this one of `names`; only a text is searched by words.

    Args:
        k: hits it may ask for, at most.
    """
    others = {other: NULL for other in names if other != name}
    more: dict[str, Any] = {} if name == "text" else {"mode": {"const": "dense"}}
    if k is not None:
        more = {"k": {"maximum": k}}
    return {"required": [name], "properties": {name: {"not": NULL}, **others, **more}}


def filter_schema() -> dict[str, Any]:
    field = {"type": "string"}
    value = {"type": ["string", "number", "boolean"]}
    bound = {"type": ["string", "number"]}
    values = {"type": "array", "items": value, "maxItems": limits.FILTER_VALUES}
    conditions: list[dict[str, Any]] = [
        _closed({"field": field, name: schema}) for name, schema in (("eq", value), ("in", values))
    ]
    conditions.append(_closed({"field": field, "exists": {"type": "boolean"}}))
    for low in ("gt", "gte"):
        conditions.append(_closed({"field": field, low: bound}))
        conditions += [_closed({"field": field, low: bound, high: bound}) for high in ("lt", "lte")]
    conditions += [_closed({"field": field, high: bound}) for high in ("lt", "lte")]
    inner = {"$ref": REF.format(name="Filter")}
    several = {"type": "array", "items": inner, "minItems": 1, "maxItems": limits.FILTER_NODES - 1}
    return {
        "description": "A condition on a declared field (eq, in, exists, or a range of int, float or date whose lower "
        "bound is not above its upper one), or and, or, not of filters; at most "
        f"{limits.FILTER_NODES} nodes, {limits.FILTER_DEPTH} deep. A document without a value meets no condition but "
        "exists: false.",
        "anyOf": [*conditions, _closed({"and": several}), _closed({"or": several}), _closed({"not": inner})],
    }


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _ref(struct: type) -> dict[str, str]:
    return {"$ref": REF.format(name=struct.__name__)}
