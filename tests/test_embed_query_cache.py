"""The cache of query vectors: what it finds, what it never finds, what gives way, and how much it keeps."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from embed.encoders.query_cache import WAYS, CacheMemory, QueryCache

DIM = 8


def vector_of(number: int) -> bytes:
    return np.full(DIM, number, np.float32).tobytes()


def cache_of(size_bytes: int = 1 << 16, fingerprint: str = "sha256:a", dim: int = DIM) -> QueryCache:
    return QueryCache(CacheMemory(size_bytes), fingerprint, dim)


def test_what_was_put_is_found_and_nothing_else_is() -> None:
    cache = cache_of()
    keys = [cache.key([101, number, 102]) for number in range(100)]
    assert len(set(keys)) == 100
    assert not any(map(cache.get, keys))
    for number, key in enumerate(keys[:50]):
        cache.put(key, vector_of(number))
    assert [cache.get(key) for key in keys[:50]] == [vector_of(number) for number in range(50)]
    assert not any(map(cache.get, keys[50:]))


def test_ids_that_run_together_alike_are_different_queries() -> None:
    cache = cache_of()
    assert len({cache.key(ids) for ids in ([1, 23], [12, 3], [1, 2, 3], [123], [])}) == 5


def test_another_model_finds_nothing_in_the_same_memory() -> None:
    memory = CacheMemory(1 << 16)
    old, new = QueryCache(memory, "sha256:a", DIM), QueryCache(memory, "sha256:b", DIM)
    wider = QueryCache(memory, "sha256:b", 2 * DIM)
    for number in range(50):
        old.put(old.key([number]), vector_of(number))
    for other in (new, wider):
        assert not any(other.get(other.key([number])) for number in range(50))
    assert not any(new.get(old.key([number])) for number in range(50)), "the sum has the model in it too"


def test_two_services_hash_differently() -> None:
    assert cache_of().key([1, 2]) != cache_of().key([1, 2])


def test_its_memory_is_all_that_it_takes() -> None:
    memory = CacheMemory(1 << 16)
    cache = QueryCache(memory, "sha256:a", DIM)
    assert cache.used_bytes == 0
    for number in range(10 * cache.entries):
        cache.put(cache.key([number]), vector_of(number))
    held = sum(cache.get(cache.key([number])) is not None for number in range(10 * cache.entries))
    assert held == cache.entries
    assert (1 << 16) * 0.9 < cache.used_bytes <= len(memory.bytes) == 1 << 16
    assert set(vars(cache)) == {"_hash", "_keys", "_sets", "_stamps", "_sums", "_vector_bytes", "_vectors"}


@pytest.mark.parametrize("size_bytes", [0, 1, 4096, 4097])
@pytest.mark.parametrize("dim", [1, 8, 4096])
def test_memory_too_small_for_a_set_keeps_nothing(size_bytes: int, dim: int) -> None:
    cache = cache_of(size_bytes, dim=dim)
    key = cache.key([1])
    cache.put(key, b"\1" * 4 * dim)
    assert (cache.get(key) is not None) == (cache.entries > 0)


def test_what_was_used_longest_ago_gives_way() -> None:
    cache = cache_of(WAYS * (40 + 4 * 64), dim=64)  # less than a page, which is what it gets: a few sets
    first = cache.key([0])
    of_its_set = (
        key for key in map(cache.key, ([n] for n in itertools.count(1))) if cache._set_of(key) == cache._set_of(first)
    )
    others = list(itertools.islice(of_its_set, WAYS))
    vector = b"\1" * 256
    for key in (first, *others[: WAYS - 1]):
        cache.put(key, vector)
    assert cache.get(first) is not None
    cache.put(others[-1], vector)
    assert [cache.get(key) is not None for key in (first, *others)] == [True, False, *[True] * (WAYS - 1)]


def test_an_entry_that_is_half_written_is_none() -> None:
    memory = CacheMemory(1 << 16)
    cache = QueryCache(memory, "sha256:a", DIM)
    key = cache.key([1, 2, 3])
    cache.put(key, vector_of(7))
    at = memory.bytes.find(vector_of(7))
    memory.bytes[at + 5] ^= 1
    assert cache.get(key) is None
    cache.put(key, vector_of(7))
    assert cache.get(key) == vector_of(7)


def test_nothing_of_the_query_can_be_read_in_it(served_encoder: Any) -> None:
    memory = CacheMemory(1 << 20)
    cache = QueryCache(memory, served_encoder.fingerprint.id, served_encoder.dim)
    text = "sourdough starter smells"
    [ids] = served_encoder.token_ids([text], "query")
    cache.put(cache.key(ids), served_encoder.encode([text], "query")[0].tobytes())
    kept = memory.bytes[:]
    assert text.encode() not in kept
    for kind in (np.int32, np.int64, np.uint16):
        assert np.array(ids, kind).tobytes() not in kept


def test_token_ids_are_what_the_encoder_encodes(served_encoder: Any) -> None:
    texts = ["Rotating an API key", "octopus", "", "ice " * 400]
    ids = served_encoder.token_ids(texts, "query")
    lengths = np.array([len(each) for each in ids], np.int32)
    vectors, counts = served_encoder.encode_counted(texts, "query")
    assert lengths.tolist() == counts.tolist()
    np.testing.assert_array_equal(served_encoder.encode_ids(ids, lengths), vectors)
