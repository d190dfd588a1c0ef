"""Both clients against the real server, and against one that refuses on purpose for as often as a test wants."""

from __future__ import annotations

import asyncio
import inspect
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import Server, serving

from service.access import keys
from service.client import AsyncClient, Client, ProblemError, Retries, UnreachableError
from service.client.methods import http_options

pytest_plugins = ["serving_fixtures"]


class Blocking:
    """An AsyncClient with a loop of its own, so that one test serves both clients."""

    def __init__(self, *given: Any, **options: Any) -> None:
        self.client, self.runner = AsyncClient(*given, **options), asyncio.Runner()

    def __enter__(self) -> Blocking:
        return self

    def __exit__(self, *_: object) -> None:
        self.runner.run(self.client.__aexit__(None, None, None))
        self.runner.close()

    def __getattr__(self, name: str) -> Any:
        call = getattr(self.client, name)
        return lambda *given, **options: self.runner.run(call(*given, **options))


both = pytest.mark.parametrize("kind", [Client, Blocking])


@both
def test_a_search_by_text_vector_and_id(kind: Any, server: Server, served_encoder: Any) -> None:
    vector = served_encoder.encode(["volcano"], kind="query")[0]
    with kind(server.url) as client:
        by_text = client.search("docs", text="volcano", k=3, fields=["title"])
        assert by_text.hits[0].id == "a18"
        assert by_text.hits[0].payload == {"title": "Volcanic eruptions"}
        assert by_text.usage.tokens > 0
        for given in (vector, vector.tolist(), tuple(vector.tolist())):
            by_vector = client.search("docs", vector=given, k=3)
            assert [hit.id for hit in by_vector.hits] == [hit.id for hit in by_text.hits]
            np.testing.assert_allclose([h.score for h in by_vector.hits], [h.score for h in by_text.hits], atol=1e-5)
        similar = client.search("docs", id="a18", k=100)
        assert "a18" not in {hit.id for hit in similar.hits}


@both
def test_the_other_calls(kind: Any, server: Server) -> None:
    with kind(server.url) as client:
        names = {index.alias for index in client.indexes()}
        assert {"docs", "bare"} <= names
        docs = client.index("docs")
        assert (docs.count, docs.dim) == (22, 384)
        odd = client.document("docs", "notes/2024 été#1", fields=["text"])
        assert odd.payload["text"].startswith("Untitled")
        batch = client.search_batch("docs", [{"text": "espresso", "k": 1}, {"vector": [1.0, 2.0]}])
        assert batch.results[0].hits[0].id == "a14"
        assert batch.results[1].error is not None
        assert batch.results[1].error["code"] == "dimension-mismatch"
        assert docs.modes == ["dense", "lexical", "hybrid"]
        assert docs.filterable["words"].type == "int"
        assert client.version()["limits"]["k"] == 1000
        assert client.ready()
        measured = client.recall("docs", queries=10, k=5, filter={"field": "words", "gte": 0})
        assert (measured.recall, measured.queries, measured.k, measured.survivors) == (1.0, 10, 5, 20)
        [first, second] = client.embed(["one", "two"], kind="query")
        assert len(first) == len(second) == 384
        texts = [f"text {number}" for number in range(300)]  # more than one request has
        assert client.embed(texts)[299] == pytest.approx(client.embed(texts[299:])[0], abs=1e-5)


@both
def test_one_text_is_not_taken_apart_into_letters(kind: Any, server: Server) -> None:
    with kind(server.url) as client:
        with pytest.raises(TypeError, match=r"texts is the text 'noise', expected a list of texts: \['noise'\]"):
            client.embed("noise")
        with pytest.raises(TypeError, match="fields is the text 'title', expected a list"):
            client.document("docs", "a18", fields="title")


@both
@pytest.mark.parametrize("url", ["127.0.0.1:8000", "localhost:8000", "", "ftp://localhost"])
def test_what_is_no_address_is_refused_at_once(kind: Any, url: str) -> None:
    with pytest.raises(ValueError, match="expected an address like http"):
        kind(url)


@both
def test_a_problem_is_an_exception_with_its_code(kind: Any, server: Server) -> None:
    with kind(server.url) as client:
        with pytest.raises(ProblemError) as caught:
            client.search("docs", vector=[1.0])
        assert (caught.value.code, caught.value.status, caught.value.pointer) == ("dimension-mismatch", 422, "/vector")
        assert caught.value.members["expected"] == 384
        assert caught.value.request_id
        with pytest.raises(ProblemError, match="index-not-found"):
            client.index("nowhere")


def test_one_asynchronous_client_makes_many_calls_at_once(server: Server) -> None:
    async def work() -> None:
        async with AsyncClient(server.url) as client:
            answers = await asyncio.gather(*(client.search("docs", text="volcano", k=1) for _ in range(8)))
            assert {answer.hits[0].id for answer in answers} == {"a18"}

    asyncio.run(work())


def test_certificates_are_read_where_one_may_be_shown() -> None:
    plain = http_options("http://127.0.0.1:8000", None, 1.0, {})["verify"]
    assert plain.verify_mode == ssl.CERT_REQUIRED
    assert plain.get_ca_certs() == []
    assert "verify" not in http_options("https://search.example", None, 1.0, {})
    assert "verify" not in http_options("http://search.example", None, 1.0, {"follow_redirects": True})
    assert http_options("http://search.example", None, 1.0, {"verify": "/own"})["verify"] == "/own"


