"""Which rows a search may return: one bit a row, packed the way the kernels read it; and those that are kept."""

from collections import OrderedDict
from functools import cached_property
from threading import Lock
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from index.errors import InputError


class Bitmap:
    """A filter's answer over `count` rows.

    given: bool (count,), or those bools packed by `np.packbits(…, bitorder="little")`, uint8 (⌈count / 8⌉,). Raises
    InputError for anything else. `words` hold the same bits, 64 in each, and `count` says how many are set.
    """

    def __init__(self, given: NDArray[Any], count: int) -> None:
        if given.dtype == np.bool_ and given.shape == (count,):
            given = np.packbits(given, bitorder="little")
        elif given.dtype != np.uint8 or given.shape != (-(-count // 8),):
            raise InputError(
                f"keep is {given.dtype} {given.shape}; expected bool ({count},), or its bits packed from the lowest, "
                f"uint8 ({-(-count // 8)},)"
            )
        padded = np.zeros(-(-count // 64) * 8, np.uint8)
        padded[: len(given)] = given
        if count % 8:
            padded[count // 8] &= (1 << count % 8) - 1
        self.words = padded.view("<u8")
        self.size = count
        self.count = int(np.bitwise_count(self.words).sum())

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """The rows whose bit is set, ascending. Costs what is set, not what there is, and is kept."""
        some = np.flatnonzero(self.words)
        bits = np.unpackbits(self.words[some].view(np.uint8), bitorder="little").reshape(-1, 64)
        word, bit = np.nonzero(bits)
        return (some[word] * 64 + bit).astype(np.int64)

    @cached_property
    def runs(self) -> int:
        """How many of the rows whose bit is set have none before them: stretches of neighbouring rows."""
        before = self.words << np.uint64(1)
        before[1:] |= self.words[:-1] >> np.uint64(63)
        return int(np.bitwise_count(self.words & ~before).sum())

    @property
    def nbytes(self) -> int:
        """All that it holds by now."""
        made = (self.__dict__[name] for name in ("rows", "rows32") if name in self.__dict__)
        return int(self.words.nbytes + sum(each.nbytes for each in made))

    def flags(self) -> NDArray[np.bool_]:
        """The bits as bools (size,). Made anew each time: it is eight times the size."""
        return np.unpackbits(self.words.view(np.uint8), count=self.size, bitorder="little").view(np.bool_)

    @cached_property
    def rows32(self) -> NDArray[np.uint32]:
        """As `rows`, in the form that the kernels pick rows by."""
        return self.rows.astype(np.uint32)

    def __and__(self, other: "Bitmap") -> "Bitmap":
        """The rows that both have."""
        words = self.words & other.words
        return Bitmap(words.view(np.uint8)[: -(-self.size // 8)], self.size)

    def holds(self, row: int) -> bool:
        return bool(int(self.words[row >> 6]) >> (row & 63) & 1)

    def held(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Of each of the rows whether its bit is set, bool (m,)."""
        bits: NDArray[np.bool_] = (self.words[rows >> 6] >> (rows & 63).astype(np.uint64)) & np.uint64(1) == 1
        return bits

    def without(self, rows: NDArray[Any]) -> "Bitmap":
        """The same bits but those of `rows`, which may repeat."""
        packed = self.words.view(np.uint8).copy()
        np.bitwise_and.at(packed, rows >> 3, ~(1 << (rows & 7)).astype(np.uint8))
        return Bitmap(packed[: -(-self.size // 8)], self.size)


class Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


T = TypeVar("T", bound=Sized)


class Kept(Generic[T]):
    """What was used last, by keys that are not empty: `most_bytes` of it, or FEW where one alone is larger. Safe to use
    from several threads."""

    FEW, _BESIDE = 4, 1024  # bytes of Python's beside each

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self._bytes = most_bytes, 0
        self._kept: OrderedDict[bytes, tuple[T, int]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: bytes) -> bool:
        return key in self._kept

    def get(self, key: bytes) -> T | None:
        with self._lock:
            self._weigh_latest()
            return self._weighed(key) if key in self._kept else None

    def put(self, key: bytes, value: T) -> None:
        if not key:
            return
        with self._lock:
            self._weigh_latest()
            self._bytes -= self._kept.pop(key, (None, 0))[1]
            self._kept[key] = value, 0
            self._weighed(key)
            while self._bytes > self._most_bytes and len(self._kept) > self.FEW:
                self._bytes -= self._kept.popitem(last=False)[1][1]

    def _weigh_latest(self) -> None:
        """Searches have added to it what they made of it."""
        if self._kept:
            self._weighed(next(reversed(self._kept)))

    def _weighed(self, key: bytes) -> T:
        """It is the one used last now, of the size that it has now."""
        value, known = self._kept.pop(key)
        size = len(key) + value.nbytes + self._BESIDE
        self._bytes += size - known
        self._kept[key] = value, size
        return value
