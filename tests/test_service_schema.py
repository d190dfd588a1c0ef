"""The API document and the server hold each other to it: a fuzzer reads the one and asks the other."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx
import jsonschema
import pytest
from narrowing import narrow
from patience import patient
from serving import Server, build_docs, serving

from service.access import keys
from service.access.auth import Auth
from service.http.api.routes import OPERATIONS
from service.http.api.starlette_routes import routes
from service.http.app import create_app
from service.wire.problems import KINDS

pytest_plugins = ["serving_fixtures"]

EXAMPLES = os.environ.get("PERWATT_FUZZ_EXAMPLES")  # of each call and phase; for whoever has the time, `make fuzz`
FEW, MORE = "4", "8"
IDS = ("a01", "notes/2024 été#1")
# What is no fault of the request, nor of the server: a precondition that does not hold, a deadline that passed (both
# are the caller's to set), whom a key does not let in, and a rebuild while another one runs. A rebuild that was
# cancelled can still be looked at.
CONFIG = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "504"]
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "401", "403", "404", "409", "412", "504"]
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "412", "415", "422", "504"]
"""


class Fuzzed:
    """A server without keys, or one with; its `docs` has two generations to switch between, and is written to."""

    def __init__(self, server: Server, of: dict[str, str], folder: Path) -> None:
        self.server, self.of, self._folder = server, of, folder

    def document(self, who: str) -> dict[str, Any]:
        """As this caller is given it, narrowed to what `docs` holds; a stranger has it from somebody else."""
        key = self.of.get("admin" if who == "stranger" else who)
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        with self.server.client(headers=headers) as client:
            document: dict[str, Any] = client.get("/openapi.json").json()
            generations = sorted(
                each.name for each in self._folder.glob("docs-*")
            )  # a rebuild of a test before adds one
            narrow(document, client.get("/v1/indexes/docs").json(), IDS, generations)
        return document


