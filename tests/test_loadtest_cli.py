"""The commands that load a service, end to end against real servers; and what they refuse before they load anything."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from loadtest_servers import http_server

from loadtest.analysis.reading import Reading
from loadtest.cli.load import loadtest
from loadtest.errors import LoadTestError, TargetError, WorkloadError
from loadtest.experiment.config import parse_cpus
from loadtest.experiment.target import Target
from loadtest.generator.watch import listeners
from loadtest.machine import Machine
from loadtest.record.run_record import read_record
from loadtest.report.markdown import markdown
from loadtest.report.run_page import run_page

CORPUS = [f"doc-{i}" for i in range(50)]


def service(method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
    """A service whose recall grows with the effort: below 64 it loses the last neighbour of every second query."""
    if path == "/version":
        return 200, {"perwatt": "1", "kernels": {"isa": "avx2"}}
    if method == "GET":
        about = {"generation": "docs-1", "count": 50, "dim": 8, "metric": "cosine", "model": {"id": "sha256:0"}}
        if path == "/v1/indexes":
            return 200, {"indexes": [{"alias": "docs"}]}
        return (200, about) if path == "/v1/indexes/docs" else problem(404, "index-not-found")
    if path == "/v1/embeddings":
        texts = json.loads(body)["input"]
        return 200, {"data": [{"embedding": [float(text.split()[-1])] * 8} for text in texts]}
    if "/indexes/docs/" not in path:
        return problem(404, "index-not-found")
    asked = json.loads(body)
    params = asked.get("params", {})
    if "filter" in asked and asked["filter"].get("field") == "secret":
        return problem(400, "filter-field-not-indexed")
    if "vector" in asked:
        number = int(np.frombuffer(base64.b64decode(asked["vector"]), "<f4")[0])
    else:
        number = int(asked["text"].split()[-1])
    ids = [CORPUS[(number + j) % 50] for j in range(asked["k"])]
    if not params.get("exact") and params.get("effort", 8) < 64 and number % 2:
        ids[-1] = "wrong"
    hits = [{"id": id_, "score": 1 - j / 100 - (0.5 if id_ == "wrong" else 0)} for j, id_ in enumerate(ids)]
    return 200, {"hits": hits, "generation": "docs-1", "model": "sha256:0", "took_ms": 0.1}


def problem(status: int, code: str) -> tuple[int, Any]:
    return status, {"code": code, "detail": "There is none.", "status": status}


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    path = tmp_path / "queries.txt"
    path.write_text("\n".join(f"question {i}" for i in range(40)))
    return path


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERWATT_NO_IMDS", "1")


def arguments(url: str, queries: Path, out: Path, *more: str) -> list[str]:
    return ["--url", url, "--index", "docs", "--queries", str(queries), "--out", str(out), "--slo-p99-ms", "20000",
            "--timeout", "30", "--warmup", "0.5", "-k", "5", "--allow-interference", *more]  # fmt: skip


def test_run_writes_a_record_with_everything(queries: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.json"
    with http_server(service) as url:
        more = ["--rate", "40", "--duration", "2", "--recall", "0.8", "--effort", "auto", "--instance", "c8g.xlarge",
                "--arm", "ours", "--block", "3", "--filter", '0.5:{"field": "kind", "eq": "x"}']  # fmt: skip
        done = CliRunner().invoke(loadtest, ["run", *arguments(url, queries, out, *more)], catch_exceptions=False)
    record = read_record(out)
    trial = record.trials[0]
    assert done.exit_code in (0, 3), done.output  # a crowded machine may void it, which is also an answer
    assert trial.answered == trial.planned - trial.missed
    assert (record.label.arm, record.label.block, record.kind) == ("ours", 3, "run")
    assert record.served is not None
    assert (record.served.generation, record.served.count, record.served.model) == ("docs-1", 50, "sha256:0")
    assert record.asked is not None
    assert (record.asked.queries, record.asked.kind, record.asked.k) == (40, "text", 5)
    assert record.asked.filters[0]["share"] == 0.5
    assert record.shared
    assert record.price is not None
    mine = record.server is not None and record.server.architecture == "aarch64"
    assert record.notes == ([] if mine else ["priced as c8g.xlarge, which is arm64, but what ran was x86_64"])
    assert trial.effort is not None
    assert trial.recall is not None
    assert trial.recall.mean >= 0.8


def test_knee_finds_a_capacity_and_writes_its_curve(queries: Path, tmp_path: Path) -> None:
    out = tmp_path / "knee.json"
    with http_server(service) as url:
        # A confirmation of eight seconds is the shortest whose p99 has an interval.
        more = ["--start-rate", "20", "--limit-rate", "20", "--search-s", "1", "--confirm-s", "8", "--levels", "1",
                "--level-s", "1", "--calibrate-s", "1", "--send", "vector", "--recall-queries", "10"]  # fmt: skip
        done = CliRunner().invoke(loadtest, ["knee", *arguments(url, queries, out, *more)], catch_exceptions=False)
    record = read_record(out)
    assert done.exit_code in (0, 3), done.output
    assert record.knee is not None
    assert record.knee.reached_limit
    assert [t.role for t in record.trials if t.role != "voided"] == ["search", "confirm", "idle", "curve"]
    assert record.calibration is not None
    assert record.calibration.tried[0][0] >= 3 * 20
    assert record.asked is not None
    assert record.asked.kind == "vector"


def test_exact_answers_and_recall_come_through_the_api(queries: Path) -> None:
    from loadtest.workload.plan import Plan
    from loadtest.workload.queries import read_queries
    from loadtest.workload.requests import Workload

    with http_server(service) as url:
        plan = Plan(url=url, index="docs", queries=str(queries), rate_qps=1, duration_s=1, k=4)
        workload, target = Workload(plan, read_queries(queries)), Target(url, "docs")
        truth = target.exact_answers(workload, 20)
        assert len(truth) == 20
        assert target.recall(workload, truth, 64).mean == 1
        low = target.recall(workload, truth, 8)
        odd = sum(request % 2 for request in truth.requests())
        assert low.mean == pytest.approx(1 - odd / 20 / 4)
        assert low.low < low.mean
        target.close()
        other = Target(url, "other")
        with pytest.raises(TargetError, match="answered a search with 404"):
            other.search({"text": "question 1", "k": 1})
        other.close()


def test_a_service_that_is_not_there_is_named(queries: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        loadtest, ["run", *arguments("http://127.0.0.1:1", queries, tmp_path / "x.json", "--rate", "1")]
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
    queries: Path, tmp_path: Path, change: list[str], says: str
) -> None:
    out = tmp_path / "run.json"
    with http_server(service) as url:
        done = CliRunner().invoke(loadtest, ["run", *arguments(url, queries, out, "--rate", "1", *change)])
    assert isinstance(done.exception, LoadTestError), done.output
    assert re.search(says, str(done.exception), re.DOTALL)
    assert not out.exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [("--rate", "nan"), ("--rate", "inf"), ("--rate", "0"), ("--duration", "nan"), ("--duration", "0"),
     ("--recall", "1"), ("--slo-p99-ms", "inf"), ("--effort", "high"), ("--effort", "0"), ("--popularity", "zipf:nan"),
     ("--filter", "0.5"), ("--filter", "nan:{}")],
)  # fmt: skip
def test_what_no_load_can_have_is_wrong_usage(queries: Path, option: str, value: str) -> None:
    given = {"--rate": "1", option: value}
    done = CliRunner().invoke(
        loadtest,
        ["run", "--index", "docs", "--queries", str(queries), *(part for pair in given.items() for part in pair)],
    )
    assert done.exit_code == 2
    assert re.search(rf"Invalid value for '{option}': .*{value}", done.output.replace(".0", ""))


@pytest.mark.parametrize(("number", "processes"), [(signal.SIGINT, 2), (signal.SIGTERM, 1)])
def test_a_run_that_is_interrupted_keeps_what_it_measured(
    queries: Path, tmp_path: Path, number: signal.Signals, processes: int
) -> None:
    out, asked = tmp_path / "run.json", [0]

    def counted(method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        asked[0] += path.endswith("/search")
        return service(method, path, body, headers)

    with http_server(counted) as url:
        more = ["--rate", "50", "--hours", "2", "--warmup", "0", "--recall-queries", "0", "--processes", str(processes)]
        perwatt = subprocess.Popen(
            [sys.executable, "-m", "deploy.command", "loadtest", "soak", *arguments(url, queries, out, *more)],
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


def test_other_programs_make_a_run_invalid_and_say_who_they_are(queries: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.json"
    saw = tmp_path / "wood-saw"
    saw.symlink_to(sys.executable)
    # Not our children: the service answers in this process, and its children would be taken for the service's.
    start = f"{saw} -c 'while True: pass' >/dev/null & echo $!"
    hogs = [int(subprocess.check_output(["sh", "-c", start])) for _ in os.sched_getaffinity(0)]
    more = ["--start-rate", "20", "--limit-rate", "20", "--search-s", "1", "--no-curve", "--recall-queries", "0"]
    try:
        with http_server(service) as url:
            given = [word for word in arguments(url, queries, out, *more) if word != "--allow-interference"]
            done = subprocess.run(
                [sys.executable, "-m", "deploy.command", "loadtest", "knee", *given],
                capture_output=True, text=True, timeout=300,
            )  # fmt: skip
    finally:
        for hog in hogs:
            os.kill(hog, signal.SIGKILL)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "INVALID: no number is shown." in done.stdout
    assert "search at 20 q/s: CPU taken by other programs: " in done.stdout
    assert "End the other programs, or say --allow-interference" in done.stdout
    assert "wood-saw" in done.stderr
    record = read_record(out)
    assert [trial.role for trial in record.trials] == ["voided", "voided", "search"], "each is tried three times"
    assert record.knee is None
    page = markdown(run_page(Reading(record))).split("\n\n")
    assert any("**Invalid**" in part and "CPU taken by other programs" in part for part in page[:3])


def test_questions_are_sent_as_text_and_as_vectors_by_turns(queries: Path, tmp_path: Path) -> None:
    out = tmp_path / "both.json"
    more = ["--rate", "30", "--duration", "1", "--recall-queries", "10", "--send", "both"]
    with http_server(service) as url:
        CliRunner().invoke(loadtest, ["run", *arguments(url, queries, out, *more)], catch_exceptions=False)
    record = read_record(out)
    assert record.asked is not None
    assert record.asked.kind == "text+vector"
    assert record.trials[0].answered > 0
    assert record.trials[0].errors == {}


def test_an_emulated_machine_is_refused_before_any_load(
    queries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import loadtest.experiment.measurement as bench

    real = bench.read_machine

    def emulated() -> Machine:
        machine = real()
        machine.emulated = ["process 1 runs under qemu-aarch64"]
        return machine

    monkeypatch.setattr(bench, "read_machine", emulated)
    done = CliRunner().invoke(
        loadtest, ["run", *arguments("http://127.0.0.1:1", queries, tmp_path / "x.json", "--rate", "1")]
    )
    assert done.exit_code == 3
    assert "this machine is emulated" in done.output
    assert not (tmp_path / "x.json").exists()


def test_the_short_selftest_passes() -> None:
    done = CliRunner().invoke(loadtest, ["selftest"])
    assert done.exit_code == 0, done.output
    assert "7 of 7 proofs passed" in done.output


def test_machine_facts_are_printed_for_another_machines_record() -> None:
    done = CliRunner().invoke(loadtest, ["machine", "--json"])
    assert json.loads(done.output)["threads"] >= 1
    assert "physical core" in CliRunner().invoke(loadtest, ["machine"]).output


def test_listeners_are_found_by_port_on_this_machine_alone() -> None:
    with http_server(service) as url:
        assert os.getpid() in [process.pid for process in listeners(url)]
        assert listeners(url.replace("127.0.0.1", "192.0.2.1")) == []


def test_options_that_make_no_sense_are_named() -> None:
    mine = sorted(os.sched_getaffinity(0))
    assert parse_cpus(",".join(str(cpu) for cpu in mine)) == mine
    assert parse_cpus(f"{mine[0]}-{mine[0]}") == mine[:1]
    assert parse_cpus(None) is None
    with pytest.raises(WorkloadError, match="--generator-cpus"):
        parse_cpus("two")
    with pytest.raises(WorkloadError, match=r"--start-cpus .* expected some of the CPUs"):
        parse_cpus("4096", "--start-cpus")
