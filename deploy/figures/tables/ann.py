"""Graphs beside other libraries: the targets, the engines, and the same on other vectors."""

from __future__ import annotations

from typing import Any

from deploy.figures.markdown import conditions, noise, or_missed, processor, table
from deploy.figures.store import kept, kept_by_make, kept_of, make_of
from index.bench.ann.targets import AUTO, COMPACT, FEW, SPEED, few_dimensions, qps, reached


def block() -> str:
    every = kept_by_make("ann")
    return "\n\n".join(
        [_targets_of_makes(every), *(_of_a_make(each, kept_of("ann-others", each["machine"])) for each in every)]
    )


def _targets_of_makes(every: list[dict[str, Any]]) -> str:
    columns, scanned = {}, kept("kernels")
    for each in every:
        machine, others = each["machine"], kept_of("ann-others", each["machine"])
        of_scans = make_of(scanned["machine"]) == make_of(machine)
        columns[f"{processor(machine)}, {each['measured_on']}"] = targets(
            each["figures"], others["figures"] if others else [], scanned["figures"]["scan"] if of_scans else []
        )
    return targets_table(columns)


def targets(
    figures: dict[str, Any], others: list[dict[str, Any]], scan: list[dict[str, Any]]
) -> dict[str, tuple[str, str]]:
    """By name: what was aimed for, and what one make of processor reached."""
    return _targets(reached(figures["engines"])) | _of_others(others) | _scans(scan)


def targets_table(columns: dict[str, dict[str, tuple[str, str]]]) -> str:
    """What was aimed for, and what each make of processor reached: runs of its own, each within itself."""
    aimed = {name: each[0] for column in columns.values() for name, each in column.items()}
    rows: list[list[object]] = [
        [name, sign, *(column.get(name, ("", "–"))[1] for column in columns.values())] for name, sign in aimed.items()
    ]
    return table(["target", "aimed for", *columns], rows)


def _of_a_make(measured: dict[str, Any], others: dict[str, Any] | None) -> str:
    figures = measured["figures"]
    vectors = figures["vectors"]
    peers = ", ".join(
        f"{name} {number}" for name, number in figures["versions"].items() if number and name != "perwatt"
    )
    return "\n\n".join(
        [
            f"### {processor(measured['machine'])}",
            f"![Queries a second over recall, one line an engine](ann.{make_of(measured['machine'])}.svg)",
            f"{vectors['name']}: {vectors['rows']:,} × {vectors['dim']}, {vectors['metric']}, {vectors['queries']:,} "
            f"held-out queries in one call, {figures['rounds']} interleaved rounds of which the fastest counts. "
            f"{_builds(figures)}Ratios "
            "are within the run, at the cheapest setting of each engine that reaches the recall: perwatt's queries a "
            "second, and the others' as multiples of them.",
            engines_table(figures),
            *([others_table(others["figures"])] if others else []),
            f"{conditions(measured)} Peers: {peers}.{left_out(figures)}{noise(figures)}",
        ]
    )


def _targets(found: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    """By name: what was aimed for, and what was reached, parts beside each other; missed ones say so."""
    grouped: dict[str, list[dict[str, Any]]] = {}
    for each in found:
        grouped.setdefault(each["name"], []).append(each)
    return {name: _target(parts) for name, parts in grouped.items()}


def _target(parts: list[dict[str, Any]]) -> tuple[str, str]:
    sign = "≥" if parts[0]["at_least"] else "≤"
    against = list(dict.fromkeys(each["against"] for each in parts))
    values = [
        f"{_value(each)}{' (' + each['part'].removeprefix('recall ') + ')' if each['part'] else ''}" for each in parts
    ]
    aimed = " · ".join(dict.fromkeys(f"{each['target']:g}" for each in parts))
    return f"{sign} {aimed}", f"{' · '.join(values)}; {', '.join(against)}"


def _of_others(runs: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    """Targets of few dimensions, among the runs on other vectors."""
    found: dict[str, tuple[str, str]] = {}
    for run in runs:
        if run["vectors"]["dim"] == FEW:
            label = f"{FEW} dimensions, {run['vectors']['metric']}"
            found |= {f"{label}: {name}": each for name, each in _targets(few_dimensions(run["engines"])).items()}
    return found


def _scans(scan: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    found = {}
    for place, label in SCANS.items():
        values = [
            or_missed(each["share_of_read"] >= 0.7, f"{each['share_of_read']:.2f}")
            + f" ({each['threads']} thread{'s' * (each['threads'] > 1)})"
            for each in scan
            if each["place"] == place
        ]
        if values:
            name = f"exact int8 scan, {label}: share of read bandwidth"
            found[name] = ("≥ 0.7", f"{' · '.join(values)}; a bare sum")
    return found


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
    base = next(each for each in figures["engines"] if each["name"] in (SPEED, COMPACT))
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


def _builds(figures: dict[str, Any]) -> str:
    if all(engine["build"].get("times", 1) == 1 for engine in figures["engines"]):
        return ""
    return "Builds of less than a minute are made twice, of which the faster counts. "


def _cases(figures: dict[str, Any]) -> list[tuple[int, int]]:
    return [(k, threads) for k in figures["k"] for threads in figures["threads"]]


def others_table(runs: list[dict[str, Any]]) -> str:
    """A row for each of our profiles that took part."""
    rows: list[list[object]] = []
    for run in runs:
        vectors = run["vectors"]
        label = f"{vectors['name']}: {vectors['rows']:,} × {vectors['dim']}, {vectors['metric']}"
        peers = [each for each in run["engines"] if not each["ours"]]
        for ours in (each for each in run["engines"] if each["name"] in (SPEED, COMPACT, AUTO)):
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
