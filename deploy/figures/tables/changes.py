"""The tables of what changes cost a search, from the figures of `perwatt bench changes` and of a whole request."""

from __future__ import annotations

from typing import Any

from deploy.figures.markdown import conditions, noise, or_missed, table
from deploy.figures.store import kept
from index.bench.changes import TARGETS


def block() -> str:
    measured = kept("changes")
    large, real, http = (measured["figures"][name] for name in ("large", "real", "http"))
    said = f"{remarks(large, real, http)} {conditions(measured)}{noise(large)}"
    return "\n\n".join([searches(large), searches(real), said])


def searches(figures: dict[str, Any]) -> str:
    """A row for each view, with the target where there is one."""
    rows: list[list[object]] = []
    for name, view in figures["views"].items():
        target = TARGETS.get(name)
        said = or_missed(target is None or view["ratio"] <= target, f"{view['ratio']:.2f} ×")
        aimed = "–" if target is None else f"≤ {target:g} ×"
        rows.append([_described(name, figures), f"{view['us']:,.0f}", said, aimed, f"{view['recall']:.4f}"])
    head = f"a search of {figures['rows']:,} × {figures['dim']}, one thread"
    return table([head, "µs", "ratio", "aimed for", f"recall@{figures['k']}"], rows)


def remarks(large: dict[str, Any], real: dict[str, Any], http: dict[str, Any]) -> str:
    alone, written = http["alone"], http["written"]
    return (
        f"Bare searches by vector: {large['queries']:,} held-out queries, the quickest of several rounds each, at the "
        f"default effort ({large['effort']} and {real['effort']}). The first table's rows are "
        f"{large['real_rows']:,} embeddings of WordNet's glosses and means of two of them, which are harder to tell "
        "apart. The second's are all embeddings, and a search of so few is so quick that the same changes weigh more. "
        f"A whole request by vector over HTTP takes {alone['cpu_us_a_request']:.0f} µs of processor time, and "
        f"{written['cpu_us_a_request']:.0f} µs ({written['cpu_us_a_request'] / alone['cpu_us_a_request']:.2f} ×) with "
        f"{http['documents']:,} documents written since ({http['rows']:,} rows)."
    )


def _described(name: str, figures: dict[str, Any]) -> str:
    share = f"{figures['deleted']:.0%} of its rows deleted"
    if name == "alone":
        return "the generation alone"
    if name == "deleted":
        return share
    if name == "both":
        return f"{max(figures['deltas']):,} rows written since, and {share}"
    return f"{int(name.removesuffix(' rows')):,} rows written since"
