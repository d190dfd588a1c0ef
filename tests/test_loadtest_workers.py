"""Load from several generators, of this host and of others: they send one plan, and a trial is whole or void."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gevent
import msgpack
import msgspec
import numpy as np
import psutil
import pytest
import zmq
from click.testing import CliRunner
from load_commands import arguments, service
from loadtest_servers import http_server, scripted_server

from loadtest.cli.load import loadtest
from loadtest.errors import WorkloadError
from loadtest.generator.calibration import own_server
from loadtest.generator.ports import free_port
from loadtest.generator.run import Generator
from loadtest.generator.session import Session
from loadtest.generator.workers import secret
from loadtest.generator.workers.clock import QUESTIONS, MasterClock
from loadtest.generator.workers.greeting import MACHINE, hello, refusal
from loadtest.generator.workers.loop import work
from loadtest.generator.workers.shipment import MASTER, pack, unpack
from loadtest.record.histogram import Histogram
from loadtest.record.run_record import read_record
from loadtest.targets.perwatt import PerwattTarget
from loadtest.workload.plan import Plan
from loadtest.workload.queries import Query, read_queries
from loadtest.workload.requests import Workload
from loadtest.workload.schedule import PoissonStream
from loadtest.workload.truth import Exact, Truth

pytest_plugins = ["load_commands_fixtures"]

TOKEN = "a secret of a test, and no other"


def on_paper(plan: Plan, rate_qps: float, duration_s: float, seed: int) -> list[int]:
    """How many requests each generator has to send in the window."""
    streams = [PoissonStream(rate_qps / plan.processes, seed, (number, 0)) for number in range(plan.processes)]
    due = [stream.arrivals_s(plan.warmup_s + duration_s) for stream in streams]
    return [int((each >= plan.warmup_s).sum()) for each in due]


@pytest.fixture
def plan(questions: Path) -> Plan:
    return Plan(
        url="", index="docs", queries=str(questions), rate_qps=1, duration_s=1, warmup_s=0.3, processes=2, k=5,
        slo_p99_ms=20_000, max_lag_s=30.0, timeout_s=30.0,
    )  # fmt: skip


def test_a_clock_that_is_read_over_messages_is_known_to_half_of_what_the_quickest_took() -> None:
    random, clock = np.random.default_rng(7), MasterClock()
    apart_s, now = 1234.5678, 50.0
    for _ in range(QUESTIONS):
        there, back = random.exponential(0.002, 2)
        clock.heard(now, now + there + apart_s, now + there + back)
        now += 0.01
    assert clock.known
    assert not clock.shared
    assert abs(clock.here(5000.0 + apart_s) - 5000.0) <= clock.error_s < 0.002

    own = MasterClock()
    for there, back in ((0.004, 0.0), (0.0, 0.001)):
        own.heard(now, now + there, now + there + back)
    assert own.shared, "a difference no larger than its error is none"
    assert own.here(7.0) == 7.0


def test_a_window_that_another_clock_decided_is_cut_into_whole_seconds_and_has_what_the_schedule_says() -> None:
    with scripted_server() as url:
        plan = Plan(url=url, index="x", queries="", rate_qps=200, duration_s=2, max_lag_s=30.0)
        target = PerwattTarget(plan)
        workload = Workload(plan, [Query(text=f"q{i}") for i in range(20)], target)
        session = Session(target, workload, gevent.get_hub().loop, socket.socket)
        start = time.monotonic() + 0.3
        session.begin((start, start + 2))
        session.pump.open_stream(plan.rate_qps, 5, (1, 0), start - 0.2)
        while not session.ended:
            gevent.sleep(0.02)
        part = session.part()
        session.close()
    due = PoissonStream(plan.rate_qps, 5, (1, 0)).arrivals_s(2.2) - 0.2
    assert [row[0] for row in part.slices] == [int(((due >= t) & (due < t + 1)).sum()) for t in (0, 1)]
    assert part.planned == part.answered + part.missed == int((due >= 0).sum())


def test_a_plan_comes_to_another_host_with_its_files_and_without_their_paths(questions: Path, tmp_path: Path) -> None:
    truth = tmp_path / "truth.json"
    Truth([Exact(0, ["a"], [1.0])], 1).save(truth)
    plan = Plan(
        url=f"http://{MASTER}:80", index="x", queries=str(questions), rate_qps=5, duration_s=1, truth=str(truth)
    )
    there = tmp_path / "there"
    there.mkdir()
    message = msgpack.loads(msgpack.dumps(pack(plan)))
    found = unpack(message, there, "10.0.0.7")
    assert found.url == "http://10.0.0.7:80"
    assert read_queries(Path(found.queries)) == read_queries(questions)
    assert found.truth is not None
    assert Path(found.truth).parent == there
    assert Truth.load(Path(found.truth)).requests() == [0]
    message["files"]["../../etc/passwd"] = b""
    with pytest.raises(WorkloadError, match="no plan that this version knows"):
        unpack(message, there, "10.0.0.7")


def test_another_version_is_not_let_in() -> None:
    assert refusal(hello()) is None
    why = refusal(msgspec.structs.replace(hello(), host="host-b", perwatt="0.0.1"))
    assert why is not None
    assert "the worker on host-b has perwatt 0.0.1" in why


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--expect-workers", "2"], "--expect-workers N and --bind HOST:PORT go together"),
        (["--bind", "127.0.0.1:5557"], "--expect-workers N and --bind HOST:PORT go together"),
        (["--expect-workers", "2", "--bind", "5557"], "expected a host and a port"),
        (
            ["--expect-workers", "2", "--bind", "h:5557", "--generators", "2"],
            "start perwatt loadtest worker here as well",
        ),
    ],
)
def test_wrong_usage_is_told_before_anything_is_asked(
    questions: Path, tmp_path: Path, options: list[str], said: str
) -> None:
    given = arguments("http://127.0.0.1:1", questions, tmp_path / "run.json", "--rate", "1", *options)
    done = CliRunner().invoke(loadtest, ["run", *given])
    assert said in done.output + str(done.exception)


def test_no_secret_no_workers(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(secret.TOKEN, raising=False)
    with pytest.raises(WorkloadError, match=f"{secret.TOKEN} is not set"):
        Generator(msgspec.structs.replace(plan, bind="127.0.0.1:5557"))
    monkeypatch.setenv(secret.TOKEN, "short")
    with pytest.raises(WorkloadError, match="has 5 characters"):
        work("127.0.0.1", 5557, 1.0, None, lambda line: None)


class RawWorker:
    """Speaks to a master as Locust's workers do, over a socket of ZeroMQ's own; `public`: whom it takes for the
    master."""

    def __init__(self, context: zmq.Context[Any], port: int, public: bytes) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.identity = b"raw"
        self.socket.curve_publickey, self.socket.curve_secretkey = zmq.curve_keypair()
        self.socket.curve_serverkey = public
        self.socket.connect(f"tcp://127.0.0.1:{port}")

    def say(self, kind: str, data: Any) -> None:
        self.socket.send(msgpack.dumps((kind, data, "raw")))

    def hear(self, limit_ms: int) -> tuple[str, Any] | None:
        if not self.socket.poll(limit_ms):
            return None
        kind, data, _ = msgpack.loads(self.socket.recv())
        return kind, data


@pytest.fixture
def context() -> Iterator[zmq.Context[Any]]:
    made = zmq.Context()
    yield made
    made.destroy(linger=0)


@pytest.mark.usefixtures("warm_locust")
def test_workers_of_other_hosts_send_one_plan_and_strangers_do_not(
    plan: Plan, context: zmq.Context[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(secret.TOKEN, TOKEN)
    port, said, told = free_port(), list[str](), list[str]()
    known = ["--mean-ms", "5", "--servers", "64", "--constant"]  # each answer takes 5 ms, and none waits for another
    with (
        own_server("loadtest.selftest.reference_server", known, None, False) as (url, _),
        ThreadPoolExecutor(3) as pool,
    ):
        here = msgspec.structs.replace(plan, url=url, bind=f"127.0.0.1:{port}", seed=20)
        generator = Generator(here, tell=told.append, allow_interference=True)
        trial_of = pool.submit(generator.measure, 60.0, 2.0, "run")

        old = RawWorker(context, port, secret._keys(TOKEN)[0])
        old.say("client_ready", "2.0.0")
        old.say("perwatt_hello", msgspec.to_builtins(msgspec.structs.replace(hello("m"), perwatt="0.0.1")))
        while (heard := old.hear(60_000)) is not None and heard[0] != "perwatt_refused":
            pass
        assert heard is not None
        assert "has perwatt 0.0.1" in heard[1]["why"]
        stranger = RawWorker(context, port, secret._keys("another secret of a test")[0])
        stranger.say("client_ready", "2.0.0")

        shares = [pool.submit(work, "127.0.0.1", port, 60.0, None, said.append, 1) for _ in range(2)]
        trial = trial_of.result()
        assert [share.result() for share in shares] == [1, 1]
        assert stranger.hear(0) is None, "who does not have the secret hears nothing"
        for raw in (old, stranger):
            raw.socket.close()

    facts = trial.generator
    assert [one.planned for one in facts.each] == on_paper(here, 60.0, 2.0, seed=21)
    assert trial.planned == trial.answered + trial.missed == sum(one.planned for one in facts.each)
    assert sum(piece.answered for piece in trial.slices) == trial.answered
    for whole, parts in (
        (facts.lag, [one.lag for one in facts.each]),
        (facts.stall, [one.stall for one in facts.each]),
    ):
        assert Histogram.decode(whole) == Histogram.merged(Histogram.decode(part) for part in parts)
    assert Histogram.decode(trial.service).quantile_s(0.0) >= 0.005
    assert len(facts.machines) == 1
    assert facts.lost == []
    assert [one.apart_ms for one in facts.each] == [0, 0], "they run here, and have our clock"
    assert [one.name.split(" (")[0] for one in facts.each] == ["generator 1 of 2", "generator 2 of 2"]
    [end] = [check for check in trial.gates if check.name == "generators to the end"]
    assert (end.ok, end.found) == (True, "2 reported")
    assert any("refused: the worker on" in line for line in told)
    assert sum("has come" in line for line in told) == 2
    assert "run: 30.0 q/s of 60.0 q/s, 2 s" in said


def spoil(how: str) -> None:
    """One of two processes that Locust has forked."""
    masters = []
    for each in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # a zombie has no command line
            masters += [each] if "-m locust" in " ".join(each.cmdline()) and each.children() else []
    [master] = masters
    victim = sorted(master.children(), key=lambda each: each.pid)[-1]
    victim.suspend() if how == "stopped" else victim.kill()


@pytest.mark.parametrize("how", ["stopped", pytest.param("killed", marks=pytest.mark.long)])
def test_a_generator_that_is_lost_makes_the_run_invalid_and_is_named(questions: Path, tmp_path: Path, how: str) -> None:
    out, asked, spoilt = tmp_path / "run.json", [0], threading.Event()

    def answers(method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        asked[0] += path.endswith("/search")
        if asked[0] >= 30 and not spoilt.is_set():
            spoilt.set()
            spoil(how)
        return service(method, path, body, headers)

    more = ["--rate", "40", "--duration", "120", "--generators", "2", "--recall-queries", "0", "--no-first"]
    with http_server(answers) as url:
        done = CliRunner().invoke(loadtest, ["run", *arguments(url, questions, out, *more)], catch_exceptions=False)
    assert done.exit_code == 3, done.output
    trial = read_record(out).trials[-1]
    [lost] = trial.generator.lost
    assert re.fullmatch(r"generator [12] of 2 \(.+, process \d+\) was lost, \d+ s into the window", lost)
    assert lost in done.output
    assert len(trial.generator.each) == 1
    assert trial.window_s < 120, "nobody waits for the end of a window that cannot count"
    assert trial.spoiled
    assert trial.planned == trial.answered + trial.missed


@pytest.mark.long
@pytest.mark.usefixtures("warm_locust")
def test_the_ceiling_of_workers_of_other_hosts_is_found_against_a_server_on_the_next_port(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(secret.TOKEN, TOKEN)
    port = next(a for a in iter(free_port, None) if _free(a + 1))
    with ThreadPoolExecutor(2) as pool:
        shares = [pool.submit(work, "127.0.0.1", port, 60.0, None, lambda line: None, 1) for _ in range(2)]
        generator = Generator(msgspec.structs.replace(plan, url="http://127.0.0.1:1", bind=f"127.0.0.1:{port}"))
        found = generator.calibrate(50.0, seconds=1.0)
        assert [share.result() for share in shares] == [1, 1]
    assert (found.sustained_qps, found.processes) == (50.0, 2)


def _free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


EARLY = """
from types import SimpleNamespace
from locust.runners import WorkerRunner
from loadtest.generator.workers.site import Site

class Early(WorkerRunner):
    def __init__(self): self.told = []
    def register_message(self, *_, **__): pass
    def send_message(self, kind, *_): self.told.append(kind)

of_the_master = SimpleNamespace(plan="/nowhere/here/plan.json", trial="/nowhere/here/trial.json")
site = Site(SimpleNamespace(runner=Early(), parsed_options=of_the_master))
site.start(lambda: 1 / 0)  # Locust may begin a test before it says that there is a worker
site.listen()
assert site.errand.elsewhere
site.errand._prepared = True
site.errand._say_ready()
assert site.environment.runner.told == ["perwatt_hello", "perwatt_ready"], site.environment.runner.told
"""


def test_a_worker_whose_test_begins_before_it_is_there_takes_the_plan_that_is_sent_to_it() -> None:
    environment = {**os.environ, MACHINE: "another"}
    done = subprocess.run([sys.executable, "-c", EARLY], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
