"""The servers that are compared, and the requests that each is sent.

All hold the same unit vectors and get the same held-out queries for the same k. The effort of each is the smallest with
which its own HTTP answers reach the wanted recall against exact search. Each is set up as its own documentation shows.
A library without HTTP of its own is put behind FastAPI with the same uvloop, httptools and msgspec that perwatt uses. A
peer that is not installed (service/bench/peers/install.sh) is left out and listed.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import click

from loadtest.generator.ports import free_port
from service.bench import load
from service.bench.load import Open, Round
from service.bench.process import Server, until_open

SCRIPTS = Path(__file__).parent / "peers"
K = 10
OPEN_ATTEMPTS = 3  # at an open loop, which a slow moment of the machine spoils
LADDER = (10, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 192, 256, 384, 512)  # of effort
JSON = {"content-type": "application/json"}

PEERS = {
    "bare": "FastAPI + msgspec, no search",
    "bare-granian": "FastAPI + msgspec, no search, under Granian",
    "perwatt-asgi": "perwatt without its fast path",
    "perwatt-granian": "perwatt without its fast path, under Granian",
    "chroma": "Chroma's server",
    "lancedb": "LanceDB behind FastAPI",
    "milvus": "milvus-lite behind FastAPI, exact",
    "pgvector": "PostgreSQL + pgvector behind FastAPI",
    "txtai": "txtai's API, text",
}

# Whose version is said.
PACKAGES = {
    "bare": "uvicorn",
    "bare-granian": "granian",
    "chroma": "chromadb",
    "lancedb": "lancedb",
    "milvus": "milvus-lite",
    "txtai": "txtai",
}


class HttpCase(NamedTuple):
    """What is searched.

    Args:
        folder: of everything that is built.
        truth: the ids of the true neighbours of the first queries.
    """

    folder: Path
    vectors: list[list[float]]  # the queries
    texts: list[str]
    truth: list[set[str]]
    wanted: float  # recall


class Contender:
    """One row of the table. path "": the bodies are paths of GET requests."""

    def __init__(
        self,
        name: str,
        server: Server,
        port: int,
        path: str,
        bodies: list[str],
        recall: float | None,
        effort: int | None,
    ) -> None:
        self.name, self.server, self.port, self.path, self.bodies = name, server, port, path, bodies
        self.recall, self.effort = recall, effort
        self.version = ""
        self.rounds: list[Round] = []
        self.open: Open | None = None

    def round(self, folder: Path, seconds: int, connections: int, cores: str) -> Round:
        """One more, with the load on `cores`."""
        found = load.wrk(folder, self.server, self.port, self.path, self.bodies, seconds, connections, cores)
        self.rounds.append(found)
        return found

    def open_loop(self, folder: Path, seconds: int, connections: int, core: int) -> None:
        """The same requests in an open loop, from `core`. Its rate is a share of what a closed loop finds just before:
        a shared machine is not as fast now as in the best of all rounds."""
        request = (self.port, self.path, self.bodies)
        for left in reversed(range(OPEN_ATTEMPTS)):
            now = load.wrk(folder, self.server, *request, seconds, connections, str(core))
            try:
                self.open = load.open_loop(folder, *request, now["per_s"], core)
            except click.ClickException:
                if not left:
                    raise
            else:
                return

    @property
    def best(self) -> Round:
        return max(self.rounds, key=lambda each: each["per_s"])

    def figures(self) -> dict[str, Any]:
        """Of the round that answered most; the processor time is the least of all rounds."""
        best = self.best
        return {
            "name": self.name,
            "version": self.version,
            "recall": self.recall,
            "effort": self.effort,
            "requests_per_s": round(best["per_s"], 1),
            "cpu_us_a_request": round(min(each["cpu_us"] for each in self.rounds), 1),
            "p50_ms": round(best["p50_ms"], 3),
            "p99_ms": round(best["p99_ms"], 3),
            "generator_busy": round(max(each["busy"] for each in self.rounds), 2),
            "open": {name: round(float(str(value)), 3) for name, value in self.open.items()} if self.open else None,
        }


def perwatt(stack: ExitStack, folder: Path, cores: str, workers: int = 1) -> tuple[Server, int]:
    """Started, and where."""
    return command(stack, "perwatt", ["serve", "--root", folder / "indexes", "--workers", workers], cores)


def command(
    stack: ExitStack,
    name: str,
    words: Sequence[object],
    cores: str,
    query_cache: bool = False,
    env: dict[str, str] | None = None,
) -> tuple[Server, int]:
    """`perwatt` with these words, started, and where.

    Args:
        query_cache: Texts are asked round and round here; by default each is encoded every time.
    """
    options = ["--port", "0", *([] if query_cache else ["--no-query-cache"])]
    server = Server(name, [sys.executable, "-m", "deploy.command", *map(str, words), *options], cores, env)
    stack.callback(server.stop)
    server.wait("serving on")
    return server, server.port()


def forms(server: Server, port: int, case: HttpCase) -> list[Contender]:
    """perwatt, asked in each of the ways that there are."""
    path = "/v1/indexes/bench/search"
    effort = least_effort(port, path, lambda effort: vectors_at(case, effort), case)
    bodies = {
        "perwatt, vector as JSON": vectors_at(case, effort),
        "perwatt, vector as base64": packed_at(case, effort),
        "perwatt, text": texts_at(case, effort),
    }
    return [
        Contender(name, server, port, path, asked, None if "text" in name else recall(port, path, asked, case), effort)
        for name, asked in bodies.items()
    ]


def peer(stack: ExitStack, name: str, case: HttpCase, installed: Path, cores: str) -> Contender:
    """A peer that is up, at the least effort that reaches the recall. Raises ClickException or OSError."""
    contender = _started(stack, name, case, installed, cores)
    if name == "pgvector":
        contender.version = contender.server.said.removeprefix("ready ").strip()
    if name in PACKAGES:
        home = installed / name.rpartition("-")[2]
        where = sys.path if name == "bare" else [str(path) for path in home.glob("lib/python3*/site-packages")]
        [found, *_] = metadata.distributions(name=PACKAGES[name], path=where)
        contender.version = f"{PACKAGES[name]} {found.version}"
    return contender


def started(stack: ExitStack, name: str, case: HttpCase, installed: Path, cores: str) -> tuple[Server, int]:
    """A peer that is up, and where. Raises ClickException or OSError."""
    own = name.startswith(("bare", "perwatt"))
    home = installed / name.rpartition("-")[2] / "bin" / "python"
    script = SCRIPTS / f"{name.replace('-', '_')}_server.py"
    env = {"GRANIAN": str(home)} if name.endswith("granian") else {}
    if (not own or env) and not home.exists():
        raise click.ClickException(f"not installed at {home.parents[1]}; service/bench/peers/install.sh makes it")
    if name == "txtai":
        from embed.models.folder import find_model

        env["MODEL"] = str(find_model().path)
    if env.get("GRANIAN"):
        env["PYTHONPATH"] = os.pathsep.join(str(path) for path in home.parents[1].glob("lib/python3*/site-packages"))
    port = free_port()
    server = Server(name, [sys.executable if own else home, script, case.folder, str(port)], cores, env)
    stack.callback(server.stop)
    server.wait("ready")
    until_open(port)
    return server, port


def _started(stack: ExitStack, name: str, case: HttpCase, installed: Path, cores: str) -> Contender:
    server, port = started(stack, name, case, installed, cores)
    title = PEERS[name]
    if name == "txtai":
        paths = [f"/search?limit={K}&query=" + text.replace(" ", "+") for text in case.texts]
        return Contender(title, server, port, "", paths, None, None)
    if name.startswith("bare"):
        bodies = [json.dumps({"vector": vector}) for vector in case.vectors]
        return Contender(title, server, port, "/search", bodies, None, None)
    path = "/search"
    asking: Callable[[int], list[str]]
    if name.startswith("perwatt"):
        path, asking = "/v1/indexes/bench/search", partial(vectors_at, case)
    elif name == "chroma":
        # The effort is the collection's, and heeded at the next start.
        collection = f"/api/v2/tenants/default_tenant/databases/default_database/collections/{server.said.split()[1]}"
        path = f"{collection}/query"
        asked = {"n_results": K, "include": ["metadatas", "distances"]}

        def asking(effort: int) -> list[str]:
            change = {"new_configuration": {"hnsw": {"ef_search": effort}}}
            call(port, "PUT", collection, json.dumps(change))
            server.process.send_signal(signal.SIGHUP)
            server.wait("ready")
            return [json.dumps({"query_embeddings": [vector], **asked}) for vector in case.vectors]

    else:

        def asking(effort: int) -> list[str]:
            return [json.dumps({"vector": vector, "effort": effort}) for vector in case.vectors]

    effort = least_effort(port, path, asking, case)
    bodies = asking(effort)
    return Contender(title, server, port, path, bodies, recall(port, path, bodies, case), effort)


def least_effort(port: int, path: str, asking: Callable[[int], list[str]], case: HttpCase) -> int:
    """Of the ladder, the first that reaches the recall. Raises ClickException when none does."""
    reached = 0.0
    for effort in LADDER:
        reached = recall(port, path, asking(effort), case)
        if reached >= case.wanted:
            return effort
    raise click.ClickException(f"it reaches a recall of {reached:.3f} only, with the highest effort of {LADDER[-1]}")


def recall(port: int, path: str, bodies: list[str], case: HttpCase) -> float:
    """Of what the server answers over HTTP."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    right = 0
    for body, true in zip(bodies, case.truth, strict=False):
        connection.request("POST", path, body, JSON)
        answer = json.loads(connection.getresponse().read())
        hits = answer["ids"][0] if "ids" in answer else [hit["id"] for hit in answer["hits"]]
        right += len(true & set(hits))
    connection.close()
    return round(right / (K * len(case.truth)), 4)


def call(port: int, method: str, path: str, body: str | None = None) -> str:
    """Raises ClickException for an answer that is no success."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body, JSON)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    if answer.status >= 300:
        raise click.ClickException(f"{method} {path} answered {answer.status}: {text}")
    return text


def packed(vector: list[float]) -> str:
    """The base64 of its little-endian float32."""
    import numpy as np

    return base64.b64encode(np.array(vector, "<f4").tobytes()).decode()


def vectors_at(case: HttpCase, effort: int) -> list[str]:
    """Bodies of searches of perwatt, with vectors as JSON."""
    return [json.dumps({"vector": vector, "params": {"effort": effort}}) for vector in case.vectors]


def packed_at(case: HttpCase, effort: int) -> list[str]:
    """The same, with vectors as base64."""
    return [json.dumps({"vector": packed(vector), "params": {"effort": effort}}) for vector in case.vectors]


def texts_at(case: HttpCase, effort: int) -> list[str]:
    return [json.dumps({"text": text, "params": {"effort": effort}}) for text in case.texts]
