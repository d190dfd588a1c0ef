"""The process: how it starts, what it refuses to start with, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from patience import LONG, burden, patient
from prometheus_client.utils import floatToGoString
from serving import SERVED_PRECISION, NotStarted, Server, serving

from index import Root
from index.disk.manifest import read_manifest
from service.errors import SettingsError
from service.processes import native_threads
from service.settings import Settings, is_loopback

pytest_plugins = ["serving_fixtures"]

SEARCH = "/v1/indexes/docs/search"
SLOW = {"queries": [{"text": f"{number} " + LONG} for number in range(burden(12))], "timeout_ms": 60_000}


def refused(root: Path, tmp_path: Path, *arguments: str) -> NotStarted:
    with pytest.raises(NotStarted) as caught, serving(root, tmp_path, *arguments):
        pass
    return caught.value


def in_flight(server: Server, pool: ThreadPoolExecutor, slow: dict[str, Any] = SLOW) -> Future[httpx.Response]:
    """A request of a second or, emulated, some; sent and being worked on."""

    def ask() -> httpx.Response:
        with server.client() as client:
            return client.post("/v1/indexes/docs/search/batch", json=slow)

    asking = pool.submit(ask)
    with server.client() as client:
        limit_s = time.monotonic() + patient(30)
        while "perwatt_requests_working 1.0" not in client.get("/metrics").text:
            assert time.monotonic() < limit_s
            if asking.done():  # before anybody looked
                asking = pool.submit(ask)
    return asking


def test_the_start_says_where_and_what(server: Server, root: Path) -> None:
    said = "".join(server.said)
    for name in ("docs", "bare"):
        assert Root(root).alias(name).generation in said
    for word in ("22 × 384", "500 × 8", "exact", f"all-MiniLM-L6-v2, {SERVED_PRECISION}", server.url):
        assert word in said


def test_the_start_says_what_runs_the_model(server: Server) -> None:
    model = next(line for line in server.said if line.startswith("  model "))
    assert re.search(r"run by (native|onnx) \S+$", model.rstrip())  # a model that our kernels cannot run is seen here


def test_only_the_named_indexes_are_served(root: Path, tmp_path: Path) -> None:
    with serving(root, tmp_path, "bare") as server, server.client() as client:
        assert [index["alias"] for index in client.get("/v1/indexes").json()["indexes"]] == ["bare"]
        answer = client.post(SEARCH, json={"text": "a"})
        assert (answer.status_code, answer.json()["code"]) == (404, "index-not-found")
        no_model = client.post("/v1/embeddings", json={"input": "a"})
        assert (no_model.status_code, no_model.json()["code"]) == (422, "model-mismatch")
        assert client.get("/version").json()["model"] is None
    assert "none: these indexes are searched by vector or id" in "".join(server.said)


def test_without_an_index_it_says_how_to_build_one(tmp_path: Path) -> None:
    not_started = refused(tmp_path / "nothing", tmp_path)
    assert not_started.status == 1
    assert not_started.log.startswith("perwatt: error: There is no index")
    assert "perwatt build" in not_started.log


def test_an_index_that_is_not_there_is_named_with_those_that_are(root: Path, tmp_path: Path) -> None:
    assert "no index 'nope'" in refused(root, tmp_path, "nope").log
    assert "bare, docs" in refused(root, tmp_path, "nope").log


def test_a_damaged_generation_keeps_it_from_starting(own_root: Path, tmp_path: Path) -> None:
    file = Root(own_root).path("docs") / "ids.arrow"
    content = bytearray(file.read_bytes())
    content[-100] ^= 8
    file.write_bytes(content)
    not_started = refused(own_root, tmp_path)
    assert not_started.status == 1
    assert "ids.arrow" in not_started.log
    assert "Traceback" not in not_started.log


def test_a_port_in_use_is_said_before_anything_is_loaded(root: Path, server: Server, tmp_path: Path) -> None:
    port = server.url.rsplit(":", 1)[1]
    not_started = refused(root, tmp_path, "--port", port)
    assert not_started.status == 1
    assert f"port {port} (Address already in use)" in not_started.log


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org"])
def test_a_public_address_needs_a_word(host: str) -> None:
    with pytest.raises(SettingsError, match="--insecure"):
        Settings(host=host)
    assert Settings(host=host, insecure=True).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_is_not_public(host: str) -> None:
    assert is_loopback(host)
    assert Settings(host=host).host == host


def test_native_threads_are_pinned_unless_the_operator_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in native_threads.VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "5")
    native_threads.pin(2)
    assert {name: os.environ[name] for name in native_threads.VARIABLES} == {
        "OMP_NUM_THREADS": "2",
        "OPENBLAS_NUM_THREADS": "2",
        "MKL_NUM_THREADS": "5",
        "RAYON_NUM_THREADS": "2",
    }


def test_nothing_native_is_imported_before_threads_can_be_pinned() -> None:
    program = (
        "import sys, service.cli.serve, service.cli.searching; "
        "print([name for name in ('numpy', 'faiss', 'onnxruntime') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"


def test_sigterm_finishes_what_is_in_flight_and_ends_with_0(root: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool, serving(root, tmp_path, "--drain", "60") as server:
        asking = in_flight(server, pool)
        with server.client() as client:  # before the signal: to make one takes longer than a drain may, emulated
            server.process.send_signal(signal.SIGTERM)
            limit_s = time.monotonic() + patient(10)
            while (ready := client.get("/readyz")).status_code == 200:
                assert time.monotonic() < limit_s
            assert (ready.status_code, ready.json()["code"]) == (503, "not-ready")
            assert ready.headers["retry-after"] == "1"
            assert client.get("/livez").status_code == 200
            asked = {"text": "still here", "timeout_ms": 60_000}  # what is in flight comes first
            assert client.post(SEARCH, json=asked).status_code == 200
        server.process.send_signal(signal.SIGTERM)  # once more ends the drain
        answer = asking.result(patient(60))
        assert answer.status_code == 200
        assert len(answer.json()["results"]) == len(SLOW["queries"])
        assert server.process.wait(patient(30)) == 0
        with pytest.raises(httpx.ConnectError), server.client() as client:
            client.get("/livez")


def test_sigint_finishes_what_is_in_flight_at_once(root: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool, serving(root, tmp_path, "--drain", "30") as server:
        asking = in_flight(server, pool)
        server.process.send_signal(signal.SIGINT)
        assert asking.result(patient(60)).status_code == 200
        assert server.process.wait(patient(30)) == 0
    assert "Traceback" not in server.log()
    assert "leaked" not in server.log()  # what native code says of objects that outlive the interpreter


def test_what_outlives_the_grace_is_told_to_ask_again(root: Path, tmp_path: Path) -> None:
    times = {"--drain": "0", "--grace": "1", "--concurrency": "1"}
    arguments = [word for pair in times.items() for word in pair]
    endless = {"queries": [{"text": f"{number} " + LONG} for number in range(256)], "timeout_ms": 60_000}
    with ThreadPoolExecutor(2) as pool, serving(root, tmp_path, *arguments) as server, server.client() as client:
        asking = [in_flight(server, pool, endless)]
        asking.append(pool.submit(client.post, SEARCH, json={"id": "a01", "timeout_ms": 60_000}))  # the fast path
        with server.client() as other:
            limit_s = time.monotonic() + patient(10)
            while "perwatt_requests_waiting 1.0" not in other.get("/metrics").text:
                assert time.monotonic() < limit_s
        server.process.send_signal(signal.SIGTERM)
        for one in asking:
            answer = one.result(patient(60))
            assert (answer.status_code, answer.json()["code"]) == (503, "not-ready")
            assert answer.headers["retry-after"] == "1"
        assert server.process.wait(patient(30)) == 0
    assert "Traceback" not in server.log()


def test_sighup_without_a_change_changes_nothing(root: Path, tmp_path: Path) -> None:
    with serving(root, tmp_path) as server, server.client() as client:
        before = client.get("/v1/indexes").json()
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log("SIGHUP")
        assert client.get("/v1/indexes").json() == before
        assert client.get("/readyz").json()["status"] == "ready"


def test_more_than_there_are_places_wait_and_are_answered(root: Path, tmp_path: Path) -> None:
    with serving(root, tmp_path, "--concurrency", "1") as server, ThreadPoolExecutor(7) as pool:
        slow = in_flight(server, pool)

        def ask(query: dict[str, Any]) -> httpx.Response:
            with server.client() as client:
                return client.post(SEARCH, json=query)

        hurried = ask({"id": "a01", "timeout_ms": 50})
        assert (hurried.status_code, hurried.json()["code"]) == (504, "deadline-exceeded")
        waiting = [pool.submit(ask, {"id": "a01", "timeout_ms": 60_000}) for _ in range(6)]
        assert [one.result(patient(60)).status_code for one in waiting] == [200] * 6
        assert slow.result(patient(60)).status_code == 200


def test_an_address_of_ip_version_6_is_an_address(root: Path, tmp_path: Path) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    with serving(root, tmp_path, "bare", "--host", "::1") as server, server.client() as client:
        assert server.url.startswith("http://[::1]:")
        assert client.get("/readyz").status_code == 200


def test_operations_answer(client: httpx.Client, served_encoder: Any) -> None:
    assert client.get("/livez").json() == {"status": "alive"}
    assert set(client.get("/readyz").json()["indexes"]) == {"docs", "bare"}
    version = client.get("/version").json()
    assert version["model"] == served_encoder.fingerprint.as_dict()
    assert version["limits"]["body_bytes"] == 1 << 20
    assert version["limits"]["batch_body_bytes"] == 8 << 20
    assert (version["limits"]["text_characters"], version["limits"]["k"]) == (8192, 1000)
    assert version["kernels"]["isa"] in version["kernels"]["units"]
    assert version["packages"]["fastapi"]


def test_metrics_count_what_was_asked(root: Path, tmp_path: Path) -> None:
    with serving(root, tmp_path) as server, server.client() as client:
        for text in ("one", "two", "three"):
            client.post(SEARCH, json={"text": text})
        client.post(SEARCH, json={"id": "nobody"})
        client.get("/nowhere")
        text = client.get("/metrics").text
    generation = Root(root).alias("docs").generation
    created_at = datetime.fromisoformat(read_manifest(Root(root).path("docs"))["created_at"])
    disk = os.statvfs(root)
    for line in (
        'perwatt_requests_total{operation="search",status="200"} 3.0',
        'perwatt_requests_total{operation="search",status="404"} 1.0',
        'perwatt_requests_total{operation="none",status="404"} 1.0',
        'perwatt_request_seconds_count{operation="search"} 4.0',
        'perwatt_stage_seconds_count{stage="embed"} 3.0',
        'perwatt_stage_seconds_count{stage="ann"} 3.0',
        "perwatt_tokens_total 9.0",
        f"perwatt_vectors_scored_total {3.0 * 22}",
        "perwatt_encode_batch_texts_count 3.0",
        'perwatt_vectors{index="docs"} 22.0',
        "perwatt_writer_failed 0.0",
        f'perwatt_disk_bytes{{part="size"}} {floatToGoString(disk.f_blocks * disk.f_frsize)}',
        'perwatt_disk_bytes{part="free"} ',
        f'perwatt_generation_created_seconds{{index="docs"}} {floatToGoString(created_at.timestamp())}',
        'perwatt_recall{bound="low",index="docs",k="10"} 1.0',
        f'generation="{generation}"',
        "perwatt_kernel_info{",
        "perwatt_query_cpu_seconds_total ",
    ):
        assert line in text, line


def test_a_hundred_idle_connections_keep_nobody_out(server: Server) -> None:
    port = int(server.url.rsplit(":", 1)[1])
    idle = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(100)]
    try:
        with server.client() as client:
            assert client.post(SEARCH, json={"text": "a"}).status_code == 200
    finally:
        for connection in idle:
            connection.close()
