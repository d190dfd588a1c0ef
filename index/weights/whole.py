"""Word statistics of a whole index, kept in each of its shards, so that a word is worth the same in all of them.

`words.arrow` has every word of the whole, sorted by its UTF-8 bytes, with how many documents hold it. The manifest has
how many documents and words there are in all.
"""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from index.errors import GenerationError

WHOLE_FILE = "words.arrow"


class WholeWords(NamedTuple):
    """Counted over all texts of an index. words: in all of them together. held: documents that hold each word."""

    documents: int
    words: int
    held: Counter[str]

    def entry(self) -> dict[str, int]:
        """As manifests have it."""
        return {"documents": self.documents, "words": self.words}


def write_whole(folder: Path, counted: WholeWords) -> None:
    words = sorted(counted.held, key=str.encode)
    held = pa.array([counted.held[word] for word in words], pa.int64())
    table = pa.table({"word": pa.array(words, pa.large_string()), "held": held})
    with pa.OSFile(str(folder / WHOLE_FILE), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


class WholeStatistics:
    """Those of a shard's generation, mapped."""

    def __init__(self, folder: Path, entry: dict[str, Any]) -> None:
        self.documents: int = entry["documents"]
        # As tantivy divides them: two float32.
        self.mean_length = float(np.float32(entry["words"]) / np.float32(max(self.documents, 1)))
        self._file = pa.memory_map(str(folder / WHOLE_FILE))
        table = pa.ipc.open_file(self._file).read_all().combine_chunks()
        words: Any = table.column("word").combine_chunks()
        if isinstance(words, pa.ChunkedArray) or len(words) == 0:
            raise GenerationError(folder / WHOLE_FILE, "holds no words")
        _, ends, data = words.buffers()
        self._ends = memoryview(ends).cast("B").cast("q")
        self._data = memoryview(data)
        self._held: NDArray[np.int64] = table.column("held").to_numpy()

    def held(self, word: str) -> int:
        """How many documents of the whole hold a word."""
        wanted, low, high = word.encode(), 0, len(self._held)
        while low < high:
            middle = (low + high) // 2
            if self._at(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        return int(self._held[low]) if low < len(self._held) and self._at(low) == wanted else 0

    def _at(self, place: int) -> bytes:
        return bytes(self._data[self._ends[place] : self._ends[place + 1]])
