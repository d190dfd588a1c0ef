"""Vectors from .npy files: the same file serves, or is refused for the same reason, in every command that takes one."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner
from indexing import clustered
from numpy.typing import NDArray

from embed.errors import EmbedError
from embed.vectors.npy import NpyError, NpyVectors, read_vector
from index import build_generation
from index.bench.ann.vectors import workload
from loadtest.workload.queries import read_queries
from service.bench.race import HELD_OUT, read
from service.cli import searching

ROWS, DIM = HELD_OUT + 2000, 4


def _searched(folder: Path, file: Path) -> list[str]:
    """The command itself: a query vector has one row."""
    root = folder / "indexes"
    if not root.exists():
        build_generation(clustered(ROWS, DIM), np.arange(ROWS), root=root, name="bare", family="flat")
    ran = CliRunner().invoke(searching.search, ["bare", "--vector", str(file), "--root", str(root), "--k", "3"])
    if ran.exception:
        raise ran.exception
    return [line.split()[1] for line in ran.output.splitlines()]


# What each command makes of a file; equal for equal vectors, whatever type and order they are written in.
COMMANDS: dict[str, Callable[[Path, Path], Any]] = {
    "search": _searched,
    "loadtest": lambda _, file: [query.vector for query in read_queries(file)],
    "bench ann": lambda _, file: [part.tolist() for part in (workload(file).rows, workload(file).queries)],
    "bench http": lambda _, file: [part.tolist() for part in read(file, 2000)],
}
every_command = pytest.mark.parametrize("command", COMMANDS)


def _given(command: str) -> NDArray[np.float32]:
    """Vectors that every width of float holds exactly."""
    rows = clustered(ROWS, DIM).astype(np.float16).astype(np.float32)
    return rows[:1] if command == "search" else rows


@every_command
def test_floats_of_every_width_and_order_are_taken(command: str, tmp_path: Path) -> None:
    rows, take = _given(command), COMMANDS[command]
    np.save(tmp_path / "plain.npy", rows)
    expected = take(tmp_path, tmp_path / "plain.npy")
    assert len(expected) > 1
    for type_ in ("<f2", "<f4", "<f8", ">f2", ">f4", ">f8"):
        for order in ("C", "F"):
            np.save(tmp_path / "same.npy", np.array(rows, type_, order=order))  # type: ignore[call-overload]
            assert take(tmp_path, tmp_path / "same.npy") == expected, (type_, order)


def _written(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _archive() -> bytes:
    file = io.BytesIO()
    np.savez(file, rows=np.ones((2, DIM), np.float32))
    return file.getvalue()


def _with(value: float, type_: type = np.float32) -> NDArray[Any]:
    rows = np.ones((ROWS, DIM), type_)
    rows[0, 2] = value
    return rows


REFUSED = {
    "integers": (_written(np.ones((ROWS, DIM), np.int64)), "holds int64 of shape .*expected float16, float32 or"),
    "wide floats": (_written(np.ones((ROWS, DIM), np.longdouble)), "expected float16, float32 or float64"),
    "complex": (_written(np.ones((ROWS, DIM), np.complex64)), "holds complex64"),
    "three dimensions": (_written(np.ones((2, 3, DIM), np.float32)), r"of shape \(2, 3, 4\); expected"),
    "no dimension": (_written(np.float32(1)), r"of shape \(\)"),
    "no row": (_written(np.ones((0, DIM), np.float32)), r"of shape \(0, 4\); expected"),
    "objects": (_written(np.array([{}, []], object)), "not an array of numbers .*Python objects"),
    "archive": (_archive(), "an .npz archive, expected one array"),
    "text": (b"0.1, 0.2, 0.3\n", "something else, expected one array as numpy.save"),
    "nothing": (b"", "something else, expected one array"),
    "cut in its head": (_written(np.ones((ROWS, DIM), np.float32))[:20], "not an array of numbers"),
    "cut in its rows": (_written(np.ones((ROWS, DIM), np.float32))[:-4], "not an array of numbers"),
}


@every_command
@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_array_of_vectors_is_refused_with_the_reason(command: str, what: str, tmp_path: Path) -> None:
    content, reason = REFUSED[what]
    (tmp_path / "given.npy").write_bytes(content)
    with pytest.raises((EmbedError, click.ClickException), match=rf"given.npy.*{reason}"):
        COMMANDS[command](tmp_path, tmp_path / "given.npy")


@every_command
@pytest.mark.parametrize("row", [_with(np.nan), _with(-np.inf), _with(1e300, np.float64)], ids=["nan", "inf", "1e300"])
def test_numbers_that_cannot_be_ranked_are_refused_with_their_row(
    command: str, row: NDArray[Any], tmp_path: Path
) -> None:
    np.save(tmp_path / "given.npy", row[:1] if command == "search" else row)
    with pytest.raises(NpyError, match=r"given.npy: row 0 \(counted from 0\) holds (nan|-?inf)"):
        COMMANDS[command](tmp_path, tmp_path / "given.npy")


def test_what_is_taken_is_the_callers_own_and_in_the_order_asked_for(tmp_path: Path) -> None:
    rows = clustered(50, DIM)
    np.save(tmp_path / "rows.npy", np.asfortranarray(rows))
    vectors = NpyVectors(tmp_path / "rows.npy")
    assert (vectors.count, vectors.dim) == (50, DIM)
    chosen = vectors.rows(np.array([7, 3, 3, 49]))
    np.testing.assert_array_equal(chosen, rows[[7, 3, 3, 49]])
    np.testing.assert_array_equal(vectors.rows(slice(-5, None)), rows[-5:])
    assert vectors.rows(slice(0)).shape == (0, DIM)
    chosen /= 2  # a map is read-only
    np.testing.assert_array_equal(vectors.rows(), rows)


def test_one_vector_is_a_row_or_a_file_of_one_row(tmp_path: Path) -> None:
    for given in (np.ones(DIM), np.ones((1, DIM), np.float16)):
        np.save(tmp_path / "one.npy", given)
        assert read_vector(tmp_path / "one.npy").tolist() == [1.0] * DIM
    np.save(tmp_path / "two.npy", np.ones((2, DIM)))
    with pytest.raises(NpyError, match=r"holds float64 of shape \(2, 4\); expected .* of shape \(dim,\) or \(1, dim\)"):
        read_vector(tmp_path / "two.npy")


def test_a_file_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    with pytest.raises(NpyError, match="cannot be read: No such file"):
        NpyVectors(tmp_path / "none.npy")
    with pytest.raises(NpyError, match="cannot be read: Is a directory"):
        read_vector(tmp_path)
