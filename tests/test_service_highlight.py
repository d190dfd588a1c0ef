"""Words of a query marked in a text: whole words as the index cuts them, in every script; no text is lost."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from index.search.lexical.text import analyser
from service.query.highlight import WordsIn, fragments_of, unstemmed
from service.wire.request.search import Highlight

LONG = (
    "Of bread there is little here. " * 30
    + "The oven is hot, the rye bread rises in the oven. "
    + "Nothing else. " * 30
)


def marks(text: str, query: str, language: str = "none", **asked: Any) -> list[list[str]]:
    analyse = unstemmed() if language == "none" else lambda given: list(analyser(language).analyze(given))
    found = fragments_of(json.dumps({"text": text}).encode(), Highlight(**asked), WordsIn(query, analyse))
    return found.get("text", [])


@pytest.mark.parametrize(
    ("text", "query", "pieces"),
    [
        ("Rotate the API key", "api KEY", ["Rotate the ", "API", " ", "key"]),
        ("<b>key</b> & co", "key b", ["<", "b", ">", "key", "</", "b", "> & co"]),  # text, and never markup
        ("Crème brûlée", "creme BRULEE", ["", "Crème", " ", "brûlée"]),
        ("cafe\u0301 noir", "café", ["", "cafe\u0301", " noir"]),  # the accent stays on its letter
        ("यह किताब अच्छी है", "किताब", ["यह ", "किताब", " अच्छी है"]),
        ("این کتاب خوب است", "کتاب", ["این ", "کتاب", " خوب است"]),
        ("הספר על השולחן", "השולחן", ["הספר על ", "השולחן"]),
        ("price: 東京 2024 🎉 x", "東京 2024", ["price: ", "東京", " ", "2024", " 🎉 x"]),
        ("snake_case and kebab-case", "case", ["snake_", "case", " and kebab-", "case"]),
        ("no such thing", "bread", None),
        ("words", "... !!", None),
    ],
)  # fmt: skip
def test_pieces_are_plain_and_marked_in_turn(text: str, query: str, pieces: list[str] | None) -> None:
    assert marks(text, query) == ([] if pieces is None else [pieces])


def test_words_are_stemmed_as_they_are_indexed() -> None:
    assert marks("A running runner runs", "run", "english") == [["A ", "running", " runner ", "runs"]]
    assert marks("A running runner runs", "run") == []
    assert marks("Die Bäume im Haus", "Baum Häuser", "german") == [["Die ", "Bäume", " im ", "Haus"]]


def test_a_fragment_is_the_stretch_with_most_of_the_words() -> None:
    [pieces] = marks(LONG, "rye oven bread", characters=80)
    assert sorted(pieces[1::2]) == ["bread", "bread", "oven", "rye"]
    text = "".join(pieces)
    assert text in LONG
    assert len(text) <= 80
    assert LONG[LONG.index(text) - 1] == " " != text[0]
    several = marks(LONG, "rye oven bread", characters=80, fragments=3)
    texts = ["".join(pieces) for pieces in several]
    assert [LONG.index(each) for each in texts] == sorted(LONG.index(each) for each in texts)
    assert "".join(pieces) in texts
    assert marks(LONG, "rye", fragments=0)[0] == [*LONG.partition("rye")]


def test_only_fields_that_are_texts_and_hold_a_word_are_there() -> None:
    payload = json.dumps({"title": "rye", "text": "wheat", "rye": 7, "tags": ["rye"], "note": "Rye!"}).encode()
    asked = Highlight(fields=["note", "tags", "rye", "gone", "text", "title"])
    assert fragments_of(payload, asked, WordsIn("rye", unstemmed())) == {
        "note": [["", "Rye", "!"]],
        "title": [["", "rye"]],
    }


SIGNS = st.sampled_from(
    ["bread", "Brot", "é", "e\u0301", "ा", "کتاب", "\u200c", "東京", "🎉", "Ⓐ", " ", "\n", "<", "&", "_", "-", "7"]
)


@settings(max_examples=150, deadline=None)
@example(parts=["bread", "\u200c", "ा"], query=["bread", "ा"], fragments=0, width=20)
@given(
    parts=st.lists(SIGNS, max_size=60),
    query=st.lists(SIGNS, max_size=4),
    fragments=st.integers(0, 3),
    width=st.integers(20, 60),
)
def test_nothing_of_the_text_is_lost_and_every_mark_is_a_word_of_the_query(
    parts: list[str], query: list[str], fragments: int, width: int
) -> None:
    text, asked = "".join(parts), " ".join(query)
    wanted = set(unstemmed()(asked))
    found = marks(text, asked, fragments=fragments, characters=width)
    assert bool(found) == bool(wanted.intersection(unstemmed()(text)))
    at = 0
    for pieces in found:
        at = text.index("".join(pieces), at) + 1
        assert all(pieces[1::2])
        for marked in pieces[1::2]:
            first, *more = unstemmed()(marked)
            assert first in wanted
            # A sign that combines with what is marked is marked too, and may be a word to the index.
            assert all(unicodedata.category(sign)[0] == "M" for word in more for sign in word)
    if fragments == 0 and found:
        assert "".join(found[0]) == text
        count = sum(word in wanted for word in unstemmed()(text))
        combining = any(unicodedata.category(word[0])[0] == "M" for word in wanted)
        assert len(found[0][1::2]) <= count if combining else len(found[0][1::2]) == count
