"""What service/SEARCHING.md tells an application developer: its requests are answered, its tables are the service's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import Server, serving
from sparse_models import CountingModel

from index import build_generation
from service.client import Client, ProblemError
from service.wire import limits
from service.wire.problems import KINDS

TOP = Path(__file__).parent.parent
PAGE = (TOP / "service" / "SEARCHING.md").read_text()
FIELDS = ["lang:keyword", "year:int", "price:float", "tags:keyword[]", "doc_id:keyword"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def server(served_encoder: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("root")
    payload = [
        {"title": "Rotate an API key", "text": f"Number {row}", "url": f"/{row}", "lang": "en" if row % 3 else "fr",
         "year": 2018 + row % 8, "price": row / 2, "tags": ["draft"] if row % 4 == 0 else [], "doc_id": f"d{row // 2}"}
        for row in range(22)
    ]  # fmt: skip
    build_generation(
        served_encoder.encode([f"{each['title']} {each['text']}" for each in payload], kind="document"),
        [str(row + 30) for row in range(22)], root=root, name="docs", payload=payload, filterable=FIELDS,
        model=served_encoder.fingerprint.as_dict(), canaries=[], sparse=CountingModel(),
    )  # fmt: skip
    with serving(root, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.mark.parametrize("block", blocks("json"))
def test_every_request_of_the_page_has_hits(server: Server, block: str) -> None:
    query = json.loads(block)
    with server.client() as client:
        answer = client.post("/v1/indexes/docs/search", json=query)
        assert answer.status_code == 200, answer.text
        hits = answer.json()["hits"]
        batch = client.post("/v1/indexes/docs/search/batch", json={"queries": [query]}).json()
    assert hits
    assert batch["results"][0]["hits"] == hits
    for hit in hits:
        payload = hit["payload"]
        if "fields" in query:
            assert list(payload) == query["fields"]
        if "filter" in query:
            assert payload["lang"] == "en"
            assert 2020 <= payload["year"] < 2024
            assert "draft" not in payload["tags"]
        assert ("scores" in hit) == (query.get("mode") == "hybrid")
        assert hit["id"] != query.get("id")


def test_the_program_of_the_page_runs(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    [program] = blocks("python")
    assert "http://127.0.0.1:8000" in program
    exec(program.replace("http://127.0.0.1:8000", server.url).replace("pw_…", "pw_0"), {})
    assert capsys.readouterr().out.count("Rotate an API key") == 5
    exec(program.replace("http://127.0.0.1:8000", server.url).replace("pw_…", "pw_0").replace('"lang"', '"x"'), {})
    assert capsys.readouterr().out.startswith("filter-field-not-indexed /filter/field ")


def test_the_write_of_the_page_is_taken(server: Server) -> None:
    [example] = blocks("http")
    line, body = example.strip().split("\n")
    method, path = line.split()
    with server.client() as client:
        assert client.request(method, path, json=json.loads(body)).json()["written"] == 1
        assert client.delete("/v1/indexes/docs/documents/n1").json()["deleted"] == 1
    assert f"writes up to {limits.WRITE_DOCUMENTS:,} documents" in PAGE
    assert f"up to {limits.DELETE_DOCUMENTS:,}, and with" in PAGE


def test_the_table_of_errors_is_the_closed_list() -> None:
    table = re.findall(r"^\| (\d{3}) \| (.*?) \|", PAGE, re.MULTILINE)
    told = {code: int(status) for status, codes in table for code in re.findall(r"`([a-z-]+)`", codes)}
    assert told == {code: kind.status for code, kind in KINDS.items()}


def test_the_limits_of_the_page_are_the_limits() -> None:
    assert f"Up to {limits.FILTER_NODES} nodes, {limits.FILTER_DEPTH} deep" in PAGE
    assert f"up to {limits.BATCH_QUERIES} of the above" in PAGE
    assert f"{limits.BODY_BYTES >> 20} MiB, a batch {limits.BATCH_BODY_BYTES >> 20} MiB" in PAGE


def test_what_a_document_without_a_value_meets(server: Server) -> None:
    with Client(server.url) as client:
        everything = client.search("docs", text="key", k=100)
        assert len(client.search("docs", text="key", k=100, filter={"field": "lang", "in": []}).hits) == 0
        absent = {"not": {"field": "year", "eq": 1}}
        assert len(client.search("docs", text="key", k=100, filter=absent).hits) == len(everything.hits)
        with pytest.raises(ProblemError, match="filter-field-not-indexed"):
            client.search("docs", text="key", filter={"field": "title", "eq": "x"})


@pytest.mark.parametrize(
    "what", ["filters", "hybrid-search", "similar-documents", "keys", "a-client-in-python", "errors"]
)
def test_the_readme_leads_there_in_one_click(what: str) -> None:
    assert f"(service/SEARCHING.md#{what})" in (TOP / "README.md").read_text()
