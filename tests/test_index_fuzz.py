"""The short form of the fuzzer of generations; `make fuzz` is the long one."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from fuzz_index_generation import break_bytes, fuzz, lying, prepared, run_case

from index import open_generation
from index.search.structure import INDEX_FILE


def test_damaged_generations_are_refused_or_survived() -> None:
    assert fuzz(first=0, cases=150, seconds=300) == 150


def test_the_fuzzer_would_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing broken, with an error of another kind, and with rows from nowhere."""
    generations = prepared(tmp_path / "made")
    for number in range(0, 40, 2):
        run_case(number, generations, tmp_path / "scratch")
    monkeypatch.setattr("index.search.opening.check_files", lambda *_: None)
    unnoticed = 0
    for number in range(0, 40, 2):
        try:
            run_case(number, generations, tmp_path / "scratch")
        except AssertionError:
            unnoticed += 1
    assert unnoticed >= 3

    monkeypatch.setattr("fuzz_index_generation.COUNT", 100)  # any answer of the 420 rows is now out of the generation
    noticed = 0
    for number in range(1, 40, 2):
        try:
            run_case(number, generations, tmp_path / "scratch")
        except AssertionError as error:
            noticed += "rows out of the generation" in str(error)
    assert noticed >= 3


def test_lies_of_the_fuzzer_reach_the_readers(tmp_path: Path) -> None:
    """Its re-sealed generations pass every hash: some open, with their sections changed."""
    generations = prepared(tmp_path / "made")
    changed = opened = 0
    for number in range(30):
        dice = random.Random(number)
        original = generations[dice.randrange(len(generations))]
        folder = tmp_path / str(number) / original.name
        shutil.copytree(original, folder)
        lying(folder, dice)
        changed += any(
            path.read_bytes() != (original / path.name).read_bytes()
            for path in folder.iterdir()
            if path.name != INDEX_FILE
        )
        try:
            open_generation(folder).close()
            opened += 1
        except Exception:
            continue
    assert changed >= 25
    assert opened >= 5


def test_bytes_that_are_broken_differ(tmp_path: Path) -> None:
    path = tmp_path / "file"
    seen = set()
    for number in range(50):
        path.write_bytes(b"0123456789" * 200)
        break_bytes(path, random.Random(number))
        seen.add(path.read_bytes())
    assert len(seen) > 40
