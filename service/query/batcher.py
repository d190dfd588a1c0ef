"""Encodes texts that are waiting together as one batch, without making any text wait for others.

The usual micro-batcher holds the first text back for a millisecond or two in the hope of a second. This one has no
timer. When the encoder is idle, a lone text goes at once. While it is busy, texts gather, and all of them (up to
`MAX_TEXTS`) become the next batch the moment it is free. Under light load nothing is delayed, under heavy load batches
grow by themselves, and there is no constant to tune.

There is one encoder and one thread that runs it: a forward pass already uses the cores it was given, and two at once
would only compete for the caches. An encoder elsewhere has several batches
under way. A caller with many texts submits them a window at a time, so that a single query
never waits behind more than one window of bulk work. A text whose caller gave up is dropped before it costs anything.

A query that a generation's fitted encoder takes is a batch with others like it: weights that are read for one text
serve all of them, so under load a text costs half of what it does alone.

A query that was seen before does not come that far: with a cache (`embed/encoders/query_cache.py`), its tokens are made
at once, and a vector that is found for them is the answer, with nothing to wait for.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from embed.encoders.contract import LocalEncoder
from embed.errors import EncoderChangedError, EncoderError
from service.wire.problems import encoder_unavailable

if TYPE_CHECKING:
    from embed import Encoder
    from embed.encoders.fitted.encoder import FittedEncoder
    from embed.encoders.query_cache import QueryCache

MAX_TEXTS = 32  # a batch of 32 short queries is past the knee of the encoder's throughput; more only adds waiting
# Characters of a query that is looked up. Its tokens are made on the thread that answers requests, so a long text would
# hold the others up, and hardly any is asked twice.
LONGEST_LOOKED_UP = 1024
WINDOW_TEXTS = 16  # of one bulk caller in the queue at once

Kind = Literal["query", "document"]
Vector = np.ndarray[tuple[int], np.dtype[np.float32]]


class Encoded(NamedTuple):
    """
    Args:
        cpu_s: this text's share, by tokens, of the batch it was in.
        cached: it was seen before; then `cpu_s` is what finding it cost.
        fitted: not the model made it, but the fitted encoder that was offered.
    """

    vector: Vector
    tokens: int
    cpu_s: float
    cached: bool = False
    fitted: bool = False


class _Read(NamedTuple):
    """The tokens of a query, what its vector will be kept under (empty: it is not), what reading it cost, and what is
    to make its vector in place of the model; a model elsewhere is asked with the text itself."""

    ids: list[int] | None
    key: bytes
    cpu_s: float
    by: FittedEncoder | None = None


class _Waiting(NamedTuple):
    text: str
    kind: Kind
    future: asyncio.Future[Encoded]
    read: _Read | None  # None: nobody needed its tokens yet


class Batcher:
    """Runs on one event loop, which owns its queue; only `_encode` runs in the encoder's thread."""

    def __init__(
        self,
        encoder: Encoder,
        observe_batch: Callable[[int], None] = lambda _size: None,
        threads: int = 1,
        cache: QueryCache | None = None,
        observe_cache: Callable[[bool], None] = lambda _hit: None,
        at_once: int = 1,
    ) -> None:
        """
        Args:
            threads: how many the encoder uses. With more than one its cost is taken from the whole process, which
                counts what else runs meanwhile: an upper bound.
            cache: of queries; documents are not looked up, and would drive the queries out.
            observe_cache: told of each query that is looked up whether it was there.
            at_once: batches under way; more than one of an encoder elsewhere, which costs waiting and no cores.
        """
        self._cpu_clock = time.thread_time if threads == 1 else time.process_time
        self._encoder = encoder
        self._observe_batch = observe_batch
        self.cache, self._observe_cache = cache, observe_cache
        self._reader = encoder if isinstance(encoder, LocalEncoder) else None
        self._threads, self._at_once = ThreadPoolExecutor(at_once, thread_name_prefix="encode"), at_once
        self._waiting: deque[_Waiting] = deque()
        self._busy = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def encode(self, text: str, kind: Kind = "query") -> Encoded:
        """Vector float32 (dim,) of one text. Cancelling the call withdraws the text if it has not
        started."""
        return await self.submit(text, kind)

    def submit(self, text: str, kind: Kind = "query", fitted: FittedEncoder | None = None) -> asyncio.Future[Encoded]:
        """`encode` for whoever waits for the future itself, which costs less than a task; cancelling it withdraws the
        text if it has not started. Of a query that was seen before the future is done. Raises TextError.

        Args:
            fitted: makes the vector of a query that it accepts.
        """
        future: asyncio.Future[Encoded] = asyncio.get_running_loop().create_future()
        read = None
        if kind == "query" and (fitted is not None or (self.cache is not None and len(text) <= LONGEST_LOOKED_UP)):
            found = self._look_up(text, fitted)
            if isinstance(found, Encoded):
                future.set_result(found)
                return future
            read = found
        self._waiting.append(_Waiting(text, kind, future, read))
        self._start_if_idle()
        return future

    async def encode_many(self, texts: Sequence[str], kind: Kind) -> list[Encoded]:
        """One `Encoded` a text, in order; at most `WINDOW_TEXTS` of them stand in the queue at
        once."""
        encoded: list[Encoded] = []
        for start in range(0, len(texts), WINDOW_TEXTS):
            window = texts[start : start + WINDOW_TEXTS]
            encoded += await asyncio.gather(*(self.encode(text, kind) for text in window))
        return encoded

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _look_up(self, text: str, fitted: FittedEncoder | None) -> Encoded | _Read | None:
        """None where nothing is known of it but the text."""
        start_s = time.perf_counter()  # nothing here waits, so this is processor time, without a system call
        ids = None if fitted is None else fitted.token_ids(text)
        by = fitted if fitted is not None and ids is not None and fitted.accepts(ids) else None
        cache = self.cache if len(text) <= LONGEST_LOOKED_UP else None
        if ids is None and cache is not None and self._reader is not None:
            ids = self._reader.token_ids([text], "query")[0]
        key, vector = b"", None
        if cache is not None:
            key = cache.key_of_text(text) if ids is None else cache.key(ids, "" if by is None else by.name)
            vector = cache.get(key)
            self._observe_cache(vector is not None)
        spent_s = time.perf_counter() - start_s
        if vector is not None:
            tokens = 0 if ids is None else len(ids)
            return Encoded(np.frombuffer(vector, np.float32), tokens, spent_s, True, by is not None)
        return None if ids is None and not key else _Read(ids, key, spent_s, by)

    def _start_if_idle(self) -> None:
        if self._busy == self._at_once:
            return
        batch = self._next_batch()
        if not batch:
            return
        self._busy += 1
        self._observe_batch(len(batch))
        loop = asyncio.get_running_loop()
        work = self._threads.submit(self._encode, batch)
        work.add_done_callback(
            lambda done: loop.call_soon_threadsafe(self._finish, batch, done)  # back on the loop's thread
        )

    def _next_batch(self) -> list[_Waiting]:
        """The oldest waiting texts of one kind, a query and a document may carry different prefixes; all of them with
        their tokens, or all without; and all for the same encoder."""
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < MAX_TEXTS:
            if self._waiting[0].future.done():  # its caller is gone
                self._waiting.popleft()
            elif batch and _sort(self._waiting[0]) != _sort(batch[0]):
                break
            else:
                batch.append(self._waiting.popleft())
        return batch

    def _encode(self, batch: list[_Waiting]) -> list[Encoded]:
        start_s = self._cpu_clock()
        reads = [waiting.read for waiting in batch if waiting.read is not None]
        ids = [read.ids for read in reads if read.ids is not None]
        by = reads[0].by if reads else None
        reader = by or self._reader
        if ids and reader is not None:
            tokens = np.array([len(each) for each in ids], np.int32)
            vectors = reader.encode_ids(ids, tokens)
        else:
            vectors, tokens = self._encoder.encode_counted([waiting.text for waiting in batch], batch[0].kind)
        if self.cache is not None:
            for waiting, vector in zip(batch, vectors, strict=True):
                if waiting.read is not None and waiting.read.key:
                    self.cache.put(waiting.read.key, vector.tobytes())
        cpu_s = self._cpu_clock() - start_s
        total = max(1, int(tokens.sum()))
        return [
            Encoded(
                vector,
                int(count),
                cpu_s * int(count) / total + (0.0 if waiting.read is None else waiting.read.cpu_s),
                fitted=by is not None,
            )
            for waiting, vector, count in zip(batch, vectors, tokens, strict=True)
        ]

    def _finish(self, batch: list[_Waiting], done: Future[list[Encoded]]) -> None:
        self._busy -= 1
        error = None if done.cancelled() else self._told(done.exception())
        for place, waiting in enumerate(batch):
            if waiting.future.done():
                continue
            if done.cancelled():
                waiting.future.cancel()
            elif error is not None:
                waiting.future.set_exception(error)
            else:
                waiting.future.set_result(done.result()[place])
        self._start_if_idle()

    def _told(self, error: BaseException | None) -> BaseException | None:
        """What callers are told; what was kept of a model elsewhere that has changed is forgotten."""
        if not isinstance(error, EncoderError):
            return error
        if isinstance(error, EncoderChangedError) and self.cache is not None:
            self.cache.clear()
        return encoder_unavailable("encoder", error.why, error.retry_after_s)


def _sort(waiting: _Waiting) -> tuple[Kind, bool, int]:
    read = waiting.read
    return waiting.kind, read is None or read.ids is None, 0 if read is None or read.by is None else id(read.by)
