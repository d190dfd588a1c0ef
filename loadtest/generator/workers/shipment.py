"""A plan with the files it names, for hosts that do not have them.

Queries go as they were read, one a line, whatever file they came from. What is secret is not among them: a worker has
the service's key from its own environment.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import msgspec

from loadtest.errors import WorkloadError
from loadtest.workload.plan import Plan
from loadtest.workload.queries import as_lines, read_queries

FILES = ("template", "truth", "wires")
MASTER = "{master}"  # in a plan's URL: the host by which a worker reached the master


def pack(plan: Plan) -> dict[str, Any]:
    """As a message of Locust's."""
    files = {name: zlib.compress(Path(path).read_bytes(), 1) for name in FILES if (path := getattr(plan, name))}
    if not plan.wires:
        queries = read_queries(Path(plan.queries), field=plan.queries_field, limit=plan.queries_limit)
        files["queries"] = zlib.compress(as_lines(queries), 1)
    return {"plan": msgspec.json.encode(plan), "files": files}


def unpack(message: dict[str, Any], folder: Path, master: str) -> Plan:
    """The plan, its files in `folder`. Raises WorkloadError for what is none."""
    try:
        plan = msgspec.json.decode(message["plan"], type=Plan)
        places = {}
        for name, content in message["files"].items():
            if name not in (*FILES, "queries"):
                raise KeyError(name)
            place = folder / (f"{name}.toml" if name == "template" else f"{name}.jsonl")
            place.write_bytes(zlib.decompress(content))
            places[name] = str(place)
    except (KeyError, TypeError, AttributeError, zlib.error, msgspec.MsgspecError) as error:
        raise WorkloadError(f"what the master sent is no plan that this version knows: {error!r}") from error
    return msgspec.structs.replace(plan, url=plan.url.replace(MASTER, master), **places)
