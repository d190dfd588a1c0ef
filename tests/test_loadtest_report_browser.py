"""The report in a real browser: nothing to scroll sideways on a phone, readable contrast, two sheets of paper."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from browsing import CONTRAST, DESK, PHONE, open_page, overflow
from loadtest_records import sharded, three_arms
from playwright.sync_api import Browser

from loadtest.analysis.compare import compare
from loadtest.analysis.decision import Plans
from loadtest.analysis.fleet import SHAPES, Demand
from loadtest.analysis.reading import Reading
from loadtest.report.compare_page import compare_page
from loadtest.report.html import html
from loadtest.report.run_page import run_page
from loadtest.report.shards_page import shards_page

pytest_plugins = ["serving_fixtures", "browsing_fixtures"]

PLANS = Plans(Demand(40_000, SHAPES["office"], grid_kg_per_kwh=0.35), migration_usd=20_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("reports")
    runs = [Reading(record) for record in three_arms()]
    found = compare(runs, "x86", "arm", replica="x86 again")
    (to / "comparison.html").write_text(html(compare_page(found, runs, PLANS)), "utf-8")
    (to / "run.html").write_text(html(run_page(runs[0], PLANS.demand)), "utf-8")
    pieces = [Reading(sharded(*each)) for each in ((None, 1.0), ([2] * 2, 2.1), ([2] * 4, 4.4), ([2] * 8, 9.0))]
    (to / "shards.html").write_text(html(shards_page(pieces)), "utf-8")
    return to


@pytest.mark.parametrize("name", ["comparison", "run", "shards"])
def test_a_phone_needs_no_sideways_scroll_and_both_schemes_can_be_read(
    browser: Browser, folder: Path, name: str
) -> None:
    for size, scheme in ((PHONE, "light"), (PHONE, "dark"), (DESK, "dark")):
        page = open_page(browser, (folder / f"{name}.html").as_uri(), size, scheme)
        assert overflow(page) == 0
        scrolled = "[...document.querySelectorAll('main *')].filter(e => e.scrollWidth > e.clientWidth + 1 && "
        scrolled += "getComputedStyle(e).overflowX !== 'visible' && !e.closest('svg')).length"
        assert page.evaluate(scrolled) == 0
        assert page.evaluate(CONTRAST) == []
        page.close()


def test_a_comparison_is_printed_on_two_pages(browser: Browser, folder: Path) -> None:
    page = open_page(browser, (folder / "comparison.html").as_uri())
    printed = page.pdf(format="A4")
    page.close()
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 2
