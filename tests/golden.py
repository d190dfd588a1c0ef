"""Makes a generation and a log of changes of the formats that this code writes, for code that comes later to open.

    python tests/golden.py FOLDER FAMILY     # tests/golden/FAMILY-1: of format 1

tests/golden/graph-1 is of the compact layout in whole cache lines, graph-packed-1 of that in its fewest bytes.

Made once, when a format is new, and committed as it is: test_index_golden.py opens every one there is. Two hundred
documents with vectors of 8 dimensions, then one that is new, one replaced and one deleted.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from index import Root, build_generation, open_generation
from index.changes.delta import Delta
from index.changes.fold import folded_to
from index.changes.log import Log
from index.changes.log_file import LOG_FILE, RECEIPT_FILE, Write
from index.changes.log_reader import changes
from index.changes.view import Searchable, View
from index.search.filtering import parse

DIM, COUNT = 8, 200
WORDS = ("bread", "eclipse", "guitar", "glacier")


def vectors(count: int, seed: int) -> Any:
    """Whole numbers, so that every kernel scores them alike to the last bits that matter."""
    return np.random.default_rng(seed).integers(-4, 5, (count, DIM)).astype(np.float32) + np.eye(count, DIM, dtype="f4")


def payload(number: int) -> dict[str, Any]:
    return {"title": f"{WORDS[number % 4]} {number}", "text": f"All about {WORDS[number % 4]}.", "year": 2000 + number}


def answers(path: Path) -> dict[str, Any]:
    """What is found in a generation, alone and with its changes."""
    with open_generation(path) as generation:
        delta = Delta(generation, folded_to(generation.manifest).seq)
        delta.apply(list(changes(path.parent, delta.seq)))
        view = View(generation, delta.snapshot())
        return {"generation": _of(generation), "view": _of(view), "seq": delta.seq}


def _of(searched: Searchable) -> dict[str, Any]:
    found = searched.search_rows(vectors(3, 9), 4, exact=True)
    words = searched.search_words("eclipse glacier", 4)
    return {
        "ids": [[searched.external_id(row) for row in rows] for rows in found.rows.tolist()],
        "scores": [[round(score, 4) for score in scores] for scores in found.scores.tolist()],
        "words": [searched.external_id(row) for row in words.rows.tolist()],
        "since 2008": searched.survivors(parse({"field": "year", "gte": 2008})).count,
        "payload": json.loads(searched.payload(found.rows[0, 0])),
    }


def main(folder: str, family: str) -> None:
    made = Path(folder)
    with tempfile.TemporaryDirectory() as scratch:
        root = Root(scratch)
        path = build_generation(
            vectors(COUNT, 1), [f"d{row:03}" for row in range(COUNT)], root=scratch, name="golden",
            metric="l2", family=family, payload=[payload(row) for row in range(COUNT)], filterable=["year:int"],
        )  # fmt: skip
        new, replaced = vectors(2, 2)
        with Log(root.folder / "golden", DIM, None) as log:
            log.append([Write("new", new.tobytes(), json.dumps(payload(20)).encode())])
            log.append([Write("d003", replaced.tobytes(), json.dumps(payload(21)).encode()), Write("d005", None)])
            log.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        made.mkdir(parents=True)
        shutil.copytree(path, made / path.name)
        for name in (LOG_FILE, RECEIPT_FILE):
            shutil.copy(path.parent / name, made / name)
        (made / "answers.json").write_text(json.dumps(answers(path), indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
