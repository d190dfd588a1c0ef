"""The JavaScript client in Chromium, against the real server: what an application does, what is tried again, and that
its types are those of the API. `make test-integrations` runs the same program in Node, and a type checker."""

from __future__ import annotations

import json
import shutil
import tarfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from client_programs import CLIENT, PROGRAM, check
from playwright.sync_api import Browser, Page, Route
from serving import Server, serving

from deploy.client import typescript
from deploy.client.__main__ import pack

pytest_plugins = ["serving_fixtures", "browsing_fixtures"]

SCRIPTS = {"/perwatt.mjs": CLIENT / "perwatt.js", "/program.mjs": PROGRAM}
BUSY = {"code": "overloaded", "detail": "Too many at once."}


@pytest.fixture(scope="module")
def written_to(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("written")
    with serving(Path(shutil.copytree(root, folder / "root")), folder) as running:
        yield running


@pytest.fixture
def site(browser: Browser, written_to: Server) -> Iterator[Page]:
    """A page of the server's own address, where the scripts lie too."""
    page = browser.new_page()
    for path, script in SCRIPTS.items():
        page.route(f"**{path}", _giving(script))
    page.route("**/blank", lambda route: route.fulfill(body="<!doctype html>", content_type="text/html"))
    page.goto(f"{written_to.url}/blank")
    yield page
    page.close()


def _giving(script: Path) -> Any:
    return lambda route: route.fulfill(body=script.read_text(), content_type="text/javascript")


def run(page: Page, code: str) -> Any:
    head = 'const perwatt = await import("/perwatt.mjs"); const { Client } = perwatt; const url = location.origin;'
    return page.evaluate(f"async () => {{ {head} {code} }}")


def test_an_application_in_a_browser_searches_writes_and_gets_errors_it_can_switch_over(site: Page) -> None:
    check(run(site, 'return (await import("/program.mjs")).program(perwatt, url)'))


@pytest.mark.parametrize(
    ("refusals", "call", "sent"),
    [
        ([(503, "0")], 'client.search("docs", { text: "volcano", k: 1 })', 2),
        ([(503, None), (504, "0")], 'client.search("docs", { text: "volcano", k: 1 })', 3),
        ([(503, "0")] * 9, 'client.search("docs", { text: "volcano" })', 4),
        ([(503, "60")], 'client.search("docs", { text: "volcano" })', 1),
        ([(429, "0")], 'client.search("docs", { text: "volcano" })', 1),
        ([(0, None)], 'client.put("bare", [{ id: "1", vector: [1, 2, 3, 4, 5, 6, 7, 8] }])', 2),
        ([(503, "0")], 'client.rollback("docs")', 2),
        ([(504, "0")], 'client.rollback("docs")', 1),
        ([(0, None)], 'client.rollback("docs")', 1),
        ([(503, "0")] * 9, "client.ready()", 1),
    ],
)
def test_what_passes_is_tried_again_and_what_may_have_been_done_is_not(
    site: Page, refusals: list[tuple[int, str | None]], call: str, sent: int
) -> None:
    """A status of 0 is a connection that breaks."""
    asked: list[str] = []

    def refuse(route: Route) -> None:
        asked.append(route.request.method)
        if len(asked) > len(refusals):
            route.continue_()
            return
        status, after = refusals[len(asked) - 1]
        if status == 0:
            route.abort()
        else:
            headers = {"content-type": "application/problem+json", **({"retry-after": after} if after else {})}
            route.fulfill(status=status, body=json.dumps(BUSY), headers=headers)

    site.route("**/v1/**", refuse)
    site.route("**/readyz", refuse)
    outcome = run(
        site,
        f"const client = new Client(url, {{ retries: {{ firstMs: 1 }} }});"
        f"return await {call}.then((answer) => answer, (error) => error.name + ' ' + error.code)",
    )
    assert len(asked) == sent
    if sent > len(refusals) and "rollback" not in call:  # there is nothing to go back to
        assert isinstance(outcome, dict)
    elif "ready" in call:
        assert outcome is False
    elif "rollback" not in call:
        assert outcome == "ProblemError overloaded"


def test_a_wait_between_two_tries_can_be_aborted(site: Page) -> None:
    site.route(
        "**/v1/**", lambda route: route.fulfill(status=503, body=json.dumps(BUSY), headers={"retry-after": "20"})
    )
    code = (
        "const stop = new AbortController(); const client = new Client(url);"
        'const waiting = client.search("docs", { text: "volcano" }, { signal: stop.signal });'
        "setTimeout(() => stop.abort(new Error('enough')), 50); return await waiting.catch((error) => error.message)"
    )
    assert run(site, code) == "enough"


def test_the_types_are_those_of_the_api() -> None:
    """`python -m deploy.client.typescript` writes them anew."""
    assert typescript.OUT.read_text(encoding="utf-8") == typescript.types()


def test_the_package_has_no_dependencies_and_the_version_of_perwatt(tmp_path: Path) -> None:
    package = json.loads((CLIENT / "package.json").read_text())
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert (package["version"], package["license"]) == (project["version"], project["license"])
    assert not [name for name in package if "dependencies" in name.lower()]
    with tarfile.open(pack(tmp_path)) as packed:
        names = {name.removeprefix("package/") for name in packed.getnames()}
    assert names == {"package.json", "README.md", *package["files"]}
    assert {each.removeprefix("./") for each in package["exports"]["."].values()} < names
