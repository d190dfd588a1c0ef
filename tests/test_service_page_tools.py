"""On the page: counts beside the choices of a filter, rankings side by side, and a search that has an address."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from browsing import CONTRAST, PHONE, open_page, overflow, pill, search
from playwright.sync_api import Browser, Locator, Page, expect
from serving import Server

pytest_plugins = ["serving_fixtures", "browsing_fixtures"]


@pytest.fixture
def rich_page(browser: Browser, open_rich: Server) -> Iterator[Page]:
    page = open_page(browser, open_rich.url)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    search(page, "water")
    yield page
    page.close()
    assert errors == []


def opened(page: Page, name: str) -> Locator:
    pill(page, name).locator("summary").click()
    return pill(page, name)


def count(menu: Locator, value: str) -> Locator:
    return menu.locator("li", has=menu.page.get_by_text(value, exact=True)).locator("small")


def test_counts_are_of_what_the_other_filters_leave(rich_page: Page) -> None:
    lang = opened(rich_page, "lang")
    expect(count(lang, "de")).to_have_text("30")
    tags = opened(rich_page, "tags")
    expect(count(tags, "wet")).to_have_text("40")
    tags.get_by_role("checkbox", name="hot").check()
    expect(count(tags, "wet")).to_have_text("40")  # its own choice does not narrow it
    lang = opened(rich_page, "lang")
    expect(count(lang, "de")).to_have_text("10")
    box = lang.get_by_role("checkbox", name="de")
    box.check()
    expect(rich_page.locator("#status")).to_contain_text("10 hits of 10")
    expect(box).to_be_focused()
    expect(count(lang, "en")).to_have_text("10")
    part = opened(rich_page, "part")
    expect(part.locator(".spread button")).to_have_count(1)  # only the first part of each article is hot
    rich_page.keyboard.press("Escape")

    rich_page.get_by_role("button", name="Clear filters").click()
    rich_page.get_by_role("radio", name="Words").check(force=True)
    search(rich_page, "octopus")
    expect(rich_page.locator("#hits > li")).to_have_count(3)
    free = opened(rich_page, "free")
    expect(free.locator("small")).to_have_text(["3", "0"])  # of those that have the word
    rich_page.get_by_role("radio", name="Both").check(force=True)
    free = opened(rich_page, "free")
    expect(free.locator("small")).to_have_text(["15", "45"])  # of all: by meaning each is a hit


@pytest.mark.parametrize(
    ("field", "label", "left", "said", "ends"),
    [
        ("price", "0.5 – 1", 6, "0.5 – 1", ["0.5", "1"]),
        ("part", "2", 20, "2 – 2", ["2", "2"]),
        ("at", "2012", 3, "2012-01-01 – 2012-12-31", ["2012-01-01", "2012-12-31"]),
    ],
)
def test_a_range_of_the_spread_is_a_filter(
    rich_page: Page, field: str, label: str, left: int, said: str, ends: list[str]
) -> None:
    menu = opened(rich_page, field)
    row = menu.get_by_role("button", name=re.compile(f"^{re.escape(label)} *{left}$"))
    row.focus()
    rich_page.keyboard.press("Enter")
    expect(rich_page.locator("#status")).to_contain_text(f"{left} hits of {left} in" if left < 10 else f"of {left} in")
    expect(menu.locator(".value")).to_have_text(said)
    assert [each.input_value() for each in menu.locator("input").all()] == ends
    expect(row).to_be_focused()
    expect(row).to_have_attribute("aria-pressed", "true")
    rich_page.keyboard.press("Enter")
    expect(rich_page.locator("#status")).to_contain_text("of 60 in")
    expect(row).to_have_attribute("aria-pressed", "false")
    assert [each.input_value() for each in menu.locator("input").all()] == ["", ""]


def test_rankings_stand_side_by_side_with_what_they_cost(rich_page: Page) -> None:
    button = rich_page.get_by_role("button", name="Compare")
    button.click()
    columns = rich_page.locator(".column")
    expect(columns.locator("> h2")).to_have_text(["Meaning", "Words", "Both"])
    for column in columns.all():
        expect(column.locator(".cost").first).to_contain_text(re.compile(r"^\d+\.\d+ ms of processor time"))
        expect(column.locator("li").first.locator(".elsewhere")).to_contain_text(re.compile("(№ \\d+|–) · "))
    expect(columns.first.locator(".cost").nth(1)).to_contain_text("60 vectors compared")
    expect(rich_page.locator("#hits > li")).to_have_count(0)
    expect(rich_page.get_by_role("list", name="Words").get_by_role("listitem").first).to_contain_text("water")
    assert "compare=1" in rich_page.url
    first = columns.first.locator("li").first
    first.locator("summary").focus()
    rich_page.keyboard.press("Enter")
    expect(first.locator(".payload")).to_be_visible()
    opened(rich_page, "tags").get_by_role("checkbox", name="hot").check()
    expect(columns.first.locator("li")).to_have_count(10)
    expect(rich_page.locator("#status")).to_contain_text("ranked in 3 ways")
    rich_page.reload()
    expect(columns).to_have_count(3)
    expect(button).to_have_attribute("aria-pressed", "true")
    columns.first.locator("summary").first.click()
    columns.first.get_by_role("button", name="More like this").click()
    expect(columns).to_have_count(0)
    expect(rich_page.locator("#like")).to_be_visible()
    rich_page.go_back()
    expect(columns).to_have_count(3)
    rich_page.get_by_role("radio", name="Words").check(force=True)
    expect(columns).to_have_count(0)
    expect(button).to_have_attribute("aria-pressed", "false")
    assert "compare=1" not in rich_page.url


def test_back_undoes_a_choice_and_a_stretch_of_typing(rich_page: Page) -> None:
    query, status = rich_page.locator("#query"), rich_page.locator("#status")
    rich_page.get_by_role("radio", name="Both").check(force=True)
    expect(rich_page.locator(".score").first).to_have_attribute("title", re.compile("fused"))
    opened(rich_page, "tags").get_by_role("checkbox", name="hot").check()
    expect(status).to_contain_text("of 20 in")
    rich_page.keyboard.press("Escape")
    query.fill("")
    query.press_sequentially("chess king", delay=160)  # several searches, and one step
    expect(rich_page.locator("#hits h2").first).to_have_text("Castling in chess")
    expect(rich_page).to_have_url(re.compile(r"q=chess\+king"))
    rich_page.go_back()
    expect(query).to_have_value("water")
    expect(status).to_contain_text("of 20 in")
    rich_page.go_back()
    expect(status).to_contain_text("of 60 in")
    expect(rich_page.get_by_role("radio", name="Both")).to_be_checked()
    expect(rich_page.locator("details.pill.on")).to_have_count(0)
    rich_page.go_back()
    expect(rich_page.get_by_role("radio", name="Meaning")).to_be_checked()
    for _ in range(3):
        rich_page.go_forward()
    expect(query).to_have_value("chess king")
    expect(rich_page.locator("#hits h2").first).to_have_text("Castling in chess")
    expect(status).to_contain_text("of 20 in")


@pytest.mark.parametrize("size", [(1200, 850), PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_of_it_can_be_read(browser: Browser, open_rich: Server, size: tuple[int, int], scheme: str) -> None:
    page = open_page(browser, f"{open_rich.url}/?q=water&compare=1", size, scheme)
    expect(page.locator(".column")).to_have_count(3)
    tops = {round(box["y"]) for each in page.locator(".column").all() if (box := each.bounding_box())}
    assert len(tops) == (3 if size == PHONE else 1)
    for state in ("compare", "spread", "manage"):
        if state == "spread":
            expect(opened(page, "price").locator(".spread button").first).to_be_visible()
        elif state == "manage":
            page.keyboard.press("Escape")
            page.locator("#manage summary").click()
            expect(page.get_by_role("heading", name="Rebuilds")).to_be_visible()
        assert overflow(page) == 0, state
        assert page.evaluate(CONTRAST) == [], state
    page.close()
