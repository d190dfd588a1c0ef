"""`make soak`: what grows is named, what goes up and down is not; and a short run of the real thing."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from patience import patient

from service.bench.soak import MIB, SoakSample, grown, sample

pytest_plugins = ["serving_fixtures"]
SAMPLES = 120


def samples(**growth: float) -> list[SoakSample]:
    """A run in which memory goes up by 20 MiB until each rebuild. growth: of a figure, from begin to end."""
    found = []
    for number in range(SAMPLES):
        tide = 2 * MIB * (number % 10)
        flat = SoakSample(
            5.0 * number,
            anonymous=100 * MIB + tide,
            resident=400 * MIB + tide,
            handles=60 + number % 3,
            threads=12 + number % 2,
            mappings=800 + number % 10,
            log=3 * MIB,
            disk=50 * MIB + 4 * tide,
        )
        found.append(
            flat._replace(**{name: int(getattr(flat, name) + by * number / SAMPLES) for name, by in growth.items()})
        )
    return found


def test_what_goes_up_and_down_has_not_grown() -> None:
    assert grown(samples()) == []
    warming = [each._replace(anonymous=10 * MIB, handles=5, threads=2) for each in samples()[: SAMPLES // 4]]
    assert grown(warming + samples()[SAMPLES // 4 :]) == []


@pytest.mark.parametrize(
    ("name", "by"),
    [
        ("anonymous", 40 * MIB),
        ("resident", 200 * MIB),
        ("handles", 12),
        ("threads", 6),
        ("mappings", 200),
        ("log", 20 * MIB),
        ("disk", 60 * MIB),
    ],
)
def test_what_grows_is_named(name: str, by: float) -> None:
    [said] = grown(samples(**{name: by}))
    assert said.startswith(f"{name} grew from ")


def test_files_that_a_rebuild_removes_are_no_error(tmp_path: Path) -> None:
    small = subprocess.Popen(["sleep", "600"])  # what is looked at: the memory of this process takes long to add up

    class Process:
        def pids(self) -> list[int]:
            return [small.pid]

    over = threading.Event()

    def rebuild() -> None:
        while not over.is_set():
            (tmp_path / "generation").mkdir()
            for name in range(20):
                (tmp_path / "generation" / str(name)).write_bytes(b"12345")
            shutil.rmtree(tmp_path / "generation")

    (tmp_path / "changes.sqlite").write_bytes(b"1234567")
    rebuilding = threading.Thread(target=rebuild)
    rebuilding.start()
    try:
        limit_s = time.monotonic() + patient(60)
        found = []
        while len(found) < 200 or max(each.disk for each in found) == 7:  # until one came while there was more
            found.append(sample(Process(), tmp_path, len(found)))  # type: ignore[arg-type]
            assert time.monotonic() < limit_s
    finally:
        over.set()
        rebuilding.join()
        small.kill()
        small.wait()
    assert {each.log for each in found} == {7}


@pytest.mark.parametrize("minutes", [0.05, pytest.param(0.2, marks=pytest.mark.long)])
def test_a_short_soak_of_a_real_service_does_all_of_it(own_root: Path, minutes: float) -> None:
    """Whether something grows is for a longer one: in a few seconds caches are still filling."""
    ran = subprocess.run(
        [sys.executable, "-m", "service.bench.soak", str(own_root), "docs", f"{patient(minutes):g}"],
        capture_output=True,
        text=True,
        timeout=patient(200),
        check=False,
    )
    *_, last = ran.stdout.splitlines()
    assert last.startswith("nothing grew") or " grew from " in last, ran.stdout + ran.stderr
    for done in ("searched", "put, 0 failed", "deleted", "rebuild succeeded"):
        assert done in ran.stdout, ran.stdout
    # A rebuild that came before the first write has nothing to do, and says so.
    said = [line for line in ran.stdout.splitlines() if "holds every change" not in line]
    assert "failed" not in "\n".join(said).replace("0 failed", ""), ran.stdout
    assert not [line for line in ran.stdout.splitlines() if "Traceback" in line], ran.stderr
