"""Chroma's own server, `chroma run`, filled through its own client.

A change of the collection's ef_search is kept at once and heeded by the next start only: SIGHUP starts it anew, and
"ready" is said again.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import chromadb
import numpy as np


def main(folder: Path, port: int) -> None:
    again = threading.Event()
    signal.signal(signal.SIGHUP, lambda *_: again.set())
    while True:
        server = subprocess.Popen(
            [Path(sys.executable).with_name("chroma"), "run", "--path", folder / "chroma", "--port", str(port)],
            stdout=subprocess.DEVNULL,
        )
        try:
            client = connected(port)
            fill(client, folder)
            print("ready", client.get_collection("bench", embedding_function=None).id, flush=True)
            while server.poll() is None and not again.wait(0.2):
                pass
        finally:
            server.terminate()
            server.wait()
        if not again.is_set():
            return
        again.clear()


def fill(client: chromadb.api.ClientAPI, folder: Path) -> None:
    filled = folder / "chroma.filled"
    if filled.exists():
        return
    if "bench" in [collection.name for collection in client.list_collections()]:
        client.delete_collection("bench")
    vectors = np.load(folder / "vectors.npy")
    ids = (folder / "ids.txt").read_text().split()
    collection = client.create_collection(
        "bench",
        embedding_function=None,
        configuration={"hnsw": {"space": "cosine", "ef_construction": 100}},
    )
    for start in range(0, len(ids), 2000):
        part = slice(start, start + 2000)
        rows: list[Any] = [{"row": row} for row in range(start, min(start + 2000, len(ids)))]
        collection.add(ids=ids[part], embeddings=vectors[part], metadatas=rows)
    filled.touch()


def connected(port: int) -> chromadb.api.ClientAPI:
    limit_s = time.monotonic() + 60
    while True:
        try:
            return chromadb.HttpClient(host="localhost", port=port)
        except Exception:
            if time.monotonic() > limit_s:
                raise
            time.sleep(0.2)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
