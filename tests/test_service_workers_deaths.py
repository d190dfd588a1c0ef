"""Workers that die, all at once or one by one, and a parent that ends: callers wait or are told, numbers go on."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from serving import NotStarted
from worker_processes import QUERY, SEARCH, answer, asking, children, clients, eventually, sockets_of, workers

from index import Root

pytest_plugins = ["serving_fixtures"]


def test_a_worker_that_dies_is_replaced_and_the_numbers_go_on(root: Path, tmp_path: Path) -> None:
    with workers(root, tmp_path) as server, ExitStack() as stack:
        clients(server, 6, stack)
        dead, other = children(server.process.pid)
        os.kill(dead, signal.SIGKILL)
        server.wait_for_log("ended with signal SIGKILL")
        with server.client() as client:  # the other one answers meanwhile
            assert client.post(SEARCH, json=QUERY).status_code == 200
        server.wait_for_log("is ready")
        now = children(server.process.pid)
        assert len(now) == 2
        assert other in now
        assert dead not in now
        clients(server, 8, stack)
        port = int(server.url.rsplit(":", 1)[1])
        new = next(pid for pid in now if pid != other)
        assert sockets_of(new, port) > 0
        with server.client() as client:
            assert 'perwatt_requests_total{operation="search",status="200"} 15.0' in client.get("/metrics").text


def served_or_told(connections: list[socket.socket]) -> bool:
    """Whether none was dropped. On a slow machine it takes longer to replace a worker than callers are let wait."""
    return {answer(each)[0] for each in connections} <= {200, 503}


def test_who_comes_while_all_workers_are_dead_waits_for_the_next_ones(root: Path, tmp_path: Path) -> None:
    with workers(root, tmp_path) as server:
        for _ in range(2):
            before = server.log().count("is ready")
            for pid in children(server.process.pid):
                os.kill(pid, signal.SIGKILL)
            assert served_or_told([asking(server) for _ in range(300)])
            eventually(lambda before=before: server.log().count("is ready") >= before + 2)


def test_what_a_worker_was_given_and_did_not_take_goes_to_another(root: Path, tmp_path: Path) -> None:
    with workers(root, tmp_path) as server:
        pids = children(server.process.pid)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        made = [asking(server) for _ in range(20)]
        time.sleep(0.3)  # the parent gives them away meanwhile; if it did not, the others would have them all the same
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        assert served_or_told(made)
        port = int(server.url.rsplit(":", 1)[1])
        assert sockets_of(server.process.pid, port) == 0


def test_more_than_the_workers_can_take_in_waits_and_is_not_lost(root: Path, tmp_path: Path) -> None:
    """A channel has room for some three hundred connections."""
    with workers(root, tmp_path) as server:
        pids = children(server.process.pid)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        made = [asking(server) for _ in range(1200)]
        time.sleep(0.3)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        assert [answer(each)[0] for each in made] == [200] * 1200


def test_where_no_worker_comes_callers_are_told_so(own_root: Path, tmp_path: Path) -> None:
    """The index is damaged, so that no new worker can start; it is mended, and they do."""
    file = Root(own_root).path("docs") / "ids.arrow"
    good = file.read_bytes()
    with workers(own_root, tmp_path) as server:
        file.unlink()  # what is mapped stays as it is
        file.write_bytes(b"damaged")
        for pid in children(server.process.pid):
            os.kill(pid, signal.SIGKILL)
        for path in ("/livez", "/v1/indexes/docs", "/"):
            status, headers, body = answer(asking(server, path))
            assert status == 503
            assert int(headers["retry-after"]) >= 1
            assert headers["connection"] == "close"
            assert json.loads(body)["code"] == "not-ready"
        with server.client() as client:  # and with a body, which it does not read and does not choke on
            assert client.post(SEARCH, json={"text": "word " * 100_000}).status_code == 503
        file.unlink()
        file.write_bytes(good)
        eventually(lambda: answer(asking(server))[0] == 200)


def test_workers_end_when_their_parent_is_gone(root: Path, tmp_path: Path) -> None:
    with workers(root, tmp_path) as server:
        pids = children(server.process.pid)
        server.process.kill()
        server.process.wait()
        eventually(lambda: not any(_alive(pid) for pid in pids))


def _alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_what_cannot_be_loaded_is_said_once(own_root: Path, tmp_path: Path) -> None:
    file = Root(own_root).path("docs") / "ids.arrow"
    content = bytearray(file.read_bytes())
    content[-100] ^= 8
    file.write_bytes(content)
    with pytest.raises(NotStarted) as caught, workers(own_root, tmp_path, count=4):
        pass
    assert caught.value.status == 1
    assert caught.value.log.count("perwatt: error:") == 1
    assert "Traceback" not in caught.value.log
