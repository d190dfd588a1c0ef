"""`perwatt bench kernels`: what it computes is right, and its figures are about what they say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index import kernels
from index.bench import kernels as bench_kernels
from index.bench import memory
from index.bench.errors import BenchError
from index.bench.kernels import measure, table
from index.bench.memory import Places, cache_bytes, places
from index.kernels import _native

SMALL = Places(1 << 18, 1 << 19, 1 << 20)


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    return measure(dims=(128,), rounds=1, sets=SMALL)


def test_every_unit_and_library_has_a_row_in_every_case(figures: dict[str, Any]) -> None:
    ours = {f"perwatt {unit}" for unit in kernels.units()}
    for type_, others in (("int8", {"faiss", "numkong"}), ("float32", {"faiss", "numkong", "numpy"})):
        for place in ("cached", "memory"):
            rows = [each for each in figures["kernels"] if (each["type"], each["place"]) == (type_, place)]
            assert {each["by"] for each in rows} == ours | others
            size = getattr(SMALL, place)
            count = size // (128 if type_ == "int8" else 512)
            for each in rows:
                assert each["gb_per_s"] == pytest.approx(size / count / each["ns_per_distance"], rel=0.05, abs=0.006)


def test_the_scan_is_measured_in_each_place(figures: dict[str, Any]) -> None:
    found = [(each["place"], each["threads"]) for each in figures["scan"]]
    cores = figures["machine"]["cores"]
    expected = [("cached", 1), ("shared", 1), ("shared", cores), ("memory", 1), ("memory", cores)]
    assert found == list(dict.fromkeys(expected))
    for each in figures["scan"]:
        share, read, scanned = each["share_of_read"], each["read_gb_per_s"], each["gb_per_s"]
        assert abs(share * read - scanned) <= 0.005 * (1 + share) + 0.005 * read + 1e-9  # each was rounded


def test_figures_are_json_and_the_table_names_all(figures: dict[str, Any]) -> None:
    assert json.loads(json.dumps(figures)) == figures
    shown = table(figures)
    for name in {each["by"] for each in figures["kernels"]}:
        assert name in shown
    assert f"{1 << 20 >> 20:,} MiB (memory)" in shown


@pytest.mark.parametrize("streams", [1, 2, 4])
def test_the_yardstick_reads_every_byte(streams: int) -> None:
    size = 4 * 512 * 3
    words = np.random.default_rng(streams).integers(0, 2**64, size // 8, np.uint64)
    assert _native.read_sum(words.view(np.uint8), streams) == int(words.sum(dtype=np.uint64))
    shifted = np.zeros(size + 8, np.uint8)[1 : size + 1]  # at no boundary of any kind
    shifted[:] = words.view(np.uint8)
    assert _native.read_sum(shifted, streams) == int(words.sum(dtype=np.uint64))
    assert _native.read_sum(np.zeros(0, np.uint8), streams) == 0


def test_the_yardstick_refuses_what_it_would_cut_off() -> None:
    with pytest.raises(ValueError, match="whole steps"):
        _native.read_sum(np.zeros(512, np.uint8), 2)
    with pytest.raises(ValueError, match="streams must be 1, 2 or 4"):
        _native.read_sum(np.zeros(512 * 3, np.uint8), 3)
    with pytest.raises(ValueError, match="contiguous"):
        _native.read_sum(np.zeros(1024, np.uint8)[::2], 1)


def test_contenders_compute_the_same_products() -> None:
    raw = np.random.default_rng(5).integers(0, 256, 512 * 96, np.uint8)
    rows = raw.view(np.int8).reshape(-1, 96).copy()
    calls = bench_kernels._int8(96, raw, ["scalar"])
    expected = rows.astype(np.int64) @ rows[0].astype(np.int64)
    assert np.array_equal(np.asarray(calls["numkong"]())[0], expected)
    scores, best = calls["faiss"]()  # type: ignore[misc]
    assert best[0, 0] == expected.argmax()
    assert scores[0, 0] == expected.max()

    calls = bench_kernels._float32(32, raw, ["scalar"])
    floats = raw.view(np.float32).reshape(-1, 32)
    assert np.isfinite(floats).all()
    assert (np.abs(floats) >= 1).all()
    for name in ("faiss", "numpy", "numkong", "perwatt scalar"):
        answer = calls[name]()
        if name == "numpy":
            np.testing.assert_allclose(np.asarray(answer), floats @ floats[0], rtol=1e-4, atol=1e-3)
        if name == "numkong":
            np.testing.assert_allclose(np.asarray(answer)[0], floats @ floats[0], rtol=1e-4, atol=1e-3)


def test_sets_follow_the_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, (level, kind, size) in enumerate(
        [("1", "Data", "48K"), ("2", "Unified", "2048K"), ("3", "Unified", "32M")]
    ):
        folder = tmp_path / f"index{number}"
        folder.mkdir()
        (folder / "level").write_text(level + "\n")
        (folder / "type").write_text(kind + "\n")
        (folder / "size").write_text(size + "\n")
    monkeypatch.setattr(memory, "CACHES", tmp_path)
    assert [cache_bytes(level) for level in (1, 2, 3, 4)] == [48 << 10, 2 << 20, 32 << 20, 0]
    assert places() == (1 << 20, 16 << 20, 1 << 30)
    monkeypatch.setattr(memory.machine, "memory_available_bytes", lambda: 2 << 30)
    with pytest.raises(BenchError, match=r"takes 1\.0 GiB here"):
        places()


def test_an_unknown_unit_is_an_error_with_the_known_ones() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "deploy.command", "bench", "kernels", "--unit", "mmx"], capture_output=True, text=True
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith("perwatt: error: 'mmx' is no unit of this machine; it can run ")
    assert "scalar" in ran.stderr
