"""The API document and the server hold each other to it: a fuzzer reads the one and asks the other."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from patience import patient
from schemathesis.checks import CHECKS
from schemathesis.config import ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi import checks
from serving import Server, serving

from service import keys
from service.problems import KINDS
from service.routes import OPERATIONS, routes
from service.schema import document

pytest_plugins = ["serving_fixtures"]


# Names of indexes are fixed, so that most requests reach further than the first 404.
FIXED = ProjectConfig(parameters={"path.index": "docs", "path.alias": "docs"})


def shallow(described: dict[str, Any]) -> dict[str, Any]:
    """The same document with filters of two levels: what is generated is then written in seconds, not in minutes."""
    schemas = described["components"]["schemas"]
    conditions = [each for each in schemas["Filter"]["anyOf"] if "field" in each["properties"]]
    text = json.dumps(schemas["Filter"]).replace("schemas/Filter", "schemas/Condition")
    described["components"]["schemas"] = {
        **schemas, "Filter": json.loads(text), "Condition": {"anyOf": conditions},
    }  # fmt: skip
    return described


def api_of(with_keys: bool) -> BaseSchema:
    described = shallow(document("under test", None, with_keys))
    return schemathesis.openapi.from_dict(described, config=SchemathesisConfig(projects=ProjectsConfig(default=FIXED)))


api, api_with_keys = api_of(False), api_of(True)


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    with keys.changing(path) as held:
        return path, keys.add(held, keys.Key("admin", 0, "admin", []), None)


@pytest.fixture(scope="module")
def written(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """On a copy of the indexes: what is fuzzed here writes and deletes documents."""
    folder = tmp_path_factory.mktemp("written")
    with serving(Path(shutil.copytree(root, folder / "root")), folder) as running:
        yield running


@pytest.fixture(scope="module")
def locked(root: Path, admin: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("locked")
    with serving(Path(shutil.copytree(root, folder / "root")), folder, "--keys", str(admin[0])) as running:
        yield running


@api.parametrize()
@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_server_does_what_the_document_says(case: Any, written: Server) -> None:
    hold_together(case, case.call(base_url=written.url, timeout=patient(10)))


@api_with_keys.parametrize()
@settings(max_examples=12, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_server_with_keys_does_it_too_and_nothing_without_one(
    case: Any, locked: Server, admin: tuple[Path, str]
) -> None:
    """Schemathesis takes the key away, and exchanges it, wherever the document asks for one."""
    headers = {"authorization": f"Bearer {admin[1]}"}
    hold_together(case, case.call(base_url=locked.url, headers=headers, timeout=patient(10)), headers)


def hold_together(case: Any, response: Any, headers: dict[str, str] | None = None) -> None:
    not_for_here: list[Any] = [
        checks.positive_data_acceptance,  # below: the document cannot say which vectors an index ranks
    ]
    if case.path.endswith("/batch") or (case.method, case.path.rpartition("/")[2]) == ("PUT", "documents"):
        not_for_here.append(checks.negative_data_rejection)  # a bad query is a problem in its place, by design
    if response.status_code == 412:  # a precondition that does not hold is said before what else is wrong
        not_for_here.append(checks.negative_data_rejection)
    if response.status_code == 504:
        assert response.json()["code"] == "deadline-exceeded"
        not_for_here.append(CHECKS.get_one("not_a_server_error"))
    case.validate_response(response, excluded_checks=not_for_here, headers=headers)
    if case.meta is not None and case.meta.generation.mode.is_positive and response.status_code >= 400:
        assert could_not_be_known(case, response.json()), response.json()


def could_not_be_known(case: Any, problem: dict[str, Any]) -> bool:
    """Whether a request that keeps to the document was refused for what only the served data could tell."""
    code, pointer = problem["code"], problem.get("pointer", "")
    if code in ("document-not-found", "deadline-exceeded"):
        return True
    if code == "precondition-failed":
        return str(pointer).startswith(("/expect", "/min_seq")) or str(case.path).startswith("/v1/aliases/")
    if code == "invalid-value" and "int" in problem["detail"] and "got float" in problem["detail"]:
        return True  # 10.0 is an integer to JSON Schema and a mistake to most callers
    if pointer.startswith("/filter"):  # which fields there are, and of what type
        return code in ("filter-field-not-indexed", "invalid-value")
    if pointer in ("/group_by", "/mode", "/cursor", "/params/weights"):
        return code in ("filter-field-not-indexed", "invalid-value", "generation-gone")
    if pointer == "/generation":
        return bool(code == "invalid-value")
    if pointer in ("/model", "/dimensions"):  # the document of a server names those that it has
        return code in ("model-mismatch", "dimension-mismatch")
    if pointer == "/vector" or pointer.startswith("/vector/"):
        return code in ("dimension-mismatch", "invalid-value")
    return False


def test_every_route_is_documented_and_every_documented_one_is_routed(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    documented = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    routed = {
        (method, route.path.replace("{id:rest}", "{id}"))
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


def test_every_reference_resolves(client: httpx.Client) -> None:
    text = client.get("/openapi.json").text
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for name in re.findall(r'"#/components/schemas/(\w+)"', text):
        assert name in schemas
