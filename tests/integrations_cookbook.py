"""Every page of the cookbook, run as its reader would run it. `make test-integrations` runs this file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chroma_servers import chroma_on, fill
from client_programs import CLIENT
from cookbook import PAGES, reading
from playwright.sync_api import Browser, Error, Route, expect
from serving import ARTICLES

from deploy.client.__main__ import stage

pytest_plugins = ["browsing_fixtures"]

SITE = "http://site.example"


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """In which `perwatt_client` can be imported."""
    folder = tmp_path_factory.mktemp("client")
    stage(folder)
    return {"PYTHONPATH": str(folder)}


@pytest.mark.parametrize("name", ["RAG", "NIGHTLY"])
def test_a_page_does_what_it_says(name: str, env: dict[str, str], tmp_path: Path) -> None:
    with reading(PAGES / f"{name}.md", tmp_path, env) as page:
        page.run()


def test_two_models_are_compared(make_model: Callable[..., Path], env: dict[str, str], tmp_path: Path) -> None:
    """The other one is small, and knows nothing."""
    with reading(PAGES / "MODELS.md", tmp_path, env, {"BAAI/bge-small-en-v1.5": str(make_model())}) as page:
        page.run()


def test_a_collection_of_chromas_moves_with_its_vectors(fp32_encoder: Any, env: dict[str, str], tmp_path: Path) -> None:
    texts = [text for _title, text, _url in ARTICLES]
    function = {"type": "known", "name": "default", "config": {}}
    with chroma_on(tmp_path / "chroma_db") as url:
        fill(
            url, "articles", "l2", function,
            ids=[f"a{row}" for row in range(len(texts))],
            embeddings=fp32_encoder.encode(texts, kind="document").tolist(),
            documents=texts,
            metadatas=[{"title": title, "words": len(text.split())} for title, text, _url in ARTICLES],
        )  # fmt: skip
    with reading(PAGES / "CHROMA.md", tmp_path, env) as page:
        page.run()


def test_the_search_box_finds_pages_behind_a_web_server_that_holds_the_key(
    browser: Browser, env: dict[str, str], tmp_path: Path
) -> None:
    """The web server is the browser's own, as no other is installed: it does what the page has for nginx."""
    sent: list[str | None] = []

    def serve(route: Route) -> None:
        path = route.request.url.removeprefix(SITE)
        if path.startswith("/search/"):
            sent.append(route.request.headers.get("authorization"))
            key = (tmp_path / "key").read_text().strip()
            headers = {**route.request.headers, "authorization": f"Bearer {key}", "host": f"127.0.0.1:{port}"}
            try:
                route.fulfill(response=route.fetch(url=f"http://127.0.0.1:{port}{path[7:]}", headers=headers))
            except Error:  # nobody answers behind it
                route.fulfill(status=502)
        else:
            file = CLIENT / "perwatt.js" if path == "/perwatt.js" else tmp_path / "box.html"
            route.fulfill(path=file)

    with reading(PAGES / "SITE.md", tmp_path, env) as page:
        page.run()
        port = page.ports["8000"]
        box = browser.new_page()
        errors: list[str] = []
        box.on("pageerror", lambda error: errors.append(str(error)))
        box.route("**/*", serve)
        box.goto(f"{SITE}/box.html")
        box.locator("#query").press_sequentially("copies every night")
        link = box.locator("#hits a").first
        expect(link).to_have_text("Backups")
        expect(link).to_have_attribute("href", "/backup")
        box.locator("#query").fill("")
        expect(box.locator("#hits li")).to_have_count(0)
        page.end()
        box.locator("#query").fill("anything")
        expect(box.locator("#hits")).to_have_text("Search is resting; try again.")
        box.close()
    assert errors == []
    assert sent
    assert set(sent) == {None}


def test_the_cookbook_is_linked_and_every_page_is_run() -> None:
    pages = {path.stem for path in PAGES.glob("*.md")}
    assert pages == {"RAG", "NIGHTLY", "MODELS", "SITE", "CHROMA"}
    linked = (PAGES.parent / "INTEGRATIONS.md").read_text()
    assert set(re.findall(r"cookbook/(\w+)\.md", linked)) == pages
