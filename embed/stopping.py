"""Being told to end: a signal becomes an exception, so that what is finished is kept and it is said how to go on."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGHUP)  # Ctrl-C raises KeyboardInterrupt by itself


class StoppedBySignal(KeyboardInterrupt):
    """A signal asked this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def signal_of(error: KeyboardInterrupt) -> signal.Signals:
    """What asked the process to end."""
    return signal.Signals(error.number if isinstance(error, StoppedBySignal) else signal.SIGINT)


@contextmanager
def stoppable() -> Iterator[None]:
    """Raises Stopped at the first of SIGNALS; further ones are ignored, since `timeout` and others send two.

    What is ignored already (by nohup) stays so, and only a main thread can be told."""
    heard = [] if threading.current_thread() is not threading.main_thread() else SIGNALS
    before = {number: signal.getsignal(number) for number in heard if signal.getsignal(number) != signal.SIG_IGN}

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise StoppedBySignal(number)

    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
