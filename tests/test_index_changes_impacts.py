"""Sparse weights of changes: found as a build would have them found, and kept in the log with their changes."""

from __future__ import annotations

import json
import random
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from indexing import clustered
from sparse_models import CountingModel, many_words

from index import build_generation, open_generation
from index.backup.contents import StoredFile
from index.backup.log_copy import copied, join, stored_log
from index.build.rows.remembered import RememberedSparse
from index.changes import impacts
from index.changes.delta import Delta
from index.changes.impacts import packed, unpacked
from index.changes.log import Log
from index.changes.log_file import LOG_FILE, Change, Write
from index.changes.log_reader import LogReader
from index.changes.view import View
from index.errors import GenerationError

ROWS, DIM = 130, 8
MODEL = CountingModel()
TEXTS = many_words(ROWS, 2)
QUERIES = ["w3", "w12 w13 w14 w50", "w0 w4", "nothing", " ".join(f"w{word}" for word in range(0, 200, 3))]


def weights_of(text: str, model: CountingModel = MODEL) -> bytes:
    tokens, found, _ = model.impacts([("", text)])
    return packed(model.described["id"], tokens, found)


def put(id_: str, text: str, weights: bytes | None) -> Write:
    vector = clustered(1, DIM, seed=len(text))[0].astype("<f4").tobytes()
    return Write(id_, vector, json.dumps({"text": text, "part": len(text) % 3}).encode(), weights=weights)


def build(root: Path, documents: dict[str, str], model: Any = MODEL) -> Path:
    payload = [{"text": text, "part": len(text) % 3} for text in documents.values()]
    return build_generation(
        clustered(len(documents), DIM),
        list(documents),
        root=root,
        name="s",
        payload=payload,
        filterable=["part:int"],
        sparse=model,
        min_count_ratio=0.0,
    )


