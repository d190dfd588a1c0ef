"""The tables of what other people's benchmarks found, from the figures of `deploy.judges`."""

from __future__ import annotations

from typing import Any

from deploy.figures.markdown import conditions, table
from deploy.figures.store import kept

RETRIEVERS = ("bm25s", "perwatt, dense", "perwatt, lexical", "perwatt, hybrid")
JUDGES = {"beir": "BEIR", "mteb": "MTEB"}
ENOUGH = 0.999  # recall, beyond which more effort is not shown
SEARCHES = {
    "ann-benchmarks": "ann-benchmarks",
    "vibe": "VIBE",
    "vector-db-benchmark": "vector-db-benchmark",
    "vectordb-bench": "VectorDBBench",
}


def block() -> str:
    measured = kept("judges")
    figures = measured["figures"]
    return "\n\n".join([retrieval(figures), search(figures), f"{remarks(figures)} {conditions(measured)}"])


def retrieval(figures: dict[str, Any]) -> str:
    """A row for each collection and judge; the best is bold, whoever it is."""
    rows: list[list[object]] = []
    for collection in figures["retrieval"]["collections"]:
        for judge, name in JUDGES.items():
            found = [collection[judge][retriever] for retriever in RETRIEVERS]
            cells = [f"{figure:.4f}" for figure in found]
            best = max(cells)
            rows.append(
                [f"{collection['collection']}, {name}", *(f"**{cell}**" if cell == best else cell for cell in cells)]
            )
    return table(["nDCG@10", *RETRIEVERS], rows)


def search(figures: dict[str, Any]) -> str:
    """A row for each judge and engine, with a recall for each effort it was searched with."""
    rows: list[list[object]] = []
    for judge, name in SEARCHES.items():
        rows += _by_engine(name, figures[judge]["rows"])
        rows += _by_engine(f"{name}, a condition in every query", figures[judge].get("filtered", []))
    return table(["", "engine", f"recall@{figures['vectors']['k']} (effort)"], rows)


def remarks(figures: dict[str, Any]) -> str:
    vectors = figures["vectors"]
    versions = figures["retrieval"]["collections"][0]["versions"]
    commits = ", ".join(f"{name} {figures[judge]['version']}" for judge, name in SEARCHES.items())
    words = [
        each["collection"]
        for each in figures["retrieval"]["collections"]
        if each["mteb"]["perwatt, lexical"] < each["mteb"]["bm25s"]
    ]
    lost = f"By words alone **we lose** on {' and '.join(words)}. " if words else ""
    return (
        "Each benchmark ran by its own commands and worked these figures out itself: how they are asked is in "
        "[integrations](../../service/INTEGRATIONS.md#other-peoples-benchmarks), and `make judges` does it again. "
        "Texts are encoded by perwatt's own model in int8, bm25s is MTEB's baseline with its stemmer. "
        f"{lost}Recall is among {vectors['rows']:,} × {vectors['dim']} ({vectors['name']}, cosine; "
        f"{vectors['queries']} queries held out), "
        "against neighbours found by NumPy; an effort means something else in each engine, and without one it is the "
        "index's own choice. That tells that an adapter loads and searches what it is given, and not who is quicker: "
        "speeds are left out here and stand [above](#graphs-beside-other-libraries). "
        f"BEIR {versions['beir']}, MTEB {versions['mteb']}, bm25s {versions['bm25s']}, {commits}."
    )


def _by_engine(judge: str, rows: list[dict[str, Any]]) -> list[list[object]]:
    found: dict[str, list[str]] = {}
    reached: set[str] = set()
    for row in rows:
        if row["engine"] in reached and "setting" not in row:
            continue
        if row["recall"] >= ENOUGH:
            reached.add(row["engine"])
        how = row["setting"].removeprefix("effort").strip() if "setting" in row else row["effort"]
        found.setdefault(row["engine"], []).append(f"{row['recall']:.4f}" + (f" ({how})" if how else ""))
    return [[judge, engine, " · ".join(cells)] for engine, cells in found.items()]
