"""What a rented machine does, and the index that all of them get.

The first scripts of machines are run for real, with the container engine and `shutdown` replaced by programs that write
down how they were called.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from deploy.cloud import boot
from deploy.errors import DeployError

pytest_plugins = ["renting_fixtures"]
pytestmark = pytest.mark.usefixtures("credentials")


class Bucket(HTTPServer):
    """Gives archives and takes what is written, as signed addresses of a bucket do; also a service that is ready."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), BucketHandler)
        self.files, self.written = files, dict[str, bytes]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class BucketHandler(BaseHTTPRequestHandler):
    server: Bucket

    def do_GET(self) -> None:
        content = self.server.files.get(self.path.strip("/"))
        self.send_response(404 if content is None else 200)
        self.end_headers()
        self.wfile.write(content or b"")

    def do_PUT(self) -> None:
        self.server.written[self.path.strip("/")] = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def machine(
    tmp_path: Path, script: Path, settings: dict[str, str], lists: dict[str, list[str]], dies: bool = False
) -> list[str]:
    """Runs a machine's first script here; returns the calls of docker and shutdown in their order.

    A service lives until its machine is terminated, which is while the script waits for it; or it `dies`.
    """
    programs = tmp_path / "bin"
    programs.mkdir()
    calls = tmp_path / "calls"
    stub = f'#!/bin/bash\necho "$(basename "$0") $*" >> {calls}\n'
    (programs / "shutdown").write_text(stub)
    (programs / "docker").write_text(
        stub
        + 'case "$1 $*" in\n'
        + '  load*) echo "Loaded image: localhost/perwatt:test" ;;\n'
        + "  *machine\\ --json*) echo '{}' ;;\n"
        + "  *serve\\ --root*) echo 0123abcd ;;\n"
        + f"  inspect*) echo {'false' if dies else 'true'} ;;\n"
        + f"  wait*) {'echo 1' if dies else 'kill -KILL $PPID'} ;;\n"
        + '  logs*) echo "the reason of $2" ;;\n'
        + f"  *loadtest\\ knee*) echo record > {tmp_path}/work/runs/run.json ;;\n"
        + "esac\n"
    )
    for program in programs.iterdir():
        program.chmod(0o755)
    log = tmp_path / "perwatt.log"
    text = boot.user_data(script, 30, {**settings, "PERWATT_WORK": str(tmp_path / "work")}, lists)
    # Only the place of the log and the ports of the service differ here.
    text = text.replace("/var/log/perwatt.log", str(log))
    for port in (boot.PORT, boot.FACTS_PORT):
        text = text.replace(f"$server:{port}", "$server").replace(f"127.0.0.1:{port}", settings["server"])
    (tmp_path / "script").write_text(text)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    for name in ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT"):  # nproc heeds them; a machine that has just started has none
        environment.pop(name, None)
    subprocess.run(["bash", tmp_path / "script"], env=environment, capture_output=True, timeout=120, check=False)
    return calls.read_text().splitlines()


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Bucket]:
    (tmp_path / "indexes").mkdir()
    subprocess.run(["tar", "-cf", tmp_path / "index.tar", "-C", tmp_path, "indexes"], check=True)
    files = {
        "image": b"an image",
        "index": (tmp_path / "index.tar").read_bytes(),
        "readyz": b"{}",
        "machine.json": b"{}",
    }
    with Bucket(files) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def settings(bucket: Bucket, **more: str) -> dict[str, str]:
    given = {f"{name}_url": f"{bucket.url}/{name}" for name in ("image", "index", "log", "run")}
    hashes = {f"{name}_sha256": hashlib.sha256(bucket.files[name]).hexdigest() for name in ("image", "index")}
    return {**given, **hashes, "server": bucket.url.removeprefix("http://"), **more}


def test_the_machine_under_test_sets_its_end_then_serves(bucket: Bucket, tmp_path: Path) -> None:
    calls = machine(tmp_path, boot.SERVER, settings(bucket), {"serve": ["--threads", "2"]})
    assert calls[0].startswith("shutdown -h +30 ")
    assert calls[1].startswith("docker load ")
    assert calls[-1] == "docker wait 0123abcd"
    assert calls[-2].endswith(
        "localhost/perwatt:test serve --root /indexes --host 0.0.0.0 --port 8000 --insecure "
        f"--workers {len(os.sched_getaffinity(0))} --threads 2"
    )
    assert (tmp_path / "work" / "facts" / "machine.json").read_text() == "{}\n"
    assert "shutdown -h now" not in calls
    assert bucket.written == {}


