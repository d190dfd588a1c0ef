"""The words of a generation, open for searching.

Where scores must not depend on how an index is cut into parts (in a shard, or where an exact answer is asked for), what
tantivy finds are candidates. They are scored again from their texts by `weights/formula.py`, with the statistics of the
whole index, and more are asked for until no other row can be among the best.
"""

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tantivy
from numpy.typing import NDArray
from tantivy import Occur, Query

from embed.vectors.scratch import scratch_folder
from index.search.bitmap import Bitmap
from index.search.filtering import Filters, Node
from index.search.lexical.filter_query import FilterQueries
from index.search.lexical.text import MAX_WORDS, analyser, text_of
from index.weights import formula
from index.weights.formula import Statistics
from index.weights.whole import WholeStatistics

FOLDER = "lexical"
HEAP_BYTES = 256 << 20  # of what is not yet in a segment
_ROW_BYTES = 128  # of it that a row's columns take, at most
_MEMORY = "/dev/shm"
WORDS_FIELD, ROW_FIELD = "words", "row"
_NOTHING = 0.0
# Sifting: the least share of rows that a filter keeps, more hits than that share asks for, and hits beyond which words
# are filtered as they are looked for. On made texts of 400,000 rows it takes 0.3 to 0.8 of the time down to this share.
_SIFTED_SHARE, _SIFTED_MORE, _SIFTED_MOST = 0.1, 1.25, 2000
_ROUNDING = 1e-4  # more than float32 can be off by in the sum of MAX_WORDS numbers
_MEAN = re.compile(r'"value": ([0-9.e+-]+),\s*"description": "avgdl')  # where tantivy explains a score


class Matched(NamedTuple):
    """rows int64 (m,), scores float32 (m,): best first, ties by row."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]


def _scratch() -> str | None:
    """Where links are made: the usual folder, or memory where no other may be written (a read-only container)."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        return _MEMORY
    return None


