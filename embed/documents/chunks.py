"""Long texts in pieces that the model reads to their end.

Off by default: a model cuts what is beyond its length, and for abstracts or docstrings the first
256 tokens say what the rest is about. For manuals and reports they do not, and `--chunk-tokens N`
makes each piece a row of its own.

N counts everything the model reads for a chunk: the title (repeated for each chunk, since a
paragraph alone often does not say what it is about), the piece, and the special tokens and the
model's own prefix around them. A piece ends where a sentence ends if one does in its last quarter,
else at a space, else between tokens, and never inside a character (an e with a combining accent, a
joined emoji). Overlap repeats the last M tokens of a piece at the start of the next, moved to a
word's start."""

import re
import unicodedata
from collections.abc import Callable, Iterator

from embed.documents.document import embedded_text
from embed.errors import EmbedError

Offsets = Callable[[str], list[tuple[int, int]]]

SPECIAL_TOKENS = 2  # [CLS] … [SEP], or their like
LEAST_PIECE_TOKENS = 6
SENTENCE_END = re.compile(r"[.!?…][\"')\]»”’]*\s+|[。！？][」』）]*|\n\s*\n")
SPACE = re.compile(r"\s+")
# A title longer than half of the chunk is cut to this share: the piece must stay the larger part.
TITLE_SHARE = 0.5
# Of a piece, the last part in which a sentence's end is looked for, and failing that a space.
SENTENCE_WITHIN = 0.25
SPACE_WITHIN = 0.5
# Tokenised at once; longer texts are cut at spaces first, so that token offsets of a 60 MB line do
# not fill the memory.
SEGMENT_CHARACTERS = 200_000
ZERO_WIDTH_JOINER = "\u200d"


class ChunkError(EmbedError):
    """The chunk length or overlap asked for cannot be had."""


class Chunker:
    """Splits by the model's own tokens; `offsets` gives start and end of each, in characters,
    without special tokens.
    """

    def __init__(
        self,
        offsets: Offsets,
        chunk_tokens: int,
        overlap_tokens: int,
        max_length: int,
        prefix_tokens: int = 0,
    ) -> None:
        least = SPECIAL_TOKENS + prefix_tokens + LEAST_PIECE_TOKENS
        if not least <= chunk_tokens <= max_length:
            raise ChunkError(
                f"a chunk of {chunk_tokens} tokens was asked for; for this model it can be {least} to {max_length}"
            )
        if not 0 <= overlap_tokens <= chunk_tokens // 2:
            raise ChunkError(
                f"an overlap of {overlap_tokens} tokens was asked for; with chunks of {chunk_tokens} "
                f"it can be 0 to {chunk_tokens // 2}"
            )
        self._offsets = offsets
        self._room = chunk_tokens - SPECIAL_TOKENS - prefix_tokens
        self._overlap = overlap_tokens

    def split(self, title: str, text: str) -> Iterator[tuple[str, str]]:
        """Of each chunk, what is embedded (title and piece) and the piece. At least one, in order."""
        title, taken = self._short_title(title)
        found = False
        for begin, end in self.spans(text, self._room - taken):
            if piece := text[begin:end].strip():
                found = True
                yield embedded_text(title, piece), piece
        if not found:
            yield embedded_text(title, ""), ""

    def _short_title(self, title: str) -> tuple[str, int]:
        tokens = self._offsets(title) if title else []
        most = int(self._room * TITLE_SHARE)
        if len(tokens) <= most:
            return title, len(tokens)
        return title[: _whole_character(title, tokens[most - 1][1])].rstrip(), most

    def spans(self, text: str, room: int) -> Iterator[tuple[int, int]]:
        """Start and end character of each piece of at most `room` tokens, in order; together they cover the text."""
        overlap = min(self._overlap, room // 2)
        for first, last in _segments(text):
            segment = text[first:last]
            # Lower-casing may lengthen a text ("İ"), and offsets into the longer one may point beyond its end.
            tokens = [token for token in self._offsets(segment) if token[0] < len(segment)]
            start = fresh = begin = done = 0  # tokens from `fresh`, characters from `done` are in no piece yet
            while fresh < len(tokens):
                end = len(segment) if len(tokens) - start <= room else self._end(segment, tokens, start, start + room)
                if end <= done:  # a character so long that the overlap leaves it no room
                    start, begin = fresh, done
                    continue
                yield first + begin, first + end
                done, fresh = end, _first_token_from(tokens, end, fresh)
                again = _word_start(segment, tokens, max(start + 1, fresh - overlap), fresh)
                earlier = _whole_character(segment, tokens[again][0]) if again < fresh else end
                start, begin = (again, earlier) if begin < earlier < end else (fresh, end)

    @staticmethod
    def _end(text: str, tokens: list[tuple[int, int]], start: int, stop: int) -> int:
        """The character before which a piece of tokens[start:stop] ends."""
        hard = tokens[stop][0]
        for pattern, share in ((SENTENCE_END, SENTENCE_WITHIN), (SPACE, SPACE_WITHIN)):
            nearest = tokens[stop - max(1, int((stop - start) * share))][0]
            if found := list(pattern.finditer(text, nearest, hard)):
                return found[-1].end()
        # A whole character, and if the piece begins with one that is longer than it may be, that one.
        whole = _whole_character(text, hard)
        while whole <= tokens[start][0]:
            stop += 1
            whole = _whole_character(text, tokens[stop][0]) if stop < len(tokens) else len(text)
        return whole


def _segments(text: str) -> Iterator[tuple[int, int]]:
    first = 0
    while len(text) - first > SEGMENT_CHARACTERS:
        last = text.rfind(" ", first + SEGMENT_CHARACTERS // 2, first + SEGMENT_CHARACTERS) + 1
        if not last:
            last = max(_whole_character(text, first + SEGMENT_CHARACTERS), first + 1)
        yield first, last
        first = last
    yield first, len(text)


def _whole_character(text: str, at: int) -> int:
    """`at`, or the start of the character that `at` is inside of: its accents, selectors and joined
    parts belong to it.
    """
    while 0 < at < len(text) and (
        unicodedata.category(text[at]) in ("Mn", "Mc", "Me")
        or text[at] == ZERO_WIDTH_JOINER
        or text[at - 1] == ZERO_WIDTH_JOINER
        or 0x1F3FB <= ord(text[at]) <= 0x1F3FF  # skin tones
    ):
        at -= 1
    return at


def _first_token_from(tokens: list[tuple[int, int]], character: int, least: int) -> int:
    number = least
    while number < len(tokens) and tokens[number][0] < character:
        number += 1
    return number


def _word_start(text: str, tokens: list[tuple[int, int]], low: int, high: int) -> int:
    """The first token in [low, high) that starts a word; `low` if none does, `high` if low is not below it."""
    for number in range(low, high):
        at = tokens[number][0]
        if at == 0 or text[at - 1].isspace():
            return number
    return min(low, high)
