"""Other programs on the CPUs of the service or of the generator are seen, counted, and told from our own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
from loadtest_servers import http_server

from loadtest.generator.watch import (
    CpuTime,
    OwnProcesses,
    Watcher,
    asked_by,
    busiest,
    cpu_times,
    left_over,
    listeners,
    on_this_machine,
    sides,
)
from loadtest.record.trial import Interference

MINE = sorted(os.sched_getaffinity(0))
SLEEP = "import time; time.sleep(600)"
SPIN = "while True: pass"


@contextlib.contextmanager
def processes(code: str, cpus: Sequence[Sequence[int]]) -> Iterator[list[psutil.Process]]:
    """One a set of CPUs, confined to it."""
    started = [subprocess.Popen([sys.executable, "-c", code]) for _ in cpus]
    try:
        for process, allowed in zip(started, cpus, strict=True):
            os.sched_setaffinity(process.pid, allowed)
        yield [psutil.Process(process.pid) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_the_time_of_each_cpu_is_read_by_its_number(tmp_path: Path) -> None:
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text(
        "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 100 0 50 1000 20 3 7 40 0 0\ncpu3 1 1 1 2000 0 0 0 0 0 0\nintr 5\n"
    )
    found = cpu_times(tmp_path)
    assert list(found) == [0, 3], "CPU 1 and 2 are switched off"
    assert found[0] == pytest.approx((150 * tick_s, 1020 * tick_s, 10 * tick_s, 40 * tick_s))
    (tmp_path / "proc/stat").write_text("cpu 0 0 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n")
    assert cpu_times(tmp_path) == {}, "a sandbox that counts nothing has not counted nought"
    assert cpu_times(tmp_path / "nowhere") == {}


def test_what_is_left_is_the_others() -> None:
    before = {0: CpuTime(10.0, 100.0, 5.0, 1.0), 1: CpuTime(9.0, 50.0, 5.0, 0.0), 2: CpuTime(0.0, 0.0, 0.0, 0.0)}
    after = {0: CpuTime(15.0, 104.0, 5.5, 1.5), 1: CpuTime(13.0, 56.0, 6.0, 0.0), 2: CpuTime(0.0, 0.0, 0.0, 0.0)}
    # Of 2 × 10 s: 10 idle, 1.5 interrupts, 0.5 stolen, 5 ours, and so 3 of others; the ticks found 9 busy, so 4 of
    # others, and the smaller one counts. CPU 2 is not ours to look at.
    found = left_over("service", {0, 1}, 10.0, before, after, 5.0)
    assert found == Interference("service", 2, 0.3, 0.05)
    assert found.share == pytest.approx(0.15)
    after[1] = CpuTime(11.0, 56.0, 6.0, 0.0)
    assert left_over("service", {0, 1}, 10.0, before, after, 5.0) == Interference("service", 2, 0.2, 0.05)
    assert left_over("service", {0, 1}, 10.0, before, after, 9.0) == Interference("service", 2, 0.0, 0.05)
    assert left_over("service", {7}, 10.0, before, after, 0.0) is None


def test_a_neighbour_on_the_same_cpu_is_counted_and_our_own_work_is_not() -> None:
    with processes(SLEEP, [MINE[:1]]) as ours, processes(SPIN, [MINE[:1]]) as hogs:
        beside, own = OwnProcesses("service", ours), OwnProcesses("service", [*ours, *hogs])
        began, before_s = time.monotonic(), sum(hogs[0].cpu_times()[:2])
        for side in (beside, own):
            side.begin()
        time.sleep(3)
        disturbed, spared = beside.end(), own.end()
        got = (sum(hogs[0].cpu_times()[:2]) - before_s) / (time.monotonic() - began)
    assert disturbed is not None
    assert spared is not None
    assert disturbed.cpus == spared.cpus == 1
    # How much a hog gets depends on who else is there, but all that it gets is taken from us.
    assert got > 0
    assert disturbed.share - spared.share == pytest.approx(got, abs=0.1)


def test_a_process_of_ours_that_ended_leaves_no_figure() -> None:
    with processes(SLEEP, [MINE[:1]]) as ours:
        side = OwnProcesses("service", ours)
        side.begin()
    assert side.end() is None


def test_service_and_generator_are_apart_where_their_cpus_are() -> None:
    with processes(SLEEP, [MINE[:1], MINE[-1:], MINE]) as (first, last, anywhere):
        apart = sides([first], [last], local=True)
        if len(MINE) > 1:
            assert [(side.whose, side.cpus) for side in apart] == [
                ("service", {MINE[0]}),
                ("generator", {MINE[-1]}),
            ]
        [both] = sides([first, anywhere], [last, anywhere], local=True)
        assert (both.whose, both.cpus) == ("service and generator", set(MINE))
        assert len(both.processes) == 3, "who belongs to both is counted once"
        assert [side.whose for side in sides([], [last], local=False)] == ["generator"]
        assert sides([], [last], local=True) == [], "a service that is not seen would be one of the others"
        assert [side.whose for side in sides([first], [], local=True)] == ["service"]


def test_this_machine_is_known_by_all_its_addresses() -> None:
    assert on_this_machine("localhost")
    assert on_this_machine("::1")
    assert not on_this_machine("192.0.2.1")
    assert not on_this_machine("no-such-host.invalid")
    own = [each.address for of in psutil.net_if_addrs().values() for each in of if each.family.name == "AF_INET"]
    assert all(on_this_machine(address) for address in own)


SERVE = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); "


def test_who_only_forwards_is_not_taken_for_the_service(tmp_path: Path) -> None:
    (tmp_path / "docker-proxy").symlink_to(sys.executable)
    command = [str(tmp_path / "docker-proxy"), "-c", SERVE + "time.sleep(600)"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        assert [each.pid for each in listeners(url)] == [process.pid]
        watcher = Watcher(url, os.getpid())
        start = time.monotonic()
        watcher.begin(start, start + 1)
        watcher.join()
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    assert watcher.watched == "behind docker-proxy"
    assert (watcher.cores_used, watcher.rss_bytes, watcher.interference) == (None, [], [])


def test_the_busiest_other_programs_are_named(tmp_path: Path) -> None:
    (tmp_path / "wood-saw").symlink_to(sys.executable)
    process = subprocess.Popen([str(tmp_path / "wood-saw"), "-c", SPIN])
    try:
        assert "wood-saw 0." in busiest([], seconds=1.0, most=100).replace("wood-saw 1.", "wood-saw 0.")
        assert "wood-saw" not in busiest([psutil.Process(process.pid)], seconds=0.3, most=100)
    finally:
        process.kill()
        process.wait()


def test_the_servers_that_a_router_talks_to_are_those_that_answer_as_ours_do() -> None:
    """Here this process listens, and another one holds connections to it, as a router does to its shards."""
    alive, other = ({"status": "alive"}, {"status": "up"})
    with http_server(lambda *_: (200, alive)) as shard, http_server(lambda *_: (200, other)) as collector:
        ports = [int(url.rpartition(":")[2]) for url in (shard, collector)]
        code = f"import socket, time; held = [socket.create_connection(('127.0.0.1', p)) for p in {ports}]; "
        code += "print(flush=True); time.sleep(600)"
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as router:
            try:
                assert router.stdout is not None
                router.stdout.readline()
                found = asked_by([psutil.Process(router.pid)])
            finally:
                router.kill()
    assert list(found) == ports[:1]
    assert os.getpid() in [process.pid for process in found[ports[0]]]
