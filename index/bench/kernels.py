"""`perwatt bench kernels`: nanoseconds and bytes a second of a distance, unit by unit, beside NumPy, FAISS and NumKong.

One query against many rows, on one thread, in two places: a set that stays in a core's own cache (half of L2), and one
that comes from memory every time (twice the last-level cache, at least 1 GiB). Every contender reads the same rows from
the same memory, in huge pages where the system gives them.

What one thread reads of the same memory is the yardstick (`memory.py`), and the exact scan is measured too
(`scans.py`). FAISS scores float32 with fvec_inner_products_ny, and int8 as an exact search for one hit over its 8-bit
scalar codes, since it has no such function for them; NumPy has no product of int8 that does not overflow.
"""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from index import kernels, machine
from index.bench.errors import BenchError
from index.bench.memory import STREAMS, Call, Places, cache_bytes, places, threads_of_libraries, timed
from index.bench.scans import SCAN_DIM, K, scans
from index.disk.layout import huge_bytes
from index.kernels import _native

DIMS = (128, 384, 768)
ROUNDS = 5


class KernelCase(NamedTuple):
    type: str  # int8 or float32
    dim: int
    place: str  # cached or memory


def measure(
    units: Iterable[str] = (), dims: Iterable[int] = DIMS, rounds: int = ROUNDS, sets: Places | None = None
) -> dict[str, Any]:
    """Every figure with its unit in its name: {"machine", "sets_bytes", "read_gb_per_s", "kernels", "scan"}."""
    known = kernels.units()
    chosen = list(units) or known
    if unknown := [unit for unit in chosen if unit not in known]:
        raise BenchError(f"{unknown[0]!r} is no unit of this machine; it can run {', '.join(known)}.")
    sets = sets or places()
    memory = huge_bytes(sets.memory)
    memory[:] = np.random.default_rng(20261123).integers(0, 256, sets.memory, np.uint8)
    found: dict[str, Any] = {
        "machine": {
            "arch": platform.machine(),
            "cpu": machine.processor_name(),
            "cores": machine.cores(),
            "level2_bytes": cache_bytes(2),
            "level3_bytes": cache_bytes(3),
            "isa": kernels.info()["isa"],
            "load_average": round(os.getloadavg()[0], 1),  # when the run began
        },
        "sets_bytes": sets._asdict(),
        "rounds": rounds,
        "kernels": [],
    }
    bandwidth: dict[str, float] = {}
    with threads_of_libraries():
        found["scan"] = scans(memory, sets, rounds)
        for case in [
            KernelCase(type_, dim, place)
            for type_ in ("int8", "float32")
            for dim in dims
            for place in ("cached", "memory")
        ]:
            size = getattr(sets, case.place)
            contenders = _contenders(case, memory[:size], chosen)
            seconds, read = race(contenders, memory[:size], rounds)
            bandwidth[case.place] = max(bandwidth.get(case.place, 0.0), read)
            rows = size // (case.dim * (1 if case.type == "int8" else 4))
            used = rows * case.dim * (1 if case.type == "int8" else 4)
            for name, best in seconds.items():
                found["kernels"].append(
                    {
                        **case._asdict(),
                        "by": name,
                        "ns_per_distance": round(1e9 * best / rows, 2),
                        "gb_per_s": round(used / best / 1e9, 2),
                        "share_of_read": round(used / best / read, 3),
                    }
                )
    found["read_gb_per_s"] = {place: round(value / 1e9, 1) for place, value in bandwidth.items()}
    return found


def race(contenders: dict[str, Call], raw: NDArray[np.uint8], rounds: int) -> tuple[dict[str, float], float]:
    """Seconds a call of each, the best of the rounds, and the bytes a second that one thread reads of that memory."""
    best = dict.fromkeys(contenders, float("inf"))
    read = 0.0
    for call in contenders.values():
        call()
    for _ in range(rounds):
        read = max(read, *(raw.size / timed(partial(_native.read_sum, raw, streams)) for streams in STREAMS))
        for name, call in contenders.items():
            best[name] = min(best[name], timed(call))
    return best, read


def _contenders(case: KernelCase, raw: NDArray[np.uint8], units: list[str]) -> dict[str, Call]:
    if case.type == "int8":
        return _int8(case.dim, raw, units)
    return _float32(case.dim, raw, units)


