"""The page of a server with keys: a door, and what a key may see behind it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import CONTRAST, DESK, SIZES, enter, open_page, overflow, pill, search
from patience import patient
from playwright.sync_api import Browser, expect
from serving import Server, serving
from writes_over_http import put

from index import Root
from service.access import keys

pytest_plugins = ["serving_fixtures", "browsing_fixtures"]


@pytest.fixture(scope="module")
def rich(rich: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: it is written to and rebuilt here."""
    return Path(shutil.copytree(rich, tmp_path_factory.mktemp("managed") / "rich"))


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="module")
def tokens(key_file: Path) -> dict[str, str]:
    made = {}
    english = {"field": "lang", "eq": "en"}
    with keys.changing(key_file) as held:
        for slot, (name, more) in enumerate(
            {"all": {}, "english": {"filter": english}, "none": {"indexes": ["other"]}}.items()
        ):
            made[name] = keys.add(held, keys.Key(name, slot, "search", [], **more), None)
        made["admin"] = keys.add(held, keys.Key("admin", 4, "admin", []), None)
        made["metrics"] = keys.add(held, keys.Key("metrics", 3, "metrics", []), None)
    return made


@pytest.fixture(scope="module")
def locked(
    rich: Path, key_file: Path, tokens: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    with serving(rich, tmp_path_factory.mktemp("locked"), "--keys", str(key_file)) as running:
        yield running


def test_a_server_with_keys_asks_for_one_and_the_tab_keeps_it(
    browser: Browser, locked: Server, tokens: dict[str, str]
) -> None:
    page = open_page(browser, f"{locked.url}/?q=water&k=5")
    door = page.get_by_role("form", name="This server asks for a key")
    expect(door).to_be_visible()
    expect(page.locator("#key")).to_be_focused()
    expect(page.locator("#query")).not_to_be_visible()
    for wrong in ("pw_" + "a" * 40, "schlüssel"):
        enter(page, wrong)
        expect(page.locator("#door.refused #door-why")).to_be_visible()
        assert page.evaluate("sessionStorage.getItem('perwatt-key')") is None
        expect(page.locator("#key")).to_be_focused()
    enter(page, tokens["all"])
    expect(page.locator("#hits > li")).to_have_count(5)  # what the address asked for
    expect(door).not_to_be_visible()
    page.reload()
    expect(page.locator("#hits > li")).to_have_count(5)
    stored = page.evaluate("[Object.entries(sessionStorage), Object.entries(localStorage), document.cookie]")
    assert stored == [[["perwatt-key", tokens["all"]]], [], ""]
    assert tokens["all"] not in page.url + page.content()
    other = open_page(browser, locked.url)  # another context: nothing of it
    expect(other.locator("#door")).to_be_visible()
    other.close()
    page.get_by_role("button", name="Forget the key").click()
    expect(page.locator("#door")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0
    page.close()


def test_a_key_that_ends_brings_the_door_back_and_the_query_stays(browser: Browser, rich: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    made = []
    with keys.changing(path) as held:
        made += [keys.add(held, keys.Key(name, slot, "search", []), None) for slot, name in enumerate(("old", "new"))]
    with serving(rich, tmp_path, "--keys", str(path)) as server:
        page = open_page(browser, server.url)
        enter(page, made[0])
        search(page, "chess")
        with keys.changing(path) as held:
            del held[0]
        expect(page.locator("#hits > li")).to_have_count(10)
        for number in range(100):
            if page.locator("#door").is_visible():
                break
            page.locator("#query").evaluate(  # `fill` waits until it is seen, and the door may come
                "(field, text) => { field.value = text; field.dispatchEvent(new Event('input', {bubbles: true})); }",
                f"chess {number}",
            )
            page.wait_for_timeout(200)
        page.wait_for_timeout(500)  # what was asked before the door came is refused meanwhile
        enter(page, made[1])
        expect(page.locator("#hits h2").first).to_have_text("Castling in chess")
        expect(page.locator("#query")).to_have_value(re.compile(r"chess \d+"))
        page.close()


def test_a_key_for_nothing_here_is_told_so(browser: Browser, locked: Server, tokens: dict[str, str]) -> None:
    page = open_page(browser, locked.url)
    enter(page, tokens["none"])
    expect(page.locator("#door.refused")).to_contain_text("No index that is served here is open to this key")
    enter(page, tokens["metrics"])
    expect(page.locator("#door.refused")).to_contain_text("needs a key of scope search")
    enter(page, tokens["all"])
    search(page, "water")
    page.close()


def test_values_that_a_key_is_not_told_are_typed(browser: Browser, locked: Server, tokens: dict[str, str]) -> None:
    page = open_page(browser, locked.url)
    enter(page, tokens["english"])
    search(page, "water")
    expect(page.locator("#status")).to_contain_text("of 30 in")  # every second article, in three parts
    pill(page, "doc_id").locator("summary").click()
    expect(pill(page, "doc_id").locator("li", has_text="d06").locator("small")).to_have_text(
        "3"
    )  # counted for this key
    expect(pill(page, "doc_id").locator("li")).to_have_count(10)
    field = pill(page, "doc_id").get_by_role("textbox", name="by name")
    field.fill("d06")
    field.press("Enter")
    expect(page.locator("#status")).to_contain_text("3 hits of 3 in")
    expect(pill(page, "doc_id").get_by_role("checkbox", name="d06")).to_be_checked()
    page.reload()
    expect(page.locator("#status")).to_contain_text("3 hits of 3 in")
    pill(page, "doc_id").locator("summary").click()
    pill(page, "doc_id").get_by_role("checkbox", name="d06").uncheck()
    expect(page.locator("#status")).to_contain_text("of 30 in")
    pill(page, "lang").locator("summary").click()
    pill(page, "lang").get_by_role("textbox").fill("de")
    pill(page, "lang").get_by_role("textbox").press("Enter")
    expect(page.locator("#status")).to_contain_text("No hits among 0")  # the key's own filter still holds
    expect(page.locator("#empty")).to_contain_text("No document passes these filters together")
    page.close()


@pytest.mark.parametrize("size", [DESK, SIZES["small-phone"]], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_door_and_what_lies_behind_it_can_be_read(
    browser: Browser, locked: Server, tokens: dict[str, str], size: tuple[int, int], scheme: str
) -> None:
    page = open_page(browser, locked.url, size, scheme)
    for state in ("door", "refused", "inside"):
        if state == "refused":
            enter(page, "pw_wrong")
            expect(page.locator("#door.refused")).to_be_visible()
        elif state == "inside":
            enter(page, tokens["english"])
            search(page, "water")
            pill(page, "lang").locator("summary").click()
            expect(pill(page, "lang").locator(".menu")).to_be_visible()
        else:
            expect(page.locator("#door")).to_be_visible()
        assert overflow(page) == 0
        assert page.evaluate(CONTRAST) == [], state
    page.close()


def test_whoever_runs_the_server_manages_it_from_the_page(
    browser: Browser, locked: Server, rich: Path, tokens: dict[str, str]
) -> None:
    root = Root(rich)
    with locked.client(headers={"authorization": f"Bearer {tokens['admin']}"}) as client:
        put(client, {"id": "new", "payload": {"title": "Something to build", "lang": "fr"}}, index="rich")
    first = root.alias("rich").generation
    page = open_page(browser, locked.url)
    enter(page, tokens["english"])
    search(page, "water")
    manage = page.locator("#manage")
    manage.locator("summary").click()
    expect(manage).to_contain_text("Only a key of scope admin opens this")
    page.get_by_role("button", name="Forget the key").click()
    enter(page, tokens["admin"])
    search(page, "water")
    manage.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(manage).to_contain_text(first)
    expect(manage.get_by_role("button", name="Go back")).to_have_count(0)

    rebuild = manage.get_by_role("button", name="Rebuild")
    rebuild.click()
    expect(manage.get_by_role("button", name="Build a generation with what was written?")).to_be_focused()
    page.locator("#query").focus()  # second thoughts
    expect(rebuild).to_be_visible()
    rebuild.click()
    page.keyboard.press("Enter")
    expect(manage.locator("li").first).to_contain_text("succeeded", timeout=patient(60) * 1000)
    second = root.alias("rich").generation
    assert second != first
    expect(page.locator("#facts")).to_contain_text(second)
    manage.get_by_role("button", name="Go back").click()
    page.keyboard.press("Enter")
    expect(page.locator("#facts")).to_contain_text(first)
    assert root.alias("rich").generation == first
    manage.get_by_role("textbox", name="Id of a generation").fill("rich-20200101T000000Z-0000")
    page.keyboard.press("Enter")
    expect(manage.get_by_role("alert")).to_contain_text("rich stays at")
    manage.get_by_role("textbox", name="Id of a generation").fill(second)
    page.keyboard.press("Enter")
    expect(page.locator("#facts")).to_contain_text(second)
    expect(manage.get_by_role("alert")).not_to_be_visible()
    page.close()
