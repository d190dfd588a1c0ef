"""A generation with its changes answers as a generation built from the outcome: same ids, same scores, bit for bit."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from changing import WORDS, Documents, numbered

import index
from index.changes import columns
from index.changes.delta import Delta
from index.changes.view import View
from index.search.filtering import Filter, parse
from index.search.generation import Generation
from index.search.lexical.text import text_of

FILTERS: list[dict[str, Any] | None] = [
    None,
    {"field": "lang", "eq": "en"},
    {"not": {"field": "year", "gte": 2004}},
    {"and": [{"field": "tags", "in": ["mu", "nu"]}, {"field": "ok", "eq": True}]},
    {"or": [{"field": "score", "lt": 0.3}, {"field": "when", "gte": "2015-01-01"}]},
    {"field": "year", "exists": False},
    {"field": "lang", "eq": "nowhere"},
]
COUNT = 700


# Metrics and kinds of id, which do not know of each other; in `make test-long` each with each.
SHAPES: list[Any] = [("names", "cosine"), ("numbers", "ip"), ("names", "l2")]
SHAPES += [
    pytest.param(each, marks=pytest.mark.long) for each in (("numbers", "cosine"), ("names", "ip"), ("numbers", "l2"))
]


@pytest.fixture(params=SHAPES, ids="-".join)
def shape(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def metric(shape: tuple[str, str]) -> Any:
    return shape[1]


@pytest.fixture
def documents(shape: tuple[str, str]) -> Documents:
    return Documents(COUNT, integers=shape[0] == "numbers")


@pytest.fixture
def generation(tmp_path: Path, documents: Documents, metric: Any) -> Iterator[Generation]:
    with index.open_generation(documents.build(tmp_path / "before", metric=metric)) as opened:
        yield opened


def steps(documents: Documents, delta: Delta, rng: random.Random, count: int) -> None:
    """Puts of new documents and of old ones, deletes of both and of ones that were never there."""
    for _ in range(count):
        writes = []
        for _ in range(rng.randint(1, 60)):
            number = rng.randint(0, COUNT + 300)
            if rng.random() < 0.35:
                writes.append(documents.delete(number))
            else:
                writes.append(documents.put(number, rng.randrange(10**6)))
        delta.apply(numbered(writes, delta.seq + 1))


def named(found: Any, opened: Any) -> list[list[str | None]]:
    return [[opened.external_id(row) if row >= 0 else None for row in rows] for rows in found.rows.tolist()]


def test_a_view_answers_as_a_generation_built_from_the_outcome(
    tmp_path: Path, documents: Documents, generation: Generation, metric: Any
) -> None:
    rng, delta = random.Random(7), Delta(generation, 0)
    queries = np.random.default_rng(7).standard_normal((4, generation.dim)).astype(np.float32)
    for stage in range(3):
        steps(documents, delta, rng, 9)
        view = View(generation, delta.snapshot())
        with index.open_generation(documents.build(tmp_path / f"after-{stage}", metric=metric)) as after:
            assert view.count == after.count
            for given in FILTERS:
                ours, theirs = (None, None) if given is None else (view.filter(given), after.filter(given))
                assert ours is None or (theirs is not None and ours.count == theirs.count)
                for k in (1, 10, 200, 2 * COUNT):
                    found = view.search_rows(queries, k, exact=True, keep=ours)
                    expected = after.search_rows(queries, k, exact=True, keep=theirs)
                    assert named(found, view) == named(expected, after)
                    assert np.array_equal(found.scores, expected.scores)


def test_rows_of_a_view_hold_what_was_put_last(generation: Generation, documents: Documents) -> None:
    delta = Delta(generation, 0)
    steps(documents, delta, random.Random(3), 12)
    view = View(generation, delta.snapshot())
    for number in range(COUNT + 301):
        row = view.row_of(str(documents.id_of(number)))
        assert (row is not None) == (number in documents.seeds)
        if row is not None:
            assert view.external_id(row) == str(documents.id_of(number))
            seed = documents.seeds[number]
            assert view.payload(row) == documents.put(number, seed).payload or row < generation.count
            year = view.value("year", row)
            assert year == json.loads(view.payload(row))["year"]


def test_words_of_a_rewritten_document_score_as_before(generation: Generation, documents: Documents) -> None:
    """The statistics stay the generation's, so a document that was put again unchanged keeps its score."""
    delta = Delta(generation, 0)
    some = range(0, COUNT, 2)
    delta.apply(numbered([documents.put(number, number) for number in some], 1))
    view = View(generation, delta.snapshot())
    for text in (*WORDS[:4], "alpha mu", "sigma sigma rho unheard-of"):
        before, after = generation.search_words(text, COUNT), view.search_words(text, COUNT)
        assert [generation.external_id(row) for row in before.rows] == [view.external_id(row) for row in after.rows]
        np.testing.assert_allclose(after.scores, before.scores, rtol=2e-6)


