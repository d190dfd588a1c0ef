"""What `make bench-jobs` counts and says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from deploy.figures.tables.router import job_remarks, job_targets
from deploy.jobs import bench

SPINS = """
import subprocess, sys, time
if len(sys.argv) > 1:
    inside = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    inside.stdout.readline()
while time.process_time() < 0.2: pass
print("spun", flush=True)
sys.stdin.read()
if len(sys.argv) > 1:
    inside.communicate()
"""


def test_the_time_of_all_that_was_started_is_counted_while_it_lives_and_after() -> None:
    before = bench.spent()
    command = [sys.executable, "-c", SPINS, SPINS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert bench.spent() - before >= 0.3  # 0.2 s of each of two, one below the other, in ticks
    assert bench.spent() - before >= 0.3


def took(**more: float) -> dict[str, Any]:
    return {"cpu_s": 100.0, "wall_s": 60.0, "others": 0.0, "tasks": 22, **more}


def test_a_clock_beside_others_is_not_shown_and_a_miss_is() -> None:
    arms = {"here": took(), "processes": took(cpu_s=110.0, others=0.3), "ray": took(cpu_s=130.0)}
    figures = {"rows": 30_000, "bytes": 9_000_000, "shards": 8, "nodes": 3, "cores": 2, "took": arms}
    shown = job_targets(figures)
    assert "| 2 processes | ≤ 1.15 × | 1.10 × | 0.45 s | not alone on the machine |" in shown
    assert "| Ray, 3 nodes of one core | ≤ 1.15 × | **missed** 1.30 × | 1.36 s | 1.20 × |" in shown
    assert "the same 22 tasks" in job_remarks(figures)
    assert "Others used 0% to 30% of the machine" in job_remarks(figures)
    quiet = figures | {"took": {name: took(cpu_s=95.0) if name == "ray" else took() for name in arms}}
    assert "| 0.95 × | less than the error | 1.20 × |" in job_targets(quiet)
    assert "Others used" not in job_remarks(quiet)
    assert "30,000 docstrings of 9 MB" in job_remarks(figures)
    assert "30,000 summaries of packages of 9 MB" in job_remarks(figures | {"texts": "summaries of packages"})


def test_the_first_rows_of_any_texts_are_taken(tmp_path: Path) -> None:
    texts, taken = tmp_path / "texts.jsonl", tmp_path / "docs.jsonl"
    texts.write_text(
        "".join(f'{{"id": "{number}", "text": "été {number}"}}\n' for number in range(9)), encoding="utf-8"
    )
    assert bench.take(taken, 4, texts) == (4, taken.stat().st_size)
    assert taken.read_text(encoding="utf-8").splitlines() == texts.read_text(encoding="utf-8").splitlines()[:4]
    assert bench.take(taken, 3)[0] == 3  # docstrings
