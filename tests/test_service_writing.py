"""The process that writes, from inside: what it forgets, and what those who hand it their writes see when it ends."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from changing import DIM, Documents, write

from index import Root, build_generation, open_generation
from index.changes.log_reader import LogReader
from index.changes.rebuild import folded_from_served
from service.query.writes import root_writer
from service.query.writes.root_writer import LOCK_FILE, Writing
from service.query.writes.worker_socket import SOCKET_FILE
from service.wire.problems import Problem


def fold(root: Root) -> None:
    with folded_from_served(root, "docs", 1) as (source, settings):
        build_generation(source, root=root.folder, name="docs", threads=1, **settings)


def test_what_every_kept_generation_holds_leaves_the_log(tmp_path: Path) -> None:
    path, root = Documents(40).build(tmp_path), Root(tmp_path)
    with open_generation(path) as opened:
        assert opened.dim == DIM

    async def life() -> None:
        writing = Writing(root, "one", "http://127.0.0.1:1")
        for turn in range(1, 4):
            seq = await writing.submit("docs", DIM, None, [write(f"n{turn}", turn)])
            assert seq == turn
            await asyncio.to_thread(fold, root)
        root.gc("docs", keep=0)  # what is served holds three changes, the one before it two
        await asyncio.to_thread(writing.trim)
        assert (
            await writing.submit("docs", DIM, None, [write("n4", 4)]) == 4
        )  # after the trimming, which waits for no one
        await asyncio.to_thread(writing.close)

    asyncio.run(life())
    with LogReader(tmp_path / "docs") as reader:
        assert reader.head.first == 3
        assert [change.seq for change in reader.since(2)] == [3, 4]


def test_all_whose_writes_were_on_their_way_are_told_when_the_writer_ends(tmp_path: Path) -> None:
    asked = 0

    async def life() -> None:
        gone = asyncio.Event()

        async def end_after_both(reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
            nonlocal asked
            for _ in range(2):
                await reader.readexactly(int.from_bytes(await reader.readexactly(4), "little"))
                asked += 1
            stream.close()
            gone.set()

        server = await asyncio.start_unix_server(end_after_both, tmp_path / SOCKET_FILE)
        writing = Writing(Root(tmp_path), "one", "http://127.0.0.1:1")
        two = [writing.submit("docs", DIM, None, [write(f"n{turn}", turn)]) for turn in range(2)]
        outcomes = await asyncio.gather(*two, return_exceptions=True)
        await gone.wait()
        assert [type(outcome) for outcome in outcomes] == [Problem, Problem]
        assert {str(outcome)[:32] for outcome in outcomes} == {"The process that writes has ended"[:32]}
        writing.close()
        server.close()

    with (tmp_path / LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(json.dumps({"service": "one", "address": ""}))
        lock.flush()
        asyncio.run(life())
    assert asked == 2


def test_who_stops_waiting_for_the_log_to_be_opened_does_not_keep_it_from_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Documents(3).build(tmp_path)
    go_on, log = threading.Event(), root_writer.Log

    def slow(*words: Any) -> Any:
        assert go_on.wait(60)
        return log(*words)

    async def life() -> None:
        writing = Writing(Root(tmp_path), "one", "")
        monkeypatch.setattr(root_writer, "Log", slow)
        first = asyncio.create_task(writing.submit("docs", DIM, None, [write("a", 1)]))
        await asyncio.sleep(0.05)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        go_on.set()
        assert await writing.submit("docs", DIM, None, [write("b", 2)]) == 1
        writing.close()

    asyncio.run(life())


@pytest.mark.parametrize("fails", ["pwrite", "listen_at"])
def test_a_disk_that_was_full_at_the_first_write_is_written_to_once_it_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    Documents(3).build(tmp_path)

    def full(*_: object) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def life() -> None:
        writing = Writing(Root(tmp_path), "one", "")
        with monkeypatch.context() as patch:
            patch.setattr(os if fails == "pwrite" else root_writer, fails, full)
            with pytest.raises(Problem, match="No space left on device"):
                await writing.submit("docs", DIM, None, [write("a", 1)])
        assert await writing.submit("docs", DIM, None, [write("b", 2)]) == 1
        writing.close()

    asyncio.run(life())


def test_a_service_of_another_name_is_told_who_writes(tmp_path: Path) -> None:
    Documents(3).build(tmp_path)

    async def life() -> None:
        first = Writing(Root(tmp_path), "one", "http://here:1")
        await first.submit("docs", DIM, None, [write("a", 1)])
        second = Writing(Root(tmp_path), "two", "http://there:2")
        with pytest.raises(Problem, match="send writes to http://here:1"):
            await second.submit("docs", DIM, None, [write("b", 2)])
        await asyncio.to_thread(first.close)
        assert await second.submit("docs", DIM, None, [write("b", 2)]) == 2
        await asyncio.to_thread(second.close)

    asyncio.run(life())


@pytest.mark.parametrize("said", ["", '{"service": "one", "address": "http://here:1"}'], ids=["no name", "no socket"])
def test_a_writer_that_is_starting_is_waited_for(tmp_path: Path, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Documents(3).build(tmp_path)

    async def life() -> None:
        writing = Writing(Root(tmp_path), "one", "http://here:1")
        with (tmp_path / LOCK_FILE).open("w") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            starting.write(said)
            starting.flush()
            with monkeypatch.context() as patch:
                patch.setattr(root_writer, "STARTING_S", 0.01)
                with pytest.raises(Problem, match="is starting or ending"):
                    await writing.submit("docs", DIM, None, [write("a", 1)])
            monkeypatch.setattr(root_writer, "STARTING_S", 60.0)
            patient = asyncio.create_task(writing.submit("docs", DIM, None, [write("a", 1)]))
            await asyncio.sleep(0.05)
            assert not patient.done()
        assert await patient == 1  # it has ended, and who waited writes
        await asyncio.to_thread(writing.close)

    asyncio.run(life())


# A writer to which another process has sent a write; who goes first is told by its arguments.
LEAVING = """
import asyncio, socket, sys
from pathlib import Path
import uvloop
from index import Root
from index.changes.log_file import Write
from index.changes.log_reader import LogReader
from service.query.writes.root_writer import Writing
from service.query.writes.worker_socket import ENCODE, SOCKET_FILE
async def life(folder, dim, goes_first):
    writing = Writing(Root(folder), "one", "http://here:1")
    await writing.submit("docs", dim, None, [Write("a", bytes(4 * dim), b"{}")])
    asked = ENCODE([1, "docs", dim, None, [Write("b", bytes(4 * dim), b"{}")]])
    other = socket.socket(socket.AF_UNIX)
    other.connect(str(folder / SOCKET_FILE))
    other.sendall(len(asked).to_bytes(4, "little") + asked)
    if goes_first == "other":
        other.close()
    with LogReader(folder / "docs") as reader:
        while reader.acknowledged < 2:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    await asyncio.to_thread(writing.close)
    return other  # open until the end
