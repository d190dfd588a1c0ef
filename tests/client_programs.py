"""What applications do with the clients: a program for Python, and for JavaScript what ClientProgram.mjs has to see,
which Node and a browser run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).with_name("ClientProgram.mjs")
CLIENT = Path(__file__).parents[1] / "deploy" / "client" / "js"
PYTHON = """
import asyncio
import sys

from perwatt_client import AsyncClient, Client, ClientError, ProblemError, Retries, UnreachableError
from perwatt_client.answers.documents import PutAnswer
from perwatt_client.answers.search import SearchAnswer


def blocking(url: str) -> int:
    with Client(url, retries=Retries(times=1)) as client:
        found: SearchAnswer = client.search("docs", text="volcano", k=1, fields=["title"])
        assert found.hits[0].payload == {"title": "Volcanic eruptions"}, found
        bread = {"id": "n1", "payload": {"title": "Rye bread", "text": "Bake rye bread with steam."}}
        written: PutAnswer = client.put("docs", [bread])
        assert written.written == 1, written
        assert client.document("docs", "n1").payload["title"] == "Rye bread"
        try:
            client.search("nowhere", text="volcano")
        except ProblemError as problem:
            assert problem.code == "index-not-found"
        else:
            raise AssertionError("an index that is not there was searched")
        return written.seq


async def awaiting(url: str, seq: int) -> None:
    async with AsyncClient(url) as client:
        found = await client.search("docs", text="how is rye bread baked", k=1, min_seq=seq)
        assert found.hits[0].id == "n1", found
        assert (await client.delete("docs", ids=["n1"])).deleted == 1
        assert len((await client.embed(["bread"]))[0]) == (await client.index("docs")).dim


asyncio.run(awaiting(sys.argv[1], blocking(sys.argv[1])))
"""
NOTHING_ELSE = """
import importlib.util
for name in ("embed", "index", "service", "loadtest", "deploy", "numpy", "faiss", "click", "fastapi"):
    assert importlib.util.find_spec(name) is None, name
"""
PROBLEM = {"name": "ProblemError", "code": "filter-field-not-indexed", "status": 422, "pointer": "/filter/field"}


def check(seen: dict[str, Any]) -> None:
    assert seen.pop("ready") is True
    assert seen.pop("index") == ["docs", 22, ["bare", "docs"]]
    assert seen.pop("most") == 1000
    assert seen.pop("search")[0] == ["a18", {"title": "Volcanic eruptions"}]
    assert (seen.pop("vector"), seen.pop("sameByVector")) == ([True, True], True)
    assert seen.pop("batch") == ["Espresso", "document-not-found"]
    assert seen.pop("facets") == [7, True]
    assert seen.pop("several") == ["score", "docs", "a18", 2]
    assert seen.pop("many") == 300
    assert seen.pop("put") == [1, "bad", True]
    assert (seen.pop("found"), seen.pop("document")) == ("n/1 é", {"title": "Rye bread"})
    assert (seen.pop("counted"), seen.pop("deleted"), seen.pop("gone")) == (1, 1, "document-not-found")
    assert (seen.pop("recall"), seen.pop("rebuilds")) == (1, 0)
    assert seen.pop("used") in ("(no key)", "(service)")
    problem = seen.pop("problem")
    assert {name: problem[name] for name in PROBLEM} == PROBLEM
    assert "'nowhere' was not declared filterable" in problem["message"]
    assert problem["identified"] is True
    assert (seen.pop("switch"), seen.pop("kinds")) == ("precondition-failed", [True] * 3)
    stranger = seen.pop("stranger")
    assert stranger["name"] == "UnreachableError"
    assert "is that the right address?" in stranger["message"]
    assert seen.pop("wrong") == ["TypeError", "TypeError"]
    assert (seen.pop("aborted"), seen.pop("neverSent")) == ("enough", "before")
    assert seen == {}
