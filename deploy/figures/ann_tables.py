"""What the README keeps of a run, and how it is shown: the targets, the engines, and the same on other vectors."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from deploy.figures.ann_picture import picture
from index.bench.ann.engine import Float, Metric
from index.bench.ann.engines import ENGINES, chosen
from index.bench.ann.run import measure
from index.bench.ann.targets import COMPACT, SPEED, qps, reached
from index.bench.ann.vectors import AnnWorkload, workload

WORDNET = "wordnet_minilm_f16.npy"
# The strongest peers of the main run, and the one that everyone knows.
STRONGEST = ("rabitqlib", "svs", "hnswlib")
OTHER_ROWS = 30_000

Show = Callable[[list[str], list[list[object]]], str]


def main_run(picture_at: Path) -> dict[str, Any]:
    """Everything on WordNet from $PERWATT_DATA, or on docstrings at hand; draws the picture."""
    load = workload(_wordnet())
    if _wordnet():
        load = load._replace(name="WordNet, MiniLM")
    figures = measure(load, ENGINES, show=True)
    picture_at.write_text(picture(figures), encoding="utf-8")
    for engine in figures["engines"]:
        for case in engine["cases"].values():
            del case["points"]  # the picture has them
    return figures


def _wordnet() -> Path | None:
    folder = os.environ.get("PERWATT_DATA")
    return Path(folder) / WORDNET if folder and (Path(folder) / WORDNET).exists() else None


def other_runs() -> list[dict[str, Any]]:
    """One thread, k = 10, against the strongest peers, on vectors that differ in origin, width, length and metric."""
    runs = []
    for load in others():
        figures = measure(load, chosen([",".join([*STRONGEST, COMPACT])]), ks=(10,), threads=(1,), show=True)
        runs.append({key: figures[key] for key in ("vectors", "engines", "failed", "reached")})
    for run in runs:
        for engine in run["engines"]:
            for case in engine["cases"].values():
                del case["points"]
    return runs


def others() -> list[AnnWorkload]:
    """Docstrings at hand, and what can be made of WordNet's embeddings."""
    loads = [workload(None, limit=OTHER_ROWS)]
    source = _wordnet()
    if source is None:
        return loads
    wordnet = workload(source, limit=OTHER_ROWS)
    return [
        *loads,
        _made("WordNet, MiniLM, first 128 principal components, not scaled", wordnet, _principal(wordnet, 128), "l2"),
        _made("WordNet, MiniLM, first 128 principal components", wordnet, _principal(wordnet, 128), "cosine"),
        _made("WordNet, MiniLM, tanh of 768 random projections", wordnet, _wide, "cosine"),
        _made("WordNet, MiniLM, tanh of 768 random projections, not scaled", wordnet, _wide, "ip"),
    ]


def _made(name: str, load: AnnWorkload, change: Callable[[Float], Float], metric: Metric) -> AnnWorkload:
    rows, queries = change(load.rows), change(load.queries)
    if metric == "cosine":
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    return AnnWorkload(name, rows, queries, metric)


def _principal(load: AnnWorkload, dim: int) -> Callable[[Float], Float]:
    middle = load.rows.mean(0)
    axes = np.linalg.svd(load.rows[:20000] - middle, full_matrices=False)[2][:dim].T
    return lambda rows: np.ascontiguousarray((rows - middle) @ axes, np.float32)


def _wide(rows: Float) -> Float:
    """As a layer of random weights would make of them: neither linear nor of one length."""
    weights = np.random.default_rng(1).normal(size=(rows.shape[1], 768)).astype(np.float32)
    return np.ascontiguousarray(np.tanh(1.5 * rows @ weights), np.float32)


def targets_table(figures: dict[str, Any], kernels: dict[str, Any], show: Show) -> str:
    """Each target in a row, its parts beside each other; missed ones say so."""
    rows: list[list[object]] = []
    grouped: dict[str, list[dict[str, Any]]] = {}
    for each in reached(figures["engines"]):
        grouped.setdefault(each["name"], []).append(each)
    for name, each_part in grouped.items():
        sign = "≥" if each_part[0]["at_least"] else "≤"
        against = list(dict.fromkeys(each["against"] for each in each_part))
        values = [
            f"{_value(each)}{' (' + each['part'].removeprefix('recall ') + ')' if each['part'] else ''}"
            for each in each_part
        ]
        rows.append([name, f"{sign} {each_part[0]['target']:g}", " · ".join(values), ", ".join(against)])
    for place, label in SCANS.items():
        here = [each for each in kernels["scan"] if each["place"] == place]
        values = [
            f"{'' if each['share_of_read'] >= 0.7 else '**missed** '}{each['share_of_read']:.2f} "
            f"({each['threads']} thread{'s' * (each['threads'] > 1)})"
            for each in here
        ]
        rows.append([f"exact int8 scan, {label}: share of read bandwidth", "≥ 0.7", " · ".join(values), "a bare sum"])
    return show(["target", "aimed for", "reached", "compared with"], rows)


