"""Words inside a generation: BM25 that ranks, filters that hold, files that are hashed, links that are cleaned up."""

from __future__ import annotations

import itertools
import json
import math
import os
import stat
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import examples
from filter_language import TYPES, filters, payloads, survives
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from indexing import clustered

from index import GenerationError, InputError, build_generation, open_generation, verify
from index.build.rows.words import LexicalWriter
from index.disk.files import storage_failure
from index.search.fields.columns import Field
from index.search.filtering import parse

TEXTS = [
    ("Rotating keys", "Create a second key, then revoke the first."),
    ("Sourdough", "Feed flour and water every day."),
    ("Running shoes", "Shoes for runners who run far: run, run and run."),
    ("Café Olé", "Crème brûlée über alles"),
    ("", "keys keys keys"),
]


def built(root: Path, rows: list[dict[str, Any]], **options: Any) -> Path:
    vectors = clustered(len(rows), 8)
    return build_generation(vectors, list(range(len(rows))), root=root, name="words", payload=rows, **options)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("words"), [{"title": title, "text": text} for title, text in TEXTS])


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("runner", [2]), ("RUN!", [2]), ("cafe CREME", [3]), ("flour", [1]), ("key", [4, 0]), ("keys (revoke)", [0, 4]),
        ("title:run -shoes \"", [2]), ("zebra", []), ("", []), ("?!", []), ("日本", []),
    ],
)  # fmt: skip
def test_words_are_found_by_their_stems_and_nothing_is_syntax(path: Path, text: str, rows: list[int]) -> None:
    with open_generation(path) as generation:
        found = generation.search_words(text, 10)
        assert found.rows.tolist() == rows
        assert (np.diff(found.scores) <= 0).all()


def test_scores_are_bm25(path: Path) -> None:
    """k1 1.2, b 0.75; tantivy keeps lengths in one byte, exact up to 40 words."""
    with open_generation(path) as generation:
        found = generation.search_words("flour", 10)
        lengths = [len(f"{title} {text}".replace(":", " ").replace(",", " ").split()) for title, text in TEXTS]
        length, mean = lengths[1], sum(lengths) / len(lengths)
        idf = math.log(1 + (len(TEXTS) - 1 + 0.5) / (1 + 0.5))
        expected = idf * 2.2 * 1 / (1 + 1.2 * (1 - 0.75 + 0.75 * length / mean))
        assert found.scores[0] == pytest.approx(expected, rel=1e-5)


def test_a_word_that_a_query_says_twice_counts_twice(path: Path) -> None:
    """As in BM25, which sums over the words of a query and not over its different ones; long questions repeat some."""
    with open_generation(path) as generation:

        def scores(text: str, exact: bool) -> dict[int, float]:
            found = generation.search_words(text, 10, exact=exact)
            return dict(zip(found.rows.tolist(), found.scores.tolist(), strict=True))

        for exact in (False, True):
            keys, flour, revoke = (scores(word, exact) for word in ("key", "flour", "revoke"))
            said = scores("keys, flour; KEY! revoke key", exact)
            assert said.keys() == keys.keys() | flour.keys() | revoke.keys()
            for row, score in said.items():
                expected = 3 * keys.get(row, 0) + flour.get(row, 0) + revoke.get(row, 0)
                assert score == pytest.approx(expected, rel=1e-6)
        assert generation.search_words("key", 1).rows.tolist() == [4]
        assert generation.search_words("key flour flour", 1).rows.tolist() == [1]


def test_equal_scores_come_by_row(tmp_path: Path) -> None:
    path = built(tmp_path, [{"text": "the same words"}] * 50)
    with open_generation(path) as generation:
        assert generation.search_words("same", 20).rows.tolist() == list(range(20))


def test_a_generation_without_text_has_no_words_and_says_so(tmp_path: Path) -> None:
    without = [
        built(tmp_path, [{"body": "some text"}] * 3),
        built(tmp_path, [{"text": "some text"}] * 3, lexical=False),
        built(tmp_path, [{"text": 7, "title": None}] * 3),
    ]
    for path in without:
        assert not (path / "lexical").exists()
        with open_generation(path) as generation:
            assert generation.manifest["lexical"] is None
            with pytest.raises(InputError, match="has no words to search"):
                generation.search_words("text", 1)


