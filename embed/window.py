"""The vectors of one window: those not known yet are computed, slice by slice, and spooled on the way.

The texts to embed are ordered by length and cut into slices, and only whole slices are spooled. So what a killed run
leaves undone is cut into the same slices by the next one, goes through the model in the same batches, and comes out
equal to the last bit even where a model's arithmetic depends on what shares a batch.

Several slices are in the works at once, so that the threads of the encoder find the next one's chunks when they run out
of this one's, whatever a busy neighbour on one of their cores makes of their pace.

Finished slices go to a spool file every SPOOL_EVERY_S; that, and the slices in the works, is what a kill can cost.
"""

import contextlib
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embed.encoders.contract import Counts, Encoder, Vectors
from embed.errors import EmbedError
from embed.vectors import fragments
from embed.vectors.durable import NoSpaceError
from embed.vectors.fragments import FragmentRows
from embed.vectors.record import EmbedRecord

SLICE_TEXTS = 256  # about 5 s of two cores on long texts: the step of the progress bar
SPOOL_EVERY_S = 10.0


class VectorError(EmbedError):
    """The model gave numbers that are not a finite vector."""


class WindowEmbedder:
    """Fills in vectors and keeps the spool files of the window in the works. To be closed.

    Args:
        encoder: what makes the vectors.
        folder: where spool files go.
        slice_texts: texts that go to the encoder in one call.
        slices_at_once: calls that may be under way.
        spool_every_s: seconds after which finished slices are spooled.
        record: where texts, tokens and seconds are counted.
    """

    def __init__(
        self,
        encoder: Encoder,
        folder: Path,
        slice_texts: int,
        slices_at_once: int,
        spool_every_s: float,
        record: EmbedRecord,
    ) -> None:
        self._encoder = encoder
        self._folder = folder
        self._slice_texts = slice_texts
        self._slices_at_once = slices_at_once
        self._spool_every_s = spool_every_s
        self._record = record
        self._callers = ThreadPoolExecutor(slices_at_once, thread_name_prefix="slice")
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
        starts = _spread(range(0, len(order), self._slice_texts))
        slices = [order[start : start + self._slice_texts] for start in starts]
        since = time.perf_counter()
        try:
            for wanted, computed, tokens in self._computed(slices, texts):
                vectors[wanted] = finite(computed, [ids[number] for number in wanted], "document")
                self._pending.append(wanted)
                self._count(tokens)
                now = time.perf_counter()
                self._record.embedding_seconds += now - since
                since = now
                yield
                if time.monotonic() - self._spooled_at >= self._spool_every_s:
                    self._spool(vectors, hashes)
        except NoSpaceError:
            raise
        except BaseException:
            # Ctrl-C, or not a finite vector: what is finished is still worth keeping.
            with contextlib.suppress(EmbedError, OSError):
                self._spool(vectors, hashes)
            raise
        self._pending.clear()

    def take_spools(self) -> list[Path]:
        """This window's spool files; to be deleted once its fragment is durable."""
        spools, self._spools = self._spools, []
        self._spooled_at = time.monotonic()
        return spools

    def close(self) -> None:
        """Starts no further slice, and waits for none: those under way end with the encoder."""
        self._callers.shutdown(wait=False, cancel_futures=True)

    def _computed(
        self, slices: Sequence[NDArray[np.intp]], texts: Sequence[str]
    ) -> Iterator[tuple[NDArray[np.intp], Vectors, Counts]]:
        """Each slice with its vectors and token counts, in order."""
        under_way: deque[tuple[NDArray[np.intp], Future[tuple[Vectors, Counts]]]] = deque()
        left = iter(slices)
        while True:
            while len(under_way) < self._slices_at_once and (wanted := next(left, None)) is not None:
                call = self._callers.submit(self._encoder.encode_counted, [texts[at] for at in wanted], "document")
                under_way.append((wanted, call))
            if not under_way:
                return
            wanted, call = under_way.popleft()
            yield wanted, *call.result()

    def _count(self, tokens: Counts) -> None:
        self._record.embedded += len(tokens)
        self._record.tokens += int(tokens.sum())
        if limit := self._encoder.fingerprint.max_length:
            self._record.cut += int(np.count_nonzero(tokens >= limit))

    def _spool(self, vectors: NDArray[np.float32], hashes: NDArray[np.bytes_]) -> None:
        if self._pending:
            done = np.concatenate(self._pending)
            rows = FragmentRows(hashes[done], vectors[done])
            self._spools.append(fragments.write(self._folder, "spool", rows, self._encoder.fingerprint.id).path)
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
