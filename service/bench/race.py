"""The race: everybody on one core, wrk on another, in interleaved rounds; then each once more in an open loop.

A slow minute of the machine falls on all; while one is measured the others are stopped. The figure is the round that
answered most, and the processor time a request is the least of all rounds. The open loop is perwatt's own generator at
a stated share of that; other programs beside it spoil it, and then nothing is kept.

perwatt keeps no cache of queries, vectors or answers, so there are no cache hits to show apart: every request is
parsed, encoded and walked anew, though the queries cycle through a thousand.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loadtest.errors import InvalidRun
from service.bench import contenders, load, more_workers
from service.bench.contenders import PEERS, HttpCase

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Float = NDArray[np.float32]

HELD_OUT = 1000
RECALL_QUERIES = 300
TXTAI_TEXTS = 5000  # what txtai has to search: fewer than perwatt has, because it embeds them itself, once


def measure(
    file: Path | None = None,
    rows: int = 100_000,
    wanted: float = 0.95,
    rounds: int = 3,
    seconds: int = 3,
    connections: int = 16,
    folder: Path | None = None,
    work: Path | None = None,
    only: Sequence[str] = (),
) -> dict[str, Any]:
    """{"rows": one a contender, "left_out": {name: why}, "search_us": …, "beyond_search_us": …, "locust": …,
    "conditions": …}; microseconds of processor time a request."""
    version = load.wrk_version()
    with ExitStack() as stack:
        place = work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="perwatt-bench-")))
        place.mkdir(parents=True, exist_ok=True)
        case = prepare(place, file, rows, wanted)
        cores = sorted(os.sched_getaffinity(0))
        server_core, load_core = str(cores[0]), str(cores[-1])
        perwatt, port = contenders.perwatt(stack, place, server_core)
        racing = contenders.forms(perwatt, port, case)
        left_out: dict[str, str] = {}
        installed = folder or Path(".perwatt/peers")
        for name in PEERS:
            if only and name not in only:
                continue
            with ExitStack() as started:
                try:
                    contender = contenders.peer(started, name, case, installed, server_core)
                    contender.round(place, 1, connections, load_core)  # warm
                except (click.ClickException, OSError, ValueError) as error:
                    why = error.message if isinstance(error, click.ClickException) else str(error)
                    left_out[PEERS[name]] = why
                    click.echo(f"{PEERS[name]}: {why}", err=True)
                    continue
                contender.rounds.clear()
                racing.append(contender)
                stack.push(started.pop_all())
        searched_us: list[float] = []  # of a walk, one a round
        others = {each.server for each in racing}
        for _ in range(rounds):
            for contender in list(racing):
                with ExitStack() as paused:
                    for other in others - {contender.server}:
                        paused.enter_context(other.paused())
                    before = _searches(port) if contender.server is perwatt else (0.0, 0.0)
                    try:
                        found = contender.round(place, seconds, connections, load_core)
                    except click.ClickException as error:
                        if contender.server is perwatt:
                            raise
                        left_out[contender.name] = error.message
                        racing.remove(contender)
                        continue
                    click.echo(f"{contender.name:<38} {found['per_s']:>9,.0f}/s", err=True)
                    if contender is racing[0]:
                        now = _searches(port)
                        searched_us.append((now[0] - before[0]) / max(1.0, now[1] - before[1]) * 1e6)
        for contender in list(racing):
            with ExitStack() as paused:
                for other in others - {contender.server}:
                    paused.enter_context(other.paused())
                try:
                    contender.open_loop(place, seconds, connections, int(load_core))
                except InvalidRun as error:
                    raise click.ClickException(f"{contender.name}: {error}. Measure on a quiet machine.") from error
                except click.ClickException as error:
                    left_out[f"{contender.name}, open loop"] = error.message
                    click.echo(f"{contender.name}, open loop: {error.message}", err=True)
                    continue
                assert contender.open is not None
                click.echo(f"{contender.name:<38} open loop: p99 {contender.open['p99_ms']:>9,.1f} ms", err=True)
        with ExitStack() as paused:
            for other in others - {perwatt}:
                paused.enter_context(other.paused())
            one = racing[0]
            by_locust = load.locust(place, perwatt, port, one.path, one.bodies, seconds, connections, load_core)
        for other in others:
            other.stop()
        standing = [contender.figures() for contender in racing]
        # The least of each, and not the least difference: a walk that was disturbed must not count as much work.
        search_us = min(searched_us)
        return {
            "rows": standing,
            "left_out": left_out,
            "search_us": round(search_us, 1),
            "beyond_search_us": round(standing[0]["cpu_us_a_request"] - search_us, 1),
            "locust": {name: round(float(str(value)), 2) for name, value in by_locust.items()},
            "conditions": {
                "rows": rows,
                "dim": len(case.vectors[0]),
                "k": contenders.K,
                "wanted": wanted,
                "connections": connections,
                "rounds": rounds,
                "seconds": seconds,
                "wrk": version,
                "open_share": load.OPEN_SHARE,
            },
        }


def measure_workers(
    file: Path | None = None,
    rows: int = 100_000,
    wanted: float = 0.95,
    seconds: int = 3,
    connections: int = 16,
    work: Path | None = None,
) -> dict[str, Any]:
    """{"more_workers": …, "memory": …} of perwatt alone (`more_workers.py`)."""
    with ExitStack() as stack:
        place = work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="perwatt-bench-")))
        place.mkdir(parents=True, exist_ok=True)
        case = prepare(place, file, rows, wanted)
        with ExitStack() as started:
            vector, _, text = contenders.forms(
                *contenders.perwatt(started, place, str(min(os.sched_getaffinity(0)))), case
            )
        return {
            "more_workers": more_workers.measure(place, vector, text, seconds, connections),
            "memory": more_workers.memory(place, vector, text),
        }


def prepare(place: Path, file: Path | None, rows: int, wanted: float) -> HttpCase:
    """Vectors, ids and texts for the peers, a generation of today's code for perwatt; the held-out queries and their
    true neighbours. What the peers have built in `place` is theirs to find again; other vectors want another place."""
    import numpy as np

    from index import build_generation
    from index.search.exact import search

    corpus, queries = read(file, rows)
    ids = [f"s{row:06}" for row in range(rows)]
    if not (place / "ids.txt").exists():
        np.save(place / "vectors.npy", corpus)
        (place / "texts.txt").write_text("\n".join(texts(TXTAI_TEXTS)) + "\n")
        (place / "ids.txt").write_text("\n".join(ids) + "\n")
    kept = np.load(place / "vectors.npy", mmap_mode="r")
    if kept.shape != corpus.shape or not (kept[:1000] == corpus[:1000]).all():
        raise click.ClickException(f"{place} was made from other vectors; name another folder with --work.")
    build_generation(
        corpus,
        ids,
        root=place / "indexes",
        name="bench",
        recall_target=wanted,
        payload=[{"row": row} for row in range(rows)],
        **model(),
    )
    found = search(queries[:RECALL_QUERIES], corpus, contenders.K)
    truth = [{ids[row] for row in each} for each in found.rows.tolist()]
    numbers = [[round(float(number), 7) for number in query] for query in queries]
    return HttpCase(place, numbers, texts(HELD_OUT), truth, wanted)


def model() -> dict[str, Any]:
    """What a build says of the model that texts are encoded by."""
    from embed import load_encoder

    encoder = load_encoder()
    canaries = [{"text": text, "vector": encoder.encode([text])[0].tolist()} for text in texts(2)]
    encoder.close()
    return {"model": encoder.fingerprint.as_dict(), "canaries": canaries}


def read(file: Path | None, rows: int) -> tuple[Float, Float]:
    """The first `rows` vectors of a .npy file (default: WordNet's) and the last HELD_OUT, of length 1."""
    from embed.vectors.npy import NpyVectors
    from index.disk.codes import unit_rows

    if file is None:
        data = os.environ.get("PERWATT_DATA")
        if not data:
            raise click.ClickException("Name a file of vectors with --vectors, or set PERWATT_DATA.")
        file = Path(data) / "wordnet_minilm_f16.npy"
    every = NpyVectors(file)
    if every.count < rows + HELD_OUT:
        raise click.ClickException(
            f"{file} has {every.count:,} rows, {rows + HELD_OUT:,} are needed: choose fewer --rows."
        )
    corpus, queries = every.rows(slice(rows)), every.rows(slice(-HELD_OUT, None))
    try:
        return unit_rows(corpus), unit_rows(queries)
    except ValueError as error:
        raise click.ClickException(f"{file}: {error}.") from error


def texts(count: int) -> list[str]:
    """Short questions, all different: words of the standard library's names."""
    names = sorted(sys.stdlib_module_names)
    return [
        f"how do I use {names[at % len(names)]} to {names[(at * 7 + at // 97) % len(names)]} {at}"
        for at in range(count)
    ]


def _searches(port: int) -> tuple[float, float]:
    """Seconds and number of perwatt's walks so far. A walk runs on the loop's thread, so that its time on a core of
    its own is processor time."""
    text = contenders.call(port, "GET", "/metrics")
    found = [re.search(rf'perwatt_stage_seconds_{what}{{stage="ann"}} (\S+)', text) for what in ("sum", "count")]
    return tuple(float(each[1]) if each else 0.0 for each in found)  # type: ignore[return-value]
