"""The tables of what a graph loses without its originals, and saves, from `python -m index.bench.originals`."""

from __future__ import annotations

from typing import Any

from deploy.figures.markdown import TARGET_HEADER, conditions, or_missed, table
from deploy.figures.store import kept

MOST_BYTES, MOST_LOST = 1000, 0.002


def block() -> str:
    measured = kept("originals")
    graph, judged = measured["figures"]["graph"], measured["figures"]["judged"]
    return f"{targets(graph, judged)}\n\n{walks(graph)}\n\n{remarks(graph)} {conditions(measured)}"


def targets(graph: dict[str, Any], judged: list[dict[str, Any]]) -> str:
    resident = {name: graph[f"resident_bytes_a_vector_{name}"] for name in ("drop", "keep")}
    rows: list[list[object]] = [
        [
            f"bytes a vector, all that is resident, {graph['dim']} dimensions",
            f"≤ {MOST_BYTES:,}",
            or_missed(resident["drop"] <= MOST_BYTES, f"{resident['drop']:,.0f}"),
            f"{resident['keep']:,.0f} with originals",
        ]
    ]
    for each in graph["walks"]:
        asked = f"effort {each['effort']}"
        rows.append(_lost(f"recall@{each['k']} lost, {asked}", each["recall_keep"], each["recall_drop"]))
    rows += [
        _lost(f"nDCG@10 lost, {each['collection']}", each["ndcg_10_keep"], each["ndcg_10_drop"]) for each in judged
    ]
    return table(TARGET_HEADER, rows)


def _lost(name: str, kept_value: float, dropped_value: float) -> list[object]:
    lost = round(kept_value - dropped_value, 5)
    return [name, f"≤ {MOST_LOST}", or_missed(lost <= MOST_LOST, f"{lost:.5f}"), f"{kept_value:.5f}"]


def walks(graph: dict[str, Any]) -> str:
    """Microseconds of processor time of a query."""
    asked = {f"k = {each['k']}, effort {each['effort']}": each for each in graph["walks"]}
    asked |= {"exact": graph["exact"], "exact, a tenth survives": graph["exact_tenth"]}
    rows: list[list[object]] = [
        [f"originals {said}", *(f"{each[f'us_{name}']:,.0f}" for each in asked.values())]
        for name, said in (("keep", "kept"), ("drop", "dropped"))
    ]
    return table(["µs of a query", *asked], rows)


def remarks(graph: dict[str, Any]) -> str:
    disk = {name: graph[f"disk_bytes_a_vector_{name}"] for name in ("keep", "drop")}
    return (
        f"{graph['vectors']}: {graph['rows']:,} rows, {graph['queries']:,} queries; the same links with originals and "
        f"without, {graph['profile']}, one thread. On the disk {disk['keep']:,.0f} and {disk['drop']:,.0f} bytes a "
        "vector."
    )
