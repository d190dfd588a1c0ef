"""The README says what was measured, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploy.command import STEPS
from deploy.figures import render

README = render.README.read_text()


def test_the_readme_shows_the_kept_figures() -> None:
    assert render.rendered(README) == README


def test_a_figure_changed_by_hand_is_noticed() -> None:
    match = re.search(r"<!-- figures: encode -->\n(.*\n)+?.*?(\d+\.\d) ×", README)
    assert match
    start, end = match.span(2)
    altered = README[:start] + "9.9" + README[end:]
    assert render.rendered(altered) == README != altered


def test_the_pictures_show_the_kept_figures() -> None:
    for path, text in render.pictures().items():
        assert path.read_text() == text
        assert path.relative_to(render.TOP).as_posix() in README
    drawn = render.pictures()[render.KEPT / "encode.svg"]
    rate = render.kept("encode")["figures"]["cases"]["documents"]["perwatt_int8"]["documents_per_s"]
    assert f">{rate:,.0f}</text>" in drawn
    assert "prefers-color-scheme:dark" in drawn


def test_a_missing_marker_is_an_error() -> None:
    with pytest.raises(SystemExit, match="exactly one pair"):
        render.rendered(README.replace("<!-- end: quality -->", ""))


@pytest.mark.parametrize("name", list(render.BLOCKS))
def test_kept_figures_name_their_machine_versions_and_date(name: str) -> None:
    kept = render.kept(name)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", kept["measured_on"])
    assert set(kept["machine"]) == {"arch", "cpu", "cores", "isa"}
    assert set(kept["versions"]) == set(render.VERSIONS)


def test_commands_and_targets_that_the_readme_shows_exist() -> None:
    makefile = (Path(render.TOP) / "Makefile").read_text()
    for target in set(re.findall(r"\bmake ([a-z0-9-]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for command in set(re.findall(r"(?:^|`)perwatt ([a-z]+)", README, re.MULTILINE)):
        assert command in STEPS, command