def places(rows: Any, query: str, k: int, keep: Any = None) -> list[tuple[str, float]]:
    found = rows.search_sparse(query, k, keep)
    return [
        (rows.external_id(row), score) for row, score in zip(found.rows.tolist(), found.scores.tolist(), strict=True)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_changes_rank_as_if_they_had_been_built_in(seed: int, tmp_path: Path) -> None:
    documents = {f"d{row:03}": text for row, text in enumerate(TEXTS)}
    rng, others = random.Random(seed), many_words(90, seed + 9)
    with open_generation(build(tmp_path, documents)) as generation:
        delta = Delta(generation, 0)
        for seq, text in enumerate(others, 1):
            id_ = f"d{rng.randrange(150):03}"  # new ones, ones that are replaced, and some of those again
            if rng.random() < 0.25:
                documents.pop(id_, None)
                write = Write(id_, None)
            else:
                documents[id_] = text
                write = put(id_, text, weights_of(text))
            delta.apply([Change(seq, *write)])
            if seq % 30 and seq != len(others):
                continue
            view, folder = View(generation, delta.snapshot()), tmp_path / str(seq)
            assert (view.unweighed(), delta.unweighed) == (0, 0)
            with open_generation(build(folder, dict(sorted(documents.items())))) as anew:
                for query in QUERIES:
                    for k in (1, 5, 300):
                        assert places(view, query, k) == places(anew, query, k)
                    some = {"field": "part", "in": [0, 2]}
                    assert places(view, query, 20, view.filter(some)) == places(anew, query, 20, anew.filter(some))


def test_what_has_no_weights_of_the_model_is_counted_and_in_no_ranking(tmp_path: Path) -> None:
    other = CountingModel(id_="sha256:1")
    with open_generation(build(tmp_path, {"d0": TEXTS[0], "d1": TEXTS[1]})) as generation:
        delta = Delta(generation, 0)
        given = [weights_of(TEXTS[0]), weights_of(TEXTS[0], other), None, weights_of("")]
        delta.apply([Change(at, *put(f"n{at}", TEXTS[0], each)) for at, each in enumerate(given, 1)])
        view = View(generation, delta.snapshot())
        scores = dict(places(view, TEXTS[0], 9))
        assert scores["d0"] == scores["n1"]
        assert scores.keys() <= {"d0", "d1", "n1"}
        assert (view.unweighed(), delta.unweighed, view.unweighed(view.filter({"field": "part", "lt": 0}))) == (2, 2, 0)
        delta.apply([Change(5, "n2", None), Change(6, *put("n3", TEXTS[0], given[0]))])
        assert delta.unweighed == 0


def test_the_log_keeps_weights_with_their_changes_and_forgets_both(tmp_path: Path) -> None:
    given = [put("a", "w1", weights_of("w1 w2")), put("b", "w2", None), Write("a", None), put("c", "", weights_of(""))]
    folder, other = tmp_path / "one", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    with Log(folder, DIM, None) as log:
        log.append(given[:2])
        log.append(given[2:])
        with LogReader(folder) as reader:
            assert [change[1:] for change in reader.since(0)] == [tuple(each) for each in given]
            assert [change.weights for change in reader.since(1, most=2)] == [None, None]
        (tmp_path / "copy").mkdir()
        copied(folder, tmp_path / "copy")
        stored = stored_log(tmp_path / "copy", StoredFile(0, "", []))
        assert log.trim(1) == 1
        assert log.connection.execute("SELECT seq FROM weights").fetchall() == [(4,)]
    assert join(other, tmp_path / "copy", stored) == 4
    with Log(folder, DIM, None) as log:
        log.append([put("d", "w3", weights_of("w3"))])
    (tmp_path / "later").mkdir()
    copied(folder, tmp_path / "later")
    assert join(other, tmp_path / "later", stored_log(tmp_path / "later", StoredFile(0, "", []))) == 1
    with LogReader(other) as reader:
        assert [change.weights is None for change in reader.since(0)] == [False, True, True, False, False]
    tokens, found = unpacked("sha256:0", weights_of("w1 w2")) or ([], [])
    assert list(zip(tokens, found, strict=True)) == list(zip(*MODEL.impacts([("", "w1 w2")])[:2], strict=True))


@pytest.mark.parametrize("damage", ["UPDATE weights SET weights = X'00'", "UPDATE weights SET seq = 3 - seq"])
def test_weights_that_were_altered_or_moved_are_refused_by_name(damage: str, tmp_path: Path) -> None:
    with Log(tmp_path, DIM, None) as log:
        log.append([put("a", "w1", weights_of("w1")), put("b", "w1", None)])
        log.connection.execute(damage)
        with LogReader(tmp_path) as reader, pytest.raises(GenerationError, match=f"{LOG_FILE}.*weights of change"):
            reader.since(0)


def test_a_log_of_before_is_read_and_gets_weights_when_it_is_written(tmp_path: Path) -> None:
    with Log(tmp_path, DIM, None) as log:
        log.append([put("a", "w1", None)])
    connection = sqlite3.connect(tmp_path / LOG_FILE)
    connection.execute("DROP TABLE weights")
    connection.close()
    with LogReader(tmp_path) as reader:
        assert [change.weights for change in reader.since(0)] == [None]
        with Log(tmp_path, DIM, None) as log:
            log.append([put("b", "w1", weights_of("w1"))])
            assert [change.weights is None for change in reader.since(0)] == [True, False]


def test_a_rebuild_takes_the_weights_of_what_was_written(tmp_path: Path) -> None:
    path, texts = build(tmp_path, {"d0": TEXTS[0], "d1": TEXTS[1]}), ["w7 w9", "w8 w30", "w9 w31"]
    with Log(path.parent, DIM, None) as log:
        log.append([put("a", texts[0], weights_of(texts[0])), put("b", texts[1], None), Write("d0", None)])
        log.append([put("c", texts[2], weights_of(texts[2], CountingModel(id_="sha256:1")))])
    model = CountingModel()
    remembered = RememberedSparse(model, [path], 1)
    anew = build(tmp_path / "anew", {"d1": TEXTS[1], **dict(zip("abc", texts, strict=True))}, remembered)
    assert model.weighed == texts[1:]
    plain = build(tmp_path / "plain", {"d1": TEXTS[1], **dict(zip("abc", texts, strict=True))})
    assert (anew / "sparse" / "postings.u16").read_bytes() == (plain / "sparse" / "postings.u16").read_bytes()


def test_rows_that_come_later_are_not_seen_by_who_looks_at_the_first() -> None:
    changed = impacts.ChangedImpacts("sha256:0")
    for text in ("w1", "w2", "w1 w2"):
        changed.add(weights_of(text))
    tokens, found, _ = MODEL.impacts([("", "w1")])
    query = impacts.QueryTokens(tokens, np.ones(len(tokens), np.uint32))
    assert np.flatnonzero(changed.sums(query, 2)).tolist() == np.flatnonzero(changed.sums(query, 3)[:2]).tolist()
    assert changed.sums(query, 1).tolist() == [int(found.sum())]
