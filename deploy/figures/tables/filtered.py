"""The table of searches through filters, from the figures of `perwatt bench filtered`."""

from __future__ import annotations

from typing import Any

from deploy.figures.markdown import conditions, noise, table
from deploy.figures.store import kept
from index.bench.filtered import DEARER, FOUND, KINDS, RECALL, TAIL, missed

_LIES = {"unrelated": "unrelated to the query", "near": "the query's nearest", "far": "the query's farthest"}


def block() -> str:
    measured = kept("filtered")
    parts = [f"{costs(each)}\n\n{remarks(each)}" for each in measured["figures"].values()]
    return "\n\n".join([*parts, conditions(measured) + noise(measured["figures"]["compact"])])


def costs(figures: dict[str, Any]) -> str:
    """Times the cheaper way, a row for each share and place of survivors; what misses its target says so."""
    cells = {(cell["kind"], cell["share"], cell["k"]): cell for cell in figures["cells"]}
    ks = list(dict.fromkeys(k for _, _, k in cells))
    rows: list[list[object]] = [
        [f"{share:.1%} survive, {_LIES[kind]}", *(_shown(cells[kind, share, k]) for k in ks)]
        for kind in KINDS
        for share in dict.fromkeys(share for _, share, _ in cells)
    ]
    return table([f"times the cheaper of walk and scan ({figures['profile']})", *(f"k = {k:,}" for k in ks)], rows)


def remarks(figures: dict[str, Any]) -> str:
    cells = figures["cells"]
    counted = {name: sum(name in missed(cell) for cell in cells) for name in ("cost", "tail", "recall")}
    return (
        f"{figures['vectors']} to {figures['rows']:,} × {figures['dim']} ({figures['real_rows']:,} of them real, the "
        f"rest mixed of two), effort {figures['effort']}, {figures['queries']} held-out queries a cell, processor time "
        f"of one thread. Of {len(cells)} cells {counted['cost']} cost more than {DEARER:g} × the cheaper way, in "
        f"{counted['tail']} p99 is above {TAIL:g} × p50, and in {counted['recall']} fewer than {FOUND:.0%} of the "
        f"queries find {RECALL:.0%} of the best; the least recall of any query is "
        f"{min(cell['least_recall'] for cell in cells):.2f}."
    )


def _shown(cell: dict[str, Any]) -> str:
    way = "scan" if cell["at_once"] > 0.5 else "walk"
    said = f"{cell['ratio']:.2f} {way}"
    if wrong := missed(cell):
        said = f"**{said}** ({', '.join(wrong)})"
    return said
