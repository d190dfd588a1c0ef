"""The search page in a real browser, for the tests of it; the fixtures are in `browsing_fixtures`."""

from __future__ import annotations

import re
from typing import Any

from patience import patient
from playwright.sync_api import Browser, Page, expect

expect.set_options(timeout=patient(30) * 1000)

DESK, PHONE = (1280, 800), (390, 844)
SIZES = {"desk": DESK, "tablet": (600, 900), "phone": PHONE, "small-phone": (360, 740)}


def open_page(browser: Browser, url: str, size: tuple[int, int] = DESK, scheme: Any = "light") -> Page:
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    page.goto(url)
    return page


def search(page: Page, text: str) -> None:
    page.locator("#query").fill(text)
    expect(page).to_have_title(re.compile("^" + re.escape(text.strip()[:200])))  # it was asked
    expect(page.locator("body")).not_to_have_class("waiting")
    expect(page.locator("#status")).to_contain_text("ms")


def enter(page: Page, token: str) -> None:
    page.locator("#key").fill(token)
    page.keyboard.press("Enter")


def pill(page: Page, name: str) -> Any:
    return page.locator(f"details.pill[data-field={name}]")


def overflow(page: Page) -> int:
    """Pixels that the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


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