@pytest.fixture(scope="module")
def two_generations(root: Path, served_encoder: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    own = Path(shutil.copytree(root, tmp_path_factory.mktemp("fuzzed") / "root"))
    build_docs(own, served_encoder, drop=2)
    return own


@pytest.fixture(scope="module")
def keyless(two_generations: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    yield from _fuzzed(two_generations, tmp_path_factory.mktemp("keyless"), {})


@pytest.fixture
def untouched(two_generations: Path, tmp_path: Path) -> Iterator[Fuzzed]:
    """Without keys, for one test alone: what asks for generations by name may not find that others retired them."""
    yield from _fuzzed(two_generations, tmp_path / "untouched", {})


@pytest.fixture(scope="module")
def locked(two_generations: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    folder = tmp_path_factory.mktemp("locked")
    of = {}
    with keys.changing(folder / "keys.json") as held:
        for scope in ("search", "admin"):
            of[scope] = keys.add(held, keys.Key(scope, 0, scope, []), None)
    yield from _fuzzed(two_generations, folder, of, "--keys", str(folder / "keys.json"))


def _fuzzed(two_generations: Path, folder: Path, of: dict[str, str], *options: str) -> Iterator[Fuzzed]:
    own = Path(shutil.copytree(two_generations, folder / "root"))
    with serving(own, folder, "docs", *options) as server:
        yield Fuzzed(server, of, own / "docs")


@pytest.mark.parametrize(
    ("who", "phases", "examples"),
    [
        ("keyless", "fuzzing,stateful", FEW),
        *(
            pytest.param(who, "fuzzing,stateful", MORE, marks=pytest.mark.long, id=f"{who}-more")
            for who in ("keyless", "admin", "search", "stranger")
        ),
        pytest.param("untouched", "examples,coverage", MORE, marks=pytest.mark.long, id="keyless-bounds"),
    ],
)
def test_schemathesis_finds_nothing(
    request: pytest.FixtureRequest, tmp_path: Path, who: str, phases: str, examples: str
) -> None:
    """Every check of it, on every call, without keys. `make test-long` asks more often, with a key that may only
    search, as an admin and as a stranger too, and tries each bound of the schema: 3,000 requests, without keys.
    """
    fuzzed: Fuzzed = request.getfixturevalue(who if who in ("keyless", "untouched") else "locked")
    (tmp_path / "document.json").write_text(json.dumps(fuzzed.document(who)))
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    key = ["--header", f"Authorization: Bearer {fuzzed.of[who]}"] if who in fuzzed.of else []
    ran = subprocess.run(
        [Path(sys.executable).with_name("schemathesis"), "run", "document.json", "--url", fuzzed.server.url,
         "--checks", "all", "--exclude-checks", "use_after_free",
         "--max-examples", EXAMPLES or examples, "--phases", phases, "--generation-deterministic",
         "--suppress-health-check", "all", "--continue-on-failure", "--no-color",
         "--request-timeout", str(patient(10)), *key],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"Tested: {len(OPERATIONS)}" in ran.stdout
    assert re.search(r"[1-9]\d{2,} generated, [1-9]\d{2,} passed", ran.stdout), ran.stdout


QUERY: dict[str, Any] = {"text": "espresso"}


@pytest.mark.parametrize(
    ("struct", "path", "body", "taken"),
    [
        ("SearchRequest", "search", {**QUERY, "k": 3.0, "timeout_ms": 9000.0}, True),  # an integer, to JSON Schema
        ("SearchRequest", "search", {**QUERY, "params": {"effort": 64.0}, "fields": ["title"]}, True),
        ("SearchRequest", "search", {**QUERY, "filter": {"field": "words", "gte": 10.0}}, True),
        ("SearchRequest", "search", {**QUERY, "k": 3.5}, False),
        ("SearchRequest", "search", {**QUERY, "k": "3"}, False),
        ("SearchRequest", "search", {**QUERY, "k": 1001.0}, False),
        ("SearchRequest", "search", {**QUERY, "k": 3.0, "efort": 1}, False),
        ("SearchRequest", "search", {**QUERY, "mode": "lexical"}, True),
        ("SearchRequest", "search", {"id": "a01"}, True),
        ("SearchRequest", "search", {"id": "a01", "mode": "lexical"}, False),
        ("SearchRequest", "search", {"vector": [1.0] * 384, "mode": "hybrid"}, False),
        ("SearchRequest", "search", {"id": "a01", "text": "a", "mode": "lexical"}, False),
        ("SearchRequest", "search", {"id": None, "text": None}, False),
        ("SearchRequest", "search", {"vector": []}, False),
        ("SearchRequest", "search", {"vector": ""}, False),
        ("SearchRequest", "search", {"vector": "AAA"}, False),
        ("SearchRequest", "search", {"vector": [1e39] * 384}, False),
        ("SearchRequest", "search", {**QUERY, "mode": "hybrid", "params": {"weights": {"dense": 0}}}, True),
        ("SearchRequest", "search", {**QUERY, "params": {"weights": {"dense": 0, "lexical": 0.0}}}, False),
        ("RecallRequest", "recall", {"params": {"weights": {"dense": 0, "lexical": 0}}}, False),
        ("RecallRequest", "recall", {"queries": 20.0, "k": 5.0}, True),
        ("BatchRequest", "search/batch", {"queries": [{**QUERY, "k": 3.0}], "timeout_ms": 9000.0}, True),
    ],
)
def test_what_the_document_takes_the_server_takes(
    client: httpx.Client, struct: str, path: str, body: dict[str, Any], taken: bool
) -> None:
    document = client.get("/openapi.json").json()
    schema = {"$ref": f"#/components/schemas/{struct}", "components": document["components"]}
    assert jsonschema.Draft202012Validator(schema).is_valid(body) == taken
    answer = client.post(f"/v1/indexes/docs/{path}", json=body)
    assert answer.status_code == (200 if taken else 422), answer.text
    assert all("error" not in result for result in answer.json().get("results", ()))


@pytest.mark.parametrize("generation", ["", "docs", "docs-20260101T000000Z", "../docs-20260101T000000Z-abcd"])
def test_what_is_no_generation_is_none_to_both(client: httpx.Client, generation: str) -> None:
    document = client.get("/openapi.json").json()
    schema = {"$ref": "#/components/schemas/SwitchRequest", "components": document["components"]}
    assert not jsonschema.Draft202012Validator(schema).is_valid({"generation": generation})
    assert client.put("/v1/aliases/docs", json={"generation": generation}).status_code == 422


def test_a_long_body_is_read_twice_only_where_an_integer_may_stand(client: httpx.Client) -> None:
    vector = [0.123456789012] * 384  # longer than what an integer may stand in
    long = {"vector": vector, "k": 2.0}
    assert len(client.post("/v1/indexes/docs/search", json=long).json()["hits"]) == 2
    many = {"queries": [{"id": f"{'x' * 1000}"} for _ in range(250)] + [{"id": "a01", "k": 2.0}], "timeout_ms": 8000.0}
    results = client.post("/v1/indexes/docs/search/batch", json=many).json()["results"]
    assert len(results[-1]["hits"]) == 2


def test_every_route_is_documented_and_every_documented_one_is_routed(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    documented = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    routed = {
        (method, route.path.replace(":rest}", "}"))
        for route in routes()
        for method in (route.methods or ())
        if method != "HEAD" and (route.path.startswith("/v1") or route.path in ("/livez", "/readyz"))
    }
    assert routed <= documented
    assert documented == {(operation.method, operation.path) for operation in OPERATIONS}
    for route in routes():
        assert "{" not in re.sub(r"\{\w+(:rest)?\}", "", route.path)


def test_the_document_names_the_closed_list_and_the_loaded_model(client: httpx.Client) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    assert schemas["Problem"]["properties"]["code"]["enum"] == list(KINDS)
    assert "all-MiniLM-L6-v2" in schemas["EmbeddingsRequest"]["properties"]["model"]["enum"]
    assert schemas["SearchRequest"]["additionalProperties"] is False


def test_the_document_is_made_once_and_not_before_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []
    monkeypatch.setattr("service.http.app.schema.document", lambda *_, **more: made.append(more) or {})
    app = create_app(Mock(encoder=None, reranking=None), Auth((), None))
    assert made == []
    assert app.openapi() is app.openapi()
    assert len(made) == 1


def test_every_reference_resolves(client: httpx.Client) -> None:
    text = client.get("/openapi.json").text
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for name in re.findall(r'"#/components/schemas/(\w+)"', text):
        assert name in schemas
