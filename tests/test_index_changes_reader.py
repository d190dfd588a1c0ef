"""Who follows a log that is only just beginning: there is no log yet, and a moment later there is one."""

import sqlite3
import threading
from pathlib import Path

import pytest

from index.changes.log import Log
from index.changes.log_file import LOG_FILE, RECEIPT_FILE, Write, open_log
from index.changes.log_reader import LogReader
from index.errors import GenerationError


def test_a_log_whose_writer_has_only_made_the_file_is_none_yet(tmp_path: Path) -> None:
    (tmp_path / LOG_FILE).touch()
    with pytest.raises(FileNotFoundError):
        LogReader(tmp_path)
    open_log(tmp_path / LOG_FILE, write=True).close()  # which is all that its writer has done by then
    with pytest.raises(FileNotFoundError):
        LogReader(tmp_path)
    with Log(tmp_path, 8, None) as log:
        log.append([Write("a", None)])
        with LogReader(tmp_path) as reader:
            assert [change.id for change in reader.since(0)] == ["a"]


def test_one_that_was_there_before_is_damaged_and_not_new(tmp_path: Path) -> None:
    with Log(tmp_path, 8, None) as log:
        log.append([Write("a", None)])
    (tmp_path / LOG_FILE).write_bytes(b"")
    with pytest.raises(GenerationError, match="is not a log of changes"):
        LogReader(tmp_path)
    (tmp_path / RECEIPT_FILE).unlink()
    with sqlite3.connect(tmp_path / LOG_FILE) as foreign:
        foreign.execute("CREATE TABLE notes (text)")
    foreign.close()
    with pytest.raises(GenerationError, match="is not a log of changes"):
        LogReader(tmp_path)


def test_whoever_looks_while_a_log_is_begun_sees_none_or_a_whole_one(tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(40)]
    beginning = threading.Event()

    def begin() -> None:
        beginning.wait()
        for folder in folders:
            folder.mkdir()
            Log(folder, 8, None).close()

    thread = threading.Thread(target=begin)
    thread.start()
    beginning.set()
    for folder in folders:
        while True:
            try:
                LogReader(folder).close()
                break
            except FileNotFoundError:
                continue
    thread.join()