class Lexical:
    """The words of a generation, open for searching. Safe to use from several threads.

    Args:
        payload_at: the payload of a row.
    """

    def __init__(
        self, folder: Path, entry: dict[str, Any], filters: Filters, payload_at: Callable[[int], bytes]
    ) -> None:
        whole = entry.get("whole")
        self._whole = None if whole is None else WholeStatistics(folder, whole)
        self._payload_at = payload_at
        self.language: str = entry["language"]
        with scratch_folder(_scratch()) as links:  # tantivy locks a file where it opens, and maps all it needs
            for file in (folder / FOLDER).iterdir():
                (links / file.name).symlink_to(file.absolute())
            index = tantivy.Index.open(str(links))
            index.config_reader("manual")
            self._schema, self.searcher = index.schema, index.searcher()
        self._query = FilterQueries(self._schema, filters).of
        # Documents of one segment lie in the order of their rows unless it was merged, which takes eight of them first.
        small = entry["text_bytes"] + _ROW_BYTES * filters.count < HEAP_BYTES
        self.by_row = self.searcher.num_segments == 1 and small
        self._analyser = analyser(self.language)

    def words(self, text: str) -> dict[str, int]:
        """The different words of a query, in the order of the text, and how often it says each; at most MAX_WORDS."""
        return dict(islice(Counter(self.analyse(text)).items(), MAX_WORDS))

    def analyse(self, text: str) -> list[str]:
        """All words of a text, as they are indexed, in its order."""
        return list(self._analyser.analyze(text))

    def statistics(self, text: str) -> Statistics:
        """By which words are scored: of the whole index in a shard, else of this generation. The mean length is known
        where a document holds a word of `text`, and 0 elsewhere."""
        if self._whole is not None:
            return Statistics(self._whole.documents, self._whole.mean_length, self._whole.held)
        return Statistics(int(self.searcher.num_docs), self.mean_length(text) or 0.0, self._held_here)

    def _held_here(self, word: str) -> int:
        return int(self.searcher.doc_freq(WORDS_FIELD, word))

    def mean_length(self, text: str) -> float | None:
        """Words of a document of this generation on average, as BM25 counts them; None where no document holds a word
        of `text`."""
        for word in self.words(text):
            query = self._term(word)
            for _, address in self.searcher.search(query, 1, count=False).hits:
                found = _MEAN.search(query.explain(self.searcher, address).to_json())
                return float(found[1]) if found else None
        return None

    def search(
        self, text: str, k: int, keep: Node | None = None, exact: bool = False, survivors: Bitmap | None = None
    ) -> Matched:
        """The best k ≥ 1 rows that hold a word of the text and survive the filter. Raises as `Filters.bitmap`.

        Args:
            exact: scores are those of the formula to their last bit, as they always are in a shard.
            survivors: of the filter, where they are known.
        """
        words = self.words(text)
        if exact or self._whole is not None:
            here = {word: times for word, times in words.items() if self._held_here(word)}
            return self._search_exactly(here, text, k, keep)
        if not words:
            return _matched(np.zeros(0, np.int64), np.zeros(0, np.float32), 0)
        terms = [
            self._term(word) if times == 1 else Query.boost_query(self._term(word), float(times))
            for word, times in words.items()
        ]
        if keep is not None and survivors is not None and survivors.count >= _SIFTED_SHARE * survivors.size:
            sifted = self._sifted(self._kept(terms, None), k, survivors)
            if sifted is not None:
                return sifted
        hits = self._hits(self._kept(terms, keep), k)
        return _matched(self._rows(hits), np.array([score for score, _ in hits], np.float32), k)

    def _search_exactly(self, words: Mapping[str, int], text: str, k: int, keep: Node | None) -> Matched:
        if not words:
            return _matched(np.zeros(0, np.int64), np.zeros(0, np.float32), 0)
        statistics = self.statistics(text)
        weights = [formula.weight(statistics.held(word), statistics.documents, times) for word, times in words.items()]
        here = int(self.searcher.num_docs)
        boosted = [
            Query.boost_query(self._term(word), float(weight / formula.weight(self._held_here(word), here)))
            for word, weight in zip(words, weights, strict=True)
        ]
        query = self._kept(boosted, keep)
        # Weights are those of the whole, lengths are still compared with the mean of the texts here. Where that is the
        # smaller one, a row may be worth so much more than tantivy says, at most.
        most = max(1.0, statistics.mean_length / (self.mean_length(text) or 1.0)) * (1 + _ROUNDING)
        asked = k + k // 2 + 8
        rows, scores = np.zeros(0, np.int64), np.zeros(0, np.float32)
        while True:
            hits: list[tuple[float, Any]] = self.searcher.search(query, asked, count=False).hits
            new = self._rows(hits[len(rows) :])
            rows = np.concatenate([rows, new])
            scores = np.concatenate([scores, self._scores(new, list(words), weights, statistics.mean_length)])
            found = _matched(rows, scores, k)
            if len(hits) < asked or (len(found.rows) == k and found.scores[-1] > most * hits[-1][0]):
                return found
            asked *= 4

    def _scores(
        self, rows: NDArray[np.int64], words: Sequence[str], weights: Sequence[np.float32], mean_length: float
    ) -> NDArray[np.float32]:
        """Of rows by their texts, float32 (rows,)."""
        counts, norms = np.zeros((len(words), len(rows)), np.float32), np.zeros(len(rows), np.float32)
        for place, row in enumerate(rows.tolist()):
            text = self.analyse(text_of(self._payload_at(row)))
            held = Counter(text)
            counts[:, place], norms[place] = [held[word] for word in words], formula.norm(len(text), mean_length)
        found = np.zeros(len(rows), np.float32)
        for weight, count in zip(weights, counts, strict=True):
            found += weight * (count / (count + norms))
        return found

    def _term(self, word: str) -> Any:
        return Query.term_query(self._schema, WORDS_FIELD, word, "freq")

    def _kept(self, terms: Sequence[Any], keep: Node | None) -> Any:
        """Any of the terms, in rows that survive the filter."""
        query = Query.boolean_query([(Occur.Should, term) for term in terms])
        if keep is None:
            return query
        silent = Query.const_score_query(self._query(keep), _NOTHING)
        return Query.boolean_query([(Occur.Must, query), (Occur.Must, silent)])

    def _sifted(self, query: Any, k: int, survivors: Bitmap) -> Matched | None:
        """The best k of the survivors; None where they are too few among the best."""
        asked = int(_SIFTED_MORE * k * survivors.size / survivors.count) + 8
        while asked <= _SIFTED_MOST:
            hits = self._hits(query, asked)
            rows = self._rows(hits)
            there = survivors.held(rows)
            if len(hits) < asked or there.sum() >= k:
                scores = np.array([score for score, _ in hits], np.float32)
                return _matched(rows[there], scores[there], k)
            asked *= 4
        return None

    def _rows(self, hits: Sequence[tuple[float, Any]]) -> NDArray[np.int64]:
        found = self.searcher.fast_field_values(ROW_FIELD, [address for _, address in hits])
        return np.array(found, np.int64)

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


def _matched(rows: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> Matched:
    """The best k of some rows."""
    order = np.lexsort((rows, -scores))[:k]
    return Matched(rows[order], scores[order])
