"""What a second worker brings, and how much memory N workers take.

The load generator needs processor time too, and on a machine of two cores it has none of its own once both have a
worker. So the plain ratio is limited by what the generator leaves of the two cores. Two other figures do not depend on
that: requests a second of the server's own processor time, which more workers must not make worse, and the share of the
work that fell on the busiest worker. (One worker and its load on one core would be no fair start: they wake each other
without crossing cores, which is worth a tenth.) With four cores or more the load has cores of its own.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from service.bench import contenders, load
from service.bench.contenders import Contender
from service.bench.process import Server, cpu_s

ROUNDS = 2


def measure(place: Path, vector: Contender, text: Contender, seconds: int, connections: int) -> dict[str, Any]:
    """{"vector": …, "text": …, "load_on": …}, each with requests a second of one and of two workers; `connections`
    of them a worker."""
    cores = sorted(os.sched_getaffinity(0))
    own = len(cores) > 3
    found: dict[tuple[str, int], dict[str, float]] = {}
    with ExitStack() as stack:
        started = {workers: contenders.perwatt(stack, place, _listed(cores[:workers]), workers) for workers in (1, 2)}
        for _ in range(ROUNDS):
            for workers, (server, port) in started.items():
                other = started[3 - workers][0]
                loaded_on = _listed(cores[2 : 2 + workers] if own else cores if workers == 2 else cores[-1:])
                for form, asked in (("vector", vector), ("text", text)):
                    with other.paused():
                        latest = _round(place, server, port, asked, seconds, workers * connections, loaded_on)
                    best = found.get((form, workers))
                    if best is None or latest["per_s"] > best["per_s"]:
                        found[form, workers] = latest
    forms = {}
    for form in ("vector", "text"):
        one, two = found[form, 1], found[form, 2]
        forms[form] = {
            "one_per_s": round(one["per_s"]),
            "two_per_s": round(two["per_s"]),
            "ratio": round(two["per_s"] / one["per_s"], 2),
            "one_per_cpu_s": round(1e6 / one["cpu_us"]),
            "two_per_cpu_s": round(1e6 / two["cpu_us"]),
            "generator_cores": round(two["busy"], 2),
            "busiest_share": round(two["busiest_share"], 3),
        }
    return {**forms, "load_on": "cores of its own" if own else "the cores of the workers"}


def _listed(cores: list[int]) -> str:
    return ",".join(map(str, cores))


def _round(
    place: Path, server: Server, port: int, asked: Contender, seconds: int, connections: int, cores: str
) -> dict[str, float]:
    pids = server.pids()
    before = {pid: cpu_s(pid) for pid in pids}
    found = load.wrk(place, server, port, asked.path, asked.bodies, seconds, connections, cores)
    spent = [cpu_s(pid) - before[pid] for pid in pids]
    return {
        "per_s": found["per_s"],
        "cpu_us": found["cpu_us"],
        "busy": found["busy"],
        "busiest_share": max(spent) / sum(spent),
    }


def memory(place: Path, vector: Contender, text: Contender, counts: tuple[int, ...] = (1, 2, 4)) -> dict[str, Any]:
    """Bytes of PSS after every worker has searched and encoded: in the files of the generation, in those of the packed
    model, and in everything else. A page counts once however many processes map it."""
    [generation] = [each for each in (place / "indexes" / "bench").iterdir() if each.name == _current(place)]
    found = {}
    for workers in counts:
        with ExitStack() as stack:
            cores = _listed(sorted(os.sched_getaffinity(0)))
            server, port = contenders.perwatt(stack, place, cores, workers)
            for asked in (vector, text):
                load.wrk(place, server, port, asked.path, asked.bodies, 2, 4 * workers, cores)
            total = server.pss()
        index = sum(size for name, size in total.items() if name.startswith(str(generation.resolve())))
        model = sum(size for name, size in total.items() if name.endswith(".safetensors"))
        found[str(workers)] = {"index": index, "model": model, "other": sum(total.values()) - index - model}
    assert all(each["index"] for each in found.values()), "the index is mapped"
    files = sum(file.stat().st_size for file in generation.iterdir())
    return {"files": files, "by_workers": found}


def _current(place: Path) -> str:
    from index import Root

    return Root(place / "indexes").alias("bench").generation
