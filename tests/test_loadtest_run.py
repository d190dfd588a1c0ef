"""A whole trial through Locust in processes of its own, and Locust's own command line, against real servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from loadtest_servers import http_server

from loadtest.generator.calibration import null_server
from loadtest.generator.run import Generator, _instead_of_interrupting, idle_trial
from loadtest.generator.workers.starting import LOCUSTFILE
from loadtest.power.sources import PowerChannel, PowerSource, ReadingKind
from loadtest.record.trial import Trial
from loadtest.record.validity_checks import reasons
from loadtest.workload.plan import Plan
from loadtest.workload.schedule import PoissonStream
from loadtest.workload.truth import Exact, Truth

pytest_plugins = ["load_commands_fixtures"]
pytestmark = pytest.mark.usefixtures("warm_locust")

IDS = ["a", "b", "c", "d"]


def search_service(method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
    """Answers a search with three of the four true ids; everything the harness reads is there."""
    asked = json.loads(body)
    hits = [{"id": i, "score": s} for i, s in (("a", 1.0), ("b", 0.9), ("d", 0.7), ("x", 0.65))][: asked["k"]]
    return 200, {
        "index": "docs", "generation": "docs-1", "model": "sha256:0", "hits": hits, "took_ms": 0.2,
        "usage": {"tokens": 3, "vectors_scored": 100, "cpu_ms": 0.5, "cached": int(asked.get("text") != "question 1")},
        "coverage": {"survivors": None, "partial": False},
    }  # fmt: skip


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    queries = tmp_path / "queries.jsonl"
    queries.write_text("\n".join(json.dumps({"text": f"question {i}"}) for i in range(5)))
    truth = Truth([Exact(i, IDS, [1.0, 0.9, 0.8, 0.7]) for i in range(5)], 4)
    truth.save(tmp_path / "truth.json")
    return Plan(
        url="", index="docs", queries=str(queries), rate_qps=40, duration_s=2, warmup_s=0.5, k=4,
        truth=str(tmp_path / "truth.json"), slo_p99_ms=5000, max_lag_s=30.0, timeout_s=30.0,
    )  # fmt: skip


def test_two_load_tests_on_one_machine_do_not_meet(plan: Plan) -> None:
    with http_server(search_service) as url, ThreadPoolExecutor(2) as pool:
        generators = [Generator(msgspec.structs.replace(plan, url=url, processes=2)) for _ in range(2)]
        trials = list(pool.map(lambda each: each.measure(20.0, 2.0, "run"), generators))
    assert [trial.generator.processes for trial in trials] == [2, 2]
    assert all(trial.planned == trial.answered > 20 for trial in trials)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_trial_adds_up_over_processes(plan: Plan, processes: int) -> None:
    lines: list[dict[str, Any]] = []
    joules = iter(range(10**6))
    meter = PowerSource(
        "test", "package", "here", (PowerChannel("p", ReadingKind.COUNTER, lambda: float(next(joules))),)
    )
    with http_server(search_service) as url:
        generator = Generator(
            msgspec.structs.replace(plan, url=url, processes=processes), source=meter, live=lines.append
        )
        for _ in range(4):  # where the machine stands still, nothing is told or sampled
            trial = generator.measure(40.0, 2.0, "run")
            if lines and trial.recall is not None and trial.recall.queries == 5:
                break
    assert trial.planned == trial.sent == trial.answered > 40
    assert (trial.shed, trial.missed, trial.errors) == (0, 0, {})
    streams = [PoissonStream(40 / processes, trial.seed, (number, 0)) for number in range(processes)]
    due = [stream.arrivals_s(plan.warmup_s + 2) for stream in streams]
    assert trial.planned == sum(int((each >= plan.warmup_s).sum()) for each in due), "the seed says what is sent"
    assert sum(s.planned for s in trial.slices) == sum(s.answered for s in trial.slices) == trial.planned
    assert len(trial.generator.cpu) == trial.generator.processes == processes
    assert trial.response_s(0.5) >= trial.service_s(0.5) > 0
    assert trial.server is not None
    assert trial.server.generations == ["docs-1"]
    assert trial.server.cpu_ms_mean == pytest.approx(0.5)
    assert trial.server.tokens_mean == 3
    assert trial.cached_share is not None
    assert 0.5 < trial.cached_share < 1, "four of the five questions, drawn evenly"
    assert trial.recall is not None
    assert (trial.recall.mean, trial.recall.queries) == (0.75, 5)
    assert trial.locust is not None
    # Locust's workers report on a clock of their own; the last report may lack the last second.
    assert trial.locust.requests >= (0.8 if processes == 1 else 0.3) * trial.answered
    assert trial.energy is not None
    assert trial.energy.window_s == 2.0
    assert trial.gates
    assert lines
    assert {"offered_qps", "p99_now_ms", "service_cores", "cpu", "recalls", "recall_queries"} <= lines[-1].keys()


def test_the_service_on_this_machine_is_watched_and_each_trial_has_a_seed_of_its_own(plan: Plan) -> None:
    # May this user run before others at all? Asked in a process that is thrown away.
    ask = "from loadtest.generator.priority import go_first; print(go_first(0))"
    may = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, cwd=LOCUSTFILE.parents[1])
    with null_server() as url:
        generator = Generator(msgspec.structs.replace(plan, url=url, truth=None), allow_interference=True)
        trials = [generator.measure(40.0, 1.0, "run") for _ in range(2)]
        idle = idle_trial(generator, 1.0)
    assert [trial.seed for trial in trials] == [plan.seed + 1, plan.seed + 2]
    server = trials[0].server
    assert server is not None
    assert server.cores_used is not None
    assert 0 <= server.cores_used < 2
    assert server.rss_bytes
    assert trials[0].generator.priority == may.stdout.strip()
    assert idle.planned == 0
    assert idle.valid


def test_other_programs_on_the_cpus_void_a_trial_unless_they_are_allowed(plan: Plan) -> None:
    every = os.sched_getaffinity(0)
    here = [max(every)]  # a quota may leave very little of each of many
    os.sched_setaffinity(0, here)
    hog = subprocess.Popen(["nice", sys.executable, "-c", "while True: pass"])  # it counts like any other
    try:
        with null_server() as url:
            strict = Generator(msgspec.structs.replace(plan, url=url, truth=None), cpus=here)
            trial, idle = strict.measure(20.0, 1.0, "run"), idle_trial(strict, 0.5)
            lenient = Generator(msgspec.structs.replace(plan, url=url, truth=None), cpus=here, allow_interference=True)
            allowed = lenient.measure(20.0, 1.0, "run")
    finally:
        os.sched_setaffinity(0, every)
        hog.kill()
        hog.wait()
    for each in (trial, allowed):
        [found] = each.interference
        assert found.whose == "service and generator"
        assert found.cpus == 1
        assert found.share > 0.05
    assert trial.spoiled
    assert idle.spoiled, "an idle machine that is not idle draws another power"
    assert "CPU taken by other programs" in str(reasons(trial))
    assert "CPU taken by other programs" not in str(reasons(allowed))
    assert [check.ok for check in allowed.gates if check.cause == "other programs"] == [None]


def test_calibration_uses_the_same_bytes_and_is_kept(plan: Plan) -> None:
    generator = Generator(msgspec.structs.replace(plan, url="http://127.0.0.1:1", slo_p99_ms=60_000))
    found = generator.calibrate(50.0, seconds=1.0)
    assert generator.calibration is found
    assert found.sustained_qps == 50.0
    assert found.tried[0][0] == 50.0


def test_locusts_own_command_line_works_and_writes_a_trial(plan: Plan, tmp_path: Path) -> None:
    trial_file, csv = tmp_path / "trial.json", tmp_path / "stats"
    with http_server(search_service) as url:
        done = subprocess.run(
            [
                sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--users", "3", "--spawn-rate",
                "3",
                "--host", url, "--search-index", "docs", "--queries", plan.queries, "--rate-per-user", "10",
                "--measure-s", "2", "--warmup-s", "0.5", "--trial", str(trial_file), "--csv", str(csv),
                "--html", str(tmp_path / "locust.html"),
            ],
            capture_output=True, text=True, timeout=120, cwd=LOCUSTFILE.parents[1],
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    trial = msgspec.json.decode(trial_file.read_bytes(), type=Trial)
    assert trial.answered + trial.missed == trial.planned > 30  # a crowded machine may make it late for some
    assert trial.offered_qps == trial.planned / 2
    rows = Path(f"{csv}_stats.csv").read_text().splitlines()
    assert any(row.startswith("POST,search,") for row in rows)
    assert "search" in (tmp_path / "locust.html").read_text()


def test_the_generator_does_not_push_ahead_unless_asked(plan: Plan) -> None:
    with null_server() as url:
        trial = Generator(msgspec.structs.replace(plan, url=url, truth=None), first=False).measure(40.0, 1.0, "run")
    assert trial.generator.priority == "normal"


def test_ctrl_c_is_heard_where_python_drops_exceptions_too() -> None:
    heard: list[int] = []

    class Ends:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    with _instead_of_interrupting(lambda number, frame: heard.append(number)):
        Ends()
    assert heard == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_generator_that_has_not_heard_of_ctrl_c_is_told_again(plan: Plan) -> None:
    """This one is deaf to the first word, and cuts the window at the second."""
    deaf = (
        "import json, signal, time\n"
        "heard = []\n"
        "signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))\n"
        "tell = lambda what, **more: print(json.dumps({'perwatt': what, **more}), flush=True)\n"
        "tell('window', start=time.monotonic(), stop=time.monotonic() + 3600)\n"
        "while len(heard) < 2:\n"
        "    time.sleep(0.2)\n"
        "    tell('live')\n"
        "signal.signal(signal.SIGUSR1, signal.SIG_IGN)\n"  # a handler of ours is gone before the process is
        "tell('cut', stop=time.monotonic())\n"
    )
    lines: list[dict[str, Any]] = []

    def live(fields: dict[str, Any]) -> None:
        lines.append(fields)
        if len(lines) == 2:
            signal.raise_signal(signal.SIGINT)

    with http_server(search_service) as url:
        here = msgspec.structs.replace(plan, url=url)
        command = [sys.executable, "-c", deaf]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            generator = Generator(here, live=live)
            generator.follow(process, here, observe=True)
            assert process.wait(60) == 0
    assert len(lines) >= 2
