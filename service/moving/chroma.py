"""Chroma: a server by its URL, or a folder that it keeps its data in, which Chroma's own server is started on.

Read over Chroma's HTTP API (v2) page by page. A folder is opened by the Chroma that is installed, as any application of
Chroma's would open it; what Chroma does to a folder of an older version when it opens it, it does here too.
"""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from embed.models.folder import DEFAULT_MODEL
from service.moving.rows import Collection, MovedRows, MovingError, SourceOptions, chosen

PAGE = 500
START_S, TRIES = 60.0, 3
TIMEOUT_S = 120.0
API = "/api/v2"
# Ends with its stdin, so that no server outlives a reader that was killed.
RUN = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
import chromadb_rust_bindings
chromadb_rust_bindings.cli(["chroma", "run", *sys.argv[1:]])
"""


class EndedError(MovingError):
    """Chroma's server ended before it answered."""


@contextmanager
def opened(asked: SourceOptions) -> Iterator[Collection]:
    """The collection of a server (http://…) or of a folder.

    Raises:
        MovingError: It cannot be reached, opened or found.
    """
    place = asked.place
    if place.startswith(("http://", "https://")):
        with ChromaServer(place, f"chroma:{place}", asked.key) as server:
            yield server.collection(asked.collection)
        return
    folder = Path(place)
    if not (folder / "chroma.sqlite3").is_file():
        raise MovingError(
            f"{folder} is not a folder of Chroma's: it holds no chroma.sqlite3. Give the path that "
            "`chromadb.PersistentClient(path=…)` has, or the URL of a server"
        )
    with _started(folder) as url, ChromaServer(url, f"chroma:{folder}", None) as server:
        yield server.collection(asked.collection)


@contextmanager
def _started(folder: Path) -> Iterator[str]:
    with ExitStack() as stack:
        for left in reversed(range(TRIES)):
            try:
                url = stack.enter_context(_started_once(folder))
                break
            except EndedError:  # it may be that another program has taken its port meanwhile
                if not left:
                    raise
        yield url


@contextmanager
def _started_once(folder: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--path", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    if importlib.util.find_spec("chromadb_rust_bindings"):
        command = [sys.executable, "-c", RUN, *options]
    elif program := shutil.which("chroma"):
        command = [program, "run", *options]
    else:
        raise MovingError(
            "reading a folder of Chroma's needs the package chromadb: pip install 'perwatt[chroma]'. Where Chroma runs "
            "already, its URL needs no package: chroma:http://127.0.0.1:8000"
        )
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=subprocess.STDOUT)
        try:
            url = f"http://127.0.0.1:{port}"
            until = time.monotonic() + START_S
            while not (_answers(url) and process.poll() is None):
                ended = process.poll() is not None
                if ended or time.monotonic() > until:
                    said.seek(0)
                    last = said.read().decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
                    raise (EndedError if ended else MovingError)(
                        f"Chroma's server did not start on {folder}: {last[0]}"
                    )
                time.sleep(0.05)
            yield url
        finally:
            process.terminate()
            if process.stdin:
                process.stdin.close()
            process.wait()


def _answers(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{url}{API}/heartbeat", timeout=5, trust_env=False).is_success
    return False


class ChromaServer:
    """url: with ?tenant=…&database=… where those are not Chroma's defaults."""

    def __init__(self, url: str, name: str, key: str | None) -> None:
        address, _, words = url.partition("?")
        given = httpx.QueryParams(words)
        self.name = name
        headers = {"Authorization": f"Bearer {key}", "X-Chroma-Token": key} if key else {}
        self._client = httpx.Client(base_url=address.rstrip("/"), headers=headers, timeout=TIMEOUT_S)
        self._base = (
            f"{API}/tenants/{quote(given.get('tenant', 'default_tenant'), safe='')}"
            f"/databases/{quote(given.get('database', 'default_database'), safe='')}/collections"
        )

    def __enter__(self) -> ChromaServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def collection(self, wanted: str | None) -> Collection:
        found = {each["name"]: each for each in self._asked("GET", self._base)}
        wanted = chosen(self.name, wanted, found)
        content = found[wanted]
        place, name = f"{self._base}/{content['id']}", f"{self.name}, collection {wanted}"
        count = int(self._asked("GET", f"{place}/count"))
        return Collection(name, partial(self._read, place, name), count, _space(content), _model(content))

    def _read(self, place: str, name: str, vectors: bool) -> Iterator[MovedRows]:
        include = ["documents", "metadatas", *(["embeddings"] if vectors else [])]
        count, read = int(self._asked("GET", f"{place}/count")), 0
        while True:
            page = self._asked("POST", f"{place}/get", {"limit": PAGE, "offset": read, "include": include})
            if not page["ids"]:
                break
            read += len(page["ids"])
            nothing = [None] * len(page["ids"])
            rows = zip(page["ids"], page["documents"] or nothing, page["metadatas"] or nothing, strict=True)
            records = [_record(*row) for row in rows]
            yield MovedRows(records, (page["embeddings"] or nothing) if vectors else None)
        if read != count or count != int(self._asked("GET", f"{place}/count")):
            raise MovingError(f"{name} was written to while it was read, so rows may be missing: run this again")

    def _asked(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        try:
            answer = self._client.request(method, path, json=body)
            if answer.is_success:
                return msgspec.json.decode(answer.content)
        except (httpx.HTTPError, msgspec.MsgspecError) as error:
            raise MovingError(f"{self.name} gave no answer that can be read: {error}") from error
        hint = "; give its token as PERWATT_SOURCE_KEY" if answer.status_code in (401, 403) else ""
        raise MovingError(f"{self.name} answered with {answer.status_code}: {answer.text[:300]}{hint}")


def _record(id_: str, document: str | None, metadata: dict[str, object] | None) -> dict[str, object]:
    """Fields of the metadata that are called like the id or the text are an object's, which gives them other names."""
    return {"id": id_, **({} if document is None else {"document": document}), "metadata": metadata or {}}


def _space(content: dict[str, Any]) -> str | None:
    settings = content.get("configuration_json") or {}
    for structure in ("hnsw", "spann"):
        if space := (settings.get(structure) or {}).get("space"):
            return str(space)
    return None


def _model(content: dict[str, Any]) -> str | None:
    """What the collection says of its embedding function; Chroma's default one is all-MiniLM-L6-v2."""
    function = (content.get("configuration_json") or {}).get("embedding_function") or {}
    if function.get("type") != "known":
        return None
    if function["name"] == "default":
        return DEFAULT_MODEL
    return str((function.get("config") or {}).get("model_name") or function["name"])
