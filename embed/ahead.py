"""The next item of an iterator made while the caller works on the last one."""

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")

# How long a caller that gives up waits for the item in the making; a thread that waits for stdin is left behind.
GIVE_UP_AFTER_S = 1.0


def read_ahead(items: Iterable[T]) -> Generator[T, None, None]:
    """The items, in order, made in a thread of their own; never more than one is waiting.

    To be closed by its user (`contextlib.closing`), which ends the thread. What making an item raises is raised here,
    in its place."""
    made: queue.SimpleQueue[tuple[T] | BaseException | None] = queue.SimpleQueue()
    room = threading.Semaphore(1)
    closed = False

    def make() -> None:
        try:
            iterator = iter(items)
            while room.acquire() and not closed:
                made.put((next(iterator),))
        except StopIteration:
            made.put(None)
        except BaseException as error:
            made.put(error)

    thread = threading.Thread(target=make, name="read-ahead", daemon=True)
    thread.start()
    try:
        while (item := made.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            room.release()
            yield item[0]
    finally:
        closed = True
        room.release()
        thread.join(GIVE_UP_AFTER_S)
