"""Where the words of a query stand in a text, as the index cuts, folds and stems them: "trees" is marked for "tree".

A fragment comes in pieces, of which every second one is marked. So there are no offsets to count (in bytes, code points
or UTF-16, as the language of the caller has it) and no markup to escape: each piece is text, to be put in as text, in
the order in which it is read aloud, whatever direction it is written in. What combines with the letter before it
(accents, vowel signs, joiners) is never cut off from it.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from index.search.lexical.text import MAX_WORDS, analyser
from service.wire.limits import HIGHLIGHT_READ
from service.wire.request.search import Highlight

# By the name of a field: fragments, each in pieces.
Fragments = dict[str, list[list[str]]]

_PLAIN = re.compile(r"[^\W_]+")
_OBJECT = msgspec.json.Decoder(dict[str, Any])
_JOINERS = ("\u200c", "\u200d")  # between letters, or after them
_MOST = 200  # places of words that are looked at in one field


class _Word(NamedTuple):
    """A word of the query in a text, from start to stop."""

    start: int
    stop: int
    word: str


class WordsIn:
    """The words of a text, to be found in others.

    Args:
        analyse: all words of a text, as they are indexed.
    """

    def __init__(self, text: str, analyse: Callable[[str], list[str]]) -> None:
        self._wanted = frozenset(list(dict.fromkeys(analyse(text)))[:MAX_WORDS])
        self._analyse = analyse
        self._seen: dict[str, str | None] = {}

    def places(self, text: str) -> list[_Word]:
        found: list[_Word] = []
        for match in _words(text).finditer(text):
            word = self._word(match[0])
            # A sign may be a word to the index and yet combine with what is marked before it.
            if word is not None and not (found and match.start() < found[-1].stop):
                found.append(_Word(match.start(), _closed(text, match.end()), word))
                if len(found) == _MOST:
                    break
        return found

    def _word(self, written: str) -> str | None:
        """The word of the query that this one is, if any."""
        if written not in self._seen:
            there = self._analyse(written)
            self._seen[written] = there[0] if there and there[0] in self._wanted else None
        return self._seen[written]


def fragments_of(payload: bytes, asked: Highlight, words: WordsIn) -> Fragments:
    """Fragments by field, of fields that are texts and hold any of the words."""
    content, found = _OBJECT.decode(payload), {}
    for name in asked.fields:
        text = content.get(name)
        if isinstance(text, str):
            places = words.places(text[:HIGHLIGHT_READ])
            if places:
                found[name] = _fragments(text, places, asked)
    return found


@functools.cache
def unstemmed() -> Callable[[str], list[str]]:
    """The words of a text where the language is not known: folded and nothing else."""
    made = analyser("none")
    return lambda text: list(made.analyze(text))


def _words(text: str) -> re.Pattern[str]:
    """What the index takes for a word in this text: letters and digits, and signs of some scripts that belong to their
    letters, of which Python thinks otherwise."""
    if text.isascii():
        return _PLAIN
    return _with("".join(sorted(each for each in set(text) if each > "\x7f" and not each.isalnum() and _letter(each))))


@functools.lru_cache(4096)
def _letter(sign: str) -> bool:
    return bool(unstemmed()(sign))


@functools.lru_cache(256)
def _with(letters: str) -> re.Pattern[str]:
    return re.compile(f"(?:[^\\W_]|[{re.escape(letters)}])+") if letters else _PLAIN


def _fragments(text: str, places: list[_Word], asked: Highlight) -> list[list[str]]:
    if asked.fragments == 0 or len(text) <= asked.characters:
        return [_pieces(text, 0, len(text), places)]
    windows: list[tuple[int, int]] = []
    left = places
    while left and len(windows) < asked.fragments:
        start, stop = _best(text, left, windows, asked.characters)
        windows.append((start, stop))
        left = [place for place in left if place.stop <= start or place.start >= stop]
    return [_pieces(text, start, stop, places) for start, stop in sorted(windows)]


def _best(text: str, places: list[_Word], taken: Sequence[tuple[int, int]], width: int) -> tuple[int, int]:
    """The stretch with the most different words, and then the most words, that does not overlap those taken."""
    most, best, starts = (0, 0), (places[0].start, places[0].stop), [place.start for place in places]
    for place in places:
        low = max((stop for _, stop in taken if stop <= place.start), default=0)
        high = min((start for start, _ in taken if start >= place.stop), default=len(text))
        start, stop = _window(text, place, low, high, width)
        near = places[bisect_left(starts, start) : bisect_left(starts, stop)]
        inside = [each.word for each in near if each.stop <= stop]
        if (len(set(inside)), len(inside)) > most:
            most, best = (len(set(inside)), len(inside)), (start, stop)
    return best


def _window(text: str, place: _Word, low: int, high: int, width: int) -> tuple[int, int]:
    """About `width` characters around a word, from the beginning of one to the end of another where there are any."""
    start = max(low, min(place.start - width // 4, high - width))
    if start > low:
        blank = _blank_after(text, start, place.start)
        start = place.start if blank is None and place.start - start < width // 8 else (blank or start)
        start = _closed(text, start)
    stop = min(high, max(start + width, place.stop))
    if stop < high:
        blank = next((at for at in range(stop, place.stop - 1, -1) if text[at].isspace()), None)
        stop = _closed(text, stop) if blank is None else blank
    return min(start, place.start), max(stop, place.stop)


def _blank_after(text: str, start: int, stop: int) -> int | None:
    """Behind the first blank in a stretch, None where it has none."""
    blank = next((at for at in range(start, stop) if text[at].isspace()), None)
    return None if blank is None else blank + 1


def _closed(text: str, at: int) -> int:
    """The first place from `at` on where nothing combines with what stands before it."""
    while at < len(text) and (unicodedata.category(text[at])[0] == "M" or text[at] in _JOINERS):
        at += 1
    return at


def _pieces(text: str, start: int, stop: int, places: Sequence[_Word]) -> list[str]:
    """Plain and marked in turn, plain first."""
    pieces, plain = [], start
    for place in places:
        if place.start >= start and place.stop <= stop:
            pieces += [text[plain : place.start], text[place.start : place.stop]]
            plain = place.stop
    return [*pieces, text[plain:stop]] if plain < stop else pieces
