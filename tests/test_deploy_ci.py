"""The steps of CI that judge, run as CI runs them, on records of simulated machines."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import msgspec
import pytest
from ci_scripts import CI, run

from loadtest.record.run_record import Record
from loadtest.record.trial import ValidityCheck
from loadtest.selftest.example import simulated_record

pytest_plugins = ["ci_scripts_fixtures"]


def step(name: str, *arguments: object, summary: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PERWATT_TAG"}
    environment |= {
        "PERWATT_COMMAND": str(Path(sys.executable).with_name("perwatt")),
        "GITHUB_STEP_SUMMARY": str(summary),
    }
    return subprocess.run(
        [CI / name, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False, env=environment
    )


@cache
def simulated(speed: float) -> Record:
    return simulated_record("amd64", 1, speed, seed=5, curve=False)


def records(folder: Path, speed: float) -> Path:
    """amd64, its replica, and an arm64 that is as fast as it is told, in four blocks that are alike."""
    folder.mkdir()
    for arm, factor in {"amd64": 1.0, "amd64-again": 1.0, "arm64": speed}.items():
        record = simulated(factor)
        for block in range(1, 5):
            label = msgspec.structs.replace(record.label, arm=arm, block=block)
            written = msgspec.json.encode(msgspec.structs.replace(record, label=label))
            (folder / f"{arm}-{block}.json").write_bytes(written)
    return folder


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return records(tmp_path_factory.mktemp("release") / "runs", 1.3)


@pytest.fixture(scope="module")
def slower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return records(tmp_path_factory.mktemp("slower") / "runs", 1.0)


def test_the_report_is_the_summary_of_the_run(release: Path, tmp_path: Path) -> None:
    summary, out = tmp_path / "summary", tmp_path / "report"
    (out / "runs").mkdir(parents=True)
    (out / "runs" / "arm64-1.json").write_text("of a report that was made here before")
    ran = step("compare.sh", release, out, "amd64", "arm64", "amd64-again", summary=summary)
    assert ran.returncode == 0, ran.stderr
    assert summary.read_text() == (out / "report.md").read_text()
    assert "arm64" in summary.read_text().splitlines()[0] + summary.read_text()
    assert "<html" in (out / "report.html").read_text()[:200]
    assert len(list((out / "runs").iterdir())) == 12


def test_a_regression_is_stopped_and_nothing_else(release: Path, slower: Path, tmp_path: Path) -> None:
    summary = tmp_path / "summary"
    worse = step("regression.sh", slower, release, "arm64", "5%", summary=summary)
    assert (worse.returncode, worse.stdout.split(":")[0]) == (1, "worse")
    assert step("regression.sh", slower, release, "arm64", "40%", summary=summary).returncode == 0
    assert step("regression.sh", slower, release, "amd64", "5%", summary=summary).returncode == 0


def test_the_replica_is_not_taken_for_the_arm(release: Path, slower: Path, tmp_path: Path) -> None:
    """The names of amd64's records begin like those of amd64-again's."""
    only = tmp_path / "only-replica"
    only.mkdir()
    for path in slower.glob("amd64-again-*"):
        (only / path.name).write_bytes(path.read_bytes())
    ran = step("regression.sh", release, only, "amd64", summary=tmp_path / "summary")
    assert ran.returncode == 0
    assert "no runs of a release to compare amd64 with" in ran.stdout


def test_too_few_runs_are_a_warning(release: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for block in (1, 2):
        (few / f"arm64-{block}.json").write_bytes((release / f"arm64-{block}.json").read_bytes())
    ran = step("regression.sh", few, release, "arm64", summary=tmp_path / "summary")
    assert ran.returncode == 0
    assert "::warning::" in ran.stdout


def unbelievable(path: Path) -> None:
    """Makes a record one of a trial whose generator could not keep up."""
    record = msgspec.json.decode(path.read_bytes(), type=Record)
    check = ValidityCheck("generator CPU", False, "99 %", "≤ 70 %")
    trial = msgspec.structs.replace(record.trials[-1], gates=[check])
    written = msgspec.structs.replace(record, trials=[*record.trials[:-1], trial])
    assert written.invalid
    path.write_bytes(msgspec.json.encode(written))


def copy(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def test_a_trial_that_may_not_be_believed_is_left_out_and_said(release: Path, slower: Path, tmp_path: Path) -> None:
    """And what the others show counts."""
    summary = tmp_path / "summary"
    new, old = copy(slower, tmp_path / "new"), copy(release, tmp_path / "old")
    unbelievable(new / "arm64-2.json")
    unbelievable(old / "arm64-1.json")
    ran = step("regression.sh", new, old, "arm64", summary=summary)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "::warning::new/arm64-2.json may not be believed and is left out of the comparison of arm64: " in ran.stdout
    assert any(line.startswith("worse:") for line in ran.stdout.splitlines())
    told = summary.read_text().splitlines()
    assert [line.split()[1] for line in told if line.startswith("- ")] == ["new/arm64-2.json", "old/arm64-1.json"]
    assert "## arm64: this build against the last release" in told
    assert any(re.search(r"^\| p99 \| .* ms \| .* ms \| \d\.\d\d× ", line) for line in told)


def test_trials_none_of_which_may_be_believed_do_not_pass(release: Path, tmp_path: Path) -> None:
    for side in ("new", "old"):
        (tmp_path / side).mkdir()
        shutil.copy(release / "arm64-1.json", tmp_path / side)
    unbelievable(tmp_path / "new" / "arm64-1.json")
    ran = step("regression.sh", tmp_path / "new", tmp_path / "old", "arm64", summary=tmp_path / "summary")
    assert ran.returncode == 3
    assert "has no record of arm64 that may be believed" in ran.stderr


def test_a_damaged_record_does_not_pass_for_slower(release: Path, tmp_path: Path) -> None:
    new = copy(release, tmp_path / "new")
    (new / "arm64-1.json").write_text("{")
    ran = step("regression.sh", new, release, "arm64", summary=tmp_path / "summary")
    assert ran.returncode == 3
    assert "arm64-1.json is not a run record" in ran.stderr


@pytest.mark.parametrize(
    ("said", "status", "ends", "tells"),
    [
        ("No known vulnerabilities found", 0, 0, "serve.txt: No known vulnerabilities found"),
        ("h11 0.14.0 CVE-2025-43859 0.16.0", 1, 1, "CVE-2025-43859"),
        (
            "No known vulnerabilities found\nh11 could not be audited: h11 (0.16.0)",
            0,
            2,
            "1 packages could not be looked up",
        ),
        ("Max retries exceeded with url: /pypi/h11/json", 1, 2, "Max retries"),
    ],
    ids=["clean", "a hole", "not found", "no network"],
)
def test_an_audit_is_clean_only_when_every_package_was_looked_up(
    tmp_path: Path, said: str, status: int, ends: int, tells: str
) -> None:
    """pip-audit itself ends with 0 for packages that it could not find, and with 1 for a hole and for no network."""
    program = tmp_path / "bin" / "pip-audit"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{said}\nEND\nexit {status}\n")
    program.chmod(0o755)
    ran = run(os.environ["PATH"], "audit.sh", "deploy/locks/serve.txt", PERWATT_AUDIT=str(tmp_path))
    assert ran.returncode == ends, ran.stdout + ran.stderr
    assert tells in ran.stdout + ran.stderr


def test_the_runs_of_the_last_release_are_unpacked(bare: str, release: Path, tmp_path: Path) -> None:
    subprocess.run(["tar", "-cf", tmp_path / "runs.tar", "-C", release, "."], check=True)
    gh = tmp_path / "bin" / "gh"
    gh.write_text(f'#!/bin/sh\nwhile [ "$1" != --dir ]; do shift; done\ncp {tmp_path}/runs.tar "$2"\n')
    gh.chmod(0o755)
    ran = run(bare, "baseline.sh", tmp_path / "baseline")
    assert ran.returncode == 0, ran.stderr
    assert {path.name for path in release.iterdir()} < {path.name for path in (tmp_path / "baseline").iterdir()}
