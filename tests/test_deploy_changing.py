"""The page of what is changed where: its files are there, and few for each change."""

from __future__ import annotations

import re

from deploy.figures.store import TOP

PAGE = (TOP / "deploy" / "CHANGING.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| **")]
CHANGES = (
    *("an ISA unit", "a filter operator", "an error code", "a power sensor", "a model shape", "a graph layout"),
    *("a metric", "a peer", "a criterion of the knee", "an engine", "a source", "a route"),
)


def test_the_twelve_changes_are_there() -> None:
    assert [re.findall(r"\*\*(.*?)\*\*", name)[0] for name, *_ in ROWS] == list(CHANGES)


def test_every_file_is_there_and_a_change_touches_five_at_most() -> None:
    for name, files, remarks in ROWS:
        named = re.findall(r"`([\w./*-]+)`", files)
        assert 1 < len(named) <= 5, name
        for path in (*named, *re.findall(r"`([\w-]+/[\w./*-]+)`", remarks)):
            found = list(TOP.glob(path)) if "*" in path else [TOP / path]
            assert found, path
            assert all(each.exists() for each in found), path