uvloop.run(life(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
"""


@pytest.mark.parametrize("goes_first", ["writer", "other"])
def test_whoever_goes_first_it_is_no_error_in_the_log(tmp_path: Path, goes_first: str) -> None:
    Documents(3).build(tmp_path)
    command = [sys.executable, "-c", LEAVING, str(tmp_path), str(DIM), goes_first]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stderr == ""


def test_a_log_that_takes_no_more_after_a_failed_commit_is_counted(tmp_path: Path) -> None:
    """With a constraint that SQLite checks at the commit, and that a trigger breaks."""
    Documents(4).build(tmp_path)

    async def life() -> list[int]:
        writing = Writing(Root(tmp_path), "one", "http://127.0.0.1:1")
        await writing.submit("docs", DIM, None, [write("n1", 1)])
        seen = [writing.failed]
        log = (await writing._writer("docs", DIM, None)).log
        log.connection.executescript(
            "PRAGMA foreign_keys = ON; CREATE TEMP TABLE parent (id PRIMARY KEY);"
            "CREATE TEMP TABLE child (id REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);"
            "CREATE TEMP TRIGGER broken AFTER INSERT ON main.changes BEGIN INSERT INTO child VALUES (1); END;"
        )
        with pytest.raises(Problem, match="a commit failed"):
            await writing.submit("docs", DIM, None, [write("n2", 2)])
        seen.append(writing.failed)
        await asyncio.to_thread(writing.close)
        return seen

    assert asyncio.run(life()) == [0, 1]
