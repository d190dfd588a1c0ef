"""One run of the pipeline in a process of its own, so that it can be killed.

    python embedding_process.py OUT COUNT [--window N] [--dim D] [--long N] [--from N] [--die-at STEP]
                                          [--end-after BATCHES SECONDS]

Prints "batch <texts>" after each batch, then the run's record as JSON. --die-at kills the process, as SIGKILL does,
just before the STEP-th change it makes to the file system below OUT (a file opened for writing, renamed, or deleted).
--end-after has the system end it, by a signal that it does not handle, so many seconds after so many batches: nobody
has to be quick enough to send one.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hashing_encoder import HashingEncoder

from embed.documents.document import Document, DocumentSource
from embed.pipeline import EmbedSettings, embed_documents

SOURCE = DocumentSource("made.jsonl", "jsonl")
CHANGES = {"os.rename", "os.remove"}


class Announcing(HashingEncoder):
    end_after: tuple[int, float] | None = None
    batches = 0

    def encode_counted(self, texts: Sequence[str], kind: str = "document") -> Any:
        result = super().encode_counted(texts, kind)
        os.write(1, f"batch {len(texts)}\n".encode())  # at once, whatever other threads write
        self.batches += 1
        if self.end_after and self.batches == self.end_after[0]:
            signal.setitimer(signal.ITIMER_REAL, self.end_after[1])
        return result


def documents(count: int, first: int = 0, long: int = 1) -> Iterator[Document]:
    for number in range(first, first + count):
        text = f"document {number} " * long + "word " * (number % 40)
        yield Document(f"d{number}", "", text, {"text": text}, SOURCE, number + 1)


def die_at(step: int, out: Path) -> None:
    left = step

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        writes = event == "open" and isinstance(arguments[1], str) and "w" in arguments[1]
        if (event in CHANGES or writes) and str(arguments[0]).startswith(str(out)):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--dim", type=int, default=24)
    parser.add_argument("--long", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--slice", type=int, default=8)
    parser.add_argument("--die-at", type=int, default=0)
    parser.add_argument("--end-after", nargs=2, type=float)
    given = parser.parse_args()
    if given.die_at:
        die_at(given.die_at, given.out)
    settings = EmbedSettings(window_rows=given.window, slice_texts=given.slice, spool_every_s=0.0)
    made = documents(given.count, given.first, given.long)
    encoder = Announcing(given.dim)
    if given.end_after:
        encoder.end_after = int(given.end_after[0]), given.end_after[1]
    record = embed_documents(made, encoder, given.out, settings)
    print(json.dumps(record.as_dict()), flush=True)


if __name__ == "__main__":
    main()
