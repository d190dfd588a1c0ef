"""The search page in a real browser: with the mouse, and with the keyboard alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from browsing import open_page, search
from playwright.sync_api import Browser, Page, Route, expect
from serving import ARTICLES, HOSTILE, SERVED_PRECISION, Server, serving

from index import Root

pytest_plugins = ["serving_fixtures", "browsing_fixtures"]


def test_what_is_typed_before_the_indexes_are_known_is_searched(browser: Browser, server: Server) -> None:
    page = browser.new_page()
    held: list[Route] = []
    page.route("**/v1/indexes", lambda route: held.append(route))
    with page.expect_request("**/v1/indexes"):
        page.goto(server.url)
    page.locator("#query").fill("espresso")
    held[0].continue_()
    expect(page.locator("#status")).to_contain_text("ms")
    expect(page.locator("#query")).to_have_value("espresso")
    expect(page.locator("#hits > li").first).to_contain_text("Espresso")
    page.close()


def test_typing_finds_and_says_how(page: Page, root: Path) -> None:
    page.locator("#query").press_sequentially("brewing strong coffee", delay=10)
    first = page.locator("#hits > li").first
    expect(first.locator("h2")).to_have_text("Espresso")
    expect(page.locator("#hits > li")).to_have_count(10)
    expect(first.locator("mark")).to_have_text("coffee")
    expect(first.locator("a")).to_have_attribute("href", "https://example.org/kitchen/espresso")
    expect(page.locator("#status")).to_contain_text("10 hits of 22 in")
    expect(page.get_by_role("img", name="encode")).to_be_visible()
    footer = page.locator("#facts")
    for fact in ("docs", "22", Root(root).alias("docs").generation, f"all-MiniLM-L6-v2 · {SERVED_PRECISION}", "exact"):
        expect(footer).to_contain_text(fact)


def test_an_index_that_words_can_search_is_the_first_choice(browser: Browser, server: Server) -> None:
    page = open_page(browser, server.url)
    expect(page.locator("#index option")).to_have_text(["docs", "bare"])
    expect(page.locator("#facts")).to_contain_text("22")
    expect(page.locator("#query")).to_be_focused()
    page.close()


def test_a_hit_opens_to_its_whole_payload(page: Page) -> None:
    search(page, "castling")
    first = page.locator("#hits > li").first
    first.locator("h2").click()
    payload = first.locator(".payload")
    expect(payload.locator("dt")).to_have_text(["id", "title", "text", "url", "words"])
    title, text, path = next(article for article in ARTICLES if "chess" in article[0])
    expect(payload.locator("dd")).to_have_text(["a11", title, text, f"example.org{path}", str(len(text.split()))])
    first.locator("h2").click()
    expect(payload).not_to_be_visible()


def test_markup_in_a_payload_stays_text(page: Page) -> None:
    search(page, "markup injection in a web page")
    first = page.locator("#hits > li").first
    expect(first.locator("h2")).to_have_text(HOSTILE)
    first.locator("h2").click()
    expect(first.locator(".payload dd").nth(1)).to_have_text(HOSTILE)
    assert page.locator("#hits img, #hits script").count() == 0
    assert page.locator("#hits a[href^='javascript']").count() == 0
    expect(first.locator(".payload dd").nth(3)).to_have_text("javascript:alert(1)")
    page.wait_for_timeout(100)  # an image that failed to load would have run its handler by now
    assert page.title() == "markup injection in a web page · perwatt"


def test_a_document_without_a_title_is_shown_by_its_text(page: Page) -> None:
    search(page, "weather in Brittany")
    first = page.locator("#hits > li").first
    expect(first.locator("h2")).to_contain_text("Untitled remarks about the weather")
    expect(first.locator(".from")).to_contain_text("notes/2024 été#1")


def test_the_keyboard_is_enough(page: Page) -> None:
    page.locator(".brand").focus()
    page.keyboard.press("/")
    expect(page.locator("#query")).to_be_focused()
    page.keyboard.type("bread and coffee", delay=5)
    expect(page).to_have_url(re.compile(r"q=bread\+and\+coffee$"))  # and no search for a part of it
    expect(page.locator("#status")).to_contain_text("hits")
    expect(page.locator("body")).not_to_have_class("waiting")
    heads = page.locator("#hits summary")
    for key, place in (("ArrowDown", 0), ("ArrowDown", 1), ("j", 2), ("k", 1), ("ArrowUp", 0)):
        page.keyboard.press(key)
        expect(heads.nth(place)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#hits .payload").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#query")).to_be_focused()
    expect(page.locator("#query")).to_have_value("bread and coffee")
    page.keyboard.press("Escape")
    expect(page.locator("#query")).to_have_value("")
    expect(page.locator("#hits > li")).to_have_count(0)
    expect(page.locator("#welcome")).to_be_visible()


def test_letters_that_move_are_letters_while_typing(page: Page) -> None:
    page.locator("#query").press_sequentially("jk/jk")
    expect(page.locator("#query")).to_have_value("jk/jk")


def test_the_address_keeps_the_search(page: Page) -> None:
    search(page, "tuning & strings?")
    page.locator("#k").select_option("5")
    expect(page.locator("#hits > li")).to_have_count(5)
    page.reload()
    expect(page.locator("#query")).to_have_value("tuning & strings?")
    expect(page.locator("#hits > li")).to_have_count(5)
    expect(page.locator("#hits h2").first).to_have_text("Tuning a guitar")
    assert "index=" not in page.url  # it is the first


def test_a_long_query_stays_in_the_tab_and_out_of_the_address(page: Page) -> None:
    long = "tuning a guitar " * 60
    search(page, long)
    expect(page).to_have_title(re.compile(r"^tuning a guitar .{150,200}… · perwatt$"))
    assert len(page.url) < 60
    page.reload()
    expect(page.locator("#query")).to_have_value(long.strip())
    expect(page.locator("#hits h2").first).to_have_text("Tuning a guitar")
    search(page, "lava")
    expect(page).to_have_url(re.compile(r"\?q=lava$"))
    page.reload()
    expect(page.locator("#query")).to_have_value("lava")


def test_a_hit_leads_to_its_like_and_back(page: Page) -> None:
    search(page, "espresso")
    page.get_by_role("radio", name="Both").check(force=True)
    expect(page.locator(".score").first).to_have_attribute("title", re.compile("fused from"))  # these are the new hits
    page.locator("#hits h2").first.click()
    page.get_by_role("button", name="More like this").click()
    expect(page.locator("#like")).to_contain_text("Like “Espresso”")
    expect(page.locator("#status")).to_contain_text("10 hits of 21 in")
    expect(page.locator("#hits h2", has_text="Espresso")).to_have_count(0)
    expect(page.get_by_role("radio", name="Meaning")).to_be_checked()
    expect(page.get_by_role("radio", name="Words")).to_be_disabled()
    assert "like=a14" in page.url
    page.reload()
    expect(page.locator("#status")).to_contain_text("10 hits of 21 in")
    page.get_by_role("button", name="back to the search").click()
    expect(page.locator("#hits h2").first).to_have_text("Espresso")
    expect(page.locator("#like")).not_to_be_visible()


def test_the_bar_says_where_the_time_went(page: Page) -> None:
    search(page, "lava")
    page.locator("#timing summary").click()
    names = page.locator("#timing dt")
    expect(names).to_have_text(["encode", "search", "payload", "rest"])
    expect(page.locator("#timing .what").first).to_contain_text("the model runs here")
    expect(page.locator("#timing p")).to_contain_text("22 vectors compared · 3 tokens read")
    widths = page.locator("#timing .bar i").evaluate_all("pieces => pieces.map(piece => piece.offsetWidth)")
    assert len(widths) == 4
    assert all(width >= 1 for width in widths)
    page.locator("#query").fill("lava and ash")
    expect(page.locator("#status")).to_contain_text("ms")
    expect(names.first).to_be_visible()  # it stays open over searches


def test_an_answer_that_was_overtaken_is_dropped(page: Page) -> None:
    held: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if "espresso" in (route.request.post_data or ""):
            held.append(route)
        else:
            route.continue_()

    page.route("**/search", hold_the_first)
    with page.expect_request(lambda request: "espresso" in (request.post_data or "")):
        page.locator("#query").fill("espresso")
    for _ in range(1000):
        if held:
            break
        page.wait_for_timeout(20)
    assert len(held) == 1
    expect(page.locator("body")).to_have_class("waiting")
    page.locator("#query").fill("octopus")
    expect(page.locator("#hits h2").first).to_have_text("Octopus")
    held[0].continue_()
    page.wait_for_timeout(300)
    expect(page.locator("#hits h2").first).to_have_text("Octopus")
    expect(page.locator("body")).not_to_have_class("waiting")


def test_an_index_of_bare_vectors_says_so_before_and_after_a_search(page: Page) -> None:
    page.locator("#index").select_option("bare")
    expect(page.locator("#what")).to_contain_text("built from bare vectors")
    page.locator("#query").fill("anything")
    notice = page.locator("#notice")
    expect(notice).to_contain_text("knows no model to encode a text with")
    expect(notice).to_contain_text("invalid-value · urn:request:")
    assert "index=bare" in page.url
    page.locator("#index").select_option("docs")
    expect(notice).not_to_be_visible()
    expect(page.locator("#hits > li")).to_have_count(10)


def test_a_server_that_is_gone_is_said_in_words(browser: Browser, server: Server) -> None:
    page = open_page(browser, f"{server.url}/?q=")
    search(page, "lava")
    page.route("**/search", lambda route: route.abort())
    page.locator("#query").fill("lava and ash")
    expect(page.locator("#notice")).to_contain_text("The server does not answer")
    expect(page.locator("#hits > li")).to_have_count(0)
    page.unroute("**/search")
    page.locator("#query").fill("lava and ashes")
    expect(page.locator("#notice")).not_to_be_visible()
    expect(page.locator("#hits h2").first).to_have_text("Volcanic eruptions")
    page.close()


def test_the_page_is_sent_with_a_policy_that_lets_nothing_in(client: Any) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    again = client.get("/", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_what_was_written_since_is_found_and_counted(browser: Browser, own_root: Path, tmp_path: Path) -> None:
    with serving(own_root, tmp_path) as running:
        page = open_page(browser, running.url)
        expect(page.locator("#facts")).not_to_contain_text("written since")
        bread = {"id": "n1", "payload": {"title": "Rye bread", "text": "Bake rye bread in a hot oven with steam."}}
        with running.client() as client:
            assert client.put("/v1/indexes/docs/documents", json={"documents": [bread]}).status_code == 200
        search(page, "rye bread")
        expect(page.locator("#hits > li h2").first).to_have_text("Rye bread")
        page.reload()
        expect(page.locator("#facts")).to_contain_text("23")
        expect(page.locator("#facts div").filter(has_text="written since it was built")).to_contain_text("1")
        page.close()
