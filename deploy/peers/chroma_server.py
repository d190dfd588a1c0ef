"""Chroma's own server, `chroma run`, filled through its own client."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import chromadb
import numpy as np


def main(folder: Path, port: int) -> None:
    command = Path(sys.executable).with_name("chroma")
    server = subprocess.Popen(
        [command, "run", "--path", folder / "chroma", "--port", str(port), "--host", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
    )
    try:
        client = connected(port)
        names = [collection.name for collection in client.list_collections()]
        if "bench" not in names:
            vectors = np.load(folder / "vectors.npy")
            ids = (folder / "ids.txt").read_text().split()
            collection = client.create_collection(
                "bench",
                embedding_function=None,
                configuration={"hnsw": {"space": "cosine", "ef_construction": 100}},
            )
            for start in range(0, len(ids), 2000):
                part = slice(start, start + 2000)
                rows = [{"row": row} for row in range(start, min(start + 2000, len(ids)))]
                collection.add(ids=ids[part], embeddings=vectors[part], metadatas=rows)
        print("ready", client.get_collection("bench", embedding_function=None).id, flush=True)
        server.wait()
    finally:
        server.terminate()
        server.wait()


def connected(port: int) -> chromadb.api.ClientAPI:
    limit_s = time.monotonic() + 60
    while True:
        try:
            return chromadb.HttpClient(host="127.0.0.1", port=port)
        except Exception:
            if time.monotonic() > limit_s:
                raise
            time.sleep(0.2)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
