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

DOOMED = ("a18", "a19", "gone")  # may be deleted
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
    known = {name: {"type": "string", "enum": [index["alias"]]} for name in ("index", "alias")}
    known["If-Match"] = {"type": "string", "enum": ["*"]}
    for path in document["paths"].values():
        for method, operation in path.items():
            # One that nobody has is 404.
            known["id"] = {
                "anyOf": [{"enum": [*(ids if method == "get" else DOOMED)]}, {"type": "string", "minLength": 1}]
            }
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = known.get(parameter["name"], parameter["schema"])
    types = {name: field["type"].removesuffix("[]") for name, field in index["filterable"].items()}
    schemas["Filter"] = {"anyOf": [*(condition for name in types for condition in conditions(name, types[name]))]}
    schemas["Filter"]["anyOf"] += [nested(join, schemas["Filter"]["anyOf"][:]) for join in ("and", "or", "not")]
    vectors = [np.eye(index["dim"], dtype="<f4")[0], np.linspace(-1, 1, index["dim"], dtype="<f4")]
    texts = [binascii.b2a_base64(vector.tobytes(), newline=False).decode() for vector in vectors]
    groups = [name for name, type_ in types.items() if type_ in ("keyword", "int")]
    search, recall = schemas["SearchRequest"]["properties"], schemas["RecallRequest"]["properties"]
    for struct in schemas.values():  # the index has no sparse weights
        mode = struct.get("properties", {}).get("mode", {})
        if "sparse" in mode.get("enum", ()):
            mode["enum"] = [name for name in mode["enum"] if name != "sparse"]
    search["vector"] = {"enum": [None, *texts, *(vector.tolist() for vector in vectors)]}
    search["id"] = {"anyOf": [{"enum": [None, *ids]}, search["id"]["anyOf"][0]]}
    search["ids"] = search["not_ids"] = {"enum": [None, *([id_] for id_ in ids), [*ids]]}
    search["group_by"] = {"enum": [None, *groups]}
    search["cursor"] = {"enum": [None, ""]}  # the next one is what an answer gave
    part = schemas["PartRequest"]["properties"]
    part["vectors"], part["queries"], part["value"] = {"enum": [None, *texts]}, {"enum": [1]}, {"enum": [None, *groups]}
    schemas["Without"]["properties"]["field"] = {"enum": groups}
    part["sparse"] = {"enum": [None]}
    part["filters"] = {"enum": [[], *([{"field": name, "exists": True}] for name in types)]}
    few = {"enum": [None, *({"field": name, "exists": True} for name in types)]}
    ints = [name for name, type_ in types.items() if type_ == "int"]
    counted = [{"field": name, "top": 3, "filter": None} for name in types]
    counted += [{"field": name, "step": 5} for name in ints]
    counted += [{"field": name, "ranges": [{"lt": 11}, {"gte": 11, "lte": 11}]} for name in ints]
    part["facet"] = {"enum": [None, *counted]}
    # What they share with a search is tried there.
    shared = {"vector": search["vector"], "filter": few}
    schemas["FacetsRequest"]["properties"] |= {**shared, "id": search["id"]}
    schemas["FacetsRequest"]["properties"]["facets"]["items"] = {"enum": counted}
    schemas["SeveralRequest"]["properties"] |= shared
    schemas["SeveralRequest"]["properties"]["indexes"] = {"enum": [[index["alias"]]]}
    recall["filter"] = few  # some document is left
    schemas["Expect"]["properties"] = {
        "generation": {"enum": [None, *generations]},
        "model": {"enum": [None, index["model"]["id"]]},
    }
    schemas["RebuildRequest"]["properties"]["source"] = {"enum": ["changes"]}  # the configuration has no others
    schemas["SwitchRequest"]["properties"]["generation"] = {"enum": [*generations]}
    schemas["PutRequest"]["properties"]["within"] = schemas["DeleteRequest"]["properties"]["within"] = few
    delete = schemas["DeleteRequest"]["properties"]  # of what nothing else asks for
    delete["filter"] = {"enum": [None, *({"field": name, "in": []} for name in types)]}
    delete["ids"]["anyOf"][0]["items"] = {"type": "string", "enum": [*DOOMED]}
    document["paths"]["/v1/indexes/{index}/documents/{id}"]["delete"]["parameters"][1]["schema"]["enum"] = [
        "gone",
        "a19",
    ]
    # What is no query or document has a problem in its place, and the others an answer.
    for struct, many, one in (("BatchRequest", "queries", "SearchRequest"), ("PutRequest", "documents", "PutDocument")):
        schemas[struct]["properties"][many]["items"] = {"anyOf": [{"$ref": f"#/components/schemas/{one}"}, {}]}


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
