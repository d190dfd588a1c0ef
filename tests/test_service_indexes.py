"""What is served, described; and single documents."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from serving import documents

from index import Root

pytest_plugins = ["serving_fixtures"]


def test_the_list_names_every_index_once(client: httpx.Client) -> None:
    listed = client.get("/v1/indexes").json()["indexes"]
    assert [index["alias"] for index in listed] == ["bare", "docs"]
    assert listed[1] == client.get("/v1/indexes/docs").json()


def test_an_index_is_described_by_its_manifest(client: httpx.Client, root: Path) -> None:
    answer = client.get("/v1/indexes/docs")
    index = answer.json()
    alias = Root(root).alias("docs")
    assert (index["generation"], index["previous"], index["etag"]) == (alias.generation, None, alias.etag)
    assert answer.headers["etag"] == f'"{alias.etag}"'
    assert (index["count"], index["dim"], index["metric"], index["family"]) == (22, 384, "cosine", "flat")
    assert index["model"]["name"] == "all-MiniLM-L6-v2"
    assert index["recall"]["k"] == 10
    assert index["recall"]["low"] <= index["recall"]["value"] <= index["recall"]["high"]
    files = [file for file in Root(root).path("docs").rglob("*") if file.is_file() and file.name != "manifest.json"]
    on_disk = sum(file.stat().st_size for file in files)
    assert index["bytes"]["files"] == on_disk
    assert index["kernels"]["isa"] in index["kernels"]["units"]
    assert index["refused"] is None


@pytest.mark.parametrize("at", range(22))
def test_every_document_is_there_under_its_id(client: httpx.Client, at: int) -> None:
    ids, payloads = documents()
    answer = client.get(f"/v1/indexes/docs/documents/{quote(ids[at], safe='')}").json()
    assert (answer["id"], answer["payload"]) == (ids[at], payloads[at])


def test_a_document_is_projected(client: httpx.Client) -> None:
    answer = client.get("/v1/indexes/docs/documents/a00", params={"fields": "words,title"}).json()
    assert list(answer["payload"].items()) == [("words", 12), ("title", "Rotating an API key")]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/indexes/docs/documents/nobody", 404, "document-not-found"),
        ("/v1/indexes/docs/documents/%ff%fe", 404, "document-not-found"),
        ("/v1/indexes/docs/documents/..%2f..%2fcurrent", 404, "document-not-found"),
        ("/v1/indexes/docs/documents/%0Aa%2F00%0A", 404, "document-not-found"),
        ("/v1/indexes/bare/documents/0017", 404, "document-not-found"),
        ("/v1/indexes/bare/documents/500", 404, "document-not-found"),
        ("/v1/indexes/nowhere/documents/a00", 404, "index-not-found"),
        ("/v1/indexes/nowhere", 404, "index-not-found"),
        ("/v1/indexes/..%2f..", 404, "invalid-value"),
        ("/v1/indexes/docs-20200101T000000Z-0000", 410, "generation-gone"),
        ("/v1/indexes/docs/documents/a00?fields=" + ",".join("abcdefgh" * 9), 422, "invalid-value"),
    ],
)
def test_what_is_not_there_is_said(client: httpx.Client, path: str, status: int, code: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
