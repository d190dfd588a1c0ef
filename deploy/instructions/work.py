"""One piece of work, in a process of its own, for an emulator or a debugger to count:

    work.py encode UNIT --layers L --hidden H --tokens T --precision int8|fp32 [--times N] [--marked]
    work.py walk UNIT --generation FOLDER --effort E [--times N] [--marked]

It runs in a Python that has NumPy and our two native modules and nothing else of ours, so it imports no more than that.
First it prints one line of JSON: the address at which the library lies, and how many queries a round has. With --marked
it then waits for a line on its input, and sends itself SIGUSR1 before and after the work.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

SEED = 20261129
VOCABULARY, POSITIONS, HEAD = 1000, 64, 32
SPREAD = 36  # standard deviation of int8 weight codes


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("encode", "walk"))
    parser.add_argument("unit")
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--tokens", type=int, default=8)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--generation", type=Path)
    parser.add_argument("--effort", type=int)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--marked", action="store_true")
    asked = parser.parse_args()
    native: Any = importlib.import_module(
        "embed.kernels._native" if asked.what == "encode" else "index.kernels._native"
    )
    queries, once = (encoding if asked.what == "encode" else walking)(native, asked)
    once()  # what is made at first use is made now
    start, end = library(native.__file__)
    print(json.dumps({"start": start, "end": end, "queries": queries}), flush=True)
    if asked.marked:
        sys.stdin.readline()
        os.kill(os.getpid(), signal.SIGUSR1)
    for _ in range(asked.times):
        once()
    if asked.marked:
        os.kill(os.getpid(), signal.SIGUSR1)


def encoding(native: Any, asked: argparse.Namespace) -> tuple[int, Callable[[], None]]:
    """One query of random tokens through a network of random weights, the same in every layer. No branch of the encoder
    reads a value, but where codes are ordered so that sums fit in 16 bits, there are more steps if they are large: they
    are spread as those of a trained model are."""
    random = np.random.default_rng(SEED)
    hidden, inner = asked.hidden, 4 * asked.hidden
    int8 = asked.precision == "int8"

    def floats(*shape: int) -> npt.NDArray[np.float32]:
        return random.standard_normal(shape, np.float32) / np.float32(8)

    orders: list[npt.NDArray[np.int32]] = []

    def linear(out: int, width: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32]]:
        if not int8:
            return aligned(floats(out // 16, width, 16)), floats(out)
        panel, group, ordered = native.packing(asked.unit)
        codes = np.clip(random.normal(0, SPREAD, (out, width)).round(), -127, 127).astype(np.int8)
        if ordered:
            panels, order = native.ordered(codes)
            orders.append(order)
        else:
            panels = codes.reshape(out // panel, panel, width // group, group).transpose(0, 2, 1, 3)
        step = np.full(out, 0.001, np.float32)
        return aligned(panels), np.stack([step, step, step])

    words = (floats(VOCABULARY, hidden).view(np.uint32) >> 16).astype(np.uint16) if int8 else floats(VOCABULARY, hidden)
    network = native.Bert(
        asked.unit,
        words,
        floats(POSITIONS, hidden),
        floats(2, hidden),
        heads=hidden // HEAD,
        epsilon=1e-12,
        activation="gelu",
        pooling="mean",
        normalize=True,
    )
    qkv, attended, wide, outer = (
        linear(*shape) for shape in ((3 * hidden, hidden), (hidden, hidden), (inner, hidden), (hidden, inner))
    )
    norms = floats(2, hidden), floats(2, hidden)
    for _ in range(asked.layers):
        network.add_layer(*qkv, *attended, norms[0], *wide, *outer, norms[1])
        if orders:
            network.add_orders(*orders)
    ids = random.integers(0, VOCABULARY, asked.tokens, dtype=np.int32)
    ends = np.array([asked.tokens], np.int32)
    out = np.empty((1, hidden), np.float32)
    return 1, lambda: network.encode(ids, ends, out)


def aligned(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A copy on a multiple of 64 bytes, as the files of a model are mapped."""
    room = np.empty(values.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    copy = room[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


def walking(native: Any, asked: argparse.Namespace) -> tuple[int, Callable[[], None]]:
    """The queries of queries.npy, one a call, in the generation beside it."""
    from index import open_generation

    if not native.use(asked.unit):
        raise SystemExit(f"This processor cannot run {asked.unit}.")
    generation = open_generation(asked.generation, threads=1)
    queries = np.load(asked.generation.parent / "queries.npy")

    def once() -> None:
        for query in queries:
            generation.search_rows(query[None], 10, effort=asked.effort)

    return len(queries), once


def library(path: str) -> tuple[int, int]:
    """From where to where its code is mapped here."""
    name = os.path.realpath(path)
    places = [
        tuple(int(end, 16) for end in line.split()[0].split("-"))
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith(name) and "x" in line.split()[1]
    ]
    return min(start for start, _ in places), max(end for _, end in places)


if __name__ == "__main__":
    main()