def test_rows_without_text_before_and_between_those_with_it(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"n": row} for row in range(20_000)]
    for row in (9000, 9001, 19_999):
        rows[row]["text"] = f"found word{row}"
    with open_generation(built(tmp_path, rows, filterable=["n:int"])) as generation:
        assert generation.search_words("found", 10).rows.tolist() == [9000, 9001, 19_999]
        late = parse({"field": "n", "gt": 9000})
        assert generation.search_words("found", 10, late).rows.tolist() == [9001, 19_999]
        assert generation.manifest["lexical"]["documents"] == 3


def test_a_broad_filter_is_sifted_and_finds_what_a_filtered_search_finds(tmp_path: Path) -> None:
    """Also where the best by words are just those that it drops, so that too few are left of many."""
    random = np.random.default_rng(4)
    rows = [{"n": row, "text": " ".join(f"w{word}x" for word in random.zipf(1.6, 8))} for row in range(4000)]
    for row in range(3000):
        rows[row]["text"] += " storm" * (3 if row % 2 else 1)  # type: ignore[operator]
    with open_generation(built(tmp_path, rows, filterable=["n:int"])) as generation:
        lexical = generation.lexical
        assert lexical is not None
        for text, given_ in itertools.product(
            ("w1x w3x w20x", "storm", "w2x storm"),
            ({"gte": 100}, {"lt": 2000}, {"gte": 2990}, {"gt": 3995}),
        ):
            kept = parse({"field": "n", **given_})
            survivors = generation.filters.bitmap(kept)
            for k in (1, 10, 60):
                sifted = lexical.search(text, k, kept.tree, survivors=survivors)
                filtered = lexical.search(text, k, kept.tree)
                assert sifted.rows.tolist() == filtered.rows.tolist()
                np.testing.assert_allclose(sifted.scores, filtered.scores, rtol=1e-5)
                assert generation.search_words(text, k, kept).rows.tolist() == filtered.rows.tolist()
        odd = generation.filters.bitmap(parse({"field": "n", "lt": 3000}))
        unknown = parse({"field": "nowhere", "lt": 1}).tree
        assert len(lexical.search("storm", 10, unknown, survivors=odd).rows) == 10, "tantivy was asked to filter"


def test_a_language_is_that_of_the_stems(tmp_path: Path) -> None:
    rows = [{"text": "Häuser am Meer"}, {"text": "running"}]
    with open_generation(built(tmp_path, rows, language="german")) as german:
        assert german.search_words("Haus", 1).rows.tolist() == [0]
    with open_generation(built(tmp_path, rows, language="none")) as plain:
        assert plain.search_words("run", 1).rows.tolist() == []
    with pytest.raises(InputError, match="'klingon' is no language"):
        built(tmp_path, rows, language="klingon")


def test_every_file_of_the_words_is_hashed(path: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(path, tmp_path / path.name))
    verify(copy)
    files = sorted((copy / "lexical").iterdir())
    assert len(files) >= 5
    assert not [file for file in files if file.name.endswith(".lock")]
    for file in files:
        raw = file.read_bytes()
        if not raw:
            continue
        file.write_bytes(bytes([raw[0] ^ 1]) + raw[1:])
        with pytest.raises(GenerationError, match=f"lexical/{file.name}: is damaged"):
            open_generation(copy)
        file.write_bytes(raw)
    (copy / "lexical" / "extra").write_text("x")
    with pytest.raises(GenerationError, match="lexical/extra: is not in the manifest"):
        open_generation(copy)
    (copy / "lexical" / "extra").unlink()
    (copy / "lexical" / "meta.json").rename(copy / "meta.json")
    with pytest.raises(GenerationError, match=r"lexical/meta.json: is missing"):
        open_generation(copy)


def test_opening_writes_nothing_into_the_generation_and_cleans_up_after_itself(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = sorted(entry.name for entry in path.rglob("*"))
    path.joinpath("lexical").chmod(0o555)
    generation = open_generation(path)
    assert generation.search_words("key", 1).rows.tolist() == [4]
    assert list(tmp_path.iterdir()) == []  # while it is open, too: who is killed leaves nothing
    assert generation.search_words("key", 1).rows.tolist() == [4]
    generation.close()
    path.joinpath("lexical").chmod(0o755)
    assert sorted(entry.name for entry in path.rglob("*")) == before


def test_whoever_may_read_the_folder_may_read_every_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        path = built(tmp_path, [{"text": "some text", "n": 1}] * 3, filterable=["n:int"])
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(file.stat().st_mode) for file in path.rglob("*") if file.is_file()}
    assert modes == {0o640}


