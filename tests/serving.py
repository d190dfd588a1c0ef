"""A real server for tests: real text, embedded with the real model, served by the real command on a free port.

- root: for reading only, with an index `docs` (text, SERVED_PRECISION), one `bare` (vectors of 8 dimensions, no model)
  and one `chunks`
- server: serves them for the whole session
- own_root: a copy that a test may switch, damage and rebuild in; `serving(own_root)` starts a server on it
"""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from patience import patient
from warm import Process, Warm, shared

# Over plain HTTP nobody shows a certificate, and reading those of the machine takes longer than most tests.
UNTRUSTING = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
STARTED = re.compile(r"serving on (http://\S+)")
START_S = patient(60)
# Of the model in the served indexes: float32, or int8 where a float costs ten times as much (an emulated processor).
SERVED_PRECISION = os.environ.get("PERWATT_TEST_PRECISION", "fp32")

# Title, text, url: short articles on subjects that do not overlap, so that the right answer is
# beyond doubt.
ARTICLES = [
    ("Rotating an API key", "Create a second key, deploy it everywhere, then revoke the first one.", "/keys/rotate"),
    ("Sourdough starter", "Feed flour and water every day until the dough rises and smells sour.", "/bread/starter"),
    ("Total solar eclipse", "The moon covers the sun completely and the corona becomes visible.", "/sky/eclipse"),
    ("Pruning apple trees", "Cut dead branches in late winter, before the buds swell.", "/garden/apple"),
    ("Changing a bicycle tube", "Lever the tyre off the rim, replace the inner tube, inflate.", "/bicycle/tube"),
    ("Compound interest", "Interest is earned on the interest of earlier years, so savings grow faster.", "/money/i"),
    ("Treating a burn", "Hold the skin under cool running water for twenty minutes.", "/health/burn"),
    ("The French Revolution", "In 1789 the Bastille was stormed and the monarchy began to fall.", "/history/1789"),
    ("Garbage collection", "The runtime frees memory that no reference of the program reaches.", "/code/gc"),
    ("Tuning a guitar", "Turn the pegs until each string sounds its note: E A D G B E.", "/music/guitar"),
    ("Glacier retreat", "Warm summers melt more ice than the snow of winter adds.", "/climate/glacier"),
    ("Castling in chess", "King and rook move together once, if neither has moved before.", "/games/castling"),
    ("Photosynthesis", "Plants turn light, water and carbon dioxide into sugar and oxygen.", "/biology/light"),
    ("Renewing a passport", "Bring the old passport, a photograph and the fee to the office.", "/travel/passport"),
    ("Espresso", "Hot water is pressed through finely ground coffee at nine bars.", "/kitchen/espresso"),
    ("Binary search", "Halve the sorted range until the wanted element is found.", "/code/bisect"),
    ("Octopus", "An octopus has three hearts, blue blood and eight arms.", "/animals/octopus"),
    ("Noise-cancelling headphones", "A microphone hears the noise and the speaker plays its inverse.", "/audio/noise"),
    ("Volcanic eruptions", "Magma rises, gas expands, and lava and ash leave the crater.", "/earth/volcano"),
    ("Writing a will", "Name heirs and an executor, and sign before two witnesses.", "/law/will"),
]
HOSTILE = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>'


def documents() -> tuple[list[str], list[dict[str, Any]]]:
    """Ids and payloads: the articles, one of nothing but markup, one with an id that needs escaping
    and no title."""
    ids = [f"a{number:02}" for number in range(len(ARTICLES))]
    payloads: list[dict[str, Any]] = [
        {"title": title, "text": text, "url": f"https://example.org{path}", "words": len(text.split())}
        for title, text, path in ARTICLES
    ]
    ids += ["hostile", "notes/2024 été#1"]
    payloads += [
        {"title": HOSTILE, "text": f"Markup injection in a web page {HOSTILE}", "url": "javascript:alert(1)"},
        {"text": "Untitled remarks about the weather in Brittany: rain, wind, and rain again."},
    ]
    return ids, payloads


