"""The table of instructions a query, from the figures of `perwatt bench instructions`."""

from __future__ import annotations

from typing import Any

from deploy.figures.markdown import conditions, table
from deploy.figures.store import kept


def block() -> str:
    measured = kept("instructions")
    figures = measured["figures"]
    return f"{counted(figures)}\n\n{remarks(figures)} {conditions(measured)}"


def counted(figures: dict[str, Any]) -> str:
    """A row for each processor and unit."""
    rows: list[list[object]] = [
        [
            f"{row['unit']}, {row['processor']} {row['how']}",
            *(_thousands(row[what]) for what in ("int8", "fp32", "walk")),
        ]
        for row in figures["counted"]
    ]
    return table(["thousand instructions a query", "a layer, int8", "a layer, fp32", "walk"], rows)


def remarks(figures: dict[str, Any]) -> str:
    graph = figures["graph"]
    return (
        f"A layer of the encoder, {graph['dim']} wide, with {figures['tokens']} tokens, and the embeddings. Walk: the "
        f"best {graph['k']} of {graph['rows']:,} made vectors × {graph['dim']} at the calibrated effort of "
        f"{graph['effort']}, a mean of {graph['queries']} queries. Only our own libraries' instructions count. Those "
        "of arm64 are **counted in emulation**. None of this is a time: one instruction may do the work of a thousand."
    )


def _thousands(count: int | None) -> str:
    return "–" if count is None else f"{count / 1000:,.0f}"
