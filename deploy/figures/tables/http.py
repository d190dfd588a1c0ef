"""Servers beside each other: what was aimed for and reached, and every server."""

from __future__ import annotations

from typing import Any

from deploy.figures.markdown import TARGET_HEADER, conditions, or_missed, table
from deploy.figures.store import kept

VECTOR, BASE64, TEXT = "perwatt, vector as JSON", "perwatt, vector as base64", "perwatt, text"
FLOOR = "FastAPI + msgspec, no search"
FLOOR_GRANIAN = "FastAPI + msgspec, no search, under Granian"
ASGI, ASGI_GRANIAN = "perwatt without its fast path", "perwatt without its fast path, under Granian"
CHROMA, TXTAI = "Chroma's server", "txtai's API, text"
NO_SERVERS = (VECTOR, BASE64, TEXT, FLOOR, FLOOR_GRANIAN, ASGI, ASGI_GRANIAN)  # of others


def block() -> str:
    measured = kept("http")
    figures = measured["figures"] | kept("http-workers")["figures"]
    return "\n\n".join([targets(figures), servers(figures), f"{remarks(figures)} {conditions(measured)}"])


def targets(figures: dict[str, Any]) -> str:
    known = {row["name"]: row for row in figures["rows"]}
    more, memory = figures["more_workers"], figures["memory"]
    rows: list[list[object]] = []

    def line(name: str, aim: str, met: bool, says: str, against: str) -> None:
        rows.append([name, aim, or_missed(met, says), against])

    def times(name: str, aim: float, ours: str, peer: str) -> None:
        if peer in known:
            ratio = known[ours]["requests_per_s"] / known[peer]["requests_per_s"]
            line(name, f"≥ {aim:g}", ratio >= aim, f"{ratio:.2f}", peer)

    times("vector in: requests/s ×", 5, VECTOR, CHROMA)
    for peer in known:
        if peer not in (*NO_SERVERS, CHROMA, TXTAI):
            times("vector in: requests/s ×", 2, VECTOR, peer)
    times("text in: requests/s ×", 3, TEXT, TXTAI)
    beyond = figures["beyond_search_us"]
    floor = f"a bare FastAPI route: {known[FLOOR]['cpu_us_a_request']:.0f} µs" if FLOOR in known else "–"
    line("vector in: processor time beyond the search", "≤ 130 µs", beyond <= 130, f"{beyond:.0f} µs", floor)
    for form in ("vector", "text"):
        ratio = more[form]["ratio"]
        where = f"one worker; beside two, the load is on {more['load_on']}"
        line(f"{form} in: requests/s of two workers ×", "≥ 1.8", ratio >= 1.8, f"{ratio:.2f}", where)
        scaled = 2 * more[form]["two_per_cpu_s"] / more[form]["one_per_cpu_s"]
        line(
            f"{form} in: the same, by the processor time of a request",
            "≥ 1.8",
            scaled >= 1.8,
            f"{scaled:.2f}",
            "one worker",
        )
    counts = sorted(memory["by_workers"], key=int)
    least, most = memory["by_workers"][counts[0]], memory["by_workers"][counts[-1]]
    for part in ("index", "model"):
        grown = most[part] / least[part] if least[part] else 0.0
        line(
            f"PSS of the {part}'s files, {counts[-1]} workers ×",
            "≤ 1.05",
            grown <= 1.05,
            f"{grown:.2f}",
            f"{counts[0]} worker: {least[part] / 2**20:.0f} MiB",
        )
    return table(TARGET_HEADER, rows)


