"""The sparse weights of a generation, open for searching."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.kernels import _native
from index.search.bitmap import Bitmap
from index.search.lexical.words import Matched
from index.search.sparse.section import FOLDER, QUERY_STEP, TOKENIZER_FILE, read_arrays

MAX_TOKENS = 256  # different tokens of a query that are looked up; a longer text is cut there


class QueryTokens(NamedTuple):
    """tokens uint32 (m,): each once; weights uint32 (m,): of each, in steps of QUERY_STEP."""

    tokens: NDArray[np.uint32]
    weights: NDArray[np.uint32]


class SparseIndex:
    """Safe to use from several threads.

    Args:
        entry: What the manifest says of it.
        count: How many rows the generation has.
    """

    def __init__(self, folder: Path, entry: dict[str, Any], count: int) -> None:
        from tokenizers import Tokenizer  # which a generation without sparse weights does not need

        self.model: dict[str, Any] = entry["model"]
        self._step = float(self.model["step"]) * QUERY_STEP
        arrays = read_arrays(folder, entry["sizes"])
        if len(arrays.terms) != len(arrays.table) + 1:
            raise ValueError(f"{FOLDER} has {len(arrays.terms) - 1} tokens, and {len(arrays.table)} in its table")
        self._table = np.array(arrays.table, np.uint32)
        self._postings, self._count = len(arrays.postings), count
        self._index = _native.ImpactIndex(arrays.terms, arrays.entries, arrays.postings, count)
        self._tokenizer = Tokenizer.from_file(str(folder / FOLDER / TOKENIZER_FILE))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def query(self, text: str) -> QueryTokens:
        """The different tokens of a text that weigh something, in its order; at most MAX_TOKENS."""
        ids = dict.fromkeys(self._tokenizer.encode(text, add_special_tokens=False).ids)
        tokens = np.fromiter(ids, np.uint32, len(ids))
        tokens = tokens[tokens < len(self._table)]  # a tokenizer may know more than the model
        tokens = tokens[self._table[tokens] > 0][:MAX_TOKENS]
        return QueryTokens(tokens, self._table[tokens])

    def by_rows(self) -> tuple[NDArray[np.uint32], NDArray[np.uint8], NDArray[np.int64]]:
        """What it was made of: tokens (n,) of one row after the other, their impacts (n,), and where each row's end
        (rows,)."""
        tokens, impacts = np.empty(self._postings, np.uint32), np.empty(self._postings, np.uint8)
        ends = np.empty(self._count, np.int64)
        held = self._index.spread(tokens, impacts, ends)
        return tokens[:held], impacts[:held], ends

    def search(self, text: str, k: int, keep: Bitmap | None = None) -> Matched:
        """The best k ≥ 1 rows that hold a token of the text, of those that `keep` lets through."""
        tokens, weights = self.query(text)
        rows, sums, _ = self._index.search(tokens, weights, k, None if keep is None else keep.words)
        return Matched(rows, sums * np.float32(self._step))

    def scored(self, sums: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores of sums of products in steps of both weights, as `search` gives them."""
        return sums.astype(np.float32) * np.float32(self._step)
