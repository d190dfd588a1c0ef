"""The next generation: the base with its changes laid over it, and from then on only what came later."""

import random
from pathlib import Path

import numpy as np
import pytest
from changing import DIM, FIELDS, Documents, write
from indexing import write_vectors_folder

import index
from index import Root
from index.changes.delta import Delta
from index.changes.fold import FoldedTo, fold, folded_to
from index.changes.log import Log
from index.changes.log_file import Write
from index.changes.log_reader import changes
from index.changes.view import View
from index.disk.vectors_folder import VectorsFolder
from index.errors import GenerationError, InputError


def churn(log: Log, documents: Documents, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(8):
        log.append(
            [
                documents.delete(rng.randint(0, 400))
                if rng.random() < 0.4
                else documents.put(rng.randint(0, 400), seed)
                for _ in range(25)
            ]
        )


@pytest.mark.parametrize("integers", [False, True], ids=["names", "numbers"])
def test_a_folded_generation_answers_as_the_view_before_it(tmp_path: Path, integers: bool) -> None:
    documents = Documents(300, integers=integers)
    with (
        index.open_generation(documents.build(tmp_path)) as before,
        Log(tmp_path / "docs", DIM, None) as log,
    ):
        assert folded_to(before.manifest) == FoldedTo(0, 0)
        churn(log, documents, 1)
        source = fold(before, tmp_path / "docs", folded_to(before.manifest))
        assert source is not None
        delta = Delta(before, 0)
        delta.apply(changes(tmp_path / "docs", 0))
        view = View(before, delta.snapshot())
        path = index.build_generation(source, root=tmp_path, name="docs", filterable=FIELDS, min_count_ratio=0.0)
        with index.open_generation(path) as after:
            assert folded_to(after.manifest) == FoldedTo(log.id, log.last)
            assert after.count == view.count == len(documents.seeds)
            queries = np.random.default_rng(0).standard_normal((3, DIM)).astype(np.float32)
            found, expected = after.search_rows(queries, 400, exact=True), view.search_rows(queries, 400, exact=True)
            assert np.array_equal(found.scores, expected.scores)
            for ours, theirs in zip(found.rows.tolist(), expected.rows.tolist(), strict=True):
                here = [after.external_id(row) for row in ours if row >= 0]
                assert here == [view.external_id(row) for row in theirs if row >= 0]
                assert [after.payload(after.row_of(id_) or 0) for id_ in here] == [
                    view.payload(view.row_of(id_) or 0) for id_ in here
                ]
            churn(log, documents, 2)
            later = Delta(after, folded_to(after.manifest).seq)
            later.apply(changes(tmp_path / "docs", later.seq))
            assert View(after, later.snapshot()).count == len(documents.seeds)
            again = fold(after, tmp_path / "docs", folded_to(after.manifest))
            assert again is not None
            assert again.count == len(documents.seeds)


def test_changes_are_laid_over_a_folder_of_vectors(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((40, DIM)).astype(np.float32)
    write_vectors_folder(tmp_path / "vectors", [f"d{row}" for row in range(40)], vectors)
    (tmp_path / "docs").mkdir()
    folder = VectorsFolder(tmp_path / "vectors")
    assert folder.model is not None
    with Log(tmp_path / "docs", DIM, folder.model["id"]) as log:
        log.append([write("d3", 3), Write("d4", None), write("new", 5), Write("never", None)])
        source = fold(folder, tmp_path / "docs", FoldedTo(0, 0))
    assert source is not None
    assert (source.count, source.changed) == (40, 4)
    ids = [id_ for batch in source.batches() for id_ in batch.ids]
    assert sorted(map(str, ids)) == sorted({f"d{row}" for row in range(40)} - {"d4"} | {"new"})


def test_a_fold_needs_the_log_that_it_began_with_and_something_left(tmp_path: Path) -> None:
    documents = Documents(3)
    with index.open_generation(documents.build(tmp_path)) as before:
        assert fold(before, tmp_path / "docs", FoldedTo(0, 0)) is None
        with Log(tmp_path / "docs", DIM, None) as log:
            log.append([documents.delete(number) for number in range(3)])
            with pytest.raises(GenerationError, match="not the log"):
                fold(before, tmp_path / "docs", FoldedTo(7, 1))
            with pytest.raises(InputError, match="would be empty"):
                fold(before, tmp_path / "docs", FoldedTo(0, 0))
            log.trim(2)
            with pytest.raises(GenerationError, match="were trimmed"):
                fold(before, tmp_path / "docs", FoldedTo(0, 0))


def test_a_build_whose_later_changes_left_the_log_meanwhile_is_not_published(tmp_path: Path) -> None:
    documents = Documents(30)
    with (
        index.open_generation(documents.build(tmp_path)) as before,
        Log(tmp_path / "docs", DIM, None) as log,
    ):
        log.append([documents.put(40, 1)])
        source = fold(before, tmp_path / "docs", folded_to(before.manifest))
        assert source is not None
        log.append([documents.put(41, 1), documents.put(42, 1)])
        log.trim(2)  # as when two more were built, and the older ones deleted
        with pytest.raises(InputError, match=r"changes 2 to 2 were built into another generation meanwhile .* again"):
            index.build_generation(source, root=tmp_path, name="docs", filterable=FIELDS)
    assert Root(tmp_path).generations("docs") == [before.id]
    assert Root(tmp_path).gc("docs") == []
