"""The tables of lists on the disk within a limit of memory, from the figures of `perwatt bench disk`."""

from __future__ import annotations

from typing import Any

from deploy.figures.markdown import conditions, table
from deploy.figures.store import kept, kept_by_make
from index.bench.disk.contenders import CONTENDERS

TIMES = 3.0  # what was aimed for: times FAISS's IVF-PQ with its lists on the disk
_BUSY = 0.05  # of the processors, that others took: from here on a clock tells little
_HEADER = [
    "queries/s · µs of processor time · KiB read, a query", "recall@10", "cold", "warm", "asked of the disk, a query",
    "in memory, MiB", "build s (of processors)",
]  # fmt: skip


def block() -> str:
    measured = kept("disk")
    runs = [f"{contenders(each)}\n\n{remarks(each)}" for each in measured["figures"].values()]
    return "\n\n".join([*runs, conditions(measured), *map(_alone, kept_by_make("disk-alone"))])


def _alone(measured: dict[str, Any]) -> str:
    figures = measured["figures"]
    return (
        "So many rows that DiskANN's graph would take hours to build, and FAISS's other lists no less than these:\n\n"
        f"{contenders(figures)}\n\n{remarks(figures)} {conditions(measured)}"
    )


def contenders(figures: dict[str, Any]) -> str:
    rows: list[list[object]] = [
        [
            f"**{each['label']}**" if each["ours"] else each["label"],
            f"{each['recall']:.4f}" if each["recall"] >= figures["target"] else f"**missed** {each['recall']:.4f}",
            *(_shown(each[name]) for name in ("cold", "warm")),
            _asked(each),
            _memory(each),
            _took(each["build"]),
        ]
        for each in figures["contenders"]
    ]
    return table([f"{figures['rows']:,} × {figures['dim']}: {_HEADER[0]}", *_HEADER[1:]], rows)


def remarks(figures: dict[str, Any]) -> str:
    limit, queries = figures["limit_bytes"], figures["queries"]
    held = {
        "cgroup v1": "a control group (v1), in which the page cache counts",
        "cgroup v2": "a control group (v2), in which the page cache counts",
        "rlimit": "RLIMIT_DATA alone: the page cache was the machine's",
    }[figures["limit_kind"]]
    real = figures["real_rows"]
    made = "all of them real" if real == figures["rows"] else f"{real:,} of them real, the rest mixed of two"
    left = "".join(f" {each['label']} is left out: {each['reason']}." for each in figures["failed"])
    busy = max(each[name]["others"] for each in figures["contenders"] for name in ("cold", "warm"))
    noise = (
        f" **Other work took up to {busy:.0%} of the processors beside it**: queries a second are provisional."
        if busy > _BUSY
        else ""
    )
    counted = f"{limit / 2**20:,.0f} MiB ({limit / figures['rows']:.0f} bytes a row)"
    return (
        f"{figures['vectors']} ({made}), k = {figures['k']}, one query at a time on one thread, within {counted} "
        f"beyond the interpreter, libraries and queries, which are {_before(figures)} MiB; the limit is {held}. The "
        f"least effort that reaches recall {figures['target']:g} for {queries['judged']:,} held-out queries. Cold: the "
        f"first {queries['cold']} queries after the files were dropped from the page cache; warm: {queries['warm']} "
        f"others, after {queries['cold'] + queries['filling']:,}. The quickest of {figures['rounds']} rounds counts. "
        "What was built may be kept from a busier hour: of a build, processor time says more than the clock."
        f"{left}{_unmeasured(figures)}{_ratio(figures)}{_lost(figures)}{noise}"
    )


def _unmeasured(figures: dict[str, Any]) -> str:
    there = {each["name"] for each in (*figures["contenders"], *figures["failed"])}
    return "".join(f" {each.label} was not measured here." for each in CONTENDERS if each.name not in there)


def _lost(figures: dict[str, Any]) -> str:
    """Who answers more queries a second than ours does, of all that reach the target."""
    reached = [each for each in figures["contenders"] if each["recall"] >= figures["target"]]
    ours = next((each for each in reached if each["ours"]), None)
    if ours is None:
        return ""
    return "".join(
        f" **{name.capitalize()} we lose**: {each['label']} answers {times:.2f} × as many."
        for name in ("cold", "warm")
        for each in reached
        if (times := each[name]["queries_per_s"] / ours[name]["queries_per_s"]) > 1
    )


def _ratio(figures: dict[str, Any]) -> str:
    """Ours over the fastest of FAISS's whose lists lie on the disk, of those that reach the target."""
    reached = [each for each in figures["contenders"] if each["recall"] >= figures["target"]]
    ours = next((each for each in reached if each["ours"]), None)
    lists = [each for each in reached if each["name"].startswith("faiss-pq")]
    if ours is None or not lists:
        return ""
    said = []
    for name in ("cold", "warm"):
        best = max(lists, key=lambda each: float(each[name]["queries_per_s"]))
        times = ours[name]["queries_per_s"] / best[name]["queries_per_s"]
        cpu = min(each[name]["cpu_us"] for each in lists) / ours[name]["cpu_us"]
        times_said = f"{times:.1f} × the queries a second" if times >= TIMES else f"**missed** {times:.1f} ×"
        said.append(f"{name} {times_said} ({best['label']}) at 1/{cpu:.1f} of the least processor time")
    return f" Beside FAISS's best with lists on the disk, aimed at {TIMES:g} ×: {', '.join(said)}."


def _shown(one: dict[str, Any]) -> str:
    return f"{one['queries_per_s']:,.0f} · {one['cpu_us']:,.0f} · {one['read_kib']:,.0f}"


def _took(build: dict[str, Any]) -> str:
    """A build that was not done in one piece is not timed."""
    if build["seconds"] is None:
        return "not timed"
    return f"{build['seconds']:,.0f} ({build['cpu_seconds']:,.0f})"


def _asked(each: dict[str, Any]) -> str:
    """Records, where the engine counts them; of mappings the pages that were waited for, cold and warm."""
    cold, warm = each["cold"], each["warm"]
    if cold["reads"]:
        return f"{warm['reads']:.0f} records"
    if each["name"].startswith("faiss"):
        return f"{cold['faults']:,.0f} pages cold, {warm['faults']:,.0f} warm"
    return f"{warm['read_kib'] / 4:,.0f} pages"


def _memory(each: dict[str, Any]) -> str:
    used = each["memory"]
    if not used:
        return "–"
    return f"{used['private_bytes'] / 2**20:,.0f} own, {used['file_bytes'] / 2**20:,.0f} of files"


def _before(figures: dict[str, Any]) -> str:
    sizes = [each["before_bytes"] / 2**20 for each in figures["contenders"]]
    return " to ".join(dict.fromkeys(f"{size:,.0f}" for size in (min(sizes), max(sizes))))
