"""The types of the JavaScript client, from the API's own schema.

`python -m deploy.client.typescript` writes them anew.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from service.http.api import schema

OUT = Path(__file__).parent / "js" / "schema.d.ts"
INNER = "/v1/indexes/{index}/part"  # what a router asks of a shard
SIMPLE = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}
_REF = re.compile(r'"#/components/schemas/(\w+)"')


def types() -> str:
    """The file, of every struct that a caller sends or gets."""
    document = schema.document("", None, reranker="")
    structs: dict[str, Any] = document["components"]["schemas"]
    wanted, found = set[str](), _named({path: each for path, each in document["paths"].items() if path != INNER})
    while found:
        wanted |= found
        found = set().union(*(_named(structs[name]) for name in found)) - wanted
    declared = [_declared(name, structs[name]) for name in structs if name in wanted]
    return "\n".join(["// Made from the API's schema by `python -m deploy.client.typescript`.\n", *declared])


def _named(part: Any) -> set[str]:
    return set(_REF.findall(json.dumps(part)))


def _declared(name: str, struct: dict[str, Any]) -> str:
    said = " ".join(struct.get("description", "").removeprefix("Args:").split())
    comment = f"/** {said} */\n" if said else ""
    if "properties" in struct:
        return f"{comment}export interface {name} {_object(struct, '  ')}\n"
    return f"{comment}export type {name} = {_type(struct)};\n"


def _type(given: dict[str, Any]) -> str:
    if "$ref" in given:
        return str(given["$ref"]).rpartition("/")[2]
    if "enum" in given or "const" in given:
        return " | ".join(json.dumps(each) for each in given.get("enum", [given.get("const")]))
    if several := given.get("anyOf") or given.get("oneOf"):
        return " | ".join(dict.fromkeys(map(_type, several)))
    kind = given.get("type")
    if isinstance(kind, list):
        return " | ".join(dict.fromkeys(SIMPLE[each] for each in kind))
    if kind == "array":
        of = _type(given.get("items", {}))
        return f"({of})[]" if "|" in of else f"{of}[]"
    if kind == "object":
        if "properties" in given:
            return _object(given)
        further = given.get("additionalProperties")
        return f"Record<string, {_type(further) if isinstance(further, dict) else 'unknown'}>"
    return SIMPLE[kind] if kind else "unknown"


def _object(given: dict[str, Any], indent: str = "") -> str:
    """On one line where there is no indent."""
    required = given.get("required", ())
    members = [f"{name}{'' if name in required else '?'}: {_type(each)};" for name, each in given["properties"].items()]
    if not indent:
        return f"{{ {' '.join(members)} }}"
    return "\n".join(["{", *(indent + each for each in members), "}"])


if __name__ == "__main__":
    OUT.write_text(types(), encoding="utf-8")
