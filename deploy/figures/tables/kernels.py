"""A distance on each unit: nanoseconds, and the share of the bandwidth that a bare sum reads with."""

from __future__ import annotations

from deploy.figures.markdown import conditions, noise, table
from deploy.figures.store import kept


def block() -> str:
    measured = kept("kernels")
    figures = measured["figures"]
    rows: list[list[object]] = []
    here = [each for each in figures["kernels"] if each["dim"] == 384]
    for name in dict.fromkeys(each["by"] for each in here):
        cells: list[object] = []
        for type_, place in (("int8", "cached"), ("int8", "memory"), ("float32", "cached"), ("float32", "memory")):
            found = [each for each in here if (each["by"], each["type"], each["place"]) == (name, type_, place)]
            cells.append(f"{found[0]['ns_per_distance']:.1f} ({found[0]['share_of_read']:.0%})" if found else "–")
        rows.append([name, *cells])
    sizes = figures["sets_bytes"]
    cached, memory = f"{sizes['cached'] >> 20:,} MiB, in L2", f"{sizes['memory'] >> 20:,} MiB, in memory"
    header = ["ns a distance, 384-d (share of read bandwidth)"]
    header += [f"{type_}, {place}" for type_ in ("int8", "float32") for place in (cached, memory)]
    read = figures["read_gb_per_s"]
    return (
        table(header, rows)
        + f"\n\nOne thread; the same thread only adding the words up reads {read['cached']:.0f} GB/s from L2 and "
        f"{read['memory']:.1f} GB/s from memory. `perwatt bench kernels` has 128 and 768 dimensions too. "
        f"{conditions(measured)}{noise(figures)}"
    )
