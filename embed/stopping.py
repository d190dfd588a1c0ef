"""Being told to end: a signal becomes an exception, so that what is finished is kept and it is said how to go on."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGHUP)  # Ctrl-C raises KeyboardInterrupt by itself


class StoppedBySignal(KeyboardInterrupt):
    """A signal asked this process to end."""


@contextmanager
def stoppable(end: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Raises StoppedBySignal at the first of SIGNALS, and calls `end` with the signal when that, or Ctrl-C, comes out.

    Further signals are ignored until then, since `timeout` and others send two. What is ignored already (by nohup)
    stays so, and only a main thread can be told. A compiled module that is being imported turns the exception into an
    error of its own; after a signal, that is the signal all the same.
    """
    heard = [] if threading.current_thread() is not threading.main_thread() else SIGNALS
    before = {number: signal.getsignal(number) for number in heard if signal.getsignal(number) != signal.SIG_IGN}
    came: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        came.append(number)
        raise StoppedBySignal(number)

    try:
        for number in before:
            signal.signal(number, stop)
        yield
    except (KeyboardInterrupt, Exception) as error:
        if not came and not isinstance(error, KeyboardInterrupt):
            raise
        end(signal.Signals(came[0] if came else signal.SIGINT))
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
