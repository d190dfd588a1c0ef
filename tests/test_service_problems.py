"""Everything a caller can do wrong, and what only an attacker does: each gives a problem object, none a crash."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import msgspec
import pytest
from problem_objects import BATCH, JSON, SEARCH, refused
from serving import Server

from service.wire import limits
from service.wire.problems import KINDS, Problem, of_undecodable
from service.wire.request.search import SEARCH as SEARCH_DECODER

pytest_plugins = ["serving_fixtures"]


def test_the_codes_are_the_closed_list() -> None:
    assert set(KINDS) == {
        "bad-json",
        "unknown-field",
        "invalid-value",
        "dimension-mismatch",
        "model-mismatch",
        "filter-field-not-indexed",
        "index-not-found",
        "generation-gone",
        "document-not-found",
        "model-not-found",
        "rebuild-not-found",
        "rebuild-running",
        "unauthenticated",
        "forbidden",
        "body-too-large",
        "unsupported-encoding",
        "quota-exceeded",
        "overloaded",
        "not-ready",
        "encoder-unavailable",
        "deadline-exceeded",
        "precondition-failed",
        "insufficient-memory",
        "internal",
    }
    statuses = {code: kind.status for code, kind in KINDS.items()}
    assert statuses["quota-exceeded"] == 429
    assert {code for code, status in statuses.items() if status == 503} == {
        "overloaded",
        "not-ready",
        "encoder-unavailable",
        "insufficient-memory",
    }


@pytest.mark.parametrize("code", ["quota-exceeded", "overloaded", "not-ready", "insufficient-memory"])
def test_429_and_503_say_when_to_come_back(code: str) -> None:
    assert int(Problem(code, "x").headers["retry-after"]) >= 1
    assert "retry-after" not in Problem("internal", "x").headers


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"text": "a"} trailing',
        b'{"text": "a", }',
        b"{'text': 'a'}",
        b'{"text": "\xff\xfe"}',
        b'{"text": "\\ud800"}',
        b'{"text": "a\x00"}',
        b"\xef\xbb\xbf{}",
        b'{"vector": [NaN]}',
        b'{"vector": [Infinity]}',
        b'{"k": 01}',
        b'{"filter": ' + b"[" * 100_000,
        b'{"filter": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"filter": ' + b'{"a":' * 100_000,
    ],
)
def test_what_is_not_json_is_400(client: httpx.Client, body: bytes) -> None:
    refused(client.post(SEARCH, content=body, headers=JSON), 400, "bad-json")


@pytest.mark.parametrize("bomb", [b"[" * 100_000, b'{"a":' * 100_000, b'{"text":' + b"[" * 100_000])
@pytest.mark.parametrize("path", [SEARCH, BATCH, "/v1/embeddings"])
def test_a_nesting_bomb_is_refused(client: httpx.Client, path: str, bomb: bytes) -> None:
    answer = client.post(path, content=bomb, headers=JSON)
    assert answer.status_code in (400, 422)
    refused(answer, answer.status_code, answer.json()["code"])


def test_a_nesting_bomb_inside_a_batch_is_refused(client: httpx.Client) -> None:
    body = b'{"queries": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}"
    refused(client.post(BATCH, content=body, headers=JSON), 400, "bad-json")


@pytest.mark.parametrize(
    ("query", "code", "pointer"),
    [
        ({"text": "a", "foo": 1}, "unknown-field", "/foo"),
        ({"text": "a", "params": {"ef": 1}}, "unknown-field", "/params/ef"),
        ({"text": "a", "a/b~c": 1}, "unknown-field", "/a~1b~0c"),
        ({"text": "a", "groupBy": "doc"}, "unknown-field", "/groupBy"),
        ({}, "invalid-value", ""),
        ({"text": "a", "id": "b"}, "invalid-value", ""),
        ({"text": "a", "vector": [1.0]}, "invalid-value", ""),
        ([], "invalid-value", ""),
        (None, "invalid-value", ""),
        ("text", "invalid-value", ""),
        ({"text": ""}, "invalid-value", "/text"),
        ({"text": " \n\t"}, "invalid-value", "/text"),
        ({"text": "a" * 8193}, "invalid-value", "/text"),
        ({"text": 1}, "invalid-value", "/text"),
        ({"text": "a", "k": 0}, "invalid-value", "/k"),
        ({"text": "a", "k": -1}, "invalid-value", "/k"),
        ({"text": "a", "k": 1001}, "invalid-value", "/k"),
        ({"text": "a", "k": 10**30}, "invalid-value", "/k"),
        ({"text": "a", "k": 1.5}, "invalid-value", "/k"),
        ({"text": "a", "k": "10"}, "invalid-value", "/k"),
        ({"text": "a", "k": True}, "invalid-value", "/k"),
        ({"id": "a", "mode": "lexical"}, "invalid-value", "/mode"),
        ({"id": "a", "mode": "hybrid"}, "invalid-value", "/mode"),
        ({"text": "a", "mode": "other"}, "invalid-value", "/mode"),
        ({"text": "a", "filter": {"field": "lang", "eq": "en"}}, "filter-field-not-indexed", "/filter/field"),
        ({"text": "a", "fields": ["f"] * 65}, "invalid-value", "/fields"),
        ({"text": "a", "fields": [1]}, "invalid-value", "/fields/0"),
        ({"text": "a", "params": {"effort": 0}}, "invalid-value", "/params/effort"),
        ({"text": "a", "params": {"effort": 10**9}}, "invalid-value", "/params/effort"),
        ({"text": "a", "params": {"exact": "yes"}}, "invalid-value", "/params/exact"),
        ({"text": "a", "timeout_ms": 0}, "invalid-value", "/timeout_ms"),
        ({"text": "a", "timeout_ms": 60_001}, "invalid-value", "/timeout_ms"),
        ({"vector": [0.0] * 384}, "invalid-value", "/vector"),
        ({"vector": [1e39] + [0.0] * 383}, "invalid-value", "/vector/0"),
        ({"vector": [1e38] * 384}, "invalid-value", "/vector"),
        ({"vector": ["1"] * 384}, "invalid-value", "/vector/0"),
        ({"vector": [None] * 384}, "invalid-value", "/vector/0"),
        ({"vector": {"0": 1}}, "invalid-value", "/vector"),
        ({"vector": []}, "dimension-mismatch", "/vector"),
        ({"vector": [1.0] * 383}, "dimension-mismatch", "/vector"),
        ({"vector": [1.0] * 385}, "dimension-mismatch", "/vector"),
        ({"vector": ""}, "dimension-mismatch", "/vector"),
        ({"vector": "not base64!"}, "invalid-value", "/vector"),
        ({"vector": "AAA"}, "invalid-value", "/vector"),
        ({"vector": "AAAA AAAA"}, "invalid-value", "/vector"),
        ({"vector": "ä"}, "invalid-value", "/vector"),
        ({"vector": base64.b64encode(b"\0" * 1535).decode()}, "invalid-value", "/vector"),
        ({"vector": base64.b64encode(b"\0\0\xc0\x7f" * 384).decode()}, "invalid-value", "/vector"),
        ({"vector": base64.b64encode(b"\0\0\x80\xff" * 384).decode()}, "invalid-value", "/vector"),
    ],
)
def test_what_cannot_be_meant_is_422_and_pointed_at(client: httpx.Client, query: Any, code: str, pointer: str) -> None:
    problem = refused(client.post(SEARCH, content=json.dumps(query), headers=JSON), 422, code)
    assert problem.get("pointer") == pointer


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"text": ""}', '/text is "": expected str of more than blanks.'),
        (b'{"text": " \\n"}', '/text is " \\n": expected str of more than blanks.'),
        (b'{"text": "%s"}' % (b"a" * 9000), f'/text is "{"a" * 79}… of length 9,000: expected str of length <= 8192.'),
        (b'{"text": "a", "k": 0}', "/k is 0: expected int >= 1."),
        (b'{"text": "a", "k": "10"}', '/k is "10": expected int, got str.'),
        (b'{"text": "a", "params": {"weights": {"dense": -1}}}', "/params/weights/dense is -1: expected float >= 0.0."),
        (b'{"vector": [1, 2, "x"]}', '/vector/2 is "x": expected float, got str.'),
        (b'{"text": "a", "mode": "x"}', '/mode is "x": expected "dense" or "lexical" or "sparse" or "hybrid".'),
        (b"[]", "The body is []: expected object, got array."),
        (b'{"k": 0, "x": ' + b"[" * 5000, "/k: expected int >= 1."),
        (b'{"k": 0, "text": "%s"}' % (b"a" * (64 << 10)), "/k: expected int >= 1."),
    ],
)
def test_a_wrong_value_is_repeated_beside_what_was_expected(body: bytes, detail: str) -> None:
    with pytest.raises(Problem) as caught:
        limits.decode(SEARCH_DECODER, body)
    assert caught.value.detail == detail


def test_a_number_no_float_can_hold_is_refused(client: httpx.Client) -> None:
    body = '{"vector": [' + ",".join(["1e999"] * 384) + "]}"
    refused(client.post(SEARCH, content=body, headers=JSON), 422, "invalid-value")


def test_a_wrong_dimension_says_both(client: httpx.Client) -> None:
    problem = refused(client.post(SEARCH, json={"vector": [1.0] * 8}), 422, "dimension-mismatch")
    assert (problem["expected"], problem["got"]) == (384, 8)


def test_a_text_for_an_index_without_a_model_says_what_to_do(client: httpx.Client) -> None:
    problem = refused(client.post("/v1/indexes/bare/search", json={"text": "a"}), 422, "invalid-value")
    assert "perwatt embed" in problem["detail"]


@pytest.mark.parametrize(
    ("index", "status", "code"),
    [
        ("nowhere", 404, "index-not-found"),
        ("DOCS", 404, "index-not-found"),
        ("docs-20200101T000000Z-abcd", 410, "generation-gone"),
        ("nowhere-20200101T000000Z-abcd", 404, "index-not-found"),
    ],
)
@pytest.mark.parametrize("tail", ["search", "search/batch"])
def test_an_index_that_is_not_served(client: httpx.Client, index: str, status: int, code: str, tail: str) -> None:
    body = {"text": "a"} if tail == "search" else {"queries": [{"text": "a"}]}
    refused(client.post(f"/v1/indexes/{index}/{tail}", json=body), status, code)


def test_a_document_that_is_not_there(client: httpx.Client) -> None:
    problem = refused(client.post(SEARCH, json={"id": "nobody"}), 404, "document-not-found")
    assert problem["pointer"] == "/id"


def test_an_unknown_path_or_method_is_a_problem_too(client: httpx.Client) -> None:
    refused(client.get("/nothing/here"), 404, "invalid-value")
    refused(client.post("/v1/indexes/docs/nothing", json={}), 404, "invalid-value")
    refused(client.get("/v1/indexes/"), 404, "invalid-value")
    answer = client.get(SEARCH)
    refused(answer, 405, "invalid-value")
    assert answer.headers["allow"] == "POST"
    for method in ("DELETE", "PATCH", "OPTIONS", "TRACE"):
        refused(client.request(method, "/v1/indexes"), 405, "invalid-value")


def test_no_documentation_page_reaches_for_another_host(client: httpx.Client) -> None:
    for path in ("/docs", "/redoc"):
        refused(client.get(path), 404, "invalid-value")


def test_a_search_out_of_time_is_504(client: httpx.Client) -> None:
    problem = refused(client.post(SEARCH, json={"text": "word " * 1600, "timeout_ms": 1}), 504, "deadline-exceeded")
    assert problem["timeout_ms"] == 1


def test_query_text_is_in_no_log(server: Server) -> None:
    with server.client() as client:
        client.post(SEARCH, json={"text": "xyzzy-secret"})
        client.post(SEARCH, json={"text": "xyzzy-secret", "kk": 1})
        client.post(SEARCH, json={"text": "xyzzy-secret " * 700, "timeout_ms": 1})
    assert "xyzzy" not in server.log()


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        (b'{"fields": ["a", 2]}', "invalid-value", "/fields/1"),
        (b'{"params": {"effort": "x"}}', "invalid-value", "/params/effort"),
        (b'{"a`b": 1}', "unknown-field", "/a`b"),
    ],
)
def test_places_are_translated_to_json_pointers(body: bytes, code: str, pointer: str) -> None:
    with pytest.raises(msgspec.MsgspecError) as caught:
        SEARCH_DECODER.decode(body)
    problem = of_undecodable(caught.value)
    assert (problem.code, problem.pointer) == (code, pointer)
    assert "`" not in problem.detail.replace("a`b", "")