def test_both_clients_have_the_same_calls() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert public(Client) == public(AsyncClient)
    for name in public(Client) - {"close", "indexes", "embed", "ready", "call"}:
        one, other = inspect.signature(getattr(Client, name)), inspect.signature(getattr(AsyncClient, name))
        assert one == other
        assert next(iter(one.parameters)) == "self"
        assert getattr(Client, name).__doc__ == getattr(AsyncClient, name).__doc__


def test_a_key_is_sent_and_switches_with_an_etag(own_root: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    with keys.changing(path) as held:
        token = keys.add(held, keys.Key("admin", 0, "admin", []), None)
    with serving(own_root, tmp_path, "--keys", str(path)) as server:
        with Client(server.url, key=token) as client:
            docs = client.index("docs")
            assert client.switch("docs", docs.generation, etag=docs.etag) == docs
            for refused in (lambda: client.switch("docs", docs.generation, etag="x"), lambda: client.rollback("docs")):
                with pytest.raises(ProblemError, match="precondition-failed"):
                    refused()
        with Client(server.url) as stranger, pytest.raises(ProblemError, match="unauthenticated"):
            stranger.search("docs", text="a")


class Refusing:
    """An HTTP server that gives each answer of a list in turn and then the last for ever; None hangs up."""

    def __init__(self, answers: list[tuple[int, dict[str, str], bytes] | None]) -> None:
        self.answers, self.asked = answers, 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                answer = self.answers[min(self.asked, len(self.answers) - 1)]
                self.asked += 1
                if answer is not None:
                    status, headers, body = answer
                    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                    head = f"HTTP/1.1 {status} X\r\nconnection: close\r\n{lines}content-length: {len(body)}\r\n\r\n"
                    connection.sendall(head.encode() + body)


def problem(status: int, code: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    return status, headers, json.dumps({"code": code, "detail": "No.", "status": status}).encode()


GOOD = (200, {}, b'{"indexes": []}')
BUSY = problem(503, "overloaded", **{"retry-after": "0"})
FAST = Retries(times=3, first_s=0.001)


@contextmanager
def refusing(*answers: Any) -> Iterator[Refusing]:
    server = Refusing(list(answers))
    try:
        yield server
    finally:
        server.socket.close()


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        ([BUSY, BUSY, GOOD], 3),
        ([problem(504, "deadline-exceeded"), GOOD], 2),
        ([None, GOOD], 2),
    ],
)
@both
def test_what_passes_is_asked_again(kind: Any, answers: list[Any], asked: int) -> None:
    with refusing(*answers) as server, kind(server.url, retries=FAST) as client:
        assert client.indexes() == []
        assert server.asked == asked


@pytest.mark.parametrize(
    ("answer", "code", "asked"),
    [
        (BUSY, "overloaded", 4),
        (problem(503, "overloaded", **{"retry-after": "3600"}), "overloaded", 1),  # longer than there is patience
        (problem(429, "quota-exceeded", **{"retry-after": "0"}), "quota-exceeded", 1),
        (problem(500, "internal"), "internal", 1),
        (problem(422, "invalid-value"), "invalid-value", 1),
    ],
)
@both
def test_what_does_not_pass_is_raised(kind: Any, answer: Any, code: str, asked: int) -> None:
    with refusing(answer) as server, kind(server.url, retries=FAST) as client:
        with pytest.raises(ProblemError) as caught:
            client.indexes()
        assert (caught.value.code, server.asked) == (code, asked)


@pytest.mark.parametrize("answer", [None, problem(504, "deadline-exceeded")])
@both
def test_a_change_that_may_have_been_made_is_not_made_again(kind: Any, answer: Any) -> None:
    with refusing(answer, GOOD) as server, kind(server.url, retries=FAST) as client:
        with pytest.raises((ProblemError, UnreachableError)):
            client.switch("docs", "generation")
        assert server.asked == 1


@pytest.mark.parametrize("answer", [problem(503, "not-ready", **{"retry-after": "0"}), None])
@both
def test_readiness_is_looked_at_once(kind: Any, answer: Any) -> None:
    with refusing(answer) as server, kind(server.url, retries=FAST) as client:
        assert not client.ready()
        assert server.asked == 1


@both
def test_a_server_of_another_kind_is_said(kind: Any) -> None:
    for answer in ((200, {}, b"<html>"), (404, {}, b"<html>")):
        with refusing(answer) as server, kind(server.url) as client, pytest.raises(UnreachableError, match="address"):
            client.indexes()
    with kind("http://127.0.0.1:9", retries=FAST) as client, pytest.raises(UnreachableError, match="did not answer"):
        client.indexes()


@pytest.mark.parametrize("key", ["schlüssel", "pw_1\n", "pw_1\x00"])
@both
def test_a_key_that_cannot_be_sent_is_refused_at_once(kind: Any, key: str) -> None:
    with pytest.raises(ValueError, match="characters that no key has"):
        kind("http://127.0.0.1:1", key=key)
