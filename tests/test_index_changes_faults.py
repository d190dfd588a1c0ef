"""The log after damage: flipped bits, killed writers, disks that fail, power cuts; whole or refused, nothing lost."""

import errno
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from changes_logs import DIM, everything, opened
from changing import write
from faulty_disk import SYNC, KillPoint, after_power_cut, operations, run_python
from warm import shared

from index.changes.log_file import LOG_FILE, RECEIPT_FILE
from index.errors import GenerationError, IndexingError, StorageError

# Appends groups of writes until it is killed or fails; prints the last seq after each that was acknowledged.
APPENDING = """
import sys
from pathlib import Path
from index.changes.log import Log
from index.changes.log_file import Write
def run(folder, first, groups, size):
    with Log(Path(folder), 8, "model") as log:
        print("open", log.last, flush=True)
        for group in range(groups):
            writes = [Write(f"d{first + group * size + place}", bytes(32), b"{}") for place in range(size)]
            print(log.append(writes), flush=True)
"""


RUN = APPENDING + "run(sys.argv[1], *map(int, sys.argv[2:]))"


# The same in a folder for each n, where the n-th write or fsync fails, until nothing does; keeps what each one printed.
FAILING = (
    APPENDING
    + """
import os, traceback
n, failed = 0, True
while failed:
    n += 1
    folder = Path(sys.argv[1], str(n))
    folder.mkdir()
    child = os.fork()
    if not child:
        os.environ["FAULT_AT"] = str(n)
        sys.stdout = open(folder.with_suffix(".out"), "w")
        try:
            run(folder, 0, 3, 2)
        except BaseException as error:
            print(type(error).__name__, flush=True)
            os._exit(1)
        os._exit(0)
    failed = os.waitpid(child, 0)[1] != 0
"""
)


