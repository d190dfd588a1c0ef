"""The tables of what answers are worth on judged collections: each way of searching, and each way of fusing two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from deploy.figures.markdown import conditions, table
from deploy.figures.store import kept
from service.query.ranked.fusion import DEPTH


def block() -> str:
    measured = kept("quality")
    return f"{quality(measured['figures'])}\n\n{conditions(measured)}"


def fusion_block() -> str:
    measured = kept("fusion")
    gained = [
        sum(row[name] - row["scores"][str(DEPTH)] for row in measured["figures"]) / len(measured["figures"])
        for name in ("spans", "agreement")
    ]
    said = (
        "In bold what loses more than 0.01 to the better ranking. Vectors are int8's. stdlib-code is made by the "
        "benchmark: functions of Python's standard library, to be found by their docstrings. Spans of documents share "
        "their words, so they ask for the largest weight that is tried, on every collection. Weights that are learnt "
        f"so, or from how the rankings agree, gain {gained[0]:.3f} and {gained[1]:.3f} on average, lose to a ranking "
        "where the default does not, and follow wrong words further."
    )
    return f"{fusion(measured['figures'])}\n\n{said} {conditions(measured)}"


def quality(figures: Sequence[dict[str, Any]]) -> str:
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


def fusion(figures: Sequence[dict[str, Any]]) -> str:
    """A row for each fusion, beside the two rankings; in bold where it loses more than 0.01 to the better of them."""

    def line(name: str, of: Callable[[dict[str, Any]], float]) -> list[object]:
        cells: list[object] = [name]
        for row in figures:
            lost = max(row["dense"], row["words"]) - of(row)
            cells.append(f"**{of(row):.4f}**" if lost > 0.01 else f"{of(row):.4f}")
        return cells

    def at(depth: str) -> Callable[[dict[str, Any]], float]:
        return lambda row: float(row["scores"][depth])

    depths = [line(f"the same, the best {depth}", at(depth)) for depth in figures[0]["scores"] if depth != str(DEPTH)]
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
