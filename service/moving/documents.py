"""Rows without their vectors into a file of JSON Lines, for `perwatt embed` to embed anew.

The file is there whole or not at all: it is written beside itself and renamed.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from embed.documents.document import DocumentError, payload_json
from embed.vectors.durable import replacing
from service.moving.rows import Moving, MovingError


def into_documents(
    moving: Moving, out: Path, *, replace: bool = False, show: Callable[[int], object] = lambda _rows: None
) -> int:
    """Writes `out`, packed where its name ends in .gz; returns how many documents it holds.

    Raises:
        MovingError: The file is there already, or nothing can be moved.
        EmbedError: A row cannot be used and --on-error is fail.
    """
    if out.exists() and not replace:
        raise MovingError(f"{out} is there already. Choose another --documents, or let --replace do it")
    with replacing(out) as file:
        if out.suffix != ".gz":
            return _write(moving, file, show)
        with gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as packed:
            return _write(moving, packed, show)


def _write(moving: Moving, stream: BinaryIO | gzip.GzipFile, show: Callable[[int], object]) -> int:
    count = 0
    for document in moving.documents(vectors=False):
        try:
            stream.write(payload_json(document, {"id": document.id, **document.payload}) + b"\n")
        except DocumentError as error:
            moving.faults.meet(error)
            continue
        count += 1
        if count % 1000 == 0:
            show(count)
    show(count)
    return count
