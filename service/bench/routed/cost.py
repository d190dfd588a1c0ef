"""Processor time of a request through a router: beside one of its shards, and beside one server of all rows.

    one      a server of all rows
    router   a router, with a server for each shard
    shard    the server of one shard, which is sent the same request without a router

All of them share one core and are asked in turns, at the least effort with which they find what is wanted; wrk has
another core. What counts is the kernel's count of processor time, as a ratio within a round; of the rounds, the median.
So it matters little what else runs meanwhile.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from service.bench import contenders, load, race
from service.bench.contenders import HttpCase
from service.bench.routed import beyond, fleet, stopped
from service.bench.routed.fleet import SEARCH, Served

TARGETS = {"beyond_ms": 0.3, "router_over_shard": 1.2, "of_one": 0.9, "stopped": 2.0}


def measure(
    file: Path | None = None,
    rows: int = 100_000,
    shards: int = 4,
    wanted: float = 0.95,
    rounds: int = 9,
    seconds: int = 1,
    connections: int = 16,
    work: Path | None = None,
) -> dict[str, Any]:
    """{"vector": …, "text": …, "slowest_shard_ms": …, "stopped": …, "conditions": …}; of each form of a query
    microseconds of processor time a request, their ratios, and how much later than the slowest shard the router
    answers.

    Args:
        wanted: Recall of the answers, of one server and through the router.
        work: Keeps what was built.
    """
    version = load.wrk_version()
    with ExitStack() as stack:
        place = work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="perwatt-bench-")))
        place.mkdir(parents=True, exist_ok=True)
        case = race.prepare(place, file, rows, wanted)
        roots = fleet.build_shards(place, shards, wanted)
        cores = sorted(os.sched_getaffinity(0))
        core, load_core = str(cores[0]), str(cores[-1])
        one = Served(*contenders.perwatt(stack, place, core))
        parts = [fleet.serve(stack, root, core) for root in roots]
        router = fleet.route(stack, [[part] for part in parts], core)
        alone_effort, effort = fleet.least_effort(one, case), fleet.least_effort(router, case)
        stack.callback(os.sched_setaffinity, 0, cores)
        os.sched_setaffinity(0, {cores[-1]})
        late = beyond.measure(router, parts, case, effort)
        figures: dict[str, Any] = {}
        for form in ("vector", "text"):
            asked, asked_one = bodies(case, form, effort), bodies(case, form, alone_effort)

            def round_(
                form: str = form, asked: list[str] = asked, asked_one: list[str] = asked_one
            ) -> dict[str, float]:
                found = _round(place, one, router, parts, asked, asked_one, seconds, connections, load_core)
                said = ", ".join(f"{name} {value:,.2f}" for name, value in found.items())
                click.echo(f"{form}: {said}", err=True)
                return found

            round_()  # warm
            found = [round_() for _ in range(rounds)]
            middle = {name: statistics.median(each[name] for each in found) for name in found[0]}
            figures[form] = {
                **{name: round(value, 3 if name in TARGETS else 1) for name, value in middle.items()},
                "beyond_ms": round(late[form], 3),
            }
        one.server.stop()
        return figures | {
            "slowest_shard_ms": round(late["slowest_shard"], 3),
            "stopped": stopped.measure(stack, router, parts, roots, bodies(case, "vector", effort), core),
            "conditions": {
                "rows": rows,
                "dim": len(case.vectors[0]),
                "shards": shards,
                "k": contenders.K,
                "wanted": wanted,
                "effort": effort,
                "effort_of_one": alone_effort,
                "rounds": rounds,
                "seconds": seconds,
                "connections": connections,
                "wrk": version,
                "cores": "one core",
            },
        }


def bodies(case: HttpCase, form: str, effort: int) -> list[str]:
    return contenders.texts_at(case, effort) if form == "text" else contenders.packed_at(case, effort)


def _round(
    place: Path,
    one: Served,
    router: Served,
    parts: Sequence[Served],
    asked: list[str],
    asked_one: list[str],
    seconds: int,
    connections: int,
    load_core: str,
) -> dict[str, float]:
    def spent_us(served: Served, sent: list[str]) -> float:
        return load.wrk(place, served.server, served.port, SEARCH, sent, seconds, connections, load_core)["cpu_us"]

    before_s = [part.server.cpu_s() for part in parts], router.server.cpu_s()
    router_us = spent_us(router, asked)
    parts_s = sum(part.server.cpu_s() - before for part, before in zip(parts, before_s[0], strict=True))
    parts_us = router_us * parts_s / (router.server.cpu_s() - before_s[1])
    shard_us, one_us = spent_us(parts[0], asked), spent_us(one, asked_one)
    return {
        "router_us": router_us,
        "part_us": parts_us / len(parts),
        "shard_us": shard_us,
        "one_us": one_us,
        "router_over_shard": router_us / shard_us,
        "of_one": one_us / (router_us + parts_us),
    }
