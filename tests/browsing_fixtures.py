"""Fixtures around `browsing`; a test module names them in its `pytest_plugins`, beside "serving_fixtures".

browser    a headless Chromium
page       the page of `server`, with `docs` chosen
rich       an index with a field of every type that a filter may name
open_rich  serves it
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from browsing import DESK
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright
from serving import ARTICLES, Server, serving

from index import build_generation

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class _Running:
    """The browser that file after file of tests uses, until one comes that uses none: playwright's loop runs meanwhile,
    and a test of another file might want one of its own."""

    def __init__(self) -> None:
        self.ends = ExitStack()
        self.browser: Browser | None = None

    def get(self) -> Browser:
        if self.browser is None:
            named = ("chromium-headless-shell", "chromium", "google-chrome")
            chromium = os.environ.get("PERWATT_CHROMIUM") or next(filter(None, map(shutil.which, named)), None)
            if chromium is None:
                pytest.fail("no Chromium on this machine; `make test` installs one, and PERWATT_CHROMIUM names another")
            playwright = self.ends.enter_context(sync_playwright())
            self.browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            self.ends.callback(self.browser.close)
        return self.browser

    def end(self) -> None:
        self.browser = None
        self.ends.close()


_running = _Running()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    if nextitem is None or __name__ not in getattr(nextitem.getparent(pytest.Module).obj, "pytest_plugins", ()):
        _running.end()


@pytest.fixture
def browser() -> Browser:
    return _running.get()


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """The page with `docs` chosen. An error in the console, or a request that leaves the server, fails the test."""
    page = browser.new_page(viewport={"width": DESK[0], "height": DESK[1]})
    errors: list[str] = []
    strayed: list[str] = []

    def note(request: Request) -> None:
        if not request.url.startswith(server.url + "/"):
            strayed.append(request.url)

    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", note)
    page.goto(f"{server.url}/?q=")
    expect(page.locator("#facts")).to_contain_text("docs")
    yield page
    page.close()
    assert strayed == []
    assert [error for error in errors if "422" not in error] == []  # the browser reports a refused search by itself


@pytest.fixture(scope="session")
def rich(tmp_path_factory: pytest.TempPathFactory, served_encoder: Any) -> Path:
    """An index with a field of every type that a filter may name: the articles, in three parts each."""
    folder = tmp_path_factory.mktemp("rich")
    ids, payloads = [], []
    for place, (title, text, _) in enumerate(ARTICLES):
        for part in range(3):
            ids.append(f"d{place:02}#{part}")
            payloads.append(
                {
                    "title": title,
                    "text": f"{text} Part {part}.",
                    "doc_id": f"d{place:02}",
                    "lang": ["en", "de"][place % 2],
                    "tags": [["hot", "wet"], ["wet"], []][part],
                    "part": part,
                    "price": place / 4,
                    "free": place % 4 == 0,
                    "at": f"20{10 + place}-03-0{1 + part}",
                }
            )
    build_generation(
        served_encoder.encode([payload["text"] for payload in payloads], kind="document"),
        ids,
        root=folder,
        name="rich",
        payload=payloads,
        model=served_encoder.fingerprint.as_dict(),
        canaries=[],
        filterable=[
            *("doc_id:keyword", "lang:keyword", "tags:keyword[]", "part:int", "price:float", "free:bool", "at:date")
        ],
    )
    return folder


@pytest.fixture(scope="session")
def open_rich(rich: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(rich, tmp_path_factory.mktemp("open")) as running:
        yield running
