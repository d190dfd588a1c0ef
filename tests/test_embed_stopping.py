from __future__ import annotations

import os
import signal

import pytest

from embed.stopping import StoppedBySignal, stoppable


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_error_that_a_signal_was_turned_into_is_the_signal(number: signal.Signals) -> None:
    """As a compiled module does whose import the signal interrupts."""

    def interrupted_import() -> None:
        try:
            os.kill(os.getpid(), number)
        except StoppedBySignal:
            raise ImportError("initialization failed") from None

    told: list[signal.Signals] = []
    outside = signal.signal(number, signal.SIG_DFL)  # who runs the tests may ignore it, as nohup does
    try:
        with pytest.raises(ImportError), stoppable(told.append):
            interrupted_import()
        assert told == [number]
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, outside)


def test_ctrl_c_is_told_too() -> None:
    told: list[signal.Signals] = []
    with pytest.raises(KeyboardInterrupt), stoppable(told.append):
        raise KeyboardInterrupt
    assert told == [signal.SIGINT]


def test_an_error_that_no_signal_made_stays_what_it_is() -> None:
    told: list[signal.Signals] = []
    with pytest.raises(ImportError, match="missing"), stoppable(told.append):
        raise ImportError("missing")
    assert told == []