def test_words_find_what_is_new_and_nothing_that_is_gone(generation: Generation, documents: Documents) -> None:
    delta = Delta(generation, 0)
    steps(documents, delta, random.Random(5), 12)
    view = View(generation, delta.snapshot())
    for given in FILTERS:
        filter_ = None if given is None else parse(given)
        keep = view.alive if filter_ is None else view.survivors(filter_)
        for text in ("alpha", "beta gamma delta"):
            everything = view.search_words(text, view.count, filter_)
            expected = {
                row
                for row in range(view.rows)
                if keep.holds(row) and set(text.split()) & set(text_of(view.payload(row)).split())
            }
            assert set(everything.rows.tolist()) == expected
            best = view.search_words(text, 7, filter_)
            assert best.rows.tolist() == everything.rows.tolist()[:7]
            assert np.array_equal(best.scores, everything.scores[:7])


def test_an_older_view_does_not_see_later_changes(generation: Generation, documents: Documents) -> None:
    delta = Delta(generation, 0)
    steps(documents, delta, random.Random(11), 6)
    view = View(generation, delta.snapshot())
    query = np.ones((1, generation.dim), np.float32)
    keep = view.filter({"field": "lang", "eq": "en"})
    before = view.search_rows(query, 50, exact=True), view.search_rows(query, 50, exact=True, keep=keep)
    words = view.search_words("alpha", 50)
    steps(documents, delta, random.Random(12), 30)
    after = view.search_rows(query, 50, exact=True), view.search_rows(query, 50, exact=True, keep=keep)
    for old, new in zip(before, after, strict=True):
        assert np.array_equal(old.rows, new.rows)
        assert np.array_equal(old.scores, new.scores)
    assert np.array_equal(words.rows, view.search_words("alpha", 50).rows)
    assert view.filter({"field": "lang", "eq": "en"}).count == keep.count


def test_filters_go_on_over_parts_that_were_sealed_and_joined(generation: Generation, documents: Documents) -> None:
    delta = Delta(generation, 0)
    rng = random.Random(13)
    rows = columns.SEALED * columns.JOINED + columns.SEALED + 3
    delta.apply(numbered([documents.put(number, rng.randrange(10**6)) for number in range(10_000, 10_000 + rows)], 1))
    view = View(generation, delta.snapshot())
    kept = view.filter({"field": "lang", "eq": "de"})
    for row in range(generation.count, view.rows):
        assert kept.holds(row) == (view.value("lang", row) == "de")


def test_a_filter_without_a_key_is_never_taken_for_another(generation: Generation, documents: Documents) -> None:
    """Whose key is empty differs from search to search: one leaves out the groups that were found already."""
    delta = Delta(generation, 0)
    steps(documents, delta, random.Random(3), 12)
    view = View(generation, delta.snapshot())
    for lang in ("en", "de", "en"):
        filter_ = parse({"field": "lang", "eq": lang})
        expected = view.search_words("alpha", COUNT, filter_).rows.tolist()
        nameless = Filter(filter_.tree, b"")
        assert view.search_words("alpha", COUNT, nameless).rows.tolist() == expected
        assert view.survivors(nameless).count == view.survivors(filter_).count


def test_a_vector_far_longer_than_those_before_is_ranked_exactly(tmp_path: Path) -> None:
    documents = Documents(50)
    with index.open_generation(documents.build(tmp_path, metric="ip")) as opened:
        delta = Delta(opened, 0)
        delta.apply(numbered([documents.put(60, 60)], 1))
        large = documents.put(61, 61)
        assert large.vector is not None
        stretched = (np.frombuffer(large.vector, np.float32) * 1000).tobytes()
        delta.apply(numbered([large._replace(vector=stretched), documents.put(62, 62)], 2))
        view = View(opened, delta.snapshot())
        vectors = np.stack([view.vector(row) for row in range(view.rows)])
        query = np.random.default_rng(1).standard_normal((1, opened.dim)).astype(np.float32)
        found = view.search_rows(query, view.count, exact=True)
        expected = np.sort((vectors @ query[0]).astype(np.float64))[::-1]
        np.testing.assert_allclose(found.scores[0], expected, rtol=1e-5, atol=1e-4)
