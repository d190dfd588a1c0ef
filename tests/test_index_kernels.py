"""Every unit that this processor can run, against exact arithmetic, on sizes chosen to hurt."""

from __future__ import annotations

import itertools
import os
import platform
import subprocess
import sys
from pathlib import Path

import disassembly
import loops
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from instructions import INDEX_INSTRUCTIONS, WITHIN_INSTRUCTIONS, WITHIN_UNITS
from numpy.typing import NDArray

from index import kernels
from index.kernels import _native

DIMS = (1, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 384, 514)
COUNTS = (0, 1, 3, 4, 5, 9)
UNITS = kernels.units()


def gamma(n: int) -> float:
    """The relative error that any order of n float32 additions may have (Higham 2002, section 3.1)."""
    u = 2.0**-24
    return n * u / (1 - n * u)


def misaligned(array: NDArray, by: int) -> NDArray:
    """The same values, `by` bytes off any alignment."""
    raw = np.zeros(array.nbytes + 64 + by, np.uint8)
    start = -raw.ctypes.data % 64 + by
    copy = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def run(kernel: str, query: NDArray, rows: NDArray, unit: str, at: NDArray | None = None) -> NDArray:
    out = np.empty(len(rows) if at is None else len(at), np.int32 if kernel == "dot_i8" else np.float32)
    getattr(_native, kernel)(query, rows, out, at, unit)
    return out


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("dim", DIMS)
def test_int8_products_are_exact(unit: str, dim: int) -> None:
    random = np.random.default_rng(dim)
    for by, count in itertools.product((0, 1, 5), COUNTS):
        query = misaligned(random.integers(-128, 128, dim).astype(np.int8), by)
        rows = misaligned(random.integers(-128, 128, (count, dim)).astype(np.int8), by)
        expected = rows.astype(np.int64) @ query.astype(np.int64)
        np.testing.assert_array_equal(run("dot_i8", query, rows, unit), expected)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("dim", DIMS)
def test_several_int8_queries_at_once_are_exact(unit: str, dim: int) -> None:
    random = np.random.default_rng(dim)
    for by, asked, count in itertools.product((0, 1, 5), (0, 1, 3, 4, 5, 9), COUNTS):
        queries = misaligned(random.integers(-128, 128, (asked, dim)).astype(np.int8), by)
        rows = misaligned(random.choice([-128, -1, 0, 1, 127], (count, dim + 3)).astype(np.int8), by)[:, :dim]
        out = np.empty((asked, count), np.int32)
        _native.dots_i8(queries, rows, out, unit)
        np.testing.assert_array_equal(out, queries.astype(np.int64) @ rows.astype(np.int64).T)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dim", [1, 7, 8, 9, 384])
def test_queries_are_scaled_to_length_one_and_the_first_that_cannot_be_is_named(dim: int, threads: int) -> None:
    queries = np.random.default_rng(dim).normal(size=(700, dim)).astype(np.float32)
    queries[5] *= 1e-30  # its squares vanish in float32
    queries[6] *= 1e15
    scaled = np.empty_like(queries)
    assert _native.prepare(queries, 1e18, threads, scaled) == 700
    wide = queries.astype(np.float64)
    np.testing.assert_allclose(scaled, wide / np.linalg.norm(wide, axis=1, keepdims=True), rtol=1e-7)
    for row in (699, 300, 3):
        queries[row] = 0
        assert _native.prepare(queries, 1e18, threads, scaled) == row  # no direction
        queries[row, -1] = 1e19
        assert _native.prepare(queries, 1e18, threads) == row
        queries[row, -1] = np.nan
        assert _native.prepare(queries, 1e18, threads) == row
        queries[row] = 0
        assert _native.prepare(queries, 1e18, threads) == 700  # a zero has a product with everything


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(("q", "x"), [(-128, -128), (-128, 127), (127, -128), (127, 127), (0, -128), (-128, 0)])
def test_int8_extremes_do_not_saturate_or_overflow(unit: str, q: int, x: int) -> None:
    for dim in (1, 64, 384, 65536):
        query, rows = np.full(dim, q, np.int8), np.full((5, dim), x, np.int8)
        np.testing.assert_array_equal(run("dot_i8", query, rows, unit), q * x * dim)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("dim", DIMS)
def test_float32_stays_within_the_bound_of_any_order_of_summation(unit: str, dim: int) -> None:
    random = np.random.default_rng(dim)
    for by, count in itertools.product((0, 4, 5), COUNTS):
        query = misaligned(random.normal(size=dim).astype(np.float32), by)
        rows = misaligned(random.normal(size=(count, dim)).astype(np.float32), by)
        q, x = query.astype(np.float64), rows.astype(np.float64)
        error = np.abs(run("dot_f32", query, rows, unit) - x @ q)
        assert (error <= gamma(dim) * (np.abs(x) @ np.abs(q))).all()
        distance = ((q - x) ** 2).sum(1)
        assert (np.abs(run("l2_f32", query, rows, unit) - distance) <= gamma(dim + 3) * distance).all()


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("kernel", ["dot_i8", "dot_f32", "l2_f32"])
@pytest.mark.parametrize("dim", [1, 7, 33, 65, 100, 384])
def test_a_row_scores_the_same_wherever_it_lies(unit: str, kernel: str, dim: int) -> None:
    """Equal vectors must tie exactly, or "ties by id" means nothing."""
    random = np.random.default_rng(1)
    values = random.normal(size=(2, dim)) * 40
    query, row = values.astype(np.int8 if kernel == "dot_i8" else np.float32)
    rows = np.tile(row, (9, 1))
    alone = run(kernel, query, rows[:1], unit)[0]
    assert (run(kernel, query, rows, unit) == alone).all()
    at = np.array([8, 0, 3, 3, 7], np.uint32)
    assert (run(kernel, query, rows, unit, at) == alone).all()
    assert (run(kernel, query, misaligned(rows, 3), unit) == alone).all()


