"""Drawings are made in one place, are well-formed whatever they are told, and stand alone where they must."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from loadtest.report.svg import Scale, across, bar, dot, down, path, standing_alone, svg, text

TOP = Path(__file__).parents[1]
ODD = """a<b & "c" 'd' ☃"""


def test_one_module_writes_the_elements_of_a_drawing() -> None:
    files = [file for folder in ("loadtest", "deploy", "index", "embed") for file in (TOP / folder).rglob("*.py")]
    written = re.compile(r"<(text|line|circle|path|polyline)\b[^>\n]*[{=]")
    drawing = [file.relative_to(TOP).as_posix() for file in files if written.search(file.read_text("utf-8"))]
    assert drawing == ["loadtest/report/svg.py"]


def test_words_are_escaped_and_places_rounded() -> None:
    parts = [text(1.04, 2, ODD, "tick", "end"), across(0, 9.96, 3, "grid"), down(1, 2, 3, "axis"), dot(1, 1, 2.5, "o")]
    drawn = ElementTree.fromstring(svg(10, 20, ODD, [*parts, bar(1, 2, 3, 4, "x"), path([(1, 2), (3.25, 4)], "line")]))
    assert drawn.attrib["aria-label"] == ODD
    assert drawn.attrib["viewBox"] == "0 0 10 20"
    words, line, *_, drawn_path = drawn
    assert (words.text, words.attrib["x"], words.attrib["text-anchor"]) == (ODD, "1", "end")
    assert line.attrib == {"class": "grid", "x1": "0", "x2": "10", "y1": "3", "y2": "3"}
    assert drawn_path.attrib["d"] == "M1 2L3.2 4"


def test_a_picture_alone_has_its_ground_its_title_and_both_schemes() -> None:
    made = standing_alone(10, 20, ODD, "of what", "aloud", [], light=".o{fill:red}\n", dark=".o{fill:blue}")
    name = "{http://www.w3.org/2000/svg}"
    style, ground, title, about = ElementTree.fromstring(made)
    assert [each.tag for each in (style, ground, title, about)] == [
        name + each for each in ("style", "rect", "text", "text")
    ]
    assert (title.text, about.text) == (ODD, "of what")
    light, dark = (style.text or "").split("@media (prefers-color-scheme:dark)")
    assert ".o{fill:red}" in light
    assert ".o{fill:blue}" in dark
    assert made.count("\n") == 1


@pytest.mark.parametrize(
    ("low", "high", "log", "ticks"),
    [
        (0, 10, False, [0, 2, 4, 6, 8, 10]),
        (0, 0, False, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (1, 10, True, [1, 2, 5, 10]),
        (1, 1e6, True, [1, 10, 100, 1e3, 1e4, 1e5, 1e6]),
    ],
)
def test_a_scale_has_round_ticks_inside_it(low: float, high: float, log: bool, ticks: list[float]) -> None:
    scale = Scale(low, high, 0, 100, log)
    assert scale.ticks(5) == pytest.approx(ticks)
    assert [scale(tick) for tick in (scale.low, scale.high)] == pytest.approx([0, 100])
