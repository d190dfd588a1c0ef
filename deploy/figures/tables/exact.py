"""Exact search, what building a graph takes, with changes and without, and how soon an index is open."""

from __future__ import annotations

from typing import Any

from deploy.figures.markdown import conditions, table
from deploy.figures.store import kept


def block() -> str:
    measured = kept("index")
    build, scan = measured["figures"]["build"], measured["figures"]["scan"]
    rate = scan["queries_per_s"]
    names = {
        "numpy": "NumPy (OpenBLAS)",
        "faiss_flat": "FAISS IndexFlatIP",
        "perwatt_float32": "perwatt, float32",
        "perwatt_int8_exact": "**perwatt, int8 scan with float32 rescoring** (same answer, proven bound)",
    }
    rows: list[list[object]] = [
        [label, f"{rate[name]:.0f}", f"{rate[name] / rate['faiss_flat']:.1f} ×"] for name, label in names.items()
    ]
    header = [f"exact top 10 of {scan['rows']:,} × {measured['figures']['dim']}, one thread", "queries/s", "ratio"]
    return (
        table(header, rows)
        + f"\n\nBuilding a graph over {build['rows']:,} × {measured['figures']['dim']} takes {build['seconds']:.0f} s "
        f"on {build['threads']} threads and {build['peak_rss_mib']:,} MiB at most (recall@10 "
        f"{build['recall']:.3f} at its default effort). {_from_changes(measured['figures'])}"
        f"{_opening()}{conditions(measured)}"
    )


def _from_changes(figures: dict[str, Any]) -> str:
    if "from_changes" not in figures:
        return ""
    changed = figures["from_changes"]
    grown, anew = changed["grown"], changed["anew"]
    cheaper, found = grown["cpu_s"] / anew["cpu_s"], "recall_at_effort_100"
    return (
        f"With {changed['changed']:,} of {changed['rows']:,} rows new, replaced or deleted, a build that goes on from "
        f"the graph before takes {cheaper:.2f} of the processor time of one from nothing, and finds {grown[found]:.4f} "
        f"of the best 10 at an effort of 100, against {anew[found]:.4f}. "
    )


def _opening() -> str:
    figures = kept("open")["figures"]
    large, small = figures["large"], figures["small"]
    return (
        f"Opening {large['rows']:,} × {figures['dim']} takes {1000 * large['open_s']:.0f} ms beyond the hashes "
        f"({large['verify_s']:.1f} s for {large['bytes'] / 2**30:.1f} GiB), {small['rows']:,} rows "
        f"{1000 * small['open_s']:.0f} ms; the first search after it takes {1000 * large['first_search_s']:.1f} ms. "
    )
