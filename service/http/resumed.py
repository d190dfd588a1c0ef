"""The coroutine of a search that could not be run to its end at once: how it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import copy_context
from typing import Any

from service.query.search import Answered
from service.routing.together import Turn


class Resumed:
    """A coroutine that was run by hand until it waited for `future`, to be awaited to its end."""

    __slots__ = ("_coroutine", "_future")

    def __init__(self, coroutine: Coroutine[Any, Any, Answered], future: Any) -> None:
        self._coroutine = coroutine
        self._future = future

    def __await__(self) -> Generator[Any, Any, Answered]:
        coroutine, future = self._coroutine, self._future
        while True:
            try:
                sent = yield future
            except BaseException as error:  # a cancellation above all: it is the coroutine's to handle
                thrown: BaseException | None = error
            else:
                thrown = None
            try:
                future = coroutine.send(sent) if thrown is None else coroutine.throw(thrown)
            except StopIteration as done:
                answered: Answered = done.value
                return answered


class Suspended:
    """A search behind a router that waits for shards: the last answer resumes it, without a task and a turn of the
    loop. To who ends the server, or sees that the caller is gone, it is like a task.

    Args:
        go_on: runs it on, with what is to be thrown into it, and within the context that it has now.
        tasks: that a graceful end waits for.
    """

    __slots__ = ("_context", "_go_on", "_tasks", "_turn")

    def __init__(self, turn: Turn, go_on: Callable[[BaseException | None], None], tasks: set[Any]) -> None:
        self._turn, self._tasks = turn, tasks
        self._go_on: Callable[[BaseException | None], None] | None = go_on
        self._context = copy_context()
        turn.resume = self._resume
        tasks.add(self)

    def cancel(self, msg: str | None = None) -> None:
        """Later, as a task does it; nothing for one that goes on before."""
        self._turn.get_loop().call_soon(self._cancelled, msg)

    def _resume(self, thrown: BaseException | None = None) -> None:
        go_on, self._go_on = self._go_on, None  # it knows the request, which knows this
        if go_on is not None:
            self._tasks.discard(self)
            self._context.run(go_on, thrown)

    def _cancelled(self, msg: str | None) -> None:
        self._turn.resume = None
        self._resume(asyncio.CancelledError(msg))
