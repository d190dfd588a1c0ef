"""Chunks cover the text, fit the model, and break where a reader would."""

from __future__ import annotations

import itertools
import unicodedata
from typing import Any

import pytest
from hashing_encoder import WORD
from hypothesis import given, settings
from hypothesis import strategies as st

import embed.documents.chunks
from embed.documents.chunks import Chunker, ChunkError


def words(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in WORD.finditer(text)]


def characters(text: str) -> list[tuple[int, int]]:
    """As a byte-level tokenizer may: every code point its own token."""
    return [(at, at + 1) for at in range(len(text)) if not text[at].isspace()]


def pieces(text: str, tokens: int, overlap: int = 0, title: str = "", offsets: Any = words) -> list[str]:
    return [piece for _, piece in Chunker(offsets, tokens, overlap, 512).split(title, text)]


def test_a_short_text_is_one_chunk() -> None:
    assert pieces("only a few words", 16) == ["only a few words"]


def test_sentences_are_kept_whole_where_one_ends_in_the_last_quarter() -> None:
    text = "One two three four five six seven. Eight nine ten. Eleven twelve thirteen fourteen fifteen."
    assert pieces(text, 14) == [
        "One two three four five six seven. Eight nine ten.",
        "Eleven twelve thirteen fourteen fifteen.",
    ]


def test_without_a_sentence_end_a_word_is_not_split() -> None:
    made = pieces("alpha-beta-gamma " * 30, 16)
    assert len(made) > 5
    assert all(piece.startswith("alpha") and piece.endswith("gamma") for piece in made)


def test_chinese_breaks_after_its_own_full_stop() -> None:
    text = "这是一个句子这是一个句子。" * 6
    made = pieces(text, 32, offsets=characters)
    assert "".join(made) == text
    assert all(piece.endswith("。") for piece in made)


def test_a_text_without_any_break_is_cut_between_tokens() -> None:
    made = pieces("x" * 1000, 50, offsets=characters)
    assert "".join(made) == "x" * 1000
    assert {len(piece) for piece in made[:-1]} == {48}


def test_the_title_is_in_front_of_each_chunk_and_counted() -> None:
    made = list(Chunker(words, 24, 0, 512).split("On the cost of search", "word " * 100))
    assert all(text == f"On the cost of search {piece}" for text, piece in made)
    assert max(len(words(text)) for text, _ in made) == 24 - 2


def test_a_long_title_leaves_half_of_the_room_to_the_text() -> None:
    made = list(Chunker(words, 22, 0, 512).split("title " * 50, "word " * 30))
    assert [text.count("title") for text, _ in made] == [10, 10, 10]
    assert [piece.count("word") for _, piece in made] == [10, 10, 10]


def test_a_title_without_text_is_one_chunk() -> None:
    assert list(Chunker(words, 16, 0, 512).split("Only a title", " ")) == [("Only a title", "")]


def test_overlap_repeats_the_end_of_the_piece_before() -> None:
    text = " ".join(f"w{number}" for number in range(100))
    made = [piece.split() for piece in pieces(text, 22, overlap=5)]
    for before, after in itertools.pairwise(made):
        assert after[:5] == before[-5:]
    seen = made[0] + [word for piece in made[1:] for word in piece[5:]]
    assert seen == text.split()


@pytest.mark.parametrize("glyph", ["e\u0301\u0323", "👩\u200d👩\u200d👧", "👍🏽", "❤\ufe0f", "नि"])
@pytest.mark.parametrize("overlap", [0, 7])
def test_characters_of_several_code_points_stay_whole(glyph: str, overlap: int) -> None:
    for before in range(6):
        made = pieces("a" * before + glyph * 40, 20, overlap, offsets=characters)
        assert len(made) > 3
        for piece in made:
            assert piece.lstrip("a").replace(glyph, "") == ""


