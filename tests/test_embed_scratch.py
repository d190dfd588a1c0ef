"""What a killed process leaves in the folder for temporary files, and who removes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from embed.vectors.scratch import PREFIX, hold, scratch_folder, sweep

HOLDING = """
import sys, time
from embed.vectors.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "file").write_text("x")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


def holding() -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_it_is_gone_when_it_is_left(temporary: Path) -> None:
    with pytest.raises(RuntimeError), scratch_folder() as folder:  # noqa: PT012
        assert folder.parent == temporary
        (folder / "file").write_text("x")
        raise RuntimeError
    assert not list(temporary.iterdir())


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_uses_is_not(temporary: Path) -> None:
    killed, left = holding()
    living, used = holding()
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert (left / "file").exists()
    foreign = temporary / f"{PREFIX}foreign"
    foreign.symlink_to(temporary)
    with scratch_folder() as folder:
        assert sorted(temporary.iterdir()) == sorted([used, foreign, folder])
        assert (used / "file").exists()
    living.communicate("")
    assert living.wait() == 0
    for process in (killed, living):
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
    assert list(temporary.iterdir()) == [foreign]


def test_a_held_folder_is_not_swept(tmp_path: Path) -> None:
    held, free = tmp_path / "held", tmp_path / "free"
    held.mkdir()
    free.mkdir()
    (free / "file").write_text("x")
    handle = hold(held)
    assert sweep([held, free, tmp_path / "gone"]) == ["free"]
    os.close(handle)
    assert sweep([held]) == ["held"]