@pytest.mark.parametrize("unit", UNITS)
def test_picked_and_strided_rows(unit: str) -> None:
    random = np.random.default_rng(3)
    wide = random.normal(size=(50, 40)).astype(np.float32)
    query, rows = wide[0, :33], wide[:, :33]  # a stride of 40 for rows of 33
    at = random.integers(0, 50, 23).astype(np.uint32)
    np.testing.assert_array_equal(run("dot_f32", query, rows, unit, at), run("dot_f32", query, rows, unit)[at])
    np.testing.assert_array_equal(run("l2_f32", query, rows, unit, at), run("l2_f32", query, rows, unit)[at])


@pytest.mark.parametrize("unit", UNITS)
def test_zero_vectors_and_no_dimensions(unit: str) -> None:
    assert (run("dot_i8", np.zeros(65, np.int8), np.full((5, 65), -128, np.int8), unit) == 0).all()
    assert (run("dot_f32", np.zeros(65, np.float32), np.full((5, 65), 3e38, np.float32), unit) == 0).all()
    assert (run("l2_f32", np.ones(65, np.float32), np.ones((5, 65), np.float32), unit) == 0).all()
    assert (run("dot_f32", np.zeros(0, np.float32), np.zeros((5, 0), np.float32), unit) == 0).all()


@settings(max_examples=150, deadline=None)  # without conftest.py on emulated processors
@given(st.integers(1, 200), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_units_agree_on_any_shape(dim: int, count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    query = random.integers(-128, 128, dim).astype(np.int8)
    rows = random.integers(-128, 128, (count, dim)).astype(np.int8)
    oracle = run("dot_i8", query, rows, "scalar")
    for unit in UNITS:
        np.testing.assert_array_equal(run("dot_i8", query, rows, unit), oracle)


@pytest.mark.parametrize(
    ("query", "rows", "at"),
    [
        (np.zeros(8, np.int8), np.zeros((2, 9), np.int8), None),
        (np.zeros(16, np.int8)[::2], np.zeros((2, 8), np.int8), None),
        (np.zeros(8, np.int8), np.zeros((8, 2), np.int8).T[:, ::1], None),
        (np.zeros(8, np.int8), np.zeros((2, 8), np.int8)[::-1], None),
        (np.zeros(8, np.int8), np.zeros((2, 8), np.int8), np.array([2], np.uint32)),
        (np.zeros(8, np.float32), np.zeros((2, 8), np.float32), None),
    ],
)
def test_shapes_and_types_that_do_not_fit_are_refused(query: NDArray, rows: NDArray, at: NDArray | None) -> None:
    with pytest.raises((ValueError, TypeError)):
        run("dot_i8", query, rows, "scalar", at)


def test_info_names_the_unit_in_use() -> None:
    info = kernels.info()
    assert info["arch"] == platform.machine()
    assert info["isa"] in kernels.units()
    assert kernels.units()[-1] == "scalar"


def in_process(isa: str) -> subprocess.CompletedProcess[str]:
    code = "from index import kernels; print(kernels.info()['isa'])"
    environment = os.environ | {"PERWATT_ISA": isa}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def test_the_environment_chooses_the_unit() -> None:
    for unit in UNITS:
        assert in_process(unit).stdout.strip() == unit
    assert in_process("").stdout.strip() == UNITS[0]


def test_a_rung_without_a_unit_of_ours_means_the_best_unit_below_it() -> None:
    ladder = [rung for rung, _ in _native.ladder()]
    for rung in set(ladder) - {unit for unit, _ in _native.units()}:
        below = ladder[: ladder.index(rung)]
        assert in_process(rung).stdout.strip() == next(unit for unit in UNITS if unit in below)


@pytest.mark.parametrize("isa", ["altivec", "AVX2 ", "neon" if platform.machine() == "x86_64" else "avx2"])
def test_a_unit_that_cannot_run_is_refused_by_name(isa: str) -> None:
    result = in_process(isa)
    assert result.returncode != 0
    assert f"PERWATT_ISA={isa!r}" in result.stderr
    for unit in UNITS:
        assert unit in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("unit", [name for name, _ in _native.units()])
def test_the_library_holds_the_instructions_that_each_unit_is_named_for(unit: str) -> None:
    units = disassembly.instructions(Path(_native.__file__), "perwatt")
    disassembly.check(units, unit, INDEX_INSTRUCTIONS[platform.machine()])


@pytest.mark.parametrize("unit", [name for name, _ in _native.units() if name != "scalar"])
def test_the_instructions_of_no_loop_keep_its_sums_in_memory(unit: str) -> None:
    assert loops.complaints(Path(_native.__file__), "perwatt", unit) == []


def test_the_instructions_that_tell_who_is_near_take_many_at_once() -> None:
    found = disassembly.functions(Path(_native.__file__), "perwatt")
    pattern = WITHIN_INSTRUCTIONS[platform.machine()]
    for unit in WITHIN_UNITS[platform.machine()]:
        assert disassembly.count(found, unit, "within", pattern) >= 2, unit
    assert disassembly.count(found, "scalar", "within", pattern) == 0
