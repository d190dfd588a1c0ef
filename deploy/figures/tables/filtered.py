"""The table of searches through filters, from the figures of `perwatt bench filtered`."""

from __future__ import annotations

from typing import Any

from deploy.figures.markdown import conditions, noise, processor, table
from deploy.figures.store import kept_by_make
from index.bench.filtered import DEARER, FOUND, KINDS, RECALL, TAIL, missed

_LIES = {"unrelated": "unrelated to the query", "near": "the query's nearest", "far": "the query's farthest"}


def block() -> str:
    newest, *others = kept_by_make("filtered")
    parts = [f"{costs(each)}\n\n{remarks(each)}" for each in newest["figures"].values()]
    parts.append(conditions(newest) + noise(newest["figures"]["compact"]))
    for measured in others:
        said = " ".join(f"{profile.capitalize()}: {counts(each)}" for profile, each in measured["figures"].items())
        parts.append(f"On {processor(measured['machine'])}, {measured['measured_on']}: {said}")
    return "\n\n".join(parts)


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
    tails = ", ".join(
        f"{each['p99_us'] / each['p50_us']:.1f} for k = {each['k']:,}" for each in figures.get("unfiltered", ())
    )
    return (
        f"{figures['vectors']} to {figures['rows']:,} × {figures['dim']} ({figures['real_rows']:,} of them real, the "
        f"rest mixed of two), effort {figures['effort']}, processor time of one thread. {counts(figures)}"
        + (f" Without a filter p99 over p50 is {tails}." if tails else "")
    )


def counts(figures: dict[str, Any]) -> str:
    """How many cells miss what."""
    cells = figures["cells"]
    counted = {name: sum(name in missed(cell) for cell in cells) for name in ("cost", "tail", "recall")}
    return (
        f"{figures['queries']} held-out queries a cell. Of {len(cells)} cells {counted['cost']} cost more than "
        f"{DEARER:g} × the cheaper way, in {counted['tail']} p99 is above {TAIL:g} × p50, and in {counted['recall']} "
        f"fewer than {FOUND:.0%} of the queries find {RECALL:.0%} of the best; the least recall of any query is "
        f"{min(cell['least_recall'] for cell in cells):.2f}."
    )


def _shown(cell: dict[str, Any]) -> str:
    way = "scan" if cell["at_once"] > 0.5 else "walk"
    said = f"{cell['ratio']:.2f} {way}"
    if wrong := missed(cell):
        said = f"**{said}** ({', '.join(wrong)})"
    return said