@settings(max_examples=300)
@given(
    st.text(st.sampled_from("ab .!?\n\u0301\u200d東👍é"), max_size=400),
    st.integers(8, 40),
    st.data(),
)
def test_nothing_is_lost_and_nothing_is_too_long(text: str, tokens: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, tokens // 2))
    for offsets in (words, characters):
        spans = list(Chunker(offsets, tokens, overlap, 512).spans(text, tokens - 2))
        if not spans:
            assert offsets(text) == []
            continue
        assert spans[0][0] == 0
        assert spans[-1][1] == len(text)
        for (begin, end), (next_begin, next_end) in itertools.pairwise(spans):
            assert begin < next_begin <= end < next_end
            assert overlap or next_begin == end
        for begin, end in spans:
            assert len(offsets(text[begin:end])) <= tokens - 2 + _longest_glyph(text)


def _longest_glyph(text: str) -> int:
    """A single character longer than a chunk has to go somewhere whole."""
    longest = run = 0
    for before, here in zip(" " + text, text, strict=False):
        joined = unicodedata.category(here).startswith("M") or "\u200d" in (here, before)
        run = run + 1 if joined else 0
        longest = max(longest, run)
    return longest


def test_very_long_texts_are_tokenised_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed.documents.chunks, "SEGMENT_CHARACTERS", 1000)
    longest = 0

    def offsets(text: str) -> list[tuple[int, int]]:
        nonlocal longest
        longest = max(longest, len(text))
        return words(text)

    text = " ".join(f"word{number}" for number in range(2000))
    made = pieces(text, 30, offsets=offsets)
    assert " ".join(made) == text
    assert 500 < longest <= 1000


@pytest.mark.parametrize("overlap", [0, 6])
def test_offsets_that_lower_casing_has_shifted_beyond_the_end_do_no_harm(overlap: int) -> None:
    text = "İstanbul " * 30
    spans = list(Chunker(lambda each: words(each.lower()), 16, overlap, 512).spans(text, 14))
    assert len(text.lower()) > len(text)
    assert spans[0][0] == 0
    assert spans[-1][1] == len(text)


@pytest.mark.parametrize("overlap", [0, 6])
def test_several_tokens_for_one_character_never_split_it(overlap: int) -> None:
    def in_bytes(text: str) -> list[tuple[int, int]]:
        return [(at, at + 1) for at, character in enumerate(text) for _byte in character.encode()]

    made = pieces("東" * 50, 12, overlap, offsets=in_bytes)
    assert "".join(made).count("東") >= 50
    assert all(1 <= len(piece) <= 3 for piece in made)


@pytest.mark.parametrize(
    ("tokens", "overlap", "message"),
    [(7, 0, "it can be 8 to 512"), (513, 0, "8 to 512"), (64, 33, "0 to 32"), (64, -1, "0 to 32")],
)
def test_impossible_lengths_are_refused(tokens: int, overlap: int, message: str) -> None:
    with pytest.raises(ChunkError, match=message):
        Chunker(words, tokens, overlap, 512)


def test_the_models_prefix_takes_its_room() -> None:
    with pytest.raises(ChunkError, match="13 to 512"):
        Chunker(words, 12, 0, 512, prefix_tokens=5)
    made = [piece for _, piece in Chunker(words, 25, 0, 512, prefix_tokens=5).split("", "word " * 100)]
    assert max(len(words(piece)) for piece in made) == 18


def test_real_tokens_of_the_model_fit_its_length(int8_encoder: Any) -> None:
    text = ("Retrieval-augmented generation, naïvely: 東京 🚲 and supercalifragilistic words. " * 40).strip()
    chunker = Chunker(int8_encoder.token_offsets, 64, 8, int8_encoder.fingerprint.max_length)
    made = list(chunker.split("A title", text))
    assert len(made) > 10
    _, tokens = int8_encoder.encode_counted([each for each, _ in made])
    assert tokens.max() <= 64
    assert tokens[:-1].min() > 40
    assert made[-1][1].endswith("words.")
