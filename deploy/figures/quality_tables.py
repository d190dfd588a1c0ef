"""The tables of what answers are worth on judged collections: each way of searching, and each way of fusing two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Table = Callable[[list[str], list[list[object]]], str]


def quality(figures: Sequence[dict[str, Any]], table: Table) -> str:
    rows: list[list[object]] = [
        [
            f"{row['collection']}, {row['precision']}",
            f"{row['ndcg_10_flat']:.4f}",
            f"{row['ndcg_10_graph']:.4f}",
            f"{row['ndcg_10_lexical']:.4f}",
            f"{row['ndcg_10_hybrid']:.4f}",
            f"{row['recall_100']:.4f}",
            row["published_ndcg_10"] if row["precision"] == "fp32" and row["published_ndcg_10"] else "–",
        ]
        for row in figures
    ]
    header = ["nDCG@10", "dense, exact", "dense, graph", "lexical", "hybrid", "recall@100", "published (fp32, exact)"]
    return table(header, rows)


def fusion(figures: Sequence[dict[str, Any]], table: Table) -> str:
    """A row for each fusion, beside the two rankings; in bold where it loses more than 0.01 to the better of them."""
    from service.query.fusion import DEPTH

    def line(name: str, of: Callable[[dict[str, Any]], float]) -> list[object]:
        cells: list[object] = [name]
        for row in figures:
            lost = max(row["dense"], row["words"]) - of(row)
            cells.append(f"**{of(row):.4f}**" if lost > 0.01 else f"{of(row):.4f}")
        return cells

    def at(depth: str) -> Callable[[dict[str, Any]], float]:
        return lambda row: float(row["scores"][depth])

    depths = [line(f"the same, the best {depth}", at(depth)) for depth in others(figures)]
    weights = ", ".join(f"{row['spans_weight']:g}" for row in figures)
    rows: list[list[object]] = [
        ["dense, exact", *(f"{row['dense']:.4f}" for row in figures)],
        ["words", *(f"{row['words']:.4f}" for row in figures)],
        line(f"**by scores, the best {DEPTH} of each (the default)**", at(str(DEPTH))),
        *depths,
        line("by ranks", lambda row: row["ranks"]),
        line(f"words weighted by what is best on spans of the documents ({weights})", lambda row: row["spans"]),
        line("words weighted in each query by how the rankings agree", lambda row: row["agreement"]),
        ["the default, words of another query in every other one", *(f"{row['wrong_words']:.4f}" for row in figures)],
        ["by ranks, the same", *(f"{row['wrong_words_ranks']:.4f}" for row in figures)],
    ]
    return table(["nDCG@10", *(f"{row['collection']} ({row['queries']:,} queries)" for row in figures)], rows)


def others(figures: Sequence[dict[str, Any]]) -> list[str]:
    """Depths that were measured beside the default."""
    from service.query.fusion import DEPTH

    return [depth for depth in figures[0]["scores"] if depth != str(DEPTH)]