def build_docs(root: Path, encoder: Any, name: str = "docs", drop: int = 0, **changes: Any) -> Path:
    """A generation of the articles but the last `drop`; `changes` go to `build_generation`."""
    from index import build_generation

    ids, payloads = documents()
    ids, payloads = ids[: len(ids) - drop], payloads[: len(payloads) - drop]
    texts = [f"{payload.get('title', '')} {payload['text']}".strip() for payload in payloads]
    vectors = encoder.encode(texts, kind="document")
    arguments: dict[str, Any] = {
        "root": root,
        "name": name,
        "payload": payloads,
        "filterable": ["words:int", "url:keyword"],
        "model": encoder.fingerprint.as_dict(),
        "canaries": [{"text": text, "vector": vectors[row].tolist()} for row, text in enumerate(texts[:4])],
    }
    return build_generation(vectors, ids, **{**arguments, **changes})


class Server:
    """`perwatt serve` in a process of its own. `log()` is what it wrote to stderr.

    Args:
        env: beside that of the tests. Of it a fork heeds OTEL_…; other variables are read when a process begins.
        prefix: a command that runs it.
        words: of another command than `serve`.
        warm: what has imported for it already, by default what has for all. It imports itself where it runs under
            `prefix`, in another environment or with a number of native threads of its own.
        alone: in a process group of its own, of which nothing is left once that is killed.
    """

    def __init__(
        self,
        root: Path,
        *arguments: str,
        log_file: Path,
        env: dict[str, str] | None = None,
        prefix: Sequence[str] = (),
        words: Sequence[str] | None = None,
        warm: Warm | None = None,
        alone: bool = False,
    ) -> None:
        self._log_file = log_file
        command = [*(("serve", "--root", str(root)) if words is None else words), "--port", "0"]
        if "--timeout" not in arguments:
            command += ["--timeout", f"{min(patient(10), 60):g}"]  # natively the default
        command += arguments
        self.process: subprocess.Popen[str] | Process
        with log_file.open("w") as log:
            if prefix or "--threads" in arguments or not all(name.startswith("OTEL_") for name in env or ()):
                self.process = subprocess.Popen(
                    [*prefix, sys.executable, "-m", "deploy.command", *command],
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    env={**os.environ, **(env or {})},
                    start_new_session=alone,
                )
            else:
                self.process = (warm or shared()).start(command, log, alone=alone, environment=env or {})
        self.said: list[str] = []
        self.url = self._wait_until_started()

    def log(self) -> str:
        return self._log_file.read_text()

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(**{"base_url": self.url, "timeout": patient(30), "verify": UNTRUSTING} | options)

    def wait_for_log(self, text: str) -> None:
        limit_s = time.monotonic() + START_S
        while text not in self.log():
            assert time.monotonic() < limit_s, f"the server never said {text!r}:\n{self.log()}"
            time.sleep(0.02)

    def end(self, sig: int = signal.SIGTERM) -> int:
        """Exit status after `sig`; the pipe is drained."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        status = self.process.wait(START_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status

    def _wait_until_started(self) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            found = STARTED.search(line)
            if found:
                return found[1]
        self.process.stdout.close()
        raise NotStarted(self.process.wait(START_S), self.log())


class NotStarted(Exception):  # noqa: N818 - what a test may expect
    def __init__(self, status: int, log: str) -> None:
        super().__init__(f"exit status {status}: {log}")
        self.status, self.log = status, log


@contextmanager
def serving(
    root: Path,
    tmp_path: Path,
    *arguments: str,
    env: dict[str, str] | None = None,
    prefix: Sequence[str] = (),
    warm: Warm | None = None,
) -> Iterator[Server]:
    server = Server(root, *arguments, log_file=tmp_path / "server.log", env=env, prefix=prefix, warm=warm)
    try:
        yield server
    finally:
        server.end(signal.SIGINT)


def ask_route(client: httpx.Client, entry: Any, index: str = "docs", **headers: str) -> httpx.Response:
    """A call of an entry of the table of routes, which that route refuses with 400, 404 or 412 at most: it changes
    nothing."""
    id_ = "not-there" if entry.method == "DELETE" else "a01"
    path = entry.path.replace("{index}", index).replace("{alias}", index).replace("{id:rest}", id_)
    content = b"{" if entry.method in ("POST", "PUT") else None
    return client.request(entry.method, path, headers={"content-type": "application/json", **headers}, content=content)


def own_address() -> str:
    """An address of this machine that is not loopback; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return str(probe.getsockname()[0])
