"""The table of what hybrid searches and words cost, from the figures of `perwatt bench hybrid`."""

from __future__ import annotations

from typing import Any

from deploy.figures.markdown import conditions, noise, or_missed, table
from deploy.figures.store import kept
from service.bench.texts.corpus import WORDS
from service.bench.texts.hybrid import TARGETS


def block() -> str:
    measured = kept("hybrid")
    figures = measured["figures"]
    return f"{costs(figures)}\n\n{remarks(figures)} {conditions(measured)}{noise(figures)}"


def costs(figures: dict[str, Any]) -> str:
    rows: list[list[object]] = [
        [
            f"{row['share']:.0%} of the rows survive",
            f"{row['dense_us']:,.0f}",
            f"{row['lexical_us']:,.0f}",
            f"{row['hybrid_us']:,.0f}",
            or_missed(row["hybrid"] <= TARGETS["hybrid"], f"{row['hybrid']:.2f} ×"),
            f"{row['words_us']:,.0f}",
            or_missed(row["words"] <= TARGETS["words"], f"{row['words']:.2f} ×"),
        ]
        for row in figures["shares"]
    ]
    head = ["µs of processor time", "dense, HTTP", "words, HTTP", "hybrid, HTTP"]
    head += [f"of its two parts (≤ {TARGETS['hybrid']:g})", "words alone", f"of bare tantivy (≤ {TARGETS['words']:g})"]
    return table(head, rows)


def remarks(figures: dict[str, Any]) -> str:
    return (
        f"{figures['rows']:,} {figures['texts']}, {figures['queries']} queries of {WORDS} words from texts that are "
        f"not among them, k = {figures['k']}, filters on an integer that has nothing to do with the texts. By HTTP one "
        f"request at a time, of texts that were seen before and so are not encoded; medians of {figures['rounds']} "
        "rounds, ratios within a round. Words alone: a search without HTTP, beside an index that tantivy's own "
        "documentation makes of the same words."
    )
