"""Filter mixes come from options and files, and a bad one is named by its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.errors import WorkloadError
from loadtest.filters import parse_filters, read_filters
from loadtest.plan import FilterShare

CLASSES = {"field": "kind", "eq": "class"}


def test_options_and_files_say_the_same(tmp_path: Path) -> None:
    file = tmp_path / "filters.jsonl"
    file.write_text(
        '{"share": 0.25, "filter": {"field": "kind", "eq": "class"}}\n\n{"share": 0.5, "filter": {"not": {}}}'
    )
    assert read_filters(file) == [FilterShare(0.25, CLASSES), FilterShare(0.5, {"not": {}})]
    assert parse_filters(('0.25:{"field": "kind", "eq": "class"}',)) == [FilterShare(0.25, CLASSES)]
    assert read_filters(None) == []


@pytest.mark.parametrize("text", ["0.5", "half:{}", "0.5:[1]", "0.5:{"])
def test_an_option_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(WorkloadError, match="expected SHARE:JSON"):
        parse_filters((text,))


@pytest.mark.parametrize(
    ("line", "why"), [("{", "line 2"), ('{"share": 1}', "filter"), ('{"share": "a", "filter": {}}', "share")]
)
def test_a_line_that_is_none_is_named(tmp_path: Path, line: str, why: str) -> None:
    file = tmp_path / "filters.jsonl"
    file.write_text('{"share": 0.1, "filter": {}}\n' + line)
    with pytest.raises(WorkloadError, match=why):
        read_filters(file)


def test_an_empty_file_is_no_mix(tmp_path: Path) -> None:
    file = tmp_path / "filters.jsonl"
    file.write_text("\n")
    with pytest.raises(WorkloadError, match="holds no filter"):
        read_filters(file)