def _int8(dim: int, raw: NDArray[np.uint8], units: list[str]) -> dict[str, Call]:
    rows = raw[: raw.size // dim * dim].view(np.int8).reshape(-1, dim)
    query, out = rows[0].copy(), np.empty(len(rows), np.int32)
    calls: dict[str, Call] = {f"perwatt {unit}": partial(_native.dot_i8, query, rows, out, unit=unit) for unit in units}
    if numkong := optional("numkong"):
        calls["numkong"] = lambda: numkong.cdist(query[None], rows, "dot")
    faiss: Any = importlib.import_module("faiss")
    index = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT)
    index.is_trained = True
    for part in np.array_split(rows, max(1, len(rows) // 65536)):
        index.add(part.astype(np.float32))
    wanted = query.astype(np.float32)[None]
    calls["faiss"] = lambda: index.search(wanted, 1)
    return calls


def _float32(dim: int, raw: NDArray[np.uint8], units: list[str]) -> dict[str, Call]:
    # Any bits are not floats to add up: NaN and denormal numbers take other paths. The exponents are those of 1 to 4.
    bits = raw[: raw.size // (4 * dim) * 4 * dim].view(np.uint32)
    np.bitwise_and(bits, np.uint32(0x807FFFFF), out=bits)
    np.bitwise_or(bits, np.uint32(0x3F800000), out=bits)
    rows = bits.view(np.float32).reshape(-1, dim)
    query, out = rows[0].copy(), np.empty(len(rows), np.float32)
    calls: dict[str, Call] = {
        f"perwatt {unit}": partial(_native.dot_f32, query, rows, out, unit=unit) for unit in units
    }
    if numkong := optional("numkong"):
        calls["numkong"] = lambda: numkong.cdist(query[None], rows, "dot", out_dtype="f32")
    faiss: Any = importlib.import_module("faiss")
    pointers = [faiss.swig_ptr(each) for each in (out, query, rows)]
    calls["faiss"] = lambda: faiss.fvec_inner_products_ny(*pointers, dim, len(rows))
    calls["numpy"] = lambda: np.matmul(rows, query, out=out)
    return calls


def optional(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError:
        return None


def table(figures: dict[str, Any]) -> str:
    """The figures as lines of text."""
    host, sets = figures["machine"], figures["sets_bytes"]
    lines = [f"{host['cpu']}, {host['cores']} cores, unit {host['isa']}"]
    for place in ("cached", "memory"):
        read = figures["read_gb_per_s"][place]
        lines.append(f"\none thread reads {sets[place] / 2**20:,.0f} MiB ({place}) at {read:.1f} GB/s")
        lines.append(f"  {'':<22}" + "".join(f"{'ns':>8}{'GB/s':>8}{'of read':>9}" for _ in (0, 1)))
        for dim in sorted({each["dim"] for each in figures["kernels"]}):
            lines.append(f"  {f'{dim} dimensions':<22}{'int8':>25}{'float32':>25}")
            here = [each for each in figures["kernels"] if each["dim"] == dim and each["place"] == place]
            for name in dict.fromkeys(each["by"] for each in here):
                cells = []
                for type_ in ("int8", "float32"):
                    one = next((each for each in here if each["by"] == name and each["type"] == type_), None)
                    cells.append(
                        f"{one['ns_per_distance']:>8.1f}{one['gb_per_s']:>8.1f}{one['share_of_read']:>9.0%}"
                        if one
                        else f"{'–':>25}"
                    )
                lines.append(f"    {name:<20}{''.join(cells)}")
    lines.append(f"\nexact int8 scan, {SCAN_DIM} dimensions, k = {K}")
    for each in figures["scan"]:
        lines.append(
            f"  {each['place']:<7} {each['threads']} thread{'s' * (each['threads'] > 1):<2} {each['rows']:>10,} rows"
            f"{each['ns_per_row']:>8.1f} ns{each['gb_per_s']:>8.1f} GB/s{each['share_of_read']:>7.0%} of "
            f"{each['read_gb_per_s']:.1f} GB/s"
        )
    return "\n".join(lines)


@click.command("kernels")
@click.option("--unit", "units", multiple=True, help="Only this unit of ours; repeat.  [default: all that run here]")
@click.option("--dim", "dims", type=click.IntRange(1, 4096), multiple=True, help="Repeat.  [default: 128, 384, 768]")
@click.option("--rounds", type=click.IntRange(1), default=ROUNDS, show_default=True, help="Rounds; the fastest counts.")
@click.option("--json", "path", type=click.Path(path_type=Path, dir_okay=False), help="Write every figure here.")
def bench_kernels(units: tuple[str, ...], dims: tuple[int, ...], rounds: int, path: Path | None) -> None:
    """Time a distance of each SIMD unit beside NumPy, FAISS and NumKong, and against the read bandwidth."""
    import json

    figures = measure(units, dims or DIMS, rounds)
    if path:
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    click.echo(table(figures))
