"""txtai's API, text in: texts.txt embedded by the model in MODEL, searched by its default index."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import uvicorn


def main(folder: Path, port: int) -> None:
    from txtai import Embeddings

    place = folder / "txtai"
    if not place.exists():
        texts = (folder / "texts.txt").read_text().splitlines()
        embeddings = Embeddings(path=os.environ["MODEL"], content=False)
        embeddings.index([(row, text, None) for row, text in enumerate(texts)])
        embeddings.save(str(place))
    config = folder / "txtai.yml"
    config.write_text(f"path: {place}\nembeddings:\n  path: {os.environ['MODEL']}\n")
    os.environ["CONFIG"] = str(config)
    print("ready", flush=True)
    uvicorn.run("txtai.api:app", port=port, loop="uvloop", http="httptools", access_log=False, log_level="warning")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
