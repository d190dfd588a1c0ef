"""A rebuild whose gates fail every night does not fill its volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deploy.make_room import main, make_room
from index import GateError, Root, build_generation


def build(root: Path, rows: int) -> None:
    vectors = np.random.default_rng(1).standard_normal((rows, 8), np.float32)
    build_generation(vectors, [str(row) for row in range(rows)], root=root, name="docs", threads=1)


def test_generations_that_were_never_served_make_room(tmp_path: Path) -> None:
    build(tmp_path, 100)
    served = Root(tmp_path).alias("docs").generation
    kept = []
    for _night in range(5):
        make_room("docs", str(tmp_path), 2)
        with pytest.raises(GateError):
            build(tmp_path, 10)
        kept.append(len(Root(tmp_path).generations("docs")))
    assert kept == [2, 3, 4, 4, 4]
    assert Root(tmp_path).alias("docs").generation == served


def test_before_the_first_build_there_is_nothing_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["docs", str(tmp_path), "2"])
    assert capsys.readouterr().out == "docs: deleted nothing\n"


def test_what_it_was_given_is_said(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"python3 -m deploy\.make_room NAME ROOT KEEP"):
        main(["docs", str(tmp_path), "two"])
    with pytest.raises(SystemExit, match=r"'\.\.' is not an index name"):
        main(["..", str(tmp_path), "2"])
