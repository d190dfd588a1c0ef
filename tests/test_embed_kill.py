"""Killed at any moment, a run leaves the old folder or one to go on with; and memory does not follow the corpus."""

from __future__ import annotations

import json
import random
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from vectors_folders import files_of, manifest_of, named_in, table_of
from warm import Process, shared

HERE = Path(__file__).parent


def begin(out: Path, count: int, *options: object) -> Process:
    """Has imported already."""
    program = (HERE / "embedding_process.py").read_text()
    return shared().start([str(out), str(count), *map(str, options)], sys.__stderr__, program=program)


def finish(process: Process) -> tuple[int, int, dict[str, Any]]:
    """Exit code, texts embedded (canaries included), and the record of a run that came to its end."""
    embedded, record = 0, {}
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("batch "):
            embedded += int(line.split()[1])
        else:
            record = json.loads(line)
    process.stdout.close()
    return process.wait(), embedded, record


def content(out: Path) -> dict[str, Any]:
    """What the folder says, but for when and at what cost."""
    assert files_of(out) == named_in(out)
    table_of(out)
    return {key: value for key, value in manifest_of(out).items() if key not in ("run", "created_at")}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of a run that nobody disturbed."""
    out = tmp_path_factory.mktemp("clean")
    assert finish(begin(out, 400))[0] == 0
    return out


def test_killed_again_and_again_it_ends_with_the_same_bytes(clean: Path, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # shown by pytest when the test fails
    chance = random.Random(seed)
    embedded_in_all, kills = 0, 0
    while True:
        moment = chance.randint(3, 15), chance.uniform(0.0001, 0.003)
        code, embedded, _ = finish(begin(tmp_path, 400, "--end-after", *moment))
        embedded_in_all += embedded
        if code == 0:
            break
        assert code == -signal.SIGALRM
        kills += 1
    assert kills >= 2
    assert content(tmp_path) == content(clean)
    # All texts and the canaries once, and by each kill at most two slices (of 8) or the canaries (16) lost.
    assert 400 <= embedded_in_all <= 400 + 16 + 16 * kills


def test_killed_before_each_change_on_disk_the_folder_is_old_or_new(tmp_path: Path) -> None:
    """Every file that is opened for writing, renamed or deleted is a moment to die at."""
    old, new = tmp_path / "old", tmp_path / "new"
    assert finish(begin(old, 80, "--first", 1000))[0] == 0
    assert finish(begin(new, 128, "--slice", 64))[0] == 0
    expected = content(new)
    counts: list[int] = []
    for step in range(1, 100):
        out = tmp_path / f"killed-{step}"
        shutil.copytree(old, out)
        code, embedded, _ = finish(begin(out, 128, "--slice", 64, "--die-at", step))
        if code == 0:
            break
        assert code == -signal.SIGKILL
        table_of(out)  # every fragment that embed.json names is whole
        counts.append(manifest_of(out)["count"])
        code, embedded_then, _ = finish(begin(out, 128, "--slice", 64))
        assert code == 0
        assert embedded + embedded_then <= 128 + 2 * 16 + 64
        assert content(out) == expected
        shutil.rmtree(out)
    assert len(counts) >= 12
    assert counts[0] == 80
    assert counts[-1] == 128
    assert counts == sorted(counts), "once new, the folder stays new"


def test_peak_memory_does_not_follow_the_corpus(tmp_path: Path) -> None:
    """120 MB more of vectors and text must not cost so much more memory, neither embedded nor found again."""
    options = ("--slice", 128, "--dim", 1536, "--long", 10)
    peaks: dict[tuple[int, int], int] = {}
    for count in (2_500, 22_500):
        for window in (512, 500):  # with other windows, all fragments are read and written anew
            code, embedded, record = finish(begin(tmp_path / str(count), count, "--window", window, *options))
            assert code == 0
            assert (embedded > count) == (window == 512)
            peaks[count, window] = record["peak_rss_bytes"]
    size = sum(path.stat().st_size for path in (tmp_path / "22500").iterdir())
    assert size > 120 << 20
    # More than 120 MB were added; Arrow's threads hold 10 to 40 MB of what they read ahead, as it happens.
    assert peaks[22_500, 512] - peaks[2_500, 512] < 80 << 20
    assert peaks[22_500, 500] - peaks[2_500, 500] < 80 << 20
