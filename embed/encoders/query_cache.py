"""The vectors of queries that were seen before, in memory that the workers of a service share.

Queries repeat, and encoding one is most of what a text query costs. Of a query, a keyed hash of its token ids and its
vector are kept, never its text. The key of the hash is random, differs from service to service and is on no disk.

All workers share one cache. With one each, every worker would have to meet a query by itself, and would hold the same
popular queries as the others. Of 300,000 queries drawn by zipf:1 from a million, an LRU cache of 40,000 entries finds
0.68 when it is shared. Cut into one part for each of 8 workers it finds 0.51, of 32 workers 0.41; with 40,000 entries
for each worker, eight times the memory, 0.56. Sharing costs a few microseconds a query and no lock. The memory is cut
into sets of `WAYS` entries, a query belongs to one set, and the entry of a set that was used longest ago gives way,
which finds 0.67 of the same queries. Whoever reads recomputes a sum over key and vector, so an entry that is half
written, by a worker that runs or by one that was killed, is no entry. The memory is the bound in bytes: nothing outside
it grows.

The fingerprint of the model is in every hash. A worker that starts with another model, beside workers that still have
the old one, therefore finds nothing of theirs. Only a model elsewhere can become another one under its fingerprint;
when that is noticed, everything is forgotten.

This file imports no native library, because the process that forks the workers makes the memory.
"""

from __future__ import annotations

import mmap
import secrets
import time
from array import array
from collections.abc import Sequence
from hashlib import blake2b

WAYS = 8  # entries of a set; with as many, it finds nearly what one that is least recently used as a whole does
KEY_BYTES = SUM_BYTES = 16
STAMP_BYTES = 8
FLOAT_BYTES = 4


class CacheMemory:
    """Memory for one cache, shared with every process that is forked later; it has no name.

    Args:
        size_bytes: the bound on everything that the cache keeps.
    """

    def __init__(self, size_bytes: int) -> None:
        self.bytes = mmap.mmap(-1, max(size_bytes, mmap.PAGESIZE))
        self.secret = secrets.token_bytes(32)


class QueryCache:
    """One process's access to a `CacheMemory`.

    Args:
        fingerprint: id of the model whose vectors are read and written.
        dim: of the vectors.
    """

    def __init__(self, memory: CacheMemory, fingerprint: str, dim: int) -> None:
        self._vector_bytes = dim * FLOAT_BYTES
        entry_bytes = KEY_BYTES + SUM_BYTES + STAMP_BYTES + self._vector_bytes
        self._sets = len(memory.bytes) // (WAYS * entry_bytes)
        entries = self._sets * WAYS
        # Stamps first, where eight-byte numbers are aligned; then keys, sums and vectors.
        whole = memoryview(memory.bytes)
        ends = [entries * STAMP_BYTES]
        for each in (KEY_BYTES, SUM_BYTES, self._vector_bytes):
            ends.append(ends[-1] + entries * each)
        self._stamps = whole[: ends[0]].cast("d")
        self._keys, self._sums, self._vectors = (whole[ends[at] : ends[at + 1]] for at in range(3))
        self._hash = blake2b(fingerprint.encode(), key=memory.secret, digest_size=KEY_BYTES)

    @property
    def entries(self) -> int:
        """How many vectors there is room for."""
        return self._sets * WAYS

    @property
    def used_bytes(self) -> int:
        """Of vectors with their keys, sums and stamps, those of all workers."""
        return (self.entries - self._stamps.tolist().count(0)) * (
            KEY_BYTES + SUM_BYTES + STAMP_BYTES + self._vector_bytes
        )

    def key(self, ids: Sequence[int], encoder: str = "") -> bytes:
        """Of a query by its token ids, special tokens and prefix included.

        Args:
            encoder: what makes its vector instead of the model, by a name that nothing else has.
        """
        digest = self._hash.copy()
        digest.update(len(encoder).to_bytes(4, "little") + encoder.encode())
        digest.update(array("i", ids).tobytes())
        return digest.digest()

    def key_of_text(self, text: str) -> bytes:
        """Of a query whose tokens are not known here. The key of no other query is the same."""
        digest = self._hash.copy()
        digest.update(b"\xff\xff\xff\xff" + text.encode())  # no name of an encoder is as long
        return digest.digest()

    def clear(self) -> None:
        """Forgets everything, for all processes."""
        for each in (self._stamps.cast("B"), self._keys, self._sums):
            each[:] = bytes(len(each))

    def get(self, key: bytes) -> bytes | None:
        """The vector kept under `key` as little-endian float32 (dim,), None where there is none."""
        entry = self._find(key)
        if entry is None:
            return None
        vector = bytes(self._vectors[entry * self._vector_bytes : (entry + 1) * self._vector_bytes])
        if self._sums[entry * SUM_BYTES : (entry + 1) * SUM_BYTES] != self._sum(key, vector):
            return None
        self._stamps[entry] = time.monotonic()  # one clock for all processes of a machine
        return vector

    def put(self, key: bytes, vector: bytes) -> None:
        """Keeps `vector` in place of the entry of its set that was used longest ago."""
        if not self._sets:
            return
        entry = self._find(key)
        if entry is None:
            first = self._set_of(key) * WAYS
            stamps = self._stamps[first : first + WAYS].tolist()
            entry = first + stamps.index(min(stamps))
        self._keys[entry * KEY_BYTES : (entry + 1) * KEY_BYTES] = key
        self._vectors[entry * self._vector_bytes : (entry + 1) * self._vector_bytes] = vector
        self._sums[entry * SUM_BYTES : (entry + 1) * SUM_BYTES] = self._sum(key, vector)
        self._stamps[entry] = time.monotonic()

    def _find(self, key: bytes) -> int | None:
        if not self._sets:
            return None
        first = self._set_of(key) * WAYS
        keys = bytes(self._keys[first * KEY_BYTES : (first + WAYS) * KEY_BYTES])
        at = keys.find(key)
        return None if at < 0 or at % KEY_BYTES else first + at // KEY_BYTES

    def _set_of(self, key: bytes) -> int:
        return int.from_bytes(key[:8], "little") % self._sets

    def _sum(self, key: bytes, vector: bytes) -> bytes:
        digest = self._hash.copy()
        digest.update(key)
        digest.update(vector)
        return digest.digest()
