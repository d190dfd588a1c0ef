"""The log: durable when acknowledged, read in its order by anyone, written by one."""

import sqlite3
import threading
from concurrent.futures import Future
from pathlib import Path

import pytest
from changes_logs import DIM, everything, opened
from changing import write

from index.changes.log import Log
from index.changes.log_file import LOG_FILE, LogClosedError, LogLockedError, Write
from index.changes.log_reader import LogReader
from index.changes.writer import Full, Writer
from index.errors import GenerationError


def test_what_was_appended_is_read_in_its_order_by_anyone(tmp_path: Path) -> None:
    given = [write("a", 1, DIM), Write("b", None), write("ä", 2, DIM), write("a", 3, DIM)]
    with opened(tmp_path) as log:
        assert log.append(given[:1]) == 1
        with LogReader(tmp_path) as reader:
            assert reader.acknowledged == 1
            assert log.append(given[1:]) == 4
            assert reader.acknowledged == 4
            assert [change[1:] for change in reader.since(0)] == [tuple(one) for one in given]
            assert [change.seq for change in reader.since(2)] == [3, 4]
            assert reader.since(4) == []
            assert [change.seq for change in reader.since(0, most=2)] == [1, 2]
    with opened(tmp_path) as again:
        assert (again.first, again.last) == (1, 4)
        assert again.append([Write("c", None)]) == 5


def test_who_reads_while_others_write_never_takes_the_log_for_cut(tmp_path: Path) -> None:
    writing = threading.Event()

    def write_on() -> None:
        with opened(tmp_path) as log:
            writing.set()
            for place in range(1500):
                log.append([Write(f"d{place}", None)])

    thread = threading.Thread(target=write_on)
    thread.start()
    writing.wait()
    seq = 0
    with LogReader(tmp_path) as reader:
        while seq < 1500:
            found = reader.since(seq)
            seq = found[-1].seq if found else seq
    thread.join()


def test_a_second_writer_is_told_of_the_first(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(LogLockedError, match="by another process"):
        opened(tmp_path)
    opened(tmp_path).close()


def test_trimming_forgets_the_oldest_and_says_so(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.append([write(f"d{place}", place, DIM) for place in range(10)])
        assert log.trim(4) == 4
        assert log.trim(4) == 0
    with opened(tmp_path) as log:
        assert (log.first, log.last) == (5, 10)
        with LogReader(tmp_path) as reader:
            assert [change.seq for change in reader.since(4)] == [5, 6, 7, 8, 9, 10]
            with pytest.raises(GenerationError, match="begins at change 5, and 3 is asked for"):
                reader.since(2)
        assert log.trim(99) == 6
        assert log.append([Write("x", None)]) == 11


def test_another_model_is_refused_while_there_are_changes_of_the_first(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.append([write("a", 1, DIM)])
    with pytest.raises(GenerationError, match="build the changes into a generation first"):
        Log(tmp_path, DIM, "another")
    with opened(tmp_path) as log:
        log.trim(1)
    with Log(tmp_path, 3, "another") as log:
        assert log.append([write("b", 1, 3)]) == 2


def test_callers_at_once_share_transactions_and_each_learns_its_own_seq(tmp_path: Path) -> None:
    log = opened(tmp_path)
    transactions = 0

    def count(statement: str) -> None:
        nonlocal transactions
        transactions += statement == "COMMIT"

    log.connection.set_trace_callback(count)
    writer = Writer(log)
    learnt: dict[str, int] = {}

    def call(name: int) -> None:
        for turn in range(20):
            ids = [f"{name}-{turn}-{place}" for place in range(1 + turn % 3)]
            last = writer.submit([Write(id_, None) for id_ in ids]).result()
            learnt.update({id_: last - len(ids) + 1 + place for place, id_ in enumerate(ids)})

    callers = [threading.Thread(target=call, args=(name,)) for name in range(16)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    writer.close()
    assert {change.id: change.seq for change in everything(tmp_path)} == learnt
    assert transactions < 16 * 20
    with pytest.raises(LogClosedError, match="was closed"):
        writer.submit([Write("late", None)])


def test_a_trim_that_takes_long_keeps_nobody_from_handing_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = opened(tmp_path)
    trimming, go_on = threading.Event(), threading.Event()

    def long(upto: int) -> int:
        assert upto == 1
        trimming.set()
        assert go_on.wait(60)
        return 0

    monkeypatch.setattr(log, "trim", long)
    writer = Writer(log)
    assert writer.submit([Write("a", None)]).result() == 1
    writer.trim(1)
    assert trimming.wait(60)
    waiting: list[Future[int]] = []
    caller = threading.Thread(target=lambda: waiting.append(writer.submit([Write("b", None)])))
    caller.start()
    caller.join(10)
    there = len(waiting)
    go_on.set()
    caller.join()
    assert there == 1
    assert waiting[0].result() == 2
    writer.close()


def test_more_than_may_wait_is_refused_and_what_waits_is_written(tmp_path: Path) -> None:
    log = opened(tmp_path)
    blocked = sqlite3.connect(tmp_path / LOG_FILE, isolation_level=None)
    blocked.execute("BEGIN IMMEDIATE")
    writer = Writer(log, waiting=4)
    first = writer.submit([Write("a", None)])
    waiting = []

    def fill() -> None:
        for place in range(10):
            waiting.append(writer.submit([Write(f"b{place}", None)]))

    with pytest.raises(Full, match="wait for the disk"):
        fill()
    blocked.execute("ROLLBACK")
    blocked.close()
    assert [first.result(), *(future.result() for future in waiting)] == list(range(1, len(waiting) + 2))
    writer.close()
