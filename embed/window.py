"""The vectors of one window: those not known yet are computed, slice by slice, and spooled on the way.

The texts to embed are ordered by length and cut into slices, and only whole slices are spooled. So what a killed run
leaves undone is cut into the same slices by the next one, goes through the model in the same batches, and comes out
equal to the last bit even where a model's arithmetic depends on what shares a batch.

Finished slices go to a spool file every SPOOL_EVERY_S; that, and the slice in the works, is what a kill can cost.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embed import fragments
from embed.durable import NoSpaceError
from embed.encoder import Encoder
from embed.errors import EmbedError
from embed.fragments import Rows
from embed.record import Record

SLICE_TEXTS = 256  # about 5 s of two cores on long texts: the step of the progress bar
SPOOL_EVERY_S = 10.0


class VectorError(EmbedError):
    """The model gave something that is no vector."""


class WindowEmbedder:
    """Fills in vectors and keeps the spool files of the window in the works."""

    def __init__(self, encoder: Encoder, folder: Path, slice_texts: int, spool_every_s: float, record: Record) -> None:
        self._encoder = encoder
        self._folder = folder
        self._slice_texts = slice_texts
        self._spool_every_s = spool_every_s
        self._record = record
        self._spooled_at = time.monotonic()
        self._spools: list[Path] = []
        self._pending: list[NDArray[np.intp]] = []

    def fill(
        self,
        vectors: NDArray[np.float32],
        known: NDArray[np.bool_],
        hashes: NDArray[np.bytes_],
        texts: Sequence[str],
        ids: Sequence[str],
    ) -> Iterator[None]:
        """Computes each row of `vectors` (n, dim) that `known` (n,) lacks; yields after each slice.

        hashes, texts and ids are one a row, texts distinct. VectorError names the id of a text
        without a finite vector."""
        unknown = np.flatnonzero(~known)
        order = unknown[np.argsort([len(texts[int(number)]) for number in unknown], kind="stable")]
        try:
            for start in _spread(range(0, len(order), self._slice_texts)):
                wanted = order[start : start + self._slice_texts]
                self._compute(vectors, wanted, texts, ids)
                self._pending.append(wanted)
                yield
                if time.monotonic() - self._spooled_at >= self._spool_every_s:
                    self._spool(vectors, hashes)
        except NoSpaceError:
            raise
        except BaseException:
            # Ctrl-C, a vector that is none: what is finished is still worth keeping.
            with contextlib.suppress(EmbedError, OSError):
                self._spool(vectors, hashes)
            raise
        self._pending.clear()

    def drop_spools(self) -> None:
        """Deletes this window's spool files; to be called once its fragment is durable."""
        for path in self._spools:
            path.unlink(missing_ok=True)
        self._spools.clear()
        self._spooled_at = time.monotonic()

    def _compute(
        self, vectors: NDArray[np.float32], wanted: NDArray[np.intp], texts: Sequence[str], ids: Sequence[str]
    ) -> None:
        started = time.perf_counter()
        computed, tokens = self._encoder.encode_counted([texts[number] for number in wanted], "document")
        self._record.embedding_seconds += time.perf_counter() - started
        vectors[wanted] = finite(computed, [ids[number] for number in wanted], "document")
        self._record.embedded += len(wanted)
        self._record.tokens += int(tokens.sum())
        self._record.cut += int(np.count_nonzero(tokens >= self._encoder.fingerprint.max_length))

    def _spool(self, vectors: NDArray[np.float32], hashes: NDArray[np.bytes_]) -> None:
        if self._pending:
            done = np.concatenate(self._pending)
            data = fragments.encode(Rows(hashes[done], vectors[done]), self._encoder.fingerprint.id)
            self._spools.append(fragments.write(self._folder, "spool", data, len(done), set()).path)
            self._pending.clear()
        self._spooled_at = time.monotonic()


def _spread(starts: Sequence[int]) -> list[int]:
    """Short and long slices in turn (steps of the golden ratio), so that a rate seen so far foretells the rest."""
    return [starts[number] for number in sorted(range(len(starts)), key=lambda number: number * 0.6180339887 % 1)]


def finite(vectors: NDArray[np.float32], names: Sequence[str], what: str) -> NDArray[np.float32]:
    """The vectors, (n, dim). VectorError where one has a NaN or an infinity, or is zero and so has
    no direction.
    """
    good = np.isfinite(vectors).all(axis=1) & np.any(vectors, axis=1)
    if not good.all():
        bad = int(np.flatnonzero(~good)[0])
        kind = "a zero vector" if np.isfinite(vectors[bad]).all() else "NaN or infinity"
        raise VectorError(
            f"the model gave {kind} for {what} {names[bad]!r} ({int((~good).sum())} of {len(good)} in this batch); "
            "its weights are damaged, or its precision is too low for this text"
        )
    return vectors
