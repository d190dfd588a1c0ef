"""Bodies in the OpenAPI document: what msgspec makes of the structs, and what types cannot say.

That is added by hand: exactly one of text, vector and id, and which of them goes with which mode; what a vector's
string holds; a filter, which nests; a failed query of a batch is a problem object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from index.disk.root import GENERATION_SUFFIX
from service.http.api.routes import OPERATIONS
from service.wire import limits
from service.wire.answer.search import BatchFailure, BatchResult
from service.wire.problems import KINDS
from service.wire.request.documents import PutDocument
from service.wire.request.search import SearchRequest

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


def bodies(model: Fingerprint | None, reranker: str | None) -> dict[str, Any]:
    """The schema of every body by its name; arguments as of `schema.document`."""
    structs = [
        struct
        for operation in OPERATIONS
        for struct in (operation.asks, operation.gives)
        if isinstance(struct, type) and issubclass(struct, msgspec.Struct)
    ]
    _, found = msgspec.json.schema_components(
        [*structs, SearchRequest, PutDocument, BatchResult, BatchFailure], ref_template=REF
    )
    found = {**found, "Problem": _problem()}
    _by_hand(found, model)
    if reranker is None:
        del found["Rerank"]
        found["SearchRequest"]["properties"]["rerank"] = {"type": "null", "default": None}
    elif reranker:
        found["Rerank"]["properties"]["model"] = {"enum": [reranker, None], "default": None}
    return found


def ref(name: str) -> dict[str, str]:
    return {"$ref": REF.format(name=name)}


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
        "anyOf": [{"type": "null"}, ref("Filter")],
        "default": None,
    }
    components["Filter"] = _filter()
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
    unsaid = {"dense": zero, "lexical": zero, "sparse": zero}
    components["Weights"]["not"] = {"required": ["dense", "lexical"], "properties": unsaid}
    components["SwitchRequest"]["properties"]["generation"]["pattern"] = GENERATION
    components["BatchRequest"]["properties"]["queries"]["items"] = ref("SearchRequest")
    components["BatchAnswer"]["properties"]["results"]["items"] = {
        "anyOf": [ref(name) for name in ("BatchResult", "BatchFailure")]
    }
    if model is not None:
        embeddings = components["EmbeddingsRequest"]["properties"]
        embeddings["model"] = {"enum": [*model.names, None], "default": None}
        embeddings["dimensions"] = {"enum": [model.dim, None], "default": None}
    components["PutDocument"]["properties"]["payload"] = {"type": "object", "default": {}}
    components["PutRequest"]["properties"]["documents"]["items"] = ref("PutDocument")
    for name, fields in (("PutRequest", ("within",)), ("DeleteRequest", ("filter", "within"))):
        components[name]["properties"] |= dict.fromkeys(fields, query["properties"]["filter"])
    components["DeleteRequest"]["oneOf"] = [
        {"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in ("ids", "filter")
    ]
    part = components["PartRequest"]["properties"]
    part["filters"]["items"] = ref("Filter")
    part["vectors"] = {"type": ["string", "null"], "pattern": BASE64, "contentEncoding": "base64", "default": None}
    components["WriteFailure"]["properties"]["error"] = ref("Problem")
    components["BatchFailure"]["properties"]["error"] = ref("Problem")


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


def _filter() -> dict[str, Any]:
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
    inner = ref("Filter")
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