SCANS = {
    "cached": "in the core's own cache",
    "shared": "in the last-level cache",
    "memory": "in memory",
}


def _value(each: dict[str, Any]) -> str:
    if each["value"] is None:
        return "not measured"
    return f"{'' if each['met'] else '**missed** '}{each['value']:.2f}"


def engines_table(figures: dict[str, Any], show: Show) -> str:
    """Queries a second as multiples of ours, so that a number below one is slower; the rest absolute."""
    first, many = figures["threads"][0], figures["threads"][-1]
    columns = [(k, threads, recall) for k, threads in _cases(figures) for recall in ("0.95", "0.99")]
    columns = [each for each in columns if each[:2] in {(figures["k"][0], first), (figures["k"][0], many)}] + [
        (k, first, "0.95") for k in figures["k"][1:]
    ]
    base = next(each for each in figures["engines"] if each["name"] == SPEED)
    rows: list[list[object]] = []
    order = sorted(figures["engines"], key=lambda each: -(qps(each, f"k{columns[0][0]}_t{first}", "0.95") or 0.0))
    for engine in order:
        cells: list[object] = []
        for k, threads, recall in columns:
            mine, ours = qps(engine, f"k{k}_t{threads}", recall), qps(base, f"k{k}_t{threads}", recall)
            cells.append(
                f"{mine:,.0f}" if engine is base and mine else f"{mine / ours:.2f} ×" if mine and ours else "–"
            )
        sizes = engine["bytes_per_vector"]
        label = f"**{engine['label']}**" if engine["ours"] else engine["label"]
        memory = f"{sizes['private']:,} + {sizes['mapped']:,}"
        rows.append([label, *cells, f"{engine['build']['seconds']:.0f}", memory])
    heads = [f"k {k}, {threads} thr., {recall}" for k, threads, recall in columns]
    return show(["engine", *heads, "build s", "bytes a vector, private + mapped"], rows)


def _cases(figures: dict[str, Any]) -> list[tuple[int, int]]:
    return [(k, threads) for k in figures["k"] for threads in figures["threads"]]


def others_table(runs: list[dict[str, Any]], show: Show) -> str:
    """A row for each of our profiles that took part."""
    rows: list[list[object]] = []
    for run in runs:
        vectors = run["vectors"]
        label = f"{vectors['name']}: {vectors['rows']:,} × {vectors['dim']}, {vectors['metric']}"
        peers = [each for each in run["engines"] if not each["ours"]]
        for ours in (each for each in run["engines"] if each["name"] in (SPEED, COMPACT)):
            best = [_times_best(ours, peers, recall) for recall in ("0.95", "0.99")]
            known = [
                _times_best(ours, [each for each in peers if each["name"] == "hnswlib"], recall)[0]
                for recall in ("0.95", "0.99")
            ]
            which = ", ".join(dict.fromkeys(name for _, name in best if name))
            rows.append([label, ours["label"], " · ".join(ratio for ratio, _ in best), which, " · ".join(known)])
    header = ["vectors (one thread, k = 10, recall 0.95 · 0.99)", "ours", "× best peer", "which", "× hnswlib"]
    return show(header, rows)


def _times_best(ours: dict[str, Any], peers: list[dict[str, Any]], recall: str) -> tuple[str, str]:
    """Our queries a second over those of the quickest of the peers, and its name."""
    mine = qps(ours, "k10_t1", recall)
    reaching = [(rate, each["label"]) for each in peers if (rate := qps(each, "k10_t1", recall))]
    if not mine or not reaching:
        return "–", ""
    rate, label = max(reaching)
    return f"{mine / rate:.2f}", label


def noise(figures: dict[str, Any]) -> str:
    """A warning where the run had not the machine to itself."""
    busy = figures["machine"]["load_average"]
    if busy < 1:
        return ""
    return f" **Other work ran beside it** (load average {busy:g} when it began): these figures are provisional."


def left_out(figures: dict[str, Any]) -> str:
    failed = [f"{each['label']} ({each['reason'].rstrip('.')})" for each in figures["failed"]]
    return f" Left out: {'; '.join(failed)}." if failed else ""
