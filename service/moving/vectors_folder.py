"""Rows with their vectors into a folder that `perwatt build` takes: nothing is embedded again.

Fragments are written as the rows come, and embed.json last, so a run that is killed leaves what was there before; the
same command makes it anew. embed.json says where the vectors are from, and what `perwatt build` takes where nothing
else is asked for: their metric and the fields to filter by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embed.documents.document import DocumentError, embedded_text, payload_json
from embed.encoders.contract import Encoder
from embed.models import canaries
from embed.models.canaries import Canaries
from embed.vectors import fragments
from embed.vectors.folder import VectorsWriter
from embed.vectors.fragments import Fragment, FragmentRows
from embed.vectors.manifest import FORMAT
from embed.vectors.provenance import now_utc, own_version
from embed.vectors.vector_cache import hash_texts
from service.moving.fields import FieldTypes
from service.moving.recognised import ModelCheck, TextSample, compare, refused
from service.moving.rows import MovedDocument, Moving, MovingError

WINDOW_ROWS = 8192
WINDOW_BYTES = 64 << 20  # of vectors, payloads and texts
UNIT = 1e-3  # so far from 1 the length of a vector may be that is called of length 1


@dataclass
class Moved:
    """What came of it."""

    rows: int = 0
    dim: int = 0
    metric: str | None = None
    metric_why: str = ""
    model: dict[str, Any] | None = None
    agreement: ModelCheck | None = None
    fields: FieldTypes = field(default_factory=FieldTypes)


@dataclass
class _Window:
    ids: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    vectors: list[NDArray[np.float32]] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    size: int = 0

    def add(self, document: MovedDocument, text: str, payload: bytes) -> None:
        assert document.vector is not None
        self.ids.append(document.id)
        self.texts.append(text)
        self.vectors.append(document.vector)
        self.payloads.append(payload)
        self.size += document.vector.nbytes + len(payload) + len(text)

    @property
    def full(self) -> bool:
        return len(self.ids) >= WINDOW_ROWS or self.size >= WINDOW_BYTES


def into_vectors(
    moving: Moving,
    out: Path,
    *,
    metric: str | None = None,
    encoder: Encoder | None = None,
    insist: bool = True,
    replace: bool = False,
    show: Callable[[int], object] = lambda _rows: None,
) -> Moved:
    """Writes the vectors folder `out`.

    Args:
        metric: What the vectors are compared by; by default what the source says.
        encoder: Of the model that made the vectors, which is compared with them; None: no model is recorded.
        insist: Whether it is an error when the encoder did not make the first of them; else no model is recorded.
        replace: Whether vectors that are there from elsewhere may be replaced.
        show: Told how many rows have been read.

    Raises:
        MovingError: Nothing can be moved, or the model is another one.
        EmbedError: A row cannot be used and --on-error is fail, or the folder cannot be written.
    """
    with VectorsWriter(out) as folder:
        folder.open()
        _check_place(folder, moving.collection.name, replace)
        return _Writing(moving, folder, metric, encoder, insist, show).run()


def _check_place(folder: VectorsWriter, name: str, replace: bool) -> None:
    there = folder.manifest
    if there is None or replace or there.get("source") == name:
        return
    whose = there.get("source") or "`perwatt embed`"
    raise MovingError(
        f"{folder.path} holds {there.get('count', 0):,} vectors of {whose}, and this would replace them. Choose "
        "another --into, or let --replace do it"
    )


@dataclass
class _Writing:
    moving: Moving
    folder: VectorsWriter
    asked_metric: str | None
    encoder: Encoder | None
    insist: bool
    show: Callable[[int], object]
    done: Moved = field(default_factory=Moved)
    written: list[Fragment] = field(default_factory=list)
    sample: TextSample = field(default_factory=TextSample)
    canaries: Canaries = field(default_factory=Canaries)
    unit: bool = True

    @property
    def metric(self) -> str | None:
        return self.asked_metric or self.moving.collection.metric

    def run(self) -> Moved:
        for window in self._windows():
            self._write(window)
        if self.encoder is not None:
            self._recognise(insist=True)
        self._decide_metric()
        self._commit()
        return self.done

    def _windows(self) -> Iterator[_Window]:
        window = _Window()
        for document in self.moving.documents(vectors=True):
            try:
                window.add(document, embedded_text(document.title, document.text), self._payload(document))
            except DocumentError as error:
                self.moving.faults.meet(error)
                continue
            if window.full:
                yield window
                window = _Window()
        if window.ids:
            yield window

    def _payload(self, document: MovedDocument) -> bytes:
        vector = document.vector
        assert vector is not None
        self.done.dim = self.done.dim or len(vector)
        if len(vector) != self.done.dim:
            raise DocumentError(
                f"{document.where}: the vector has {len(vector):,} dimensions, and those before it {self.done.dim:,} "
                f"(id {document.id!r})"
            )
        if self.metric in (None, "cosine") and not vector.any():
            raise DocumentError(
                f"{document.where}: the vector is zero, which has no direction to compare (id {document.id!r})"
            )
        payload = payload_json(document, document.payload)
        fields = {name: value for name, value in document.payload.items() if name != document.text_field}
        self.done.fields.take(fields, f"row {document.row:,}")
        return payload

    def _write(self, window: _Window) -> None:
        vectors = np.array(window.vectors, np.float32)
        # A row without a text is no text of `perwatt embed`'s, so its hash must be none of a text's either.
        hashes = hash_texts(text or f"\0{id_}" for text, id_ in zip(window.texts, window.ids, strict=True))
        self.unit = self.unit and bool((np.abs(np.linalg.norm(vectors, axis=1) - 1) <= UNIT).all())
        self.sample.offer(hashes, window.texts, vectors)
        self.canaries.offer(*_with_text(hashes, window.texts))
        if self.encoder is not None and not self.written:
            self._recognise(self.insist)  # before hours are spent on vectors of another model
        rows = FragmentRows(hashes, vectors, window.ids, window.payloads)
        model = self.encoder.fingerprint.id if self.encoder else ""
        stem = f"part-{len(self.written):05d}"
        self.written.append(fragments.write(self.folder.path, stem, rows, model))
        self.done.rows += len(window.ids)
        self.show(self.done.rows)

    def _recognise(self, insist: bool) -> None:
        """Compares the model with what was read so far. One that did not make the vectors is refused, or forgotten."""
        assert self.encoder is not None
        made = compare(self.encoder, self.sample, self.done.dim)
        lengths_count = self.metric in ("ip", "l2") and not self.unit
        if made.holds and (made.same_length or not lengths_count):
            self.done.agreement = made
        elif insist:
            raise refused(self.encoder, made, self.moving.collection, self.done.dim)
        else:
            self.encoder = None

    def _decide_metric(self) -> None:
        """Vectors of length 1 are in the same order by every metric, and cosine's scores are read most easily."""
        self.done.metric = self.metric
        if self.asked_metric is None and self.unit and self.metric in ("ip", "l2"):
            self.done.metric = "cosine"
            self.done.metric_why = f", which ranks as its {self.metric} does, since all vectors have length 1"

    def _commit(self) -> None:
        made: list[dict[str, object]] = []
        if self.encoder is not None:
            self.done.model = self.encoder.fingerprint.as_dict()
            texts = self.canaries.texts()
            made = canaries.as_json(texts, self.encoder.encode(texts, kind="document"))
        self.folder.commit(
            {
                "format": FORMAT,
                "model": self.done.model,
                "dim": self.done.dim,
                "count": self.done.rows,
                "fragments": [fragment.entry() for fragment in self.written],
                "canaries": made,
                "created_at": now_utc(),
                "source": self.moving.collection.name,
                "made_by": f"perwatt import {own_version()}",
                "defaults": {
                    **({"metric": self.done.metric} if self.done.metric else {}),
                    "filterable": self.done.fields.filterable,
                },
            },
            self.written,
        )


def _with_text(hashes: NDArray[np.bytes_], texts: list[str]) -> tuple[NDArray[np.bytes_], list[str]]:
    rows = [row for row, text in enumerate(texts) if text]
    return hashes[rows], [texts[row] for row in rows]
