"""Spans of a real server as a collector of OpenTelemetry receives them, decoded from the protobuf that came."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from routing import routing
from serving import Server, serving
from span_collector import Collector, attributes

from service.access import keys
from service.errors import SettingsError
from service.telemetry import tracing

pytest_plugins = ["serving_fixtures"]

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
SECRET = "the volcano that nobody may read of"
STAGES = {"encode", "search", "fetch"}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    running = Collector()
    yield running
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture(scope="module")
def traced(root: Path, tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Server]:
    with serving(root, tmp_path_factory.mktemp("traced"), env=collector.environment()) as server:
        yield server


def chunked(body: bytes) -> Iterator[bytes]:
    yield body  # httpx sends an iterator in chunks, which the fast path leaves to the general way


@pytest.mark.parametrize("way", ["fast path", "general"])
def test_a_search_is_a_span_with_its_stages_under_the_trace_of_the_caller(
    traced: Server, collector: Collector, way: str
) -> None:
    body = json.dumps({"text": SECRET, "mode": "hybrid", "filter": {"field": "words", "gte": 1}}).encode()
    headers = {"content-type": "application/json", "x-request-id": f"search-{way[:4]}", **SAMPLED}
    with traced.client() as client:
        content: Any = body if way == "fast path" else chunked(body)
        answer = client.post("/v1/indexes/docs/search", content=content, headers=headers)
    assert answer.status_code == 200
    span, stages = collector.of_request(f"search-{way[:4]}")
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert (span.name, span.kind) == ("POST /v1/indexes/{index}/search", Span.SPAN_KIND_SERVER)
    told, about = answer.json(), attributes(span)
    assert about["http.response.status_code"] == 200
    assert about["http.route"] == "/v1/indexes/{index}/search"
    assert (about["perwatt.index"], about["perwatt.generation"]) == ("docs", told["generation"])
    for cost in ("tokens", "vectors_scored", "cpu_ms", "cached"):
        assert about[f"perwatt.{cost}"] == told["usage"][cost]
    assert [stage.name for stage in sorted(stages, key=lambda one: one.start_time_unix_nano)] == [
        *("filter", "encode", "search", "lexical", "fetch")
    ]
    for stage in stages:
        assert span.start_time_unix_nano <= stage.start_time_unix_nano <= stage.end_time_unix_nano
        assert stage.end_time_unix_nano <= span.end_time_unix_nano
        assert stage.trace_id == span.trace_id
    said = {part.split(";dur=")[0]: float(part.split("=")[1]) for part in answer.headers["server-timing"].split(", ")}
    lengths_ms = {one.name: (one.end_time_unix_nano - one.start_time_unix_nano) / 1e6 for one in stages}
    assert lengths_ms["encode"] == pytest.approx(said["embed"], abs=1e-3)


@pytest.mark.parametrize("way", ["fast path", "general"])
@pytest.mark.parametrize("given", [None, "not harmless"])
def test_a_span_has_the_id_that_its_answer_has(
    traced: Server, collector: Collector, way: str, given: str | None
) -> None:
    headers = {"content-type": "application/json", **({} if given is None else {"x-request-id": given})}
    content: Any = b'{"id": "a01"}' if way == "fast path" else chunked(b'{"id": "a01"}')
    with traced.client() as client:
        answer = client.post("/v1/indexes/docs/search", content=content, headers=headers)
    span, _ = collector.of_request(answer.headers["x-request-id"])
    assert attributes(span)["perwatt.generation"] == answer.json()["generation"]


def test_spans_of_shards_are_children_of_the_routers(traced: Server, collector: Collector, tmp_path: Path) -> None:
    with routing([[traced]], tmp_path, env=collector.environment()) as router, router.client() as client:
        for way, headers in (("fast path", SAMPLED), ("general", SAMPLED), ("general", {}), ("fast path", {})):
            body = json.dumps({"text": SECRET}).encode()
            given = {"content-type": "application/json", "x-request-id": f"routed-{way[:4]}-{len(headers)}", **headers}
            content: Any = body if way == "fast path" else chunked(body)
            assert client.post("/v1/indexes/docs/search", content=content, headers=given).status_code == 200
            span, _ = collector.of_request(given["x-request-id"])
            parts = collector.children(span, "POST /v1/indexes/{index}/part")
            assert [part.trace_id for part in parts] == [span.trace_id]
            if headers:
                assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)


def test_a_request_without_a_trace_begins_one(traced: Server, collector: Collector) -> None:
    with traced.client() as client:
        for number in (1, 2):
            client.post("/v1/indexes/docs/search", json={"id": "a01"}, headers={"x-request-id": f"own-{number}"})
    first, second = (collector.of_request(f"own-{number}")[0] for number in (1, 2))
    assert first.trace_id != second.trace_id
    assert not first.parent_span_id
    assert collector.resources[-1]["service.name"] == "perwatt"
    assert collector.resources[-1]["process.pid"] == traced.process.pid


def test_other_calls_are_spans_and_their_failures_say_so(traced: Server, collector: Collector) -> None:
    calls: list[tuple[str, str, Any, int]] = [
        ("POST", "/v1/indexes/docs/search/batch", {"queries": [{"text": SECRET}]}, 200),
        ("GET", "/v1/indexes/docs/documents/notes%2F2024%20%C3%A9t%C3%A9%231", None, 200),
        ("POST", "/v1/embeddings", {"input": SECRET}, 200),
        ("GET", "/v1/indexes", None, 200),
        ("POST", "/v1/indexes/docs/search", {"text": SECRET, "efort": 1}, 422),
        ("POST", "/v1/indexes/docs/search/batch", [SECRET], 422),
        ("POST", "/v1/indexes/docs/search", {"text": f"{SECRET} " * 200, "timeout_ms": 1}, 504),
    ]
    with traced.client() as client:
        for number, (method, path, body, status) in enumerate(calls):
            answer = client.request(method, path, json=body, headers={"x-request-id": f"call-{number}"})
            assert answer.status_code == status
    for number, (method, path, _, status) in enumerate(calls):
        span, stages = collector.of_request(f"call-{number}")
        assert span.name.startswith(f"{method} /v1/")
        assert attributes(span)["http.response.status_code"] == status
        assert (span.status.code == 2) == (status >= 500)
        if path.endswith("/batch") and status == 200:
            assert {stage.name for stage in stages} == STAGES
    everything = b"".join(collector.bodies)
    for secret in (rb"volcano", rb"nobody may", rb"notes\W", rb"\ba18\b"):  # other ids may hold those letters
        assert not re.search(secret, everything)


def test_what_is_not_sampled_probes_and_scrapes_are_no_spans(traced: Server, collector: Collector) -> None:
    with traced.client() as client:
        for path in ("/livez", "/readyz", "/metrics", "/", "/nowhere"):
            client.get(path, headers={"x-request-id": "unseen"})
        for path in ("/v1/indexes/docs/search", "/v1/indexes/docs/search/batch"):
            client.post(path, json={}, headers={"x-request-id": "unseen", "traceparent": f"00-{TRACE}-{PARENT}-00"})
        client.post("/v1/indexes/docs/search", json={}, headers={"x-request-id": "seen"})
    collector.of_request("seen")
    assert "unseen" not in {attributes(span).get("perwatt.request_id") for span in collector.spans}


def test_every_worker_sends_its_own_the_last_ones_too_and_strangers_make_none(
    root: Path, tmp_path: Path, collector: Collector
) -> None:
    path = tmp_path / "keys.json"
    with keys.changing(path) as held:
        token = keys.add(held, keys.Key("shop", 0, "search", []), None)
    calm = {**collector.environment(), "OTEL_BSP_SCHEDULE_DELAY": "600000", "OTEL_SERVICE_NAME": "shop-search"}
    with serving(root, tmp_path, "--workers", "2", "--keys", str(path), "--drain", "0", env=calm) as server:
        with server.client() as one, server.client() as other:  # a connection each: they are dealt out evenly
            for number, client in enumerate((one, other, one, other)):
                headers = {"authorization": f"Bearer {token}", "x-request-id": f"worker-{number}"}
                assert client.post("/v1/indexes/docs/search", json={"id": "a01"}, headers=headers).status_code == 200
        stranger = {"x-request-id": "stranger"}
        assert httpx.post(f"{server.url}/v1/indexes/docs/search", json={"id": "a01"}, headers=stranger).is_error
        assert httpx.get(f"{server.url}/v1/indexes", headers=stranger).is_error
        assert server.end() == 0
    pids = set()
    for number in range(4):
        span, _ = collector.of_request(f"worker-{number}")
        assert attributes(span)["perwatt.key"] == "shop"
    for resource in collector.resources:
        if resource["service.name"] == "shop-search":
            pids.add(resource["process.pid"])
    assert len(pids) == 2
    assert "stranger" not in {attributes(span).get("perwatt.request_id") for span in collector.spans}
    assert token.encode() not in b"".join(collector.bodies)


def test_a_collector_that_is_not_there_harms_nobody(root: Path, tmp_path: Path) -> None:
    gone = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_BSP_SCHEDULE_DELAY": "50"}
    with serving(root, tmp_path, "--otel", "--drain", "0", env=gone) as server:
        with server.client() as client:
            for _ in range(20):
                assert client.post("/v1/indexes/docs/search", json={"id": "a01"}).status_code == 200
        assert server.end() == 0


NOTHING = """
import sys
from pathlib import Path
from service.processes import loading
from service.settings import Settings
running = loading.load(Settings(root=Path(sys.argv[1])))
from service.http.app import create_app
create_app(running.state, running.auth, running.spans)
assert running.spans is None and type(running.fast_path).__name__ == "FastPath"
# FastAPI imports the API of OpenTelemetry, which does nothing by itself.
ours = ("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.proto", "service.telemetry.spans")
print([name for name in sys.modules if name.startswith(ours)])
"""


def test_without_it_nothing_of_it_is_loaded(root: Path) -> None:
    done = subprocess.run([sys.executable, "-c", NOTHING, str(root)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("asked", "environ", "on"),
    [
        (None, {}, False),
        (True, {}, True),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        (None, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        (None, {"OTEL_TRACES_EXPORTER": "otlp"}, True),
        (None, {"OTEL_SERVICE_NAME": "x"}, False),
        (False, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False),
        (True, {"OTEL_SDK_DISABLED": "true"}, False),
        (True, {"OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_the_usual_variables_switch_it(asked: bool | None, environ: dict[str, str], on: bool) -> None:
    assert tracing.wanted(asked, environ) is on


def test_what_cannot_be_done_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    grpc = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}
    with pytest.raises(SettingsError, match="http/protobuf"):
        tracing.spans_of(None, grpc)
    monkeypatch.delitem(sys.modules, "service.telemetry.spans", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    for name in [name for name in sys.modules if name.startswith("opentelemetry.")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SettingsError, match=r"pip install 'perwatt\[otel\]'"):
        tracing.spans_of(True, {})
    assert tracing.spans_of(None, {"OTEL_TRACES_EXPORTER": "otlp"}) is None
    assert "Serving without" in caplog.text
