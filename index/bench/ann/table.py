"""A run as lines of text: queries a second at each recall, what it cost to build and to hold, and who fell out."""

from __future__ import annotations

from typing import Any

from index.bench.ann.targets import SPEED, qps, says


def table(figures: dict[str, Any]) -> str:
    vectors, host = figures["vectors"], figures["machine"]
    lines = [
        f"{vectors['name']}: {vectors['rows']:,} × {vectors['dim']}, {vectors['metric']}, "
        f"{vectors['queries']:,} queries",
        f"{host['cpu']}, {host['cores']} cores, {host['isa']} kernels; {figures['seconds'] // 60} min "
        f"{figures['seconds'] % 60} s; queries a second, × perwatt's in brackets",
        *(
            [f"load average {host['load_average']:g} when it began: other work ran beside it"]
            * (host["load_average"] >= 1)
        ),
    ]
    for case in cases_of(figures):
        lines += ["", *case_lines(figures, case)]
    lines += ["", f"{'':<36}{'build s':>9}{'CPU s':>9}{'private':>10}{'mapped':>9}{'file':>9}  bytes a vector"]
    for engine in figures["engines"]:
        build, sizes = engine["build"], engine["bytes_per_vector"]
        lines.append(
            f"{engine['label']:<36}{build['seconds']:>9.1f}{build['cpu_seconds']:>9.1f}{sizes['private']:>10,}"
            f"{sizes['mapped']:>9,}{sizes['file']:>9,}"
        )
    lines += [""] + [f"left out: {each['label']}: {each['reason']}" for each in figures["failed"]]
    for each in figures["reached"]:
        sign, value = ("≥" if each["at_least"] else "≤"), each["value"]
        met = {True: "met", False: "MISSED", None: "–"}[each["met"]]
        shown = "–" if value is None else f"{value:g}"
        name = f"{each['name']}, {each['part']}".removesuffix(", ")
        lines.append(f"{name:<72}{sign} {each['target']:<5g} {shown:>7}  {met:<7}{each['against']}")
    return "\n".join(lines).strip()


def cases_of(figures: dict[str, Any]) -> list[str]:
    return [f"k{k}_t{threads}" for k in figures["k"] for threads in figures["threads"]]


def case_lines(figures: dict[str, Any], case: str) -> list[str]:
    targets = [f"{target:.2f}" for target in figures["targets"]]
    lines = [f"{says(case):<36}" + "".join(f"{'recall ≥ ' + target:>20}" for target in targets) + f"{'spread':>9}"]
    base = next((each for each in figures["engines"] if each["name"] == SPEED), None)
    for engine in by_speed(figures["engines"], case, targets):
        cells = []
        for target in targets:
            mine, ours = qps(engine, case, target), qps(base, case, target)
            share = f"({mine / ours:.2f})" if mine and ours else ""
            cells.append(f"{mine:>12,.0f} {share:>7}" if mine else f"{'–':>12}{'':>8}")
        spreads = [point["spread"] for point in engine["cases"][case]["points"]]
        lines.append(f"{engine['label']:<36}{''.join(cells)}{max(spreads, default=0):>9.0%}")
    return lines


def by_speed(engines: list[dict[str, Any]], case: str, targets: list[str]) -> list[dict[str, Any]]:
    """Those that took part, the fastest at the middle target first, then by the lower and the higher one."""
    order = [targets[len(targets) // 2], *targets]
    taking = [each for each in engines if case in each["cases"]]
    return sorted(taking, key=lambda each: [-(qps(each, case, target) or 0.0) for target in order])
