"""The hash index against a dict."""

from __future__ import annotations

import numpy as np
import pytest

from embed.vectors.hashes import HASH_BYTES, HashIndex


def keys(*values: bytes) -> np.ndarray:
    return np.frombuffer(b"".join(value.ljust(HASH_BYTES, b"\0") for value in values), dtype=f"S{HASH_BYTES}")


def test_empty() -> None:
    index = HashIndex()
    assert len(index) == 0
    assert index.find(keys(b"a", b"")).tolist() == [-1, -1]
    index.add(keys(), np.array([], dtype=np.int64))
    assert index.find(keys(b"a")).tolist() == [-1]


def test_hashes_ending_in_zero_bytes_or_nothing_but_them_are_keys_too() -> None:
    index = HashIndex()
    index.add(keys(b"", b"a", b"a\0b", b"\xff" * 16), np.arange(4))
    assert index.find(keys(b"\xff" * 16, b"a\0b", b"a", b"", b"b")).tolist() == [3, 2, 1, 0, -1]


@pytest.mark.parametrize("batches", [[1] * 40, [1, 7, 64, 3, 3, 3, 500, 1], [1000]])
def test_agrees_with_a_dict_where_keys_come_again(batches: list[int]) -> None:
    random = np.random.default_rng(5)
    index, expected, value = HashIndex(), {}, 0
    for size in batches:
        # 300 possible keys: most come again, in the same batch too
        batch = [int(n).to_bytes(2, "big") * 8 for n in random.integers(0, 300, size)]
        values = np.arange(value, value + size)
        index.add(keys(*batch), values)
        expected.update(zip(batch, values.tolist(), strict=True))
        value += size
        asked = [int(n).to_bytes(2, "big") * 8 for n in range(330)]
        assert index.find(keys(*asked)).tolist() == [expected.get(key, -1) for key in asked]
    assert len(index) == sum(batches)
