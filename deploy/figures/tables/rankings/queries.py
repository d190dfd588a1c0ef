"""The tables of fitted query encoders and of searches worth their price, from what `perwatt bench queries` finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deploy.figures.markdown import conditions, or_missed, table
from deploy.figures.store import kept
from service.bench.judged.query_encoders import TARGETS


def block() -> str:
    measured = kept("queries")
    figures = measured["figures"]
    return f"{encoders(figures)}\n\n{remarks(figures)}\n\n{front(figures)}\n\n{FRONT} {conditions(measured)}"


def encoders(figures: Sequence[dict[str, Any]]) -> str:
    rows: list[list[object]] = []
    for row in figures:
        cells: list[object] = [f"{row['collection']} ({row['queries']:,})", f"{row['ndcg_model']:.4f}"]
        if row["query_encoder"] is None:
            cells += ["left to the model", "–", "100%", or_missed(False, "1.00"), "–"]
        else:
            fit = row["fit_cpu_s"] / row["corpus_cpu_s"]
            cells += [
                f"{row['ndcg_fitted']:.4f}",
                or_missed(row["ndcg_ratio"] >= TARGETS["ndcg"], f"{row['ndcg_ratio']:.3f}"),
                f"{row['sent']:.0%}",
                or_missed(row["cpu"] <= TARGETS["cpu"], f"{row['cpu']:.2f}"),
                or_missed(fit <= TARGETS["fit"], f"{row['fit_cpu_s']:,.0f} s, {fit:.1f} ×"),
            ]
        rows.append(cells)
    head = ["nDCG@10 (queries)", "model", "auto", f"of the model's (≥ {TARGETS['ndcg']:g})", "through the model"]
    head += [f"processor time of encoding, of the model's (≤ {TARGETS['cpu']:g})"]
    return table([*head, f"the fit, of embedding the corpus (≤ {TARGETS['fit']:g})"], rows)


def remarks(figures: Sequence[dict[str, Any]]) -> str:
    ratios, shares = [row["ndcg_ratio"] for row in figures], [row["cpu"] for row in figures]
    return (
        "`perwatt build --query-encoder auto`: two layers, taught on the corpus alone; queries that they are worst at "
        "go through the whole model. Of each judged query, encoded alone in turn by both, nothing seen before. On "
        f"average {sum(ratios) / len(ratios):.3f} of the model's nDCG@10 at {sum(shares) / len(shares):.2f} of its "
        "processor time. The fit takes the same whatever the size of a corpus; these are small."
    )


def front(figures: Sequence[dict[str, Any]]) -> str:
    """From the cheapest on, each search that finds more than all that are cheaper."""
    rows: list[list[object]] = [
        [
            row["collection"],
            f"**{point['name']}**" if point["recommended"] else point["name"],
            f"{point['ndcg']:.4f}",
            f"{point['loss']['mean']:.4f} ({point['loss']['low']:.4f} to {point['loss']['high']:.4f})",
            f"{point['cpu_us']:,.0f}",
        ]
        for row in figures
        for point in row["front"]
    ]
    return table(["", "search", "nDCG@10", "below the best (95%)", "µs of processor time a query"], rows)


FRONT = (
    "The front of `perwatt tune`, of all it tried: no search that is cheaper finds as much. In bold what it "
    "recommends: the cheapest within 0.01 of the best. Without HTTP, encoding included, exact indexes."
)
