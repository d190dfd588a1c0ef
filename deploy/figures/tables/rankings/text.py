"""The table of what a text costs beside its vector, from the figures of `perwatt bench text`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deploy.figures.markdown import conditions, noise, or_missed, table
from deploy.figures.store import kept
from service.bench.texts.price import CONNECTIONS, DISTINCT, TARGETS


def block() -> str:
    measured = kept("text")
    figures = measured["figures"]
    return f"{prices(figures)}\n\n{remarks(figures)} {conditions(measured)}{noise(figures[0])}"


def prices(figures: Sequence[dict[str, Any]]) -> str:
    rows: list[list[object]] = []
    for collection in figures:
        for unit in collection["units"]:
            us, times = unit["us"], unit["times"]
            cells: list[object] = [f"{collection['texts']}, {unit['unit']}", f"{us['vector']:,.0f}"]
            for name, most in TARGETS.items():
                said = f"{us[name]:,.0f}, {times[name]:.2f} ×" if name in us else "–"
                if name in us:
                    said = or_missed(times[name] <= most, said)
                cells.append(f"{said} ({unit['fitted_share']:.0%} fitted)" if name == "auto" else said)
            cells.append(f"{us['repeated']:,.0f}, {times['repeated']:.2f} × ({unit['hit_share']:.0%} seen)")
            rows.append(cells)
    head = [
        "µs of processor time a request, times the vector's",
        "vector",
        f"text, whole model (≤ {TARGETS['model']:g})",
    ]
    head += [
        f"as `auto` has it (≤ {TARGETS['auto']:g})",
        f"where the fitted encoder suffices (≤ {TARGETS['fitted']:g})",
    ]
    return table([*head, "texts that repeat"], rows)


def remarks(figures: Sequence[dict[str, Any]]) -> str:
    asked = ", ".join(f"{each['queries']:,} queries of {each['texts']} ({each['rows']:,} rows)" for each in figures)
    first = figures[0]
    return (
        f"{asked}; k = {first['k']}, at the effort `target`, by HTTP over {CONNECTIONS} connections, vectors as JSON; "
        f"medians of {first['rounds']} rounds, ratios within a round. No cache, so none was seen before, but in the "
        f"last column: there {DISTINCT:,} texts at most are drawn by {first['popularity']}, and beside the figure is "
        "the share that the cache had, from an empty one on. The targets are those of a processor without AMX; a unit "
        "below this processor's own runs on it and says what such a processor executes, not how fast it is."
    )
