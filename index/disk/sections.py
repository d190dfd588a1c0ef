"""The sections that the kernels read: raw arrays in files of their own, mapped, the same bytes on every architecture.

A section starts at offset 0 and is padded to a multiple of 64 KiB, the largest page in use (arm64 kernels come with 4,
16 and 64 KiB), so a mapping never ends in the middle of a page. Numbers are little-endian. Shape, stride and scale are
in the manifest, next to the section's hash.

    codes.i8     int8 codes of all rows, one scale; a row starts on a cache line    (every family)
    norms.f32    |x|² of each row                                                     (l2 only)
    vectors.f32  the rows themselves, where index.faiss does not hold them            (ivf only)

The graph.* sections of a native walk join them here, each with an entry of its own in the manifest's `sections`.
"""

import mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.disk.codes import Codes, Metric, code_stride, quantise_rows
from index.progress import Progress

VECTORS_FILE = "vectors.f32"
_READ_AHEAD = 1 << 17  # of one advice; a larger one is cut to what the device takes at once (force_page_cache_ra)


class FloatRows:
    """float32 (n, dim) in a file, mapped. `drop` gives the pages back: they count as resident until then."""

    def __init__(self, path: Path, dim: int) -> None:
        with path.open("rb") as file:
            self._mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.array: NDArray[np.float32] = np.frombuffer(self._mapping, np.float32).reshape(-1, dim)

    def drop(self) -> None:
        self._mapping.madvise(mmap.MADV_DONTNEED)


CODES_FILE, NORMS_FILE = "codes.i8", "norms.f32"
ALIGNMENT = 65536  # bytes
_ROWS_PER_STEP = 1024  # what is made of so many in float64 stays in a cache


def write_codes(folder: Path, rows: FloatRows, metric: Metric, *, show: bool) -> dict[str, Any]:
    """Quantises the rows into codes.i8 (and norms.f32 for l2); returns what the manifest says of them."""
    count, dim = rows.array.shape
    stride = code_stride(dim)
    largest = 0.0
    for start in range(0, count, _ROWS_PER_STEP):
        largest = max(largest, float(np.abs(rows.array[start : start + _ROWS_PER_STEP]).max()))
    rows.drop()
    step = largest / 127 if largest > 0 else 1.0
    error_norm = row_norm = 0.0
    padded = np.zeros((_ROWS_PER_STEP, stride), np.int8)
    square_norms = []
    with (folder / CODES_FILE).open("wb") as file, Progress("quantise", count, show=show) as progress:
        for start in range(0, count, _ROWS_PER_STEP):
            codes, error, lengths = quantise_rows(rows.array[start : start + _ROWS_PER_STEP], step)
            error_norm, row_norm = max(error_norm, error), max(row_norm, float(lengths.max()))
            padded[: len(codes), :dim] = codes
            file.write(padded[: len(codes)].data)
            if metric == "l2":
                square_norms.append((lengths**2).astype("<f4"))
            rows.drop()
            progress.add(len(codes))
        _pad(file.write, count * stride)
    sections: dict[str, Any] = {
        CODES_FILE: {
            "dtype": "int8",
            "shape": [count, dim],
            "stride_bytes": stride,
            "step": step,
            "error_norm": error_norm,
            "row_norm": row_norm,
        }
    }
    if metric == "l2":
        with (folder / NORMS_FILE).open("wb") as file:
            file.write(np.concatenate(square_norms).data)
            _pad(file.write, count * 4)
        sections[NORMS_FILE] = {"dtype": "float32", "shape": [count], "stride_bytes": 4}
    return sections


def keep_vectors(folder: Path, rows: FloatRows) -> dict[str, Any]:
    """Makes the float32 rows, already in the folder, a section."""
    count, dim = rows.array.shape
    with (folder / VECTORS_FILE).open("ab") as file:
        _pad(file.write, count * dim * 4)
    return {VECTORS_FILE: {"dtype": "float32", "shape": [count, dim], "stride_bytes": dim * 4}}


def map_codes(folder: Path, sections: dict[str, Any]) -> Codes:
    codes = sections[CODES_FILE]
    square_norms = map_section(folder, NORMS_FILE, sections) if NORMS_FILE in sections else np.zeros(0, np.float32)
    return Codes(
        map_section(folder, CODES_FILE, sections),
        codes["step"],
        codes["error_norm"],
        codes["row_norm"],
        square_norms,
    )


def map_section(folder: Path, name: str, sections: dict[str, Any]) -> NDArray[Any]:
    entry = sections[name]
    dtype, shape = np.dtype(entry["dtype"]).newbyteorder("<"), tuple(entry["shape"])
    raw = np.memmap(folder / name, np.uint8, "r")
    strides = (entry["stride_bytes"], dtype.itemsize)[: len(shape)]
    if (shape[0] * strides[0]) > raw.size:
        raise ValueError(f"section {name} holds {raw.size} bytes, expected {shape[0] * strides[0]}")
    return np.ndarray(shape, dtype, buffer=raw, strides=strides)


def give_back(array: NDArray[Any]) -> None:
    """The pages of a mapped section: they count as resident until then."""
    _mapping_of(array).madvise(mmap.MADV_DONTNEED)


def read_ahead(array: NDArray[Any]) -> None:
    """Has the system read a mapped section into the page cache, so that the first searches need not wait for it."""
    mapped = _mapping_of(array)
    for start in range(0, len(mapped), _READ_AHEAD):
        mapped.madvise(mmap.MADV_WILLNEED, start, min(_READ_AHEAD, len(mapped) - start))


def _mapping_of(array: NDArray[Any]) -> Any:
    mapped: Any = array
    while not hasattr(mapped, "madvise"):
        mapped = mapped.base
    return mapped


def _pad(write: Any, size: int) -> None:
    write(b"\0" * (-size % ALIGNMENT))
