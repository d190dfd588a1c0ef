"""What is read ahead: order, errors and the end are those of the iterator itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from patience import patient

from embed.ahead import read_ahead


def test_items_come_in_order_and_end() -> None:
    assert list(read_ahead(range(1000))) == list(range(1000))
    assert list(read_ahead([])) == []
    assert list(read_ahead([None, False])) == [None, False]


def test_one_item_is_made_while_the_last_one_is_used_and_never_two() -> None:
    made: list[int] = []
    making = threading.Condition()

    def items() -> Iterator[int]:
        for number in range(5):
            with making:
                made.append(number)
                making.notify_all()
            yield number

    with closing(read_ahead(items())) as ahead:
        for number in ahead:
            with making:
                expected = min(number + 2, 5)
                assert making.wait_for(lambda: len(made) >= expected, patient(30))  # noqa: B023
                assert not making.wait_for(lambda: len(made) > expected, 0.05)  # noqa: B023


def test_an_error_is_raised_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise LookupError("third")

    with closing(read_ahead(items())) as ahead:
        assert (next(ahead), next(ahead)) == (1, 2)
        with pytest.raises(LookupError, match="third"):
            next(ahead)


def test_closed_early_it_ends_its_thread_and_the_iterator() -> None:
    ended = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            ended.set()

    before = set(threading.enumerate())
    with closing(read_ahead(items())) as ahead:
        assert next(ahead) == 0
    assert ended.wait(patient(30))
    for thread in set(threading.enumerate()) - before:
        thread.join(patient(30))
        assert not thread.is_alive()


def test_closed_while_the_iterator_waits_for_its_source_it_does_not_wait_with_it() -> None:
    source = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        source.wait()
        yield 2

    with closing(read_ahead(items())) as ahead:
        assert next(ahead) == 1
    source.set()
