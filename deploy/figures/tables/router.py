"""The tables of what a router over shards costs, and a job that builds them, against what was aimed for."""

from __future__ import annotations

from typing import Any

from deploy.figures.markdown import TARGET_HEADER, conditions, or_missed, table
from deploy.figures.store import KEPT, kept
from deploy.jobs import bench
from service.bench.routed.cost import TARGETS

UNMEASURED = "Not measured on a quiet machine yet: `python -m deploy.figures measure router` does it."

NO_JOB = "Not measured on this machine yet: `make bench-jobs` does it, and writes its figures here."


def block() -> str:
    if not (KEPT / "router.json").exists():
        return UNMEASURED
    measured = kept("router")
    figures = measured["figures"]
    return f"{targets(figures)}\n\n{remarks(figures)} {conditions(measured)}"


def job_block() -> str:
    if not (KEPT / "jobs.json").exists():
        return NO_JOB
    measured = kept("jobs")
    figures = measured["figures"]
    return f"{job_targets(figures)}\n\n{job_remarks(figures)} {conditions(measured)}"


def targets(figures: dict[str, Any]) -> str:
    """What a router costs, against what was aimed for."""
    shards = figures["conditions"]["shards"]
    rows: list[list[object]] = []

    def line(name: str, aim: str, met: bool, says: str, against: str) -> None:
        rows.append([name if met else f"**{name}**", aim, or_missed(met, says), against])

    for form in ("vector", "text"):
        found = figures[form]
        line(
            f"{form} in: later than the slowest shard, p50",
            f"≤ {TARGETS['beyond_ms']:g} ms",
            found["beyond_ms"] <= TARGETS["beyond_ms"],
            f"{found['beyond_ms']:.2f} ms",
            f"the slowest shard: {figures['slowest_shard_ms']:.2f} ms",
        )
        line(
            f"{form} in: processor time of the router ({found['router_us']:,.0f} µs)",
            f"≤ {TARGETS['router_over_shard']:g} ×",
            found["router_over_shard"] <= TARGETS["router_over_shard"],
            f"{found['router_over_shard']:.2f} ×",
            f"one shard asked directly: {found['shard_us']:,.0f} µs",
        )
        line(
            f"{form} in: queries a processor second of router and shards",
            f"≥ {TARGETS['of_one']:g} / {shards} ×",
            found["of_one"] >= TARGETS["of_one"] / shards,
            f"{found['of_one'] * shards:.2f} / {shards} ×",
            f"one server of all rows: {1e6 / found['one_us']:,.0f}",
        )
    stopped = figures["stopped"]
    line(
        "p99 while one of two replicas of a shard is stopped",
        f"≤ {TARGETS['stopped']:g} ×",
        stopped["ratio"] <= TARGETS["stopped"],
        f"{stopped['ratio']:.2f} ×",
        f"undisturbed: {stopped['quiet_p99_ms']:.1f} ms",
    )
    return table(TARGET_HEADER, rows)


def remarks(figures: dict[str, Any]) -> str:
    asked, vector, stopped = figures["conditions"], figures["vector"], figures["stopped"]
    return (
        f"{asked['rows']:,} × {asked['dim']}, k = {asked['k']}, in {asked['shards']} shards, at the least effort that "
        f"reaches a recall of {asked['wanted']:g}: {asked['effort']} in each shard, {asked['effort_of_one']} in one "
        f"index. All servers share {asked['cores']}; {asked['connections']} connections, {asked['rounds']} rounds of "
        f"{asked['seconds']} s in which all are asked in turns, of whose ratios of processor time the median counts. "
        f"What a router asks of a shard costs that {vector['part_us']:,.0f} µs. Behind the slowest shard: one request "
        "at a time, medians of 1,000 in turns, of a text without the time of encoding it. The p99 is that of "
        f"{stopped['per_s']} searches a second in an open loop; {stopped['searches']:,} beside a stopped replica were "
        "all answered, with the hits and the coverage that they have without."
    )


def job_targets(figures: dict[str, Any]) -> str:
    """What a job costs beside its work, against what was aimed for."""
    work = figures["took"]["here"]
    rows: list[list[object]] = []
    names = {"processes": f"{figures['cores']} processes", "ray": f"Ray, {figures['nodes']} nodes of one core"}
    for arm, name in names.items():
        took = figures["took"][arm]
        ratio = took["cpu_s"] / work["cpu_s"]
        met = or_missed(ratio <= bench.TARGET, f"{ratio:.2f} ×")
        clock = took["wall_s"] * figures["cores"] / work["cpu_s"]
        quiet = took["others"] <= bench.QUIET
        more_s = (took["cpu_s"] - work["cpu_s"]) / took["tasks"]
        each = f"{more_s:.2f} s" if more_s >= 0 else "less than the error"
        rows.append(
            [name, f"≤ {bench.TARGET:g} ×", met, each, f"{clock:.2f} ×" if quiet else "not alone on the machine"]
        )
    return table(
        [
            "a job on",
            "aimed for",
            "processor time, of the work's",
            "more than it, a task",
            "time on the clock × cores, of the work's",
        ],
        rows,
    )


def job_remarks(figures: dict[str, Any]) -> str:
    work = figures["took"]["here"]
    busy = [took["others"] for took in figures["took"].values()]
    error = (
        f" Others used {min(busy):.0%} to {max(busy):.0%} of the machine meanwhile, {work['others']:.0%} beside "
        "the work itself, which costs it processor time too: a share below 1 shows how large that error is."
    )
    return (
        f"{figures['rows']:,} {figures.get('texts', 'docstrings')} of {figures['bytes'] / 1e6:,.0f} MB, embedded and "
        f"built in {figures['shards']} shards. The work is {work['cpu_s']:,.0f} s of processor time: the same "
        f"{work['tasks']} tasks one after the other in one process. What a worker spends on its start and on "
        "loading the model, and Ray on itself, is fixed for each task, so its share falls as fragments and shards "
        "grow. `make bench-jobs ROWS=… TEXTS=FILE` measures any size and any texts."
        f"{error if max(busy) > bench.QUIET else ''}"
    )
