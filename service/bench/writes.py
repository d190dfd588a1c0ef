"""What writing costs, and what searches notice of it.

    acknowledged   documents a second that are on the disk, 32 callers with one each: beside SQLite alone in groups of
                   32 on the same disk, and beside Chroma's server
    found          from the answer of a write to that of a search which asks for it, on either of two workers
    beside         p99 of searches by text while 200 texts a second are written, and while the index is rebuilt on the
                   same cores: against the same searches alone, in an open loop

Searches are offered at a rate that leaves the server room, since what is asked is what writing adds to them.
"""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import tempfile
import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import gevent
import httpx
import numpy as np

from service.bench import contenders, load, race
from service.bench.contenders import HttpCase
from service.bench.offered import in_time, offer

CALLERS = 32
FOUND = 500  # writes that are looked for
SEARCHES_PER_S, TEXTS_PER_S = 100, 200
CONNECTIONS, TIMEOUT_S = 64, 10.0
DOCUMENTS = "/v1/indexes/bench/documents"
SEARCH = "/v1/indexes/bench/search"
TARGETS = {"sqlite": 0.8, "chroma": 3.0, "found_ms": 20.0, "writing": 2.0, "rebuilding": 2.0}


def measure(
    file: Path | None = None,
    rows: int = 100_000,
    seconds: int = 5,
    folder: Path | None = None,
    work: Path | None = None,
) -> dict[str, Any]:
    """{"acknowledged": …, "found_ms": …, "beside": …, "conditions": …}; what could not be measured is absent.

    Args:
        folder: of the peers' environments.
    """
    with ExitStack() as stack:
        place = work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="perwatt-bench-")))
        place.mkdir(parents=True, exist_ok=True)
        case = race.prepare(place, file, rows, 0.95)
        forget_changes(place)
        cores = [str(core) for core in sorted(os.sched_getaffinity(0))]
        os.sched_setaffinity(0, {int(cores[-1])})
        try:
            written = acknowledged(place, case, cores, seconds, folder)
            forget_changes(place)
            late = found_ms(place, case, cores)
            forget_changes(place)
            noticed = beside(place, case, cores, 4 * seconds)
        finally:
            os.sched_setaffinity(0, {int(core) for core in cores})
            forget_changes(place)
    return {
        "acknowledged": written,
        "found_ms": late,
        "beside": noticed,
        "conditions": {
            "rows": rows,
            "dim": len(case.vectors[0]),
            "callers": CALLERS,
            "seconds": seconds,
            "searches_per_s": SEARCHES_PER_S,
            "texts_per_s": TEXTS_PER_S,
        },
    }


def acknowledged(
    place: Path, case: HttpCase, cores: list[str], seconds: int, peers: Path | None
) -> dict[str, float | None]:
    """Documents a second. chroma: None where it is not installed."""
    vectors = np.load(place / "vectors.npy", mmap_mode="r")[:20_000]
    bodies = [json.dumps({"documents": [_document(row, vector)]}) for row, vector in enumerate(vectors)]
    hundreds = [
        json.dumps({"documents": [_document(row, vectors[row]) for row in range(start, start + 100)]})
        for start in range(0, 10_000, 100)
    ]
    with ExitStack() as stack:
        server, port = contenders.perwatt(stack, place, cores[0])
        ours, many = (
            load.wrk(place, server, port, DOCUMENTS, some, seconds, CALLERS, cores[-1], "PUT")["per_s"]
            for some in (bodies, hundreds)
        )
    chroma = None
    try:
        chroma = _chroma(place, case, cores, seconds, peers or Path(".perwatt/peers"), vectors)
    except (click.ClickException, OSError) as error:
        click.echo(f"Chroma's server: {error}", err=True)
    return {
        "perwatt_per_s": round(ours, 1),
        "perwatt_hundreds_per_s": round(100 * many, 1),
        "sqlite_per_s": round(sqlite_per_s(place, vectors, seconds), 1),
        "chroma_per_s": chroma and round(chroma, 1),
    }


def found_ms(place: Path, case: HttpCase, cores: list[str]) -> dict[str, float]:
    """p50 and p99 of a search with the `min_seq` of a write that was just answered, over connections to two workers."""
    waited: list[float] = []
    with ExitStack() as stack:
        _, port = contenders.perwatt(stack, place, ",".join(cores), workers=2)
        address = f"http://127.0.0.1:{port}"
        writer = stack.enter_context(httpx.Client(base_url=address, timeout=TIMEOUT_S))
        readers = [stack.enter_context(httpx.Client(base_url=address, timeout=TIMEOUT_S)) for _ in range(8)]
        for turn in range(FOUND):
            vector = case.vectors[turn % len(case.vectors)]
            seq = writer.put(DOCUMENTS, json={"documents": [{"id": f"f{turn}", "vector": vector}]}).json()["seq"]
            begin_s = time.perf_counter()
            answer = readers[turn % len(readers)].post(SEARCH, json={"id": f"f{turn}", "k": 3, "min_seq": seq})
            waited.append((time.perf_counter() - begin_s) * 1e3)
            answer.raise_for_status()
    p50, p99 = np.percentile(waited, [50, 99])
    return {"p50": round(float(p50), 2), "p99": round(float(p99), 2)}