@pytest.mark.parametrize("ready", [False, True])
def test_a_service_that_dies_says_why_and_ends_its_machine(ready: bool, bucket: Bucket, tmp_path: Path) -> None:
    """At its start, or later under load: the other machine must not wait for it until its time is over."""
    if not ready:
        del bucket.files["readyz"]
    calls = machine(tmp_path, boot.SERVER, settings(bucket), {"serve": []}, dies=True)
    assert calls[-3:] == ["docker wait 0123abcd", "docker logs 0123abcd", "shutdown -h now"]
    assert b"the reason of 0123abcd" in bucket.written["log"]


def test_other_bytes_than_those_of_the_plan_are_not_run(bucket: Bucket, tmp_path: Path) -> None:
    calls = machine(tmp_path, boot.SERVER, settings(bucket, image_sha256="0" * 64), {"serve": []})
    assert [call.split()[0] for call in calls] == ["shutdown", "shutdown"]
    assert calls[-1] == "shutdown -h now"
    assert b"FAILED" in bucket.written["log"]


def test_the_generator_writes_log_and_record_and_ends_itself(bucket: Bucket, tmp_path: Path) -> None:
    table = "instance,region\nc8g.4xlarge,eu-west-1\n"
    options = {"knee": ["--arm", "c8g.4xlarge", "--filter", "a b"]}
    calls = machine(tmp_path, boot.GENERATOR, settings(bucket, prices=table), options)
    assert calls[0].startswith("shutdown -h +30 ")
    prices = tmp_path / "work" / "prices.csv"
    assert f"--prices {prices} --out /runs/run.json --processes " in calls[-2]
    assert prices.read_text() == table
    assert calls[-2].endswith(" --arm c8g.4xlarge --filter a b")
    assert calls[-1] == "shutdown -h now"
    assert bucket.written["run"] == b"record\n"
    assert list(bucket.written) == ["log", "run"]


def test_a_generator_that_fails_writes_its_log_and_ends_itself(bucket: Bucket, tmp_path: Path) -> None:
    del bucket.files["index"]
    calls = machine(tmp_path, boot.GENERATOR, {**settings_without_index(bucket)}, {"knee": []})
    assert calls[-1] == "shutdown -h now"
    assert set(bucket.written) == {"log"}


def settings_without_index(bucket: Bucket) -> dict[str, str]:
    bucket.files["index"] = b""
    return settings(bucket, index_sha256="0" * 64)


def test_a_first_script_that_is_too_long_is_refused() -> None:
    with pytest.raises(DeployError, match="EC2 takes 16,384"):
        boot.user_data(boot.SERVER, 30, {"image_url": "x" * 16384}, {})


def test_the_index_is_made_of_a_corpus_beside_and_everybody_may_read_it(tmp_path: Path) -> None:
    """The service runs as another user than whoever packed it."""
    corpus = tmp_path / "here" / "corpus.jsonl"
    corpus.parent.mkdir()
    documents = ({"id": str(number), "title": f"title {number}", "text": f"text {number}"} for number in range(20))
    corpus.write_text("\n".join(map(json.dumps, documents)))
    script = Path(boot.__file__).parents[1] / "ci" / "index.sh"
    environment = {key: value for key, value in os.environ.items() if key != "PERWATT_TAG"}
    ran = subprocess.run(
        ["bash", "-c", 'umask 077 && exec "$@"', "bash", script, "archives/index.tar", "here/corpus.jsonl"],
        cwd=tmp_path, env={**environment, "PERWATT_COMMAND": str(Path(sys.executable).with_name("perwatt"))},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    with tarfile.open(tmp_path / "archives" / "index.tar") as archive:
        entries = {each.name: each for each in archive}
    assert any(name.endswith("/lexical/meta.json") for name in entries)
    assert {name.split("/")[0] for name in entries} == {"indexes", "vectors"}
    assert [name for name, each in entries.items() if ~each.mode & (0o055 if each.isdir() else 0o044)] == []
    assert hashlib.sha256((tmp_path / "archives" / "index.tar").read_bytes()).hexdigest() in ran.stdout
