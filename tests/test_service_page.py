"""The search page in a real browser: with the mouse, with the keyboard alone, on a desk and on a phone."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, Route, expect, sync_playwright
from serving import ARTICLES, HOSTILE, SERVED_PRECISION, Server, serving

from index import Root, build_generation
from service import keys

pytest_plugins = ["serving_fixtures"]

DESK, PHONE = (1280, 800), (360, 740)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = os.environ.get("PERWATT_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.fail("no Chromium on this machine; `make test` installs one, and PERWATT_CHROMIUM names another")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield running
        running.close()


def open_page(browser: Browser, url: str, size: tuple[int, int] = DESK, scheme: Any = "light") -> Page:
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    page.goto(url)
    return page


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


def search(page: Page, text: str) -> None:
    page.locator("#query").fill(text)
    expect(page.locator("body")).not_to_have_class("waiting")
    expect(page.locator("#status")).to_contain_text("ms")


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


def test_a_hit_leads_to_its_like_and_back(page: Page) -> None:
    search(page, "espresso")
    page.get_by_role("radio", name="Both").check(force=True)
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
    page.locator("#query").fill("espresso")
    page.wait_for_timeout(300)
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


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows_and_text_stands_out(
    browser: Browser, server: Server, size: tuple[int, int], scheme: str
) -> None:
    page = open_page(browser, f"{server.url}/?q=markup+injection", size, scheme)
    expect(page.locator("#hits > li")).to_have_count(10)
    for state in ("closed", "open", "timing", "menu"):
        if state == "open":
            page.locator("#hits h2").first.click()
            expect(page.locator(".payload").first).to_be_visible()
        elif state == "timing":
            page.locator("#timing summary").click()
            expect(page.locator("#timing dl")).to_be_visible()
        elif state == "menu":
            page.locator("details.pill", has_text="url").locator("summary").click()
            expect(page.locator(".menu").nth(1)).to_be_visible()
        beyond = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert beyond == 0, state
    faint = page.evaluate(CONTRAST)
    assert faint == []
    page.close()


# Every text on the page with less than 4.5 : 1 to the ground it is painted on (WCAG 2.2, 1.4.3).
CONTRAST = """() => {
  const parse = (colour) => {
    const n = colour.match(/[\\d.]+/g).map(Number);
    return {rgb: n.slice(0, 3), a: n[3] ?? 1};
  };
  const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const groundOf = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const ground = getComputedStyle(at).backgroundColor;
      if (ground.startsWith('rgb') && parse(ground).a === 1) return parse(ground).rgb;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const ground = groundOf(element);
    const {rgb} = parse(style.color);
    const seen = rgb.map((v, i) => v * Number(style.opacity) + ground[i] * (1 - Number(style.opacity)));
    const [a, b] = [light(seen), light(ground)].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) faint.push(`${element.tagName}: ${element.textContent.slice(0, 30)}`);
  }
  return faint;
}"""


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


def test_assistive_technology_finds_its_way(page: Page) -> None:
    search(page, "apple trees")
    expect(page.get_by_role("search")).to_be_visible()
    expect(page.get_by_role("searchbox", name="Search by meaning")).to_be_visible()
    expect(page.get_by_role("status")).to_contain_text("hits of 22")
    expect(page.get_by_role("list", name="Hits, best first").get_by_role("listitem")).to_have_count(10)
    expect(page.get_by_role("heading", name="Pruning apple trees")).to_be_visible()
    expect(page.get_by_role("combobox", name="in")).to_have_value("docs")


@pytest.fixture(scope="module")
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
        made["metrics"] = keys.add(held, keys.Key("metrics", 3, "metrics", []), None)
    return made


@pytest.fixture(scope="module")
def locked(
    rich: Path, key_file: Path, tokens: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    with serving(rich, tmp_path_factory.mktemp("locked"), "--keys", str(key_file)) as running:
        yield running


@pytest.fixture(scope="module")
def open_rich(rich: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(rich, tmp_path_factory.mktemp("open")) as running:
        yield running


def enter(page: Page, token: str) -> None:
    page.locator("#key").fill(token)
    page.keyboard.press("Enter")


def pill(page: Page, name: str) -> Any:
    return page.locator(f"details.pill[data-field={name}]")


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


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
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
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
        assert page.evaluate(CONTRAST) == [], state
    page.close()
