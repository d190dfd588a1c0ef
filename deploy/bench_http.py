"""`perwatt bench http`: requests per second of one core over HTTP, beside other servers with the same vectors.

Every server is a process of its own on one core, wrk runs on another, and all search the same unit vectors for the same
held-out queries at k = 10. What each is asked for is the least effort of a ladder that reaches the recall that was
wanted, measured through its own HTTP answers against exact search. Rounds are interleaved, so that a slow minute of the
machine falls on all; the figure is the best round, and the processor time a request is taken from the kernel's
scheduler, which does not care how busy the rest of the machine was.

There is no cache of queries or answers in perwatt, so there are no cache hits to show apart; the queries cycle through
a thousand. A peer that is not installed (deploy/peers/install.sh) is left out and said.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

PEERS = Path(__file__).parent / "peers"
HELD_OUT = 1000
RECALL_QUERIES = 300
K = 10
START_S = 1800  # a peer may have to build its index first
LADDER = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)

LUA = """
local bodies = {}
for line in io.lines(os.getenv("BODIES")) do
  bodies[#bodies + 1] = wrk.format("POST", nil, {["content-type"] = "application/json"}, line)
end
local at = 0
function request() at = at % #bodies + 1; return bodies[at] end
function done(summary, latency, requests)
  local bad = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
  io.write(string.format('{"requests": %d, "seconds": %f, "bad": %d, "p50_ms": %f, "p99_ms": %f}\\n',
    summary.requests, summary.duration / 1e6, bad, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""
LUA_GET = LUA.replace('"POST", nil, {["content-type"] = "application/json"}, line', '"GET", line')


class Server:
    """A process and its children on one core, asked at `path`."""

    def __init__(self, name: str, command: Sequence[str | Path], cores: str, env: dict[str, str] | None = None) -> None:
        self.name = name
        self.said = ""
        self.process = subprocess.Popen(
            ["taskset", "-c", cores, *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", **(env or {})},
        )

    def wait(self, word: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if word in line:
                self.said = line
                return
        raise click.ClickException(f"{self.name} ended before it answered.")

    def cpu_s(self) -> float:
        """Processor time of all its processes and threads, from the scheduler (nanoseconds)."""
        total = 0
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError):
                if os.getsid(int(folder.name)) == self.process.pid:
                    for task in (folder / "task").iterdir():
                        total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


class Contender:
    """One row of the table: bodies for one path of one server."""

    def __init__(
        self, name: str, server: Server, port: int, path: str, bodies: list[str], recall: float | None
    ) -> None:
        self.name, self.server, self.port, self.path, self.bodies = name, server, port, path, bodies
        self.recall = recall
        self.rounds: list[dict[str, float]] = []

    def round(self, folder: Path, seconds: int, connections: int, core: str) -> None:
        """path "": the bodies are paths of GET requests."""
        (folder / "bodies").write_text("\n".join(self.bodies) + "\n")
        (folder / "load.lua").write_text(LUA if self.path else LUA_GET)
        before_s = self.server.cpu_s()
        ran = subprocess.run(
            [
                *(
                    "taskset",
                    "-c",
                    core,
                    "wrk",
                    "-t1",
                    f"-c{connections}",
                    f"-d{seconds}s",
                    "-s",
                    str(folder / "load.lua"),
                ),
                f"http://127.0.0.1:{self.port}{self.path}",
            ],
            env={**os.environ, "BODIES": str(folder / "bodies")},
            capture_output=True,
            text=True,
            check=True,
        )
        found: dict[str, float] = json.loads(ran.stdout.strip().splitlines()[-1])
        if found["bad"] or not found["requests"]:
            raise click.ClickException(f"{self.name}: {found['bad']:g} of {found['requests']:g} requests failed.")
        found["per_s"] = found["requests"] / found["seconds"]
        found["cpu_us"] = (self.server.cpu_s() - before_s) / found["requests"] * 1e6
        self.rounds.append(found)

    def figures(self) -> dict[str, Any]:
        best = max(self.rounds, key=lambda each: each["per_s"])
        return {
            "name": self.name,
            "recall": self.recall,
            "requests_per_s": round(best["per_s"], 1),
            "cpu_us_a_request": round(min(each["cpu_us"] for each in self.rounds), 1),
            "p50_ms": round(best["p50_ms"], 3),
            "p99_ms": round(best["p99_ms"], 3),
        }


@click.command("http")
@click.option("--vectors", "file", type=click.Path(exists=True, path_type=Path), help="A .npy file; unit length.")
@click.option("--rows", type=click.IntRange(min=2000), default=100_000, show_default=True)
@click.option("--recall", "wanted", type=click.FloatRange(0, 1), default=0.95, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--seconds", type=click.IntRange(min=1), default=5, show_default=True, help="Of a round.")
@click.option("--connections", type=click.IntRange(min=1), default=16, show_default=True)
@click.option("--peers", "folder", type=click.Path(path_type=Path), help="Of their virtual environments.")
@click.option("--work", type=click.Path(path_type=Path), help="Keep what was built here, for the next time.")
@click.option("--only", multiple=True, help="These peers; default: every one that is installed.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def bench_http(as_json: bool, **options: Any) -> None:
    """Requests per second of one core over HTTP, beside other servers."""
    figures = measure(**options)
    if as_json:
        click.echo(json.dumps(figures, indent=1))
        return
    for row in figures["rows"]:
        recall = "" if row["recall"] is None else f"recall {row['recall']:.3f}"
        click.echo(f"{row['name']:<34} {row['requests_per_s']:>9,.0f}/s {row['cpu_us_a_request']:>9,.0f} µs  {recall}")
    for name in figures["left_out"]:
        click.echo(f"{name:<34} left out")


def measure(
    file: Path | None = None,
    rows: int = 100_000,
    wanted: float = 0.95,
    rounds: int = 3,
    seconds: int = 5,
    connections: int = 16,
    folder: Path | None = None,
    work: Path | None = None,
    only: Sequence[str] = (),
) -> dict[str, Any]:
    """{"rows": one a contender, "left_out": names, "beyond_search_us": …, "second_worker": …, "conditions": …}"""
    if shutil.which("wrk") is None:
        raise click.ClickException("wrk is not installed; on Debian: apt-get install wrk.")
    with ExitStack() as stack:
        place = work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="perwatt-bench-")))
        place.mkdir(parents=True, exist_ok=True)
        queries, truth = _prepare(place, file, rows, wanted)
        cores = sorted(os.sched_getaffinity(0))
        server_core, load_core = str(cores[0]), str(cores[-1])
        contenders, left_out = [], []
        perwatt, port = _perwatt(stack, place, server_core)
        path = "/v1/indexes/bench/search"
        vectors = [[round(float(number), 7) for number in query] for query in queries]
        effort = _least_effort(port, path, lambda effort: _json_bodies(vectors, effort), truth, wanted)
        params = {"params": {"effort": effort}}
        forms = {
            "perwatt, vector as JSON": _json_bodies(vectors, effort),
            "perwatt, vector as base64": [
                json.dumps({"vector": base64.b64encode(query.astype("<f4").tobytes()).decode(), **params})
                for query in queries
            ],
            "perwatt, text": [json.dumps({"text": text, **params}) for text in _texts()],
        }
        for name, bodies in forms.items():
            recall = None if "text" in name else _recall(port, path, bodies, truth)
            contenders.append(Contender(name, perwatt, port, path, bodies, recall))
        for name in ("bare", "chroma", "lancedb", "milvus", "txtai"):
            if only and name not in only:
                continue
            try:
                contender = _peer(stack, name, place, folder, server_core, vectors, truth, wanted)
            except (click.ClickException, OSError) as error:
                click.echo(f"{name}: {error}", err=True)
                left_out.append(name)
            else:
                contenders.append(contender)
        for _ in range(rounds):
            for contender in contenders:
                before = _scrape(port)
                contender.round(place, seconds, connections, load_core)
                if contender is contenders[0]:
                    _note_search(contender, port, before)
        found = [contender.figures() for contender in contenders]
        beyond = min(each["cpu_us"] - each["search_us"] for each in contenders[0].rounds)
        return {
            "rows": found,
            "left_out": left_out,
            "beyond_search_us": round(beyond, 1),
            "search_us": round(min(each["search_us"] for each in contenders[0].rounds), 1),
            "second_worker": _second_worker(place, contenders[0], seconds, connections, cores),
            "conditions": {"rows": rows, "dim": len(vectors[0]), "k": K, "connections": connections},
        }


def _prepare(place: Path, file: Path | None, rows: int, wanted: float) -> tuple[Any, list[set[str]]]:
    """Vectors, ids and texts for the peers, a generation for perwatt; the held-out queries and their true
    neighbours."""
    import numpy as np

    from embed import load_encoder
    from index import build_generation
    from index.exact import search

    if file is None:
        data = os.environ.get("PERWATT_DATA")
        if not data:
            raise click.ClickException("Name a file of vectors with --vectors, or set PERWATT_DATA.")
        file = Path(data) / "wordnet_minilm_f16.npy"
    every = np.load(file, mmap_mode="r")
    if len(every) < rows + HELD_OUT:
        raise click.ClickException(
            f"{file} has {len(every):,} rows, {rows + HELD_OUT:,} are needed: choose fewer --rows."
        )
    queries = np.asarray(every[-HELD_OUT:], np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    corpus = np.asarray(every[:rows], np.float32)
    corpus /= np.linalg.norm(corpus, axis=1, keepdims=True)
    if not (place / "ids.txt").exists():
        np.save(place / "vectors.npy", corpus)
        (place / "texts.txt").write_text("\n".join(_texts(5000)) + "\n")
        encoder = load_encoder()
        canaries = [{"text": text, "vector": encoder.encode([text])[0].tolist()} for text in _texts(2)]
        build_generation(
            corpus,
            [f"s{row:06}" for row in range(rows)],
            root=place / "indexes",
            name="bench",
            recall_target=wanted,
            payload=[{"row": row} for row in range(rows)],
            model=encoder.fingerprint.as_dict(),
            canaries=canaries,
        )
        encoder.close()
        (place / "ids.txt").write_text("\n".join(f"s{row:06}" for row in range(rows)) + "\n")
    found = search(queries[:RECALL_QUERIES], corpus, K)
    return queries, [{f"s{row:06}" for row in each} for each in found.rows.tolist()]


def _texts(count: int = HELD_OUT) -> list[str]:
    """Short questions, all different: words of the standard library's names."""
    names = sorted(sys.stdlib_module_names)
    return [
        f"how do I use {names[at % len(names)]} to {names[(at * 7 + at // 97) % len(names)]} {at}"
        for at in range(count)
    ]


def _perwatt(stack: ExitStack, place: Path, cores: str, workers: int = 1) -> tuple[Server, int]:
    port = _free_port()
    command = [sys.executable, "-m", "deploy.command", "serve", "--root", str(place / "indexes"), "--port", str(port)]
    server = Server("perwatt", [*command, "--workers", str(workers)], cores)
    stack.callback(server.stop)
    server.wait("serving on")
    return server, port


def _peer(
    stack: ExitStack,
    name: str,
    place: Path,
    folder: Path | None,
    cores: str,
    vectors: list[list[float]],
    truth: list[set[str]],
    wanted: float,
) -> Contender:
    """A peer that is up, at the least effort that reaches the recall."""
    python = Path(sys.executable) if name == "bare" else (folder or Path(".perwatt/peers")) / name / "bin" / "python"
    if not python.exists():
        raise click.ClickException(f"not installed at {python}; deploy/peers/install.sh makes it")
    port = _free_port()
    env = {}
    if name == "txtai":
        from embed.models import find_model

        env["MODEL"] = str(find_model().path)
    server = Server(name, [python, PEERS / f"{name}_server.py", place, str(port), "64"], cores, env)
    stack.callback(server.stop)
    server.wait("ready")
    _until_open(port)
    if name == "txtai":
        paths = [f"/search?limit={K}&query=" + text.replace(" ", "+") for text in _texts()]
        return Contender("txtai, text", server, port, "", paths, None)
    if name == "bare":
        bodies = [json.dumps({"vector": vector}) for vector in vectors]
        return Contender("FastAPI + msgspec, no search", server, port, "/search", bodies, None)
    if name == "chroma":
        collection = server.said.split()[1]
        path = f"/api/v2/tenants/default_tenant/databases/default_database/collections/{collection}/query"
        bodies = [
            json.dumps({"query_embeddings": [vector], "n_results": K, "include": ["metadatas", "distances"]})
            for vector in vectors
        ]
        return Contender("Chroma", server, port, path, bodies, _recall(port, path, bodies, truth))

    def asking(effort: int) -> list[str]:
        return [json.dumps({"vector": vector, "effort": effort}) for vector in vectors]

    bodies = asking(_least_effort(port, "/search", asking, truth, wanted))
    recall = _recall(port, "/search", bodies, truth)
    titles = {"lancedb": "LanceDB behind FastAPI", "milvus": "milvus-lite behind FastAPI"}
    return Contender(titles[name], server, port, "/search", bodies, recall)


def _json_bodies(vectors: list[list[float]], effort: int) -> list[str]:
    return [json.dumps({"vector": vector, "params": {"effort": effort}}) for vector in vectors]


def _least_effort(
    port: int, path: str, asking: Callable[[int], list[str]], truth: list[set[str]], wanted: float
) -> int:
    """Of the ladder, the first that reaches the recall, else the last."""
    return next((effort for effort in LADDER if _recall(port, path, asking(effort), truth) >= wanted), LADDER[-1])


def _recall(port: int, path: str, bodies: list[str], truth: list[set[str]]) -> float:
    """Of what the server answers over HTTP."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    right = 0
    for body, true in zip(bodies, truth, strict=False):
        connection.request("POST", path, body, {"content-type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        hits = answer["ids"][0] if "ids" in answer else [hit["id"] for hit in answer["hits"]]
        right += len(true & set(hits))
    connection.close()
    return round(right / (K * len(truth)), 4)


def _scrape(port: int) -> tuple[float, float]:
    """Seconds and number of searches of perwatt so far."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    sums = [re.search(rf'perwatt_stage_seconds_{what}{{stage="ann"}} (\S+)', text) for what in ("sum", "count")]
    return tuple(float(found[1]) if found else 0.0 for found in sums)  # type: ignore[return-value]


def _note_search(contender: Contender, port: int, before: tuple[float, float]) -> None:
    """Adds to the latest round what the walk itself took; it runs on the loop's thread, so that its time on a core of
    its
    own is processor time."""
    now = _scrape(port)
    contender.rounds[-1]["search_us"] = (now[0] - before[0]) / max(1.0, now[1] - before[1]) * 1e6


def _second_worker(
    place: Path, one: Contender, seconds: int, connections: int, cores: list[int]
) -> dict[str, float | str]:
    """Requests a second of two workers against one, each worker with a core; the load comes from where there is
    room."""
    both = ",".join(map(str, cores[:2]))
    load = ",".join(map(str, cores[2:4])) if len(cores) > 2 else both
    rates = {}
    for workers in (1, 2):
        with ExitStack() as stack:
            server, port = _perwatt(stack, place, both if workers == 2 else str(cores[0]), workers)
            contender = Contender("perwatt", server, port, one.path, one.bodies, None)
            for _ in range(2):
                contender.round(place, seconds, connections, load)
            rates[workers] = contender.figures()
    return {
        "one_per_s": rates[1]["requests_per_s"],
        "two_per_s": rates[2]["requests_per_s"],
        "ratio": round(rates[2]["requests_per_s"] / rates[1]["requests_per_s"], 2),
        "cpu_ratio": round(rates[1]["cpu_us_a_request"] / rates[2]["cpu_us_a_request"] * 2, 2),
        "load_on": "cores of its own" if len(cores) > 2 else "the same two cores",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until_open(port: int) -> None:
    limit_s = time.monotonic() + 120
    while time.monotonic() < limit_s:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise click.ClickException("it never opened its port")
