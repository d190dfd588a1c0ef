"""Graphs beside other libraries: the targets, the engines, and the same on other vectors."""

from __future__ import annotations

from typing import Any

from deploy.figures.markdown import TARGET_HEADER, conditions, noise, or_missed, table
from deploy.figures.store import kept
from index.bench.ann.targets import COMPACT, SPEED, qps, reached


def block() -> str:
    measured = kept("ann")
    figures = measured["figures"]
    vectors = figures["vectors"]
    peers = ", ".join(
        f"{name} {number}" for name, number in figures["versions"].items() if number and name != "perwatt"
    )
    return "\n\n".join(
        [
            "![Queries a second over recall, one line an engine](ann.svg)",
            f"{vectors['name']}: {vectors['rows']:,} × {vectors['dim']}, {vectors['metric']}, {vectors['queries']:,} "
            f"held-out queries in one call, {figures['rounds']} interleaved rounds of which the fastest counts. Ratios "
            "are within the run, at the cheapest setting of each engine that reaches the recall.",
            targets_table(figures, kept("kernels")["figures"]),
            "Every engine; perwatt's queries a second, and the others' as multiples of them:",
            engines_table(figures),
            others_table(kept("ann-others")["figures"]),
            f"{conditions(measured)} Peers: {peers}.{left_out(figures)}{noise(figures)}",
        ]
    )


def targets_table(figures: dict[str, Any], kernels: dict[str, Any]) -> str:
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
        aimed = " · ".join(dict.fromkeys(f"{each['target']:g}" for each in each_part))
        rows.append([name, f"{sign} {aimed}", " · ".join(values), ", ".join(against)])
    for place, label in SCANS.items():
        here = [each for each in kernels["scan"] if each["place"] == place]
        values = [
            or_missed(each["share_of_read"] >= 0.7, f"{each['share_of_read']:.2f}")
            + f" ({each['threads']} thread{'s' * (each['threads'] > 1)})"
            for each in here
        ]
        rows.append([f"exact int8 scan, {label}: share of read bandwidth", "≥ 0.7", " · ".join(values), "a bare sum"])
    return table(TARGET_HEADER, rows)


SCANS = {
    "cached": "in the core's own cache",
    "shared": "in the last-level cache",
    "memory": "in memory",
}


def _value(each: dict[str, Any]) -> str:
    if each["value"] is None:
        return "not measured"
    return or_missed(each["met"], f"{each['value']:.2f}")


def engines_table(figures: dict[str, Any]) -> str:
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
    return table(["engine", *heads, "build s", "bytes a vector, private + mapped"], rows)


def _cases(figures: dict[str, Any]) -> list[tuple[int, int]]:
    return [(k, threads) for k in figures["k"] for threads in figures["threads"]]


def others_table(runs: list[dict[str, Any]]) -> str:
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
    return table(header, rows)


def _times_best(ours: dict[str, Any], peers: list[dict[str, Any]], recall: str) -> tuple[str, str]:
    """Our queries a second over those of the quickest of the peers, and its name."""
    mine = qps(ours, "k10_t1", recall)
    reaching = [(rate, each["label"]) for each in peers if (rate := qps(each, "k10_t1", recall))]
    if not mine or not reaching:
        return "–", ""
    rate, label = max(reaching)
    return f"{mine / rate:.2f}", label


def left_out(figures: dict[str, Any]) -> str:
    failed = [f"{each['label']} ({each['reason'].rstrip('.')})" for each in figures["failed"]]
    return f" Left out: {'; '.join(failed)}." if failed else ""
