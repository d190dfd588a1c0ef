"""Which texts have a vector already, and where.

Resuming, embedding only what changed, and embedding a repeated text once are one mechanism: a text
is looked up by its hash among all fragments that the same model wrote, those of a finished run,
those a killed run left, those of other folders (--embedded-from) and those of this very run. Only
hashes are held in memory, 24 bytes a text; vectors are read from their fragment when a window of
documents needs them, a few fragments at a time."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embed.vectors import fragments
from embed.vectors.fragments import Fragment
from embed.vectors.hashes import HASH_BYTES, HashIndex

# Fragments whose vectors stay in memory: documents mostly come in the order of the last run, so
# that a window of them touches two fragments. At 8,192 x 384 float32, two take 25 MB.
FRAGMENTS_HELD = 2
ROW_BITS = 32


def hash_texts(texts: Iterable[str]) -> NDArray[np.bytes_]:
    """(n,) 'S16': the first 16 bytes of blake2b of each text as UTF-8."""
    digests = [hashlib.blake2b(text.encode(), digest_size=HASH_BYTES).digest() for text in texts]
    return np.frombuffer(b"".join(digests), dtype=f"S{HASH_BYTES}")


class VectorCache:
    """Vectors by text hash, dim wide. `warn` is told of a fragment that has gone since it was
    checked.
    """

    def __init__(self, dim: int, warn: Callable[[str], None]) -> None:
        self._dim = dim
        self._warn = warn
        self._index = HashIndex()
        self._places: list[Fragment | NDArray[np.float32]] = []
        self._held: OrderedDict[int, NDArray[np.float32]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._index)

    def add(self, place: Fragment | NDArray[np.float32], hashes: NDArray[np.bytes_]) -> int:
        """Makes vectors findable: those of a fragment, or an array (n, dim) that is held until it is `settled`.

        hashes: (n,) in row order. Returns the number by which to settle them."""
        number = len(self._places)
        first = number << ROW_BITS
        self._places.append(place)
        self._index.add(hashes, np.arange(first, first + len(hashes), dtype=np.int64))
        return number

    def settled(self, number: int, fragment: Fragment) -> None:
        """The vectors that were added as an array are in a fragment now, in the same order."""
        self._places[number] = fragment

    def read(self, hashes: NDArray[np.bytes_]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """float32 (n, dim) and bool (n,): the vectors, and which of them are known (the others are
        zero).
        """
        vectors = np.zeros((len(hashes), self._dim), dtype=np.float32)
        places = self._index.find(hashes)
        known = places >= 0
        numbers = places >> ROW_BITS
        for number in np.unique(numbers[known]):
            here = np.flatnonzero(numbers == number)
            place, rows = self._places[number], places[here] & (1 << ROW_BITS) - 1
            if not isinstance(place, Fragment):
                vectors[here] = place[rows]
                continue
            try:
                vectors[here] = self._vectors(int(number), place)[rows]
            except (OSError, pa.ArrowException) as error:
                # Another run may rebuild a folder of --embedded-from while we read it.
                self._warn(f"{place.path} can no longer be read, its texts are embedded again: {error}")
                known[here] = False
        return vectors, known

    def _vectors(self, number: int, fragment: Fragment) -> NDArray[np.float32]:
        if number not in self._held:
            while len(self._held) >= FRAGMENTS_HELD:
                self._held.popitem(last=False)
            self._held[number] = fragments.read_vectors(fragment)
        self._held.move_to_end(number)
        return self._held[number]
