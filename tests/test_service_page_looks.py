"""How the page looks: on a desk and on phones, in light and dark, to assistive technology, in any script."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from browsing import CONTRAST, DESK, PHONE, SIZES, open_page, overflow, pill, search
from playwright.sync_api import Browser, Locator, Page, expect
from serving import Server, serving

from index import build_generation

pytest_plugins = ["serving_fixtures", "browsing_fixtures"]

ODD = {
    "hebrew": {"title": "ספרים ישנים", "text": "חנות ספרים ליד הנמל, and a few words.", "kind_of": "חנות"},
    "bare-0001": {"price": 0.1 + 0.2, "depth": 7.333333333333334, "tiny": 1.0000000000000002e-7, "count": 1234567},
    "42": {"id": 42, "title": "The answer", "text": "It has an id among its fields.", "at": [48.858370, 2 / 3]},
}


@pytest.fixture(scope="module")
def odd(served_encoder: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serves documents in another script, without a title, and with their id in the payload."""
    root = tmp_path_factory.mktemp("odd")
    texts = [f"{payload.get('title')} {payload.get('text')}" for payload in ODD.values()]
    build_generation(
        *(served_encoder.encode(texts, kind="document"), list(ODD)),
        root=root, name="odd", payload=list(ODD.values()), filterable=["kind_of:keyword", "depth:float"],
        model=served_encoder.fingerprint.as_dict(), canaries=[],
    )  # fmt: skip
    with serving(root, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def odd_page(browser: Browser, odd: Server) -> Iterator[Page]:
    page = open_page(browser, f"{odd.url}/?q=books")
    expect(page.locator("#hits > li")).to_have_count(len(ODD))
    yield page
    page.close()


def hit(page: Page, text: str) -> Locator:
    return page.locator("#hits > li", has_text=text)


def direction(of: Locator) -> str:
    return str(of.evaluate("element => getComputedStyle(element).direction"))


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
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
        assert overflow(page) == 0, state
    faint = page.evaluate(CONTRAST)
    assert faint == []
    page.close()


def test_assistive_technology_finds_its_way(page: Page) -> None:
    search(page, "apple trees")
    expect(page.get_by_role("search")).to_be_visible()
    expect(page.get_by_role("searchbox", name="Search by meaning")).to_be_visible()
    expect(page.get_by_role("status")).to_contain_text("hits of 22")
    expect(page.get_by_role("list", name="Hits, best first").get_by_role("listitem")).to_have_count(10)
    expect(page.get_by_role("heading", name="Pruning apple trees")).to_be_visible()
    expect(page.get_by_role("combobox", name="in")).to_have_value("docs")


def test_text_runs_in_the_direction_of_its_script(odd_page: Page) -> None:
    hebrew = hit(odd_page, "ספרים")
    hebrew.locator("h2").click()
    for place in ("h2", ".snippet", ".payload dd:nth-of-type(2)", ".payload dd:nth-of-type(3)"):
        assert direction(hebrew.locator(place)) == "rtl", place
    assert direction(hebrew.locator(".payload dd").first) == "ltr"
    assert direction(hit(odd_page, "The answer").locator("h2")) == "ltr"
    query = odd_page.locator("#query")
    assert direction(query) == "ltr"
    query.fill("ספרים old")
    assert direction(query) == "rtl"
    pill(odd_page, "kind_of").locator("summary").click()
    assert direction(pill(odd_page, "kind_of").locator("li span")) == "rtl"


@pytest.mark.parametrize("id_", ["bare-0001", "42"])
def test_an_id_is_shown_once(odd_page: Page, id_: str) -> None:
    one = hit(odd_page, "bare-0001" if id_ == "bare-0001" else "The answer")
    one.locator("h2").click()
    expect(one.locator(".payload")).to_be_visible()
    assert one.inner_text().split().count(id_) == 1


def test_a_number_has_as_many_digits_as_people_read(odd_page: Page) -> None:
    bare = hit(odd_page, "bare-0001")
    expect(bare.locator(".from span")).to_have_text(["price 0.3", "depth 7.333", "tiny 1e-7", "count 1234567"])
    bare.locator("h2").click()
    expect(bare.locator(".payload dd")).to_have_text(["0.3", "7.33333333333", "1e-7", "1234567"])
    answer = hit(odd_page, "The answer")
    answer.locator("h2").click()
    expect(answer.locator(".payload dd").last).to_have_text("[ 48.85837, 0.666666666667 ]")
    pill(odd_page, "depth").locator("summary").click()
    expect(pill(odd_page, "depth").get_by_label("from")).to_have_attribute("placeholder", "7.333")


@pytest.mark.parametrize(("size", "rows"), [(DESK, 1), (PHONE, 3)], ids=["desk", "phone"])
def test_filters_stand_in_rows_of_their_own(
    browser: Browser, open_rich: Server, size: tuple[int, int], rows: int
) -> None:
    """How to rank comes first, in one row; then seven filters, and never one alone beside how to rank."""
    page = open_page(browser, f"{open_rich.url}/?q=water", size)
    expect(page.locator("#hits > li")).to_have_count(10)
    tops = {
        name: sorted({round(box["y"] + box["height"] / 2) for box in boxes(page, name)})
        for name in (".modes, .group", ".pill")
    }
    assert len(tops[".modes, .group"]) == 1
    assert len(tops[".pill"]) <= rows
    assert tops[".pill"][0] > tops[".modes, .group"][0] + 20
    edge = page.locator("#search .field").bounding_box()
    assert edge is not None
    assert all(box["x"] + box["width"] <= edge["x"] + edge["width"] + 1 for box in boxes(page, ".pill, .group"))
    page.close()


def boxes(page: Page, name: str) -> list[Any]:
    return [each.bounding_box() for each in page.locator(name).all()]
