"""Generations and logs of every format that was released are opened by today's code, with the answers of then."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from golden import answers

from index.changes.log_file import FORMAT as LOG_FORMAT
from index.disk.manifest import FORMAT

GOLDEN = sorted((Path(__file__).parent / "golden").iterdir())


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda folder: folder.name)
def test_what_was_released_is_opened_with_the_answers_of_then(tmp_path: Path, folder: Path) -> None:
    shutil.copytree(folder, tmp_path / "golden")
    [path] = [each for each in (tmp_path / "golden").iterdir() if each.is_dir()]
    assert answers(path) == json.loads((folder / "answers.json").read_text())


def test_there_is_one_of_every_format() -> None:
    assert FORMAT == LOG_FORMAT == 1, "a new format has a golden generation and log of its own: tests/golden.py"
    assert {folder.name for folder in GOLDEN} == {"flat-1", "graph-1", "graph-packed-1"}
