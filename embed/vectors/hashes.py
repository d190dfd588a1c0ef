"""An append-only map from 16-byte hashes to int64, in sorted numpy arrays.

A Python dict of ten million such keys takes about 1.5 GB; sorted arrays take 24 bytes an entry. New
keys arrive in batches and become a run of their own; runs of similar size are merged, as in a
log-structured merge tree, so an entry is moved O(log n) times and a lookup searches O(log n) runs.
"""

import numpy as np
from numpy.typing import NDArray

HASH_BYTES = 16


class HashIndex:
    """keys: (n,) 'S16' arrays; values: (n,) int64, not negative."""

    def __init__(self) -> None:
        self._runs: list[tuple[NDArray[np.bytes_], NDArray[np.int64]]] = []

    def __len__(self) -> int:
        """Entries held; a key that was added twice counts twice."""
        return sum(len(keys) for keys, _ in self._runs)

    def add(self, keys: NDArray[np.bytes_], values: NDArray[np.int64]) -> None:
        """Of a key that is added again, the newest value is found."""
        if not len(keys):
            return
        self._runs.append(_sorted(keys, values))
        while len(self._runs) > 1 and len(self._runs[-2][0]) < 2 * len(self._runs[-1][0]):
            (keys_b, values_b), (keys_a, values_a) = self._runs.pop(), self._runs.pop()
            self._runs.append(_sorted(np.concatenate([keys_a, keys_b]), np.concatenate([values_a, values_b])))

    def find(self, keys: NDArray[np.bytes_]) -> NDArray[np.int64]:
        """(n,) values, −1 where a key is not there."""
        found = np.full(len(keys), -1, dtype=np.int64)
        for run_keys, run_values in self._runs:
            at = np.maximum(np.searchsorted(run_keys, keys, side="right") - 1, 0)
            hit = run_keys[at] == keys
            found[hit] = run_values[at[hit]]
        return found


def _sorted(keys: NDArray[np.bytes_], values: NDArray[np.int64]) -> tuple[NDArray[np.bytes_], NDArray[np.int64]]:
    order = np.argsort(keys, kind="stable")
    return keys[order], values[order]