def beside(place: Path, case: HttpCase, cores: list[str], seconds: int) -> dict[str, float]:
    """p99 of searches by text, in milliseconds: alone, beside writes, beside a rebuild; `rebuild_s`: how long that took
    in all, some of it after the searches had ended."""
    searches = [json.dumps({"text": text, "k": 10}) for text in case.texts]
    puts = [
        json.dumps({"documents": [{"id": f"t{number}", "payload": {"text": f"{text} once more"}}]})
        for number, text in enumerate(case.texts)
    ]
    with ExitStack() as stack:
        _, port = contenders.perwatt(stack, place, ",".join(cores))

        def p99_ms(length_s: float) -> float:
            made = offer(port, SEARCH, searches, SEARCHES_PER_S, length_s, CONNECTIONS, TIMEOUT_S)
            return round(float(np.percentile(in_time(made), 99)), 2)

        p99_ms(2)  # warm
        alone = p99_ms(seconds)
        writing = gevent.spawn(
            offer, port, DOCUMENTS, puts, TEXTS_PER_S, seconds + 2, CONNECTIONS, TIMEOUT_S, method="PUT"
        )
        gevent.sleep(1)
        beside_writes = p99_ms(seconds)
        put = writing.get()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT_S) as client:
            id_ = (
                client.post("/v1/rebuilds", json={"index": "bench", "source": "changes"})
                .raise_for_status()
                .json()["id"]
            )
            beside_rebuild = p99_ms(seconds / 2)
            state: dict[str, Any] = client.get(f"/v1/rebuilds/{id_}").json()
            early = state["ended_at"] is not None
            while state["ended_at"] is None:
                time.sleep(0.2)
                state = client.get(f"/v1/rebuilds/{id_}").json()
            times = [datetime.fromisoformat(state[each]) for each in ("requested_at", "ended_at")]
            rebuild_s = (times[1] - times[0]).total_seconds()
        if state["state"] != "succeeded":
            raise click.ClickException(f"the rebuild has {state['state']}: {state['detail']}")
        if early:
            click.echo("the rebuild ended before the searches did; take more --rows", err=True)
    return {
        "alone_p99_ms": alone,
        "writing_p99_ms": beside_writes,
        "written_per_s": round(put.fates["answered"] / (seconds + 2), 1),
        "rebuilding_p99_ms": beside_rebuild,
        "rebuild_s": round(rebuild_s, 1),
    }


def _document(row: int, vector: Any) -> dict[str, Any]:
    encoded = base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return {"id": f"w{row:06}", "payload": {"row": row}, "vector": encoded}


def sqlite_per_s(place: Path, vectors: Any, seconds: int) -> float:
    """Rows a second of the same bytes, in transactions of CALLERS, each on the disk before the next begins."""
    path = place / "alone.sqlite"
    path.unlink(missing_ok=True)
    rows = [(f"w{row:06}", vector.astype("<f4").tobytes(), b'{"row": 1}') for row, vector in enumerate(vectors)]
    done, at = 0, 0
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE changes (seq INTEGER PRIMARY KEY, id TEXT, vector BLOB, payload BLOB)")
        begin_s = time.monotonic()
        while time.monotonic() < begin_s + seconds:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT INTO changes (id, vector, payload) VALUES (?, ?, ?)", rows[at : at + CALLERS]
            )
            connection.execute("COMMIT")
            done += len(rows[at : at + CALLERS])
            at = (at + CALLERS) % len(rows)
        return done / (time.monotonic() - begin_s)
    finally:
        connection.close()
        for file in place.glob("alone.sqlite*"):
            file.unlink()


def _chroma(place: Path, case: HttpCase, cores: list[str], seconds: int, peers: Path, vectors: Any) -> float:
    """Documents a second of its own server, into a collection that holds nothing else."""
    with ExitStack() as stack:
        server, port = contenders.started(stack, "chroma", case, peers, cores[0])
        collections = "/api/v2/tenants/default_tenant/databases/default_database/collections"
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT_S) as client:
            made = client.post(collections, json={"name": "writes", "get_or_create": True}).raise_for_status().json()
            stack.callback(httpx.delete, f"{client.base_url}{collections}/writes", timeout=TIMEOUT_S)
        path = f"{collections}/{made['id']}"
        bodies = [
            json.dumps({"ids": [f"w{row:06}"], "embeddings": [vector.astype(float).round(7).tolist()]})
            for row, vector in enumerate(vectors[:5_000])
        ]
        return load.wrk(place, server, port, f"{path}/upsert", bodies, seconds, CALLERS, cores[-1])["per_s"]


def forget_changes(place: Path) -> None:
    """What was written is this measurement's alone."""
    for file in (place / "indexes" / "bench").glob("*changes*"):
        file.unlink()
