"""A service that the measurement starts: on its CPUs, ended with it, and with its last words when it dies."""

from __future__ import annotations

import os
import shlex
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from loadtest.cli.load import loadtest
from loadtest.errors import ServiceLost, TargetError
from loadtest.experiment.hosted import hosted
from loadtest.record.run_record import read_record

# Answers searches like the real service; ends by itself after so many of them.
SERVICE = """
import json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
left = [int(sys.argv[2])]
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.endswith("/search"):
            left[0] -= 1
            if left[0] < 0:
                print("out of memory, truly", file=sys.stderr, flush=True)
                os._exit(7)
        hits = [{"id": "a", "score": 1.0}]
        data = json.dumps({"generation": "docs-1", "hits": hits, "took_ms": 0.1}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    do_GET = do_POST = answer
    def log_message(self, *arguments): pass
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def script(tmp_path: Path) -> str:
    file = tmp_path / "service.py"
    file.write_text(SERVICE)
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(file))} {{port}}"


def test_it_is_ready_on_its_cpus_and_ends_with_the_block(script: str) -> None:
    cpu = max(os.sched_getaffinity(0))
    with hosted(f"{script} 1000", [cpu]) as service:
        assert service.gone() is None
        assert psutil.Process(service.process.pid).cpu_affinity() == [cpu]
        with urllib.request.urlopen(f"{service.url}/readyz") as answer:
            assert answer.status == 200
    assert service.process.poll() is not None


def test_it_ends_when_the_block_fails(script: str) -> None:
    with pytest.raises(KeyboardInterrupt), hosted(f"{script} 1000") as service:
        raise KeyboardInterrupt
    assert service.process.poll() is not None


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("perwatt serve --port 80", r"expected \{port\}"),
        ("/no/such/program {port}", "cannot be started"),
        (f"{sys.executable} -c 'import sys; sys.exit(\"no index here\")' {{port}}", "status 1:\nno index here"),
    ],
)
def test_what_does_not_start_is_explained(command: str, says: str) -> None:
    with pytest.raises(TargetError, match=says), hosted(command):
        pass


def test_what_never_becomes_ready_is_given_up_on() -> None:
    command = f"{sys.executable} -c 'import time; time.sleep(60)' {{port}}"
    with pytest.raises(TargetError, match=r"not ready after 0\.5 s: nothing listens yet"), hosted(command, None, 0.5):
        pass


def test_a_service_that_dies_under_load_is_named_with_its_last_words_and_the_record_kept(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERWATT_NO_IMDS", "1")
    queries = tmp_path / "q.txt"
    queries.write_text("one\ntwo\n")
    out = tmp_path / "run.json"
    arguments = ["run", "--start", f"{script} 5", "--index", "docs", "--queries", str(queries), "--rate", "50",
                 "--duration", "4", "--warmup", "0", "--recall-queries", "0", "--out", str(out)]  # fmt: skip
    done = CliRunner().invoke(loadtest, arguments)
    assert isinstance(done.exception, ServiceLost), done.output
    assert "the service ended with status 7:\nout of memory, truly" in str(done.exception)
    record = read_record(out)
    assert record.trials[0].errors
    assert record.trials[0].answered < record.trials[0].planned
    assert any("out of memory, truly" in note for note in record.notes)