def test_where_only_memory_may_be_written_it_opens_there(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_get_default_tempdir", nowhere)
    with open_generation(path) as generation:
        assert generation.search_words("key", 1).rows.tolist() == [4]


@settings(max_examples=examples(60), suppress_health_check=list(HealthCheck))
@given(
    asked=st.lists(filters, min_size=8, max_size=8),
    rows=st.lists(payloads, min_size=30, max_size=60),
    k=st.integers(1, 70),
)
def test_a_filter_means_the_same_to_words_as_to_vectors(
    tmp_path_factory: pytest.TempPathFactory, asked: list[dict[str, Any]], rows: list[dict[str, Any]], k: int
) -> None:
    words = ["alpha", "beta", "alpha beta", "gamma"]
    with_text = [{**row, "text": words[place % 4]} for place, row in enumerate(rows)]
    root = tmp_path_factory.mktemp("filtered")
    with open_generation(built(root, with_text, filterable=[Field(*each) for each in TYPES.items()])) as generation:
        unfiltered = generation.search_words("alpha gamma", len(rows))
        for each in asked:
            kept = [row for row, payload in enumerate(rows) if survives(payload, each)]
            assert generation.filter(each).rows.tolist() == kept
            expected = [
                (row, score)
                for row, score in zip(unfiltered.rows.tolist(), unfiltered.scores.tolist(), strict=True)
                if row in kept
            ]
            found = generation.search_words("alpha gamma", k, parse(json.loads(json.dumps(each))))
            assert found.rows.tolist() == [row for row, _ in expected[:k]], each
            assert found.scores.tolist() == [score for _, score in expected[:k]]


def in_segments(root: Path, rows: list[dict[str, Any]], cuts: list[int], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A generation whose words were written in a segment from each cut to the next, as a large text's are."""
    take = LexicalWriter.take

    def cutting(self: LexicalWriter, payload: list[bytes]) -> None:
        edges = [0, *cuts, len(payload)]
        for start, stop in itertools.pairwise(edges):
            take(self, payload[start:stop])
            self._writer.commit()

    with monkeypatch.context() as patched:
        patched.setattr(LexicalWriter, "take", cutting)
        return built(root, rows, filterable=["n:int"])


@pytest.mark.parametrize("cuts", [[5, 200, 260], list(range(20, 600, 20))], ids=["four", "merged"])
def test_ranks_are_those_of_one_segment_however_many_there_are(
    tmp_path: Path, cuts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(2)
    rows = [
        {"n": row, "text": " ".join(f"w{word}" for word in random.zipf(1.6, random.integers(1, 9)) if word < 30)}
        for row in range(600)
    ]
    single = built(tmp_path / "one", rows, filterable=["n:int"])
    several = in_segments(tmp_path / "many", rows, cuts, monkeypatch)
    with open_generation(single) as one, open_generation(several) as many:
        assert one.lexical is not None
        assert many.lexical is not None
        assert (one.lexical.searcher.num_segments, one.lexical.by_row) == (1, True)
        assert many.lexical.searcher.num_segments > 1
        for text in ("w1", "w1 w2", "w7 w1 w3 w20", "w29"):
            for k in (1, 3, 10, 60, 600):
                for keep in (None, parse({"field": "n", "gte": 50})):
                    expected, found = (each.search_words(text, k, keep) for each in (one, many))
                    assert found.rows.tolist() == expected.rows.tolist()
                    assert found.scores.tolist() == expected.scores.tolist()


def test_a_disk_that_is_full_while_words_are_written_is_told_as_one(
    tmp_path: Path, file_size_limit: Callable[[int], AbstractContextManager[None]]
) -> None:
    """tantivy says it in a sentence of its own, of whatever kind."""
    writer = LexicalWriter(tmp_path, "english", None)
    writer.take([json.dumps({"text": f"word{row} " * 3}).encode() for row in range(5000)])
    with file_size_limit(4096), pytest.raises(OSError, match="File too large") as failed:
        writer.finish()
    assert storage_failure(failed.value) is not None


def test_no_lock_comes_back_once_the_words_are_written(tmp_path: Path) -> None:
    """It would be a file of the generation that its manifest does not name, and the build would be refused."""
    writer = LexicalWriter(tmp_path, "english", None)
    writer.take([b'{"text": "keys"}'])
    held = writer._index
    writer.finish()
    time.sleep(0.7)  # tantivy's own readers look every half second
    assert held is not None
    assert list(tmp_path.rglob("*.lock")) == []
