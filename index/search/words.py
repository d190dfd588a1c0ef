"""Search by words inside a generation: BM25 by tantivy, over the title and text of the payload.

tantivy keeps a folder of files, `lexical/`, hashed in the manifest like every other; who opens it does so through links
in a folder of its own, because tantivy locks what it opens and a generation is not written to. Words are cut at
anything but letters and digits, folded to plain lower-case ones, and stemmed; a query is a bag of such words and no
syntax. Title and text are one field: that is how the vectors were made, and how BM25 is usually measured.

A filter is a part of the query here. The columns are indexed beside the words, keywords by their numbers, and the tree
of a filter becomes a tree of tantivy queries that scores nothing; so min(k, survivors that match) hits come back, and
none is looked for twice. Hits are ordered by score, ties by row.

A text beyond HEAP_BYTES is stored in several segments, and tantivy puts the larger ones first. Scores do not change by
it (frequencies and lengths are counted over all of them), the order of ties does; so where a tie lies across the end of
the answer, all of it is fetched, and the rows decide.
"""

import re
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import tantivy
from numpy.typing import NDArray
from tantivy import FieldType, Filter, Occur, Query, TextAnalyzerBuilder, Tokenizer

from embed.vectors.scratch import scratch_folder
from index.errors import InputError
from index.search.conditions import Words
from index.search.filtering import And, Between, Exists, Filters, Node, Not, OneOf

FOLDER = "lexical"
LANGUAGES = (
    *("arabic", "danish", "dutch", "english", "finnish", "french", "german", "greek", "hungarian", "italian"),
    *("norwegian", "portuguese", "romanian", "russian", "spanish", "swedish", "tamil", "turkish"),
)
MAX_WORDS = 256  # different words of a query that are looked up; a longer text is cut there
_LONGEST_WORD = 64  # characters; what is longer is a hash or a line of base64
HEAP_BYTES = 256 << 20  # of what is not yet in a segment
_ROW_BYTES = 128  # of it that a row's columns take, at most
_MEMORY = "/dev/shm"
WORDS_FIELD, ROW_FIELD, PRESENT_FIELD = "words", "row", "present"
_NOTHING = 0.0
_MEAN = re.compile(r'"value": ([0-9.e+-]+),\s*"description": "avgdl')  # where tantivy explains a score


class _Texts(msgspec.Struct):
    title: Any = None
    text: Any = None


_TEXTS = msgspec.json.Decoder(_Texts)


class Matched(NamedTuple):
    """rows int64 (m,), scores float32 (m,): best first, ties by row."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]


def text_of(payload: bytes) -> str:
    """What of a payload is searched by words: its title and text, "" where it has neither."""
    try:
        found = _TEXTS.decode(payload)
    except msgspec.DecodeError:
        return ""
    return "\n".join(part for part in (found.title, found.text) if isinstance(part, str) and part)


def analyser(language: str) -> Any:
    """Text to words. language: one of LANGUAGES for its stemmer, or "none"."""
    builder = TextAnalyzerBuilder(Tokenizer.simple()).filter(Filter.lowercase()).filter(Filter.ascii_fold())
    builder = builder.filter(Filter.remove_long(_LONGEST_WORD))
    return (builder if language == "none" else builder.filter(Filter.stemmer(language))).build()


def check_language(given: str) -> str:
    if given != "none" and given not in LANGUAGES:
        raise InputError(f"{given!r} is no language that words are stemmed in; expected none, {', '.join(LANGUAGES)}")
    return given


def _scratch() -> str | None:
    """Where links are made: the usual folder, or memory where no other may be written (a read-only container)."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        return _MEMORY
    return None


