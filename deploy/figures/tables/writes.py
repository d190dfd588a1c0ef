"""The table of what writing costs, against what was aimed for."""

from __future__ import annotations

from typing import Any

from deploy.figures.markdown import TARGET_HEADER, conditions, or_missed, table
from deploy.figures.store import kept
from service.bench.writes import TARGETS


def block() -> str:
    measured = kept("writes")
    figures = measured["figures"]
    return f"{targets(figures)}\n\n{remarks(figures)} {conditions(measured)}"


def targets(figures: dict[str, Any]) -> str:
    written, beside = figures["acknowledged"], figures["beside"]
    rows: list[list[object]] = []

    def line(name: str, aim: str, met: bool, says: str, against: str) -> None:
        rows.append([name, aim, or_missed(met, says), against])

    def times(name: str, aim: float, ours: float, theirs: float | None, against: str) -> None:
        if theirs:
            line(name, f"≥ {aim:g} ×", ours >= aim * theirs, f"{ours / theirs:.2f} ×", f"{against}: {theirs:,.0f}/s")

    one, hundred = written["perwatt_per_s"], written["perwatt_hundreds_per_s"]
    group = f"SQLite alone, {figures['conditions']['callers']} rows a transaction"
    times(
        f"documents written a second, one a request ({one:,.0f})",
        TARGETS["sqlite"],
        one,
        written["sqlite_per_s"],
        group,
    )
    times(f"the same, a hundred a request ({hundred:,.0f})", TARGETS["sqlite"], hundred, written["sqlite_per_s"], group)
    times(
        "documents written a second, one a request", TARGETS["chroma"], one, written["chroma_per_s"], "Chroma's server"
    )
    late = figures["found_ms"]
    line(
        "a write found by a search with its `min_seq`, two workers, p99",
        f"≤ {TARGETS['found_ms']:g} ms",
        late["p99"] <= TARGETS["found_ms"],
        f"{late['p99']:.1f} ms",
        f"p50: {late['p50']:.1f} ms",
    )
    alone = beside["alone_p99_ms"]
    for what, name in (
        ("writing", f"p99 of searches while {beside['written_per_s']:.0f} texts a second are written"),
        ("rebuilding", f"p99 of searches during a rebuild of {beside['rebuild_s']:.0f} s on the same cores"),
    ):
        ratio = beside[f"{what}_p99_ms"] / alone
        line(name, f"≤ {TARGETS[what]:g} ×", ratio <= TARGETS[what], f"{ratio:.2f} ×", f"alone: {alone:.1f} ms")
    return table(TARGET_HEADER, rows)


def remarks(figures: dict[str, Any]) -> str:
    asked = figures["conditions"]
    return (
        f"{asked['rows']:,} × {asked['dim']}; {asked['callers']} callers in a closed loop, the server on another core, "
        "each write answered when it is on the disk; searches by text in an open loop, "
        f"{asked['searches_per_s']} a second."
    )
