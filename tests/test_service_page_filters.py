"""What narrows a search on the page: ranking, filters, groups; and the hits that follow."""

from __future__ import annotations

import re

import pytest
from browsing import open_page, pill, search
from playwright.sync_api import Browser, Page, expect
from serving import ARTICLES, Server

pytest_plugins = ["serving_fixtures", "browsing_fixtures"]


def test_values_and_ranges_narrow_the_search_and_stay_in_the_address(page: Page) -> None:
    search(page, "water")
    page.locator("details.pill", has_text="words").locator("summary").click()
    page.get_by_role("spinbutton", name="from").fill("12")
    page.get_by_role("spinbutton", name="to").fill("12")
    page.get_by_role("spinbutton", name="to").press("Tab")
    twelve = sum(len(text.split()) == 12 for _, text, _ in ARTICLES)
    assert 0 < twelve < 10
    expect(page.locator("#hits > li")).to_have_count(twelve)
    expect(page.locator("#status")).to_contain_text(f"{twelve} hits of {twelve} in")
    expect(page.locator("details.pill.on .value")).to_have_text("12 – 12")
    page.reload()
    expect(page.locator("#hits > li")).to_have_count(twelve)
    page.locator("details.pill", has_text="url").locator("summary").click()
    box = page.get_by_role("checkbox", name="https://example.org/keys/rotate")
    box.check()
    expect(page.locator("#hits > li")).to_have_count(1)
    expect(page.locator("#hits h2")).to_have_text("Rotating an API key")
    expect(box).to_be_focused()
    page.keyboard.press("Escape")
    expect(box).not_to_be_visible()
    page.get_by_role("button", name="Clear filters").click()
    expect(page.locator("#hits > li")).to_have_count(10)
    assert "filter=" not in page.url


def test_a_click_elsewhere_closes_a_menu(page: Page) -> None:
    pill = page.locator("details.pill", has_text="url")
    pill.locator("summary").click()
    expect(pill.locator(".menu")).to_be_visible()
    page.locator("footer").click()
    expect(pill.locator(".menu")).not_to_be_visible()


def test_a_search_by_words_finds_only_what_has_them(page: Page) -> None:
    search(page, "octopus arms")
    page.get_by_role("radio", name="Words").check(force=True)
    expect(page.locator("#hits h2")).to_have_text(["Octopus"])
    expect(page.get_by_role("img", name="words")).to_be_visible()
    page.get_by_role("radio", name="Both").check(force=True)
    expect(page.locator("#hits > li")).to_have_count(10)
    expect(page.locator(".score").first).to_have_attribute("title", re.compile("fused from · meaning 0.* · words"))
    assert "mode=hybrid" in page.url
    page.reload()
    expect(page.get_by_role("radio", name="Both")).to_be_checked()
    page.locator("#index").select_option("bare")
    expect(page.locator("#tools")).not_to_be_visible()


@pytest.mark.parametrize(
    ("field", "use", "left"),
    [
        ("lang", ("checkbox", "de"), 30),
        ("tags", ("checkbox", "hot"), 20),
        ("free", ("checkbox", "yes"), 15),
        ("part", ("spinbutton", "from", "2"), 20),
        ("price", ("spinbutton", "to", "0.25"), 6),
        ("at", ("textbox", "to", "2011-03-02"), 5),  # three parts of 2010, and the first two of 2011
    ],
)
def test_every_type_of_field_narrows_the_search(
    browser: Browser, open_rich: Server, field: str, use: tuple[str, ...], left: int
) -> None:
    page = open_page(browser, open_rich.url)
    search(page, "water")
    pill(page, field).locator("summary").click()
    if use[0] == "checkbox":
        pill(page, field).get_by_role("checkbox", name=use[1]).check()
    else:
        control = pill(page, field).get_by_label(use[1])
        control.fill(use[2])
        control.press("Tab")
    expect(page.locator("#status")).to_contain_text(f"of {left} in")
    page.reload()
    expect(page.locator("#status")).to_contain_text(f"of {left} in")
    page.close()


@pytest.mark.parametrize("mode", ["Meaning", "Words", "Both"])
def test_more_hits_follow_in_their_order_until_there_are_none(browser: Browser, open_rich: Server, mode: str) -> None:
    page = open_page(browser, open_rich.url)
    search(page, "the water of a part")
    page.get_by_role("radio", name=mode).check(force=True)
    expect(page.locator("#hits > li")).to_have_count(10)
    expect(page.locator("body")).not_to_have_class("waiting")  # what is shown is of this mode
    more = page.get_by_role("button", name="Show more")
    more.click()
    expect(page.locator("#hits > li")).to_have_count(20)
    expect(page.locator("#hits summary").nth(10)).to_be_focused()
    while more.is_visible():
        before = page.locator("#hits > li").count()
        more.press("Enter")
        expect(page.locator("#hits > li").nth(before)).to_be_visible()
        expect(page.locator("body")).not_to_have_class("waiting")
    expect(page.locator("#hits > li")).to_have_count(60)
    expect(page.locator("#status")).to_contain_text("60 hits of 60 in")
    scores = [float(score) for score in page.locator(".score").all_inner_texts()]
    assert scores == sorted(scores, reverse=True)
    page.locator("#query").fill("another part")
    expect(page.locator("#hits > li")).to_have_count(10)
    page.close()


def test_one_hit_a_document(browser: Browser, open_rich: Server) -> None:
    page = open_page(browser, open_rich.url)
    search(page, "hot water")
    page.get_by_label("one per").select_option("doc_id")
    expect(page.locator("body")).not_to_have_class("waiting")  # there were ten before it was answered, too
    expect(page.locator("#hits > li")).to_have_count(10)
    page.get_by_role("button", name="Show more").click()
    expect(page.locator("#hits > li")).to_have_count(20)
    expect(page.get_by_role("button", name="Show more")).not_to_be_visible()
    titles = page.locator("#hits h2").all_inner_texts()
    assert len(set(titles)) == len(ARTICLES)
    page.close()


def test_words_that_nobody_wrote_are_answered_with_advice(browser: Browser, open_rich: Server) -> None:
    page = open_page(browser, open_rich.url)
    search(page, "zzzqqq")
    page.get_by_role("radio", name="Words").check(force=True)
    expect(page.locator("#empty")).to_contain_text("By meaning there is always something nearest")
    page.get_by_role("radio", name="Meaning").check(force=True)
    expect(page.locator("#hits > li")).to_have_count(10)
    expect(page.locator("#empty")).not_to_be_visible()
    page.close()


def test_a_busy_server_is_asked_again_when_the_reader_says_so(browser: Browser, open_rich: Server) -> None:
    page = open_page(browser, open_rich.url)
    search(page, "water")
    problem = {"title": "The server has more work than it can do in time", "status": 503, "code": "overloaded"}
    busy = {**problem, "detail": "256 requests wait already."}
    page.route("**/search", lambda route: route.fulfill(status=503, json=busy))
    page.get_by_role("button", name="Show more").click()
    expect(page.locator("#notice")).to_contain_text("more work than it can do in time")
    expect(page.locator("#hits > li")).to_have_count(10)  # those that were there stay
    page.unroute("**/search")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#hits > li")).to_have_count(20)
    expect(page.locator("#notice")).not_to_be_visible()
    page.close()
