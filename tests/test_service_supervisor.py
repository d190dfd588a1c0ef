"""The parent of the workers, when it is told to end before they are ready, and when there is no process to be had."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from patience import patient

PARENT = """
import os, signal, sys, threading, time
from pathlib import Path
from service.processes import supervisor
from service.processes.listening import bind
from service.telemetry.slab import Slab
folder = Path(sys.argv[1])

def started(said):
    (folder / "started").touch()

def work(shared):
    (folder / f"{shared.worker}-{os.getpid()}").touch()
    if sys.argv[2] == "ready":
        shared.channel.send(b'{"ready": "all"}')
    time.sleep(600)

def forked():
    # the first of worker 1's successors cannot be had: who is forked after all have started is one
    if sys.argv[2] == "none" or ((folder / "started").exists() and not (folder / "refused").exists()):
        if sys.argv[2] == "ready":
            (folder / "refused").touch()
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return fork()

fork, os.fork = os.fork, forked
supervisor.LONGEST_PAUSE_S = 0.2
supervisor.Supervisor(bind("127.0.0.1", 0), 3, Slab(1, 3), work, 0.1, 300.0).run(started)
"""


def parent(folder: Path, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", PARENT, str(folder), how], stderr=subprocess.PIPE, text=True)


def wait(folder: Path, pattern: str, count: int = 1) -> list[Path]:
    limit_s = time.monotonic() + patient(30)
    while len(found := sorted(folder.glob(pattern))) < count:
        assert time.monotonic() < limit_s, f"there is no {pattern} among {sorted(folder.iterdir())}"
        time.sleep(0.02)
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_is_told_to_end_while_the_first_worker_loads_starts_no_others(tmp_path: Path, number: int) -> None:
    with parent(tmp_path, "loads") as process:
        wait(tmp_path, "0-*")
        process.send_signal(number)
        assert process.wait(patient(20)) == 0
    assert not list(tmp_path.glob("[12]-*"))
    assert not (tmp_path / "started").exists()


def test_a_process_that_cannot_be_had_ends_no_worker(tmp_path: Path) -> None:
    with parent(tmp_path, "ready") as process:
        wait(tmp_path, "started")
        [dead] = wait(tmp_path, "1-*")
        subprocess.run(["kill", "-KILL", dead.name.split("-")[1]], check=True)
        wait(tmp_path, "refused")
        wait(tmp_path, "1-*", 2)  # it was tried again
        assert process.poll() is None
        assert [len(list(tmp_path.glob(f"{worker}-*"))) for worker in (0, 2)] == [1, 1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(patient(20)) == 0


def test_a_start_that_has_too_few_processes_says_so(tmp_path: Path) -> None:
    with parent(tmp_path, "none") as process:
        _, said = process.communicate(timeout=patient(30))
    assert process.returncode == 1
    assert "worker 0 cannot be started: [Errno 11]" in said
    assert "Start fewer of the 3 (--workers)" in said
    assert not list(tmp_path.iterdir())
