"""The table of what ten times as many rows cost, from the figures of `perwatt bench growth`."""

from __future__ import annotations

from typing import Any

from deploy.figures.markdown import conditions, noise, table
from deploy.figures.store import kept_by_make, kept_of, make_of
from index.bench.growth import joined

PEAK = "peak_private_bytes"


def block() -> str:
    return "\n\n".join(_of_a_make(with_alone(each)) for each in kept_by_make("growth"))


def _of_a_make(measured: dict[str, Any]) -> str:
    figures = measured["figures"]
    drawn = f"growth.{make_of(measured['machine'])}.svg"
    return (
        f"![Queries a second and seconds of a build over the number of rows]({drawn})\n\n"
        f"{sizes(figures)}\n\n{beside(figures)}{remarks(figures)} {conditions(measured)}{noise(figures)}"
    )


def with_alone(measured: dict[str, Any]) -> dict[str, Any]:
    """What a make gave, with the sizes that ours was measured at alone there."""
    alone = kept_of("growth-alone", measured["machine"])
    return measured | {"figures": joined(measured["figures"], alone["figures"]["points"] if alone else [])}


def sizes(figures: dict[str, Any]) -> str:
    """Queries a second, processor time of one, and of a build; the exponents in the last column."""
    header = [f"queries/s at recall {figures['target']:g} · CPU µs a query · build s · CPU s of a build"]
    rows: list[list[object]] = []
    for engine in figures["engines"]:
        by_rows = {point["rows"]: point for point in engine["points"]}
        powers = engine["exponents"]
        rows.append(
            [
                f"**{engine['label']}**" if engine["ours"] else engine["label"],
                *(_shown(by_rows.get(size)) for size in figures["sizes"]),
                " · ".join(f"{powers[name]:.2f}" for name in ("queries_per_s", "cpu_us", "build_s", "build_cpu_s"))
                if powers
                else "–",
            ]
        )
    return table([*header, *(f"{size:,}" for size in figures["sizes"]), "exponents of the four"], rows)


def remarks(figures: dict[str, Any]) -> str:
    left = "".join(f" {each['label']} is not in {each['rows']:,}: {each['reason']}." for each in figures["failed"])
    alone = "".join(_alone(point) for engine in figures["engines"] for point in engine["points"] if PEAK in point)
    real = min(figures["real_rows"], figures["sizes"][-1])
    return (
        f"{figures['vectors']}: {real:,} rows are real, more are mixed of two. k = {figures['k']}, one thread; builds "
        f"on {figures['machine']['cores']}. A figure that grows with rows to the power of e has the exponent "
        f"e.{alone}{left}"
    )


def beside(figures: dict[str, Any]) -> str:
    """What ours come to at the largest size that a peer has too, beside each: builds, and searches."""
    points = {each["name"]: {point["rows"]: point for point in each["points"]} for each in figures["engines"]}
    ours, peers = (
        {each["name"]: each["label"] for each in figures["engines"] if each["ours"] is own} for own in (True, False)
    )
    sizes_of_peers = [rows for name in peers for rows in points[name]]
    if not sizes_of_peers:
        return ""
    rows, said = max(sizes_of_peers), []
    for name, label in ours.items():
        mine = points[name].get(rows)
        theirs = {peer: points[peer][rows] for peer in peers if rows in points[peer]}
        if mine:
            builds = " and ".join(f"{each['build_s'] / mine['build_s']:.1f}" for each in theirs.values())
            best = max(each["queries_per_s"] for each in theirs.values())
            said.append(f"{label.removeprefix('perwatt, ')}: {builds}, {mine['queries_per_s'] / best:.2f}")
    names = " and ".join(peers[peer] for peer in peers if rows in points[peer])
    return (
        f"At {rows:,} rows, how many times as long {names} build, and queries a second as a multiple of the best "
        f"peer's: {'; '.join(said)}. "
    )


def _alone(point: dict[str, Any]) -> str:
    """Of a size that was measured of ours alone."""
    gib = [f"{point[name] / 2**30:.1f} GiB" for name in (PEAK, "peak_bytes", "file_bytes")]
    return (
        f" {point['rows']:,} rows were built by ours alone, since peers do not fit, in {point['build_s'] / 60:.1f} "
        f"minutes: {gib[0]} of private memory at most "
        f"({point[PEAK] / point['rows']:,.0f} bytes a row), {gib[1]} with mapped files, and {gib[2]} of files."
    )


def _shown(point: dict[str, Any] | None) -> str:
    if point is None:
        return "–"
    searches = f"{point['queries_per_s']:,.0f} · {point['cpu_us']:,.0f}"
    return f"{searches} · {point['build_s']:,.1f} · {point['build_cpu_s']:,.1f}"
