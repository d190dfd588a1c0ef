"""The API document of a running server, narrowed to what one of its indexes holds.

The document says what any index takes. Which fields an index has, how many dimensions and which documents, only the
server can tell, and it does (`GET /v1/indexes/{index}`). With that put in, every request that keeps to the document is
one that has an answer: a fuzzer may take each refusal for a finding.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable
from typing import Any

import numpy as np

OF_TYPE: dict[str, dict[str, Any]] = {
    "keyword": {"type": "string"},
    "int": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "date": {"type": "string", "format": "date-time"},
}


def narrow(document: dict[str, Any], index: dict[str, Any], ids: Iterable[str], generations: Iterable[str]) -> None:
    """Changes `document`. index: as the server describes it; it has a model and words. ids: of documents that it has.
    generations: that its alias may be switched to."""
    schemas = document["components"]["schemas"]
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                values = {"index": [index["alias"]], "alias": [index["alias"]], "id": [*ids], "If-Match": ["*"]}
                if parameter["name"] in values:
                    parameter["schema"] = {"type": "string", "enum": values[parameter["name"]]}
    types = {name: field["type"].removesuffix("[]") for name, field in index["filterable"].items()}
    schemas["Filter"] = {"anyOf": [*(condition for name in types for condition in conditions(name, types[name]))]}
    schemas["Filter"]["anyOf"] += [nested(join, schemas["Filter"]["anyOf"][:]) for join in ("and", "or", "not")]
    vectors = [np.eye(index["dim"], dtype="<f4")[0], np.linspace(-1, 1, index["dim"], dtype="<f4")]
    texts = [binascii.b2a_base64(vector.tobytes(), newline=False).decode() for vector in vectors]
    search, recall = schemas["SearchRequest"]["properties"], schemas["RecallRequest"]["properties"]
    search["vector"] = {"enum": [None, *texts, *(vector.tolist() for vector in vectors)]}
    search["id"] = {"anyOf": [{"enum": [None, *ids]}, search["id"]["anyOf"][0]]}  # one that nobody has is 404
    search["group_by"] = {"enum": [None, *(name for name, type_ in types.items() if type_ in ("keyword", "int"))]}
    search["cursor"] = {"enum": [None, ""]}  # the next one is what an answer gave
    recall["filter"] = {"enum": [None, *({"field": name, "exists": True} for name in types)]}  # some document is left
    schemas["Expect"]["properties"] = {
        "generation": {"enum": [None, *generations]},
        "model": {"enum": [None, index["model"]["id"]]},
    }
    schemas["SwitchRequest"]["properties"]["generation"] = {"enum": [*generations]}
    for struct in ("SearchRequest", "BatchRequest", "DeleteRequest"):
        schemas[struct]["properties"]["min_seq"] = {"enum": [None, 0]}  # a later one is what a write's answer gave
    schemas["DeleteRequest"]["properties"] |= {"filter": recall["filter"], "dry_run": {"const": True}}
    # What is no query or document has a problem in its place, and the batch an answer.
    schemas["PutRequest"]["properties"]["documents"]["items"] = {
        "anyOf": [{"$ref": "#/components/schemas/PutDocument"}, {}]
    }
    schemas["BatchRequest"]["properties"]["queries"]["items"] = {
        "anyOf": [{"$ref": "#/components/schemas/SearchRequest"}, {}]
    }


def conditions(name: str, type_: str) -> list[dict[str, Any]]:
    value = OF_TYPE[type_]
    found = [{"eq": value}, {"in": {"type": "array", "items": value, "maxItems": 5}}, {"exists": {"type": "boolean"}}]
    if type_ in ("int", "float", "date"):
        found += [{bound: value} for bound in ("gt", "gte", "lt", "lte")]
    return [closed({"field": {"const": name}, **condition}) for condition in found]


def nested(join: str, inner: list[dict[str, Any]]) -> dict[str, Any]:
    one = {"anyOf": inner}
    return closed({join: one if join == "not" else {"type": "array", "items": one, "minItems": 1, "maxItems": 4}})


def closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