def test_every_flipped_bit_truncation_and_swap_is_refused_by_name_or_harmless(tmp_path: Path) -> None:
    """Harmless: in a byte that no change depends on. Then all of them are read as they were written."""
    source, rng = tmp_path / "source", random.Random(5)
    source.mkdir()
    with opened(source) as log:
        for group in range(6):
            log.append([write(f"d{group}-{place}", place, DIM) for place in range(5)])
    expected = everything(source)
    other = tmp_path / "other"
    other.mkdir()
    with opened(other) as log:
        log.append([write(f"o{place}", place, DIM) for place in range(30)])
    content = (source / LOG_FILE).read_bytes()
    damages = [content[:size] for size in sorted(rng.sample(range(len(content)), 40))]
    for place in range(0, len(content), max(1, len(content) // 1500)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << rng.randrange(8)
        damages.append(bytes(flipped))
    damages.append((other / LOG_FILE).read_bytes())
    reasons = []
    for number, damaged in enumerate(damages):
        copy = tmp_path / f"copy-{number}"
        copy.mkdir()
        (copy / LOG_FILE).write_bytes(damaged)
        shutil.copy(source / RECEIPT_FILE, copy / RECEIPT_FILE)
        try:
            with opened(copy):
                pass
            assert everything(copy) == expected
        except IndexingError as error:
            reasons.append(str(error))
        shutil.rmtree(copy)
    assert len(reasons) > len(damages) // 4
    assert all(LOG_FILE in reason or RECEIPT_FILE in reason for reason in reasons)


@pytest.mark.parametrize("nth", range(1, 7))
@pytest.mark.parametrize("pulled", [False, True], ids=["new", "pulled"])
def test_whoever_reads_first_after_a_writer_that_was_killed_as_it_began_reads(
    tmp_path: Path, nth: int, pulled: bool
) -> None:
    """Before it is a log in WAL mode, SQLite keeps what was in a journal, which only who may write can undo."""
    if pulled:
        with opened(tmp_path) as log:
            log.append([write("a", 1, DIM)])
        with closing(sqlite3.connect(tmp_path / LOG_FILE)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
    environment = KillPoint(LOG_FILE, "sync", "before").environment(nth)
    command = [sys.executable, "-c", RUN, str(tmp_path), "0", "0", "1"]
    subprocess.run(command, env=os.environ | environment, capture_output=True, timeout=120, check=False)
    assert len(everything(tmp_path)) == pulled


def test_a_log_whose_end_is_gone_is_refused_until_someone_says_so(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.append([write("a", 1, DIM)])
        log.append([write("b", 2, DIM)])
        shutil.copy(tmp_path / LOG_FILE, tmp_path / "copy")  # without its -wal: what was not checkpointed is missing
    for leftover in tmp_path.glob(f"{LOG_FILE}*"):
        leftover.unlink()
    (tmp_path / "copy").rename(tmp_path / LOG_FILE)
    with pytest.raises(GenerationError, match=r"is empty|ends at change \d, and 2 was acknowledged"):
        opened(tmp_path)


def test_a_flipped_receipt_is_refused_and_says_how_to_go_on_or_is_made_whole(tmp_path: Path) -> None:
    """Whole again where the log holds every change that either of its numbers names."""
    with opened(tmp_path) as log:
        log.append([write("a", 1, DIM)])
    receipt, mended, refused = tmp_path / RECEIPT_FILE, 0, []
    whole = receipt.read_bytes()
    for place in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        receipt.write_bytes(flipped)
        try:
            opened(tmp_path).close()
        except GenerationError as error:
            refused.append(str(error))
        else:
            mended += 1
            assert receipt.read_bytes() == whole
    assert mended == 2  # 1 became 0, in either number
    assert len(refused) == len(whole) * 8 - 2
    assert all("delete" in reason for reason in refused)
    receipt.unlink()
    with opened(tmp_path) as log:
        assert log.last == 1


def test_a_writer_killed_between_the_two_numbers_of_its_receipt_is_followed_by_the_next(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.append([write("a", 1, DIM)])
        before = (tmp_path / RECEIPT_FILE).read_bytes()
        log.append([write(f"b{place}", place, DIM) for place in range(3)])
        after = (tmp_path / RECEIPT_FILE).read_bytes()
    receipt = tmp_path / RECEIPT_FILE
    receipt.write_bytes(before[:24] + after[24:])
    with opened(tmp_path) as log:
        assert log.last == 4
        assert receipt.read_bytes() == after
    receipt.write_bytes(before[:24] + (~5 & (1 << 64) - 1).to_bytes(8, "little"))  # a change that the log has not
    with pytest.raises(GenerationError, match="names the changes 1 and 5; delete it"):
        opened(tmp_path)


def test_a_newer_format_is_refused_by_name(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with sqlite3.connect(tmp_path / LOG_FILE) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(GenerationError, match="has format 2 and this version reads 1"):
        opened(tmp_path)


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    """Killed at random moments, ten times over one log; what was not acknowledged is there whole or not at all."""
    rng, acknowledged, size = random.Random(1), 0, 7
    for turn in range(10):
        arguments = [str(tmp_path), str(turn * 10**6), "100000", str(size)]
        process = shared().start(arguments, sys.__stderr__, program=RUN)
        assert process.stdout is not None
        with process.stdout:
            found = int(process.stdout.readline().split()[1])
            assert found >= acknowledged
            for _ in range(rng.randint(1, 60)):
                acknowledged = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().split()
        process.wait()
        acknowledged = max([acknowledged, *map(int, rest[:-1])])  # the last line may be half a number
    there = everything(tmp_path)
    assert len(there) >= acknowledged
    assert len(there) % size == 0
    assert [change.seq for change in there] == list(range(1, len(there) + 1))


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_a_disk_that_fails_at_any_write_loses_nothing_that_was_acknowledged(tmp_path: Path, error: int) -> None:
    """The n-th write or fsync fails, for every n. The writer says so, and takes nothing more after a failed commit."""
    ran = run_python(FAILING, [str(tmp_path)], file=LOG_FILE, error=error)
    assert ran.returncode == 0, ran.stderr
    folders = sorted((folder for folder in tmp_path.iterdir() if folder.is_dir()), key=lambda folder: int(folder.name))
    assert len(folders) > 10
    for folder in folders:
        printed = folder.with_suffix(".out").read_text().split()
        last = max((int(word) for word in printed if word.isdigit()), default=0)
        assert folder == folders[-1] or printed[-1] in ("StorageError", "LogClosedError", "GenerationError")
        (folder / RECEIPT_FILE).unlink(missing_ok=True)
        try:
            opened(folder).close()
        except GenerationError:
            assert last == 0  # the file was never finished
            continue
        there = everything(folder)
        assert len(there) >= last
        assert len(there) % 2 == 0


def test_after_a_power_cut_every_acknowledged_write_is_there(tmp_path: Path) -> None:
    """Replays what a run told the disk, cut at every point, with any sectors since the last fsync missing."""
    source, record = tmp_path / "source", tmp_path / "record"
    source.mkdir()
    ran = run_python(RUN, [str(source), "0", "12", "3"], file=LOG_FILE, record=record)
    assert ran.returncode == 0, ran.stderr
    told, rng, cuts = operations(record), random.Random(3), 0
    # A commit is acknowledged after the fsync of the -wal that ends it, so before the next write to it.
    syncs = [place for place, one in enumerate(told) if one.kind == SYNC and one.name.endswith("-wal")]
    finished = [place for place in syncs if told[place - 1].kind != SYNC][-12:]
    for cut in range(1, len(told) + 1):
        for _ in range(2):
            folder = tmp_path / "cut"
            folder.mkdir()
            for name, content in after_power_cut(told[:cut], rng).items():
                (folder / Path(name).name).write_bytes(content)
            acknowledged = 3 * sum(place < cut - 1 for place in finished)
            try:
                with opened(folder) as log:
                    last = log.last
                assert last >= acknowledged
                assert last % 3 == 0
                assert [change.seq for change in everything(folder)] == list(range(1, last + 1))
            except GenerationError:
                assert acknowledged == 0
            cuts += 1
            shutil.rmtree(folder)
    assert cuts > 50


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write to"):
        opened(tmp_path / "not there")
