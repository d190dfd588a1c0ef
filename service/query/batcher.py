"""Encodes texts that are waiting together as one batch, without making any text wait for others.

The usual micro-batcher holds the first text back for a millisecond or two in the hope of a second. This one has no
timer. When the encoder is idle, a lone text goes at once. While it is busy, texts gather, and all of them (up to
`MAX_TEXTS`) become the next batch the moment it is free. Under light load nothing is delayed, under heavy load batches
grow by themselves, and there is no constant to tune.

There is one encoder and one thread that runs it: a forward pass already uses the cores it was given, and two at once
would only compete for the caches. A caller with many texts submits them a window at a time, so that a single query
never waits behind more than one window of bulk work. A text whose caller gave up is dropped before it costs anything.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from embed import Encoder

MAX_TEXTS = 32  # a batch of 32 short queries is past the knee of the encoder's throughput; more only adds waiting
WINDOW_TEXTS = 16  # of one bulk caller in the queue at once

Kind = Literal["query", "document"]
Vector = np.ndarray[tuple[int], np.dtype[np.float32]]


class Encoded(NamedTuple):
    vector: Vector
    tokens: int
    cpu_s: float  # this text's share, by tokens, of the batch it was in


class _Waiting(NamedTuple):
    text: str
    kind: Kind
    future: asyncio.Future[Encoded]


class Batcher:
    """Runs on one event loop, which owns its queue; only `_encode` runs in the encoder's thread."""

    def __init__(
        self, encoder: Encoder, observe_batch: Callable[[int], None] = lambda _size: None, threads: int = 1
    ) -> None:
        """`threads`: how many the encoder uses. With more than one its cost is taken from the whole process, which
        counts what else runs meanwhile: an upper bound."""
        self._cpu_clock = time.thread_time if threads == 1 else time.process_time
        self._encoder = encoder
        self._observe_batch = observe_batch
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encode")
        self._waiting: deque[_Waiting] = deque()
        self._busy = False

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def encode(self, text: str, kind: Kind = "query") -> Encoded:
        """Vector float32 (dim,) of one text. Cancelling the call withdraws the text if it has not
        started."""
        return await self.submit(text, kind)

    def submit(self, text: str, kind: Kind = "query") -> asyncio.Future[Encoded]:
        """`encode` for whoever waits for the future itself, which costs less than a task; cancelling it withdraws the
        text if it has not started."""
        future: asyncio.Future[Encoded] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(text, kind, future))
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
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _start_if_idle(self) -> None:
        if self._busy:
            return
        batch = self._next_batch()
        if not batch:
            return
        self._busy = True
        self._observe_batch(len(batch))
        loop = asyncio.get_running_loop()
        work = self._thread.submit(self._encode, [w.text for w in batch], batch[0].kind)
        work.add_done_callback(
            lambda done: loop.call_soon_threadsafe(self._finish, batch, done)  # back on the loop's thread
        )

    def _next_batch(self) -> list[_Waiting]:
        """The oldest waiting texts of one kind: a query and a document may carry different
        prefixes."""
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < MAX_TEXTS:
            if self._waiting[0].future.done():  # its caller is gone
                self._waiting.popleft()
            elif batch and self._waiting[0].kind != batch[0].kind:
                break
            else:
                batch.append(self._waiting.popleft())
        return batch

    def _encode(self, texts: list[str], kind: Kind) -> list[Encoded]:
        start_s = self._cpu_clock()
        vectors, tokens = self._encoder.encode_counted(texts, kind)
        cpu_s = self._cpu_clock() - start_s
        total = max(1, int(tokens.sum()))
        return [
            Encoded(vector, int(count), cpu_s * int(count) / total)
            for vector, count in zip(vectors, tokens, strict=True)
        ]

    def _finish(self, batch: list[_Waiting], done: Future[list[Encoded]]) -> None:
        self._busy = False
        error = None if done.cancelled() else done.exception()
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
