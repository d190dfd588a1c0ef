"""What the commands that load a service refuse, and what makes a run invalid or ends it early."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from load_commands import arguments, service
from loadtest_servers import http_server

from loadtest.analysis.reading import Reading
from loadtest.cli.load import loadtest
from loadtest.errors import LoadTestError, TargetError, WorkloadError
from loadtest.experiment.config import parse_cpus
from loadtest.generator.watch import busiest
from loadtest.machine import Machine
from loadtest.record.intervals import ENOUGH
from loadtest.record.run_record import read_record
from loadtest.report.markdown import markdown
from loadtest.report.run_page import run_page

pytest_plugins = ["load_commands_fixtures"]

# Several times what a trial lets others take of a CPU.
HALF_BUSY = "import time\nwhile True:\n    sum(range(500_000)); time.sleep(0.015)"


def test_a_service_that_is_not_there_is_named(questions: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        loadtest, ["run", *arguments("http://127.0.0.1:1", questions, tmp_path / "x.json", "--rate", "1")]
    )
    assert isinstance(done.exception, TargetError)
    assert "Is the service running (perwatt serve)?" in str(done.exception)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (["--index", "other"], "serves no index 'other'; it serves: docs"),
        (["--filter", '0.5:{"field": "secret"}'], "answers one of the queries with 400.*filter-field-not-indexed"),
        (["--generator-cpus", "999"], "expected some of the CPUs"),
        (["--energy", "embed=nowhere"], "one of the steps given"),
        (["--indexing", "."], "neither a vectors folder"),
        (["--instance", "none.large"], "no price of 'none.large' is known"),
        (["--server-facts", __file__], "expected what perwatt loadtest machine --json writes"),
        (["--power-source", "wattmeter"], "no power source that can be read here is called 'wattmeter'"),
        (["--out", "/dev/null/run.json"], "/dev/null/run.json cannot be written"),
        (["--out", "/"], "is a folder"),
    ],
)
def test_what_cannot_be_measured_is_an_error_before_any_load(
    questions: Path, tmp_path: Path, change: list[str], says: str
) -> None:
    out = tmp_path / "run.json"
    with http_server(service) as url:
        done = CliRunner().invoke(loadtest, ["run", *arguments(url, questions, out, "--rate", "1", *change)])
    assert isinstance(done.exception, LoadTestError), done.output
    assert re.search(says, str(done.exception), re.DOTALL)
    assert not out.exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [("--rate", "nan"), ("--rate", "inf"), ("--rate", "0"), ("--duration", "nan"), ("--duration", "0"),
     ("--recall", "1"), ("--slo-p99-ms", "inf"), ("--effort", "high"), ("--effort", "0"), ("--popularity", "zipf:nan"),
     ("--filter", "0.5"), ("--filter", "nan:{}")],
)  # fmt: skip
def test_what_no_load_can_have_is_wrong_usage(questions: Path, option: str, value: str) -> None:
    given = {"--rate": "1", option: value}
    done = CliRunner().invoke(
        loadtest,
        ["run", "--index", "docs", "--queries", str(questions), *(part for pair in given.items() for part in pair)],
    )
    assert done.exit_code == 2
    assert re.search(rf"Invalid value for '{option}': .*{value}", done.output.replace(".0", ""))


@pytest.mark.parametrize(("number", "processes"), [(signal.SIGINT, 2), (signal.SIGTERM, 1)])
def test_a_run_that_is_interrupted_keeps_what_it_measured(
    questions: Path, tmp_path: Path, number: signal.Signals, processes: int
) -> None:
    out, asked = tmp_path / "run.json", [0]

    def counted(method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        asked[0] += path.endswith("/search")
        return service(method, path, body, headers)

    with http_server(counted) as url:
        more = ["--rate", "50", "--hours", "2", "--warmup", "0", "--recall-queries", "0", "--processes", str(processes)]
        perwatt = subprocess.Popen(
            [sys.executable, "-m", "deploy.command", "loadtest", "soak", *arguments(url, questions, out, *more)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            ends = time.monotonic() + 90
            while asked[0] < 150 and time.monotonic() < ends:
                time.sleep(0.05)
            # Ctrl-C reaches everyone on the terminal, a pipeline's cancel only the first.
            os.killpg(perwatt.pid, number) if number == signal.SIGINT else perwatt.send_signal(number)
            said, _ = perwatt.communicate(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(perwatt.pid, signal.SIGKILL)
    assert perwatt.returncode == 1
    assert f"wrote {out} up to there" in said
    trial = read_record(out).trials[-1]
    assert "interrupted: of the soak trial's 7200 s" in read_record(out).notes[0]
    assert trial.slice_s == 60
    assert 1 <= trial.window_s < 90
    assert trial.answered > 20
    assert trial.answered == trial.planned - trial.missed
    assert trial.generator.processes == processes
    assert trial.server is not None
    assert trial.server.cores_used is not None


@pytest.mark.usefixtures("warm_locust")
def test_other_programs_make_a_run_invalid_and_say_who_they_are(
    questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Three are named; beside other tests these are not always among them.
    monkeypatch.setattr("loadtest.experiment.measurement.busiest", functools.partial(busiest, most=100))
    out = tmp_path / "run.json"
    saw = tmp_path / "wood-saw"
    saw.symlink_to(sys.executable)
    # Not our children: the service answers in this process, and its children would be taken for the service's.
    start, every = f"{saw} -c '{HALF_BUSY}' >/dev/null & echo $!", os.sched_getaffinity(0)
    hog = int(subprocess.check_output(["taskset", "-c", str(max(every)), "sh", "-c", start]))
    os.sched_setaffinity(0, {max(every)})  # a quota may leave very little of each of many
    more = ["--start-rate", "20", "--limit-rate", "20", "--search-s", "1", "--no-curve", "--recall-queries", "0",
            "--warmup", "0.2"]  # fmt: skip
    try:
        with http_server(service) as url:
            given = [word for word in arguments(url, questions, out, *more) if word != "--allow-interference"]
            done = CliRunner().invoke(loadtest, ["knee", *given], catch_exceptions=False)
    finally:
        os.sched_setaffinity(0, every)
        os.kill(hog, signal.SIGKILL)
    assert done.exit_code == 3, done.output
    assert "INVALID: no number is shown." in done.stdout
    assert "search at 20 q/s: CPU taken by other programs: " in done.stdout
    assert "End the other programs, or say --allow-interference" in done.stdout
    assert "wood-saw" in done.stderr
    record = read_record(out)
    assert [trial.role for trial in record.trials] == ["voided", "voided", "search"], "each is tried three times"
    assert record.knee is None
    page = markdown(run_page(Reading(record))).split("\n\n")
    assert any("**Invalid**" in part and "CPU taken by other programs" in part for part in page[:3])


def test_an_emulated_machine_is_refused_before_any_load(
    questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import loadtest.experiment.measurement as bench

    real = bench.read_machine

    def emulated() -> Machine:
        machine = real()
        machine.emulated = ["process 1 runs under qemu-aarch64"]
        return machine

    monkeypatch.setattr(bench, "read_machine", emulated)
    done = CliRunner().invoke(
        loadtest, ["run", *arguments("http://127.0.0.1:1", questions, tmp_path / "x.json", "--rate", "1")]
    )
    assert done.exit_code == 3
    assert "this machine is emulated" in done.output
    assert not (tmp_path / "x.json").exists()


def test_options_that_make_no_sense_are_named() -> None:
    mine = sorted(os.sched_getaffinity(0))
    assert parse_cpus(",".join(str(cpu) for cpu in mine)) == mine
    assert parse_cpus(f"{mine[0]}-{mine[0]}") == mine[:1]
    assert parse_cpus(None) is None
    with pytest.raises(WorkloadError, match="--generator-cpus"):
        parse_cpus("two")
    with pytest.raises(WorkloadError, match=r"--start-cpus .* expected some of the CPUs"):
        parse_cpus("4096", "--start-cpus")


def test_a_confirmation_too_short_for_an_interval_of_p99_is_refused(questions: Path) -> None:
    """It could not confirm any rate, however long the search before it."""
    done = CliRunner().invoke(loadtest, ["knee", "--queries", str(questions), "--confirm-s", str(ENOUGH - 1)])
    assert done.exit_code == 2
    assert f"Invalid value for '--confirm-s': {ENOUGH - 1}" in done.output
    assert f"x>={ENOUGH}" in done.output
