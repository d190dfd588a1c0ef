"""Fragments: what is written is read back, in a file that vouches for itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed.vectors import fragments
from embed.vectors.durable import NoSpaceError, WriteError, write_atomically, write_durably
from embed.vectors.fragments import DamagedFragmentError, FragmentRows
from embed.vectors.vector_cache import VectorCache, hash_texts


def some_rows(count: int, dim: int = 5, seed: int = 1) -> FragmentRows:
    random = np.random.default_rng(seed)
    texts = [f"text {seed} {number}" for number in range(count)]
    vectors = random.standard_normal((count, dim)).astype(np.float32)
    payloads = [b'{"text":"%s"}' % text.encode() for text in texts]
    return FragmentRows(hash_texts(texts), vectors, [f"id-{number}-é" for number in range(count)], payloads)


def write(
    folder: Path, rows: FragmentRows, stem: str = "part-00000", model: str = "sha256:model"
) -> fragments.Fragment:
    return fragments.write(folder, stem, rows, model)


@pytest.mark.parametrize("count", [1, 2, 7, 8192])
def test_round_trip_and_schema(count: int, tmp_path: Path) -> None:
    rows = some_rows(count)
    rows.hashes = rows.hashes.copy()
    rows.hashes[0] = b"ends in zero"  # numpy drops trailing zeros where it can
    fragment = write(tmp_path, rows)
    table = pq.read_table(fragment.path)
    assert [(field.name, field.type) for field in table.schema] == [
        ("id", pa.string()),
        ("text_hash", pa.binary(16)),
        ("vector", pa.list_(pa.field("element", pa.float32(), nullable=False), 5)),
        ("payload", pa.binary()),
    ]
    assert table["id"].to_pylist() == rows.ids
    assert table["payload"].to_pylist() == rows.payloads
    assert table["text_hash"][0].as_py() == b"ends in zero\0\0\0\0"
    assert np.array_equal(np.array(table["vector"].to_pylist(), dtype=np.float32), rows.vectors)
    assert np.array_equal(fragments.read_hashes(fragment), rows.hashes)
    assert np.array_equal(fragments.read_vectors(fragment), rows.vectors)
    assert fragments.fingerprint_id(fragment) == "sha256:model"
    assert fragments.check(fragment.path) == fragment


def test_a_spool_holds_hashes_and_vectors_only(tmp_path: Path) -> None:
    rows = some_rows(9)
    fragment = write(tmp_path, FragmentRows(rows.hashes, rows.vectors), "spool")
    assert pq.read_schema(fragment.path).names == ["text_hash", "vector"]
    assert np.array_equal(fragments.read_vectors(fragment), rows.vectors)


def test_the_same_rows_give_the_same_file_and_any_other_another(tmp_path: Path) -> None:
    name = write(tmp_path, some_rows(50)).path.name
    assert write(tmp_path, some_rows(50)).path.name == name
    changed = some_rows(50)
    changed.vectors[49, 4] = np.nextafter(changed.vectors[49, 4], np.float32(9))
    assert write(tmp_path, changed).path.name != name
    assert write(tmp_path, some_rows(50), model="sha256:other").path.name != name


def test_any_changed_byte_is_found(tmp_path: Path) -> None:
    fragment = write(tmp_path, some_rows(20))
    data = bytearray(fragment.path.read_bytes())
    for position in range(0, len(data), 61):
        data[position] ^= 0x10
        fragment.path.write_bytes(data)
        with pytest.raises(DamagedFragmentError, match=r"part-00000-.* is damaged"):
            fragments.check(fragment.path)
        data[position] ^= 0x10
    fragment.path.write_bytes(data)
    assert fragments.check(fragment.path) == fragment


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_truncated_file_is_found(kept: int, tmp_path: Path) -> None:
    fragment = write(tmp_path, some_rows(20))
    fragment.path.write_bytes(fragment.path.read_bytes()[:kept])
    with pytest.raises(DamagedFragmentError):
        fragments.check(fragment.path)


def test_known_vectors_come_from_many_fragments_and_the_newest_wins(tmp_path: Path) -> None:
    warnings: list[str] = []
    known = VectorCache(5, warnings.append)
    written = []
    for seed in range(7):  # more than are held in memory at once
        rows = some_rows(30, seed=seed)
        written.append(write(tmp_path, rows, f"part-{seed:05d}"))
        known.add(written[-1], rows.hashes)
    again = some_rows(30, seed=3)
    again.vectors += 1
    known.add(write(tmp_path, again, "part-00009"), again.hashes)
    hashes = np.concatenate([some_rows(30, seed=seed).hashes for seed in (6, 3, 0, 99)])
    vectors, found = known.read(hashes)
    assert found.tolist() == [True] * 90 + [False] * 30
    assert np.array_equal(vectors[:30], some_rows(30, seed=6).vectors)
    assert np.array_equal(vectors[30:60], again.vectors)
    assert np.array_equal(vectors[60:90], some_rows(30, seed=0).vectors)
    assert not warnings


def test_a_fragment_that_vanishes_is_told_and_its_texts_are_unknown(tmp_path: Path) -> None:
    warnings: list[str] = []
    known = VectorCache(5, warnings.append)
    rows = some_rows(4)
    fragment = write(tmp_path, rows)
    known.add(fragment, rows.hashes)
    fragment.path.unlink()
    _, found = known.read(rows.hashes)
    assert not found.any()
    assert len(warnings) == 1
    assert fragment.path.name in warnings[0]


def test_no_space_leaves_nothing_behind(
    tmp_path: Path, file_size_limit: Callable[[int], AbstractContextManager[None]]
) -> None:
    target = tmp_path / "big"
    with file_size_limit(1000), pytest.raises(NoSpaceError, match=r"no space for .*big \(5,000 bytes\)"):
        write_durably(target, b"x" * 5000)
    assert list(tmp_path.iterdir()) == []
    write_durably(target, b"old")
    with file_size_limit(1000), pytest.raises(NoSpaceError):
        write_durably(target, b"x" * 5000)
    assert target.read_bytes() == b"old"


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"gone/file cannot be written: No such file"):
        write_durably(tmp_path / "gone" / "file", b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(WriteError, match=r"folder cannot be written"):
        write_durably(tmp_path / "folder", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_file_of_any_package_is_replaced_whole_or_not_at_all(
    tmp_path: Path, file_size_limit: Callable[[int], AbstractContextManager[None]]
) -> None:
    target = tmp_path / "keys.json"
    write_atomically(target, b"old", mode=0o600)
    assert target.stat().st_mode & 0o777 == 0o600
    with file_size_limit(1000), pytest.raises(OSError, match="File too large"):
        write_atomically(target, b"x" * 5000)
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["keys.json"]