def servers(figures: dict[str, Any]) -> str:
    known = {row["name"]: row for row in figures["rows"]}
    opened = any(row.get("open") for row in figures["rows"])
    rows: list[list[object]] = []
    for row in sorted(figures["rows"], key=lambda row: -float(row["requests_per_s"])):
        ours = TEXT if "text" in row["name"] else VECTOR
        ratio = row["requests_per_s"] / known[ours]["requests_per_s"]
        name = f"**{row['name']}**" if row["name"] in (VECTOR, BASE64, TEXT) else row["name"]
        if row["version"]:
            name += f" ({row['version']})"
        recall = "–" if row["recall"] is None else f"{row['recall']:.3f}"
        cells = [f"{row['requests_per_s']:,.0f}", f"{ratio:.2f} ×", f"{row['cpu_us_a_request']:,.0f}"]
        if opened:
            found = row.get("open")
            cells.append(
                f"{found['p50_ms']:.1f} / {found['p99_ms']:.1f} at {found['offered_per_s']:,.0f}/s" if found else "–"
            )
        rows.append([name, *cells, f"{row['p50_ms']:.1f} / {row['p99_ms']:.1f}", recall])
    header = ["one core of …", "requests/s", "of perwatt's", "µs CPU"]
    if opened:
        header.append(f"p50 / p99 ms in an open loop at {figures['conditions']['open_share']:.0%}")
    return table([*header, "p50 / p99 ms in wrk's closed loop", "recall"], rows)


def remarks(figures: dict[str, Any]) -> str:
    asked, more, by_locust = figures["conditions"], figures["more_workers"], figures["locust"]
    known = {row["name"]: row for row in figures["rows"]}
    busiest = max(row["generator_busy"] for row in figures["rows"])
    said = [
        f"{asked['rows']:,} × {asked['dim']}, k = {asked['k']}, each at the least effort that reaches a recall of "
        f"{asked['wanted']:g} in its own answers; {asked['connections']} connections, {asked['rounds']} interleaved "
        f"rounds of {asked['seconds']} s, the best counts.",
        _loops(figures),
        f"wrk {asked['wrk']} on the other core was at most {busiest:.0%} busy; Locust's faster client, beside it, gets "
        f"{by_locust['per_s']:,.0f} vectors a second answered with {by_locust['busy']:.0%} of that core.",
        f"A walk takes {figures['search_us']:.0f} µs of perwatt's request. It keeps no cache of queries or answers, so "
        "there are no cache hits to show apart.",
        _granian(known),
        f"Two workers: the busiest had {more['vector']['busiest_share']:.0%} of the work; wrk took "
        f"{more['vector']['generator_cores']:.2f} of the two cores beside vectors and "
        f"{more['text']['generator_cores']:.2f} beside texts.",
    ]
    if figures["left_out"]:
        said.append("Left out: " + "; ".join(f"{name} ({why})" for name, why in figures["left_out"].items()) + ".")
    return " ".join(each for each in said if each)


def _loops(figures: dict[str, Any]) -> str:
    """What the two kinds of times are; one of them where the open loop was not measured."""
    asked = figures["conditions"]
    said = (
        f"wrk is a closed loop: each of its {asked['connections']} connections sends when its last answer is there, so "
        "its times are of a load that waits for the server, and not what users see."
    )
    late = [row["open"]["late_ms"] for row in figures["rows"] if row.get("open")]
    if not late:
        return said
    return (
        f"{said} The open loop is perwatt's own generator: Poisson arrivals at {asked['open_share']:.0%} of what "
        f"wrk found just before, time from when a request was due; it was itself at most {max(late):.2f} ms late (p99)."
    )


def _granian(known: dict[str, Any]) -> str:
    if FLOOR_GRANIAN not in known or FLOOR not in known:
        return ""
    bare = known[FLOOR_GRANIAN]["requests_per_s"] / known[FLOOR]["requests_per_s"]
    said = f"Under Granian a bare route answers {bare:.2f} × what it does under uvicorn"
    if ASGI_GRANIAN in known and ASGI in known:
        whole = known[ASGI_GRANIAN]["requests_per_s"] / known[ASGI]["requests_per_s"]
        fast = known[VECTOR]["requests_per_s"] / known[ASGI_GRANIAN]["requests_per_s"]
        said += (
            f", and perwatt's application {whole:.2f} ×; with perwatt's own protocol on uvicorn it is {fast:.2f} × as "
            "fast as under Granian"
        )
    return said + "."