class Lexical:
    """The words of a generation, open for searching. Safe to use from several threads."""

    def __init__(self, folder: Path, entry: dict[str, Any], filters: Filters) -> None:
        self.language: str = entry["language"]
        self._filters = filters
        self._places = {name: place for place, name in enumerate(filters.columns)}
        with scratch_folder(_scratch()) as links:  # tantivy locks a file where it opens, and maps all it needs
            for file in (folder / FOLDER).iterdir():
                (links / file.name).symlink_to(file.absolute())
            index = tantivy.Index.open(str(links))
            index.config_reader("manual")
            self._schema, self.searcher = index.schema, index.searcher()
        # Documents of one segment lie in the order of their rows unless it was merged, which takes eight of them first.
        small = entry["text_bytes"] + _ROW_BYTES * filters.count < HEAP_BYTES
        self.by_row = self.searcher.num_segments == 1 and small
        self._analyser = analyser(self.language)

    def words(self, text: str) -> list[str]:
        """The different words of a query, in the order of the text; at most MAX_WORDS."""
        return list(dict.fromkeys(self.analyse(text)))[:MAX_WORDS]

    def analyse(self, text: str) -> list[str]:
        """All words of a text, as they are indexed, in its order."""
        return list(self._analyser.analyze(text))

    def held(self, word: str) -> int:
        """How many documents hold a word."""
        return int(self.searcher.doc_freq(WORDS_FIELD, word))

    @property
    def documents(self) -> int:
        """How many there are, those without a text included: BM25 counts all of them."""
        return int(self.searcher.num_docs)

    def mean_length(self, text: str) -> float | None:
        """Words of a document on average, as BM25 counts them; None where no document holds a word of `text`."""
        for word in self.words(text):
            query = Query.term_query(self._schema, WORDS_FIELD, word, "freq")
            for _, address in self.searcher.search(query, 1, count=False).hits:
                found = _MEAN.search(query.explain(self.searcher, address).to_json())
                return float(found[1]) if found else None
        return None

    def search(self, text: str, k: int, keep: Node | None = None) -> Matched:
        """The best k ≥ 1 rows that hold a word of the text and survive the filter. Raises as `Filters.bitmap`."""
        terms = [(Occur.Should, Query.term_query(self._schema, WORDS_FIELD, word, "freq")) for word in self.words(text)]
        if not terms:
            return Matched(np.zeros(0, np.int64), np.zeros(0, np.float32))
        query = Query.boolean_query(terms)
        if keep is not None:
            silent = Query.const_score_query(self._query(keep), _NOTHING)
            query = Query.boolean_query([(Occur.Must, query), (Occur.Must, silent)])
        hits = self._hits(query, k)
        rows = self.searcher.fast_field_values(ROW_FIELD, [address for _, address in hits])
        found = Matched(np.array(rows, np.int64), np.array([score for score, _ in hits], np.float32))
        order = np.lexsort((found.rows, -found.scores))[:k]
        return Matched(found.rows[order], found.scores[order])

    def _hits(self, query: Any, k: int) -> list[tuple[float, Any]]:
        """The best k, and where it is not certain which of a tie belong to them, all of the tie."""
        if self.by_row:
            return list(self.searcher.search(query, k, count=False).hits)
        asked = k + 1
        while True:
            hits: list[tuple[float, Any]] = self.searcher.search(query, asked, count=False).hits
            if len(hits) < asked or hits[-1][0] < hits[k - 1][0]:
                return hits
            asked *= 4

    def close(self) -> None:
        del self.searcher

    def _query(self, node: Node) -> Any:
        if isinstance(node, OneOf):
            return self._one_of(node)
        if isinstance(node, Between):
            column, low, high, above, below = self._filters.bounds(node)
            kind = FieldType.Float if column.type == "float" else FieldType.Integer
            low, high = (None if bound is None else bound + 0.0 if kind is FieldType.Float else bound
                         for bound in (low, high))  # fmt: skip
            name = f"f{self._places[column.name]}"
            return Query.range_query(self._schema, name, kind, low, high, not above, not below)
        if isinstance(node, Exists):
            column_ = self._filters.column(node.field, f"{node.at}/field")
            there = Query.term_query(self._schema, PRESENT_FIELD, self._places[column_.name])
            return there if node.wanted else _not(there)
        if isinstance(node, Not):
            return _not(self._query(node.part))
        occur = Occur.Must if isinstance(node, And) else Occur.Should
        return Query.boolean_query([(occur, self._query(part)) for part in node.parts])

    def _one_of(self, node: OneOf) -> Any:
        column, values = self._filters.values(node)
        name = f"f{self._places[column.name]}"
        if isinstance(column, Words):
            values = column.numbers_of(values)
        if not values:
            return Query.empty_query()
        if column.type == "float":
            # A term of floats is its bits; a range is what it says.
            points = [
                Query.range_query(self._schema, name, FieldType.Float, value + 0.0, value + 0.0) for value in values
            ]
            return Query.boolean_query([(Occur.Should, point) for point in points])
        return Query.term_set_query(self._schema, name, [int(value) for value in values])


def _not(query: Any) -> Any:
    return Query.boolean_query([(Occur.Must, Query.all_query()), (Occur.MustNot, query)])
