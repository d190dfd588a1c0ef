"""Ways around a key, tried one after the other on a real server: other spellings, other routes, quotas in halves.

`fenced` holds keys that may use the index `bare` alone. Whatever is tried, the documents and the name of the generation
of `docs` are in no answer, and that it exists is told by none: an answer about it is that about a name nobody has.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import Server, serving
from span_collector import Collector

from index import Root
from service.access import keys
from service.client import Client
from service.http.api.starlette_routes import entries

pytest_plugins = ["serving_fixtures"]

SECRET = "Rotating an API key"  # a title that only `docs` has
NOWHERE = "nowhere"


class Fenced:
    def __init__(self, server: Server, of: dict[str, str], generation: str) -> None:
        self.server, self.of, self.generation = server, of, generation
        self.port = int(server.url.rsplit(":", 1)[1])


def make(path: Path, name: str, scope: keys.Access, **more: Any) -> str:
    with keys.changing(path) as held:
        return keys.add(held, keys.Key(name, 0, scope, [], **more), None)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def fenced(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fenced]:
    folder = tmp_path_factory.mktemp("fenced")
    path = folder / "keys.json"
    of = {scope: make(path, scope, scope, indexes=["bare"]) for scope in ("metrics", "search", "admin")}
    of["all"] = make(path, "all", "admin")
    with serving(root, folder, "--keys", str(path)) as server:
        yield Fenced(server, of, Root(root).alias("docs").generation)


def without_id(answer: httpx.Response, index: str) -> tuple[int, str]:
    """What an answer tells, but for the id of the request and what was asked for."""
    text = answer.text.replace(index, "…")
    return answer.status_code, re.sub(r'"(instance|request_id)":"[^"]*"', "", text)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("method", "path"), [(method, path) for method, path, *_ in entries() if "{index}" in path or "{alias}" in path]
)
def test_an_index_of_others_is_as_one_that_is_not_there(fenced: Fenced, method: str, path: str, chunked: bool) -> None:
    filled = path.replace("{alias}", "{index}").replace("{id:rest}", "a01")
    body = b'{"vector": [1, 0, 0, 0, 0, 0, 0, 0], "k": 3}'
    for who in ("search", "admin"):
        told = set()
        for index in ("docs", fenced.generation, NOWHERE, f"{NOWHERE}-20260101T000000Z-abcd"):
            with fenced.server.client(headers={**bearer(fenced.of[who]), "content-type": "application/json"}) as client:
                content: Any = None if method == "GET" else iter([body]) if chunked else body
                answer = client.request(method, filled.replace("{index}", index), content=content)
            assert answer.status_code == 403
            told.add(without_id(answer, index))
        assert len(told) == 1, told


def raw(port: int, request: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(request.encode("latin-1"))
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


@pytest.mark.parametrize(
    "target",
    [
        "/v1/indexes/bare/../docs/documents/a00",
        "/v1/indexes/bare/..%2fdocs/documents/a00",
        "/v1/indexes/bare%2f..%2fdocs/documents/a00",
        "/v1/indexes/bare%00docs/documents/a00",
        "/v1/indexes/%64ocs/documents/a00",
        "/v1/indexes/DOCS/documents/a00",
        "/v1/indexes/docs;bare/documents/a00",
        "/v1/indexes//docs/documents/a00",
        "//v1/indexes/docs/documents/a00",
        "/./v1/indexes/docs/documents/a00",
        "/v1/indexes/docs/documents/a00?index=bare",
        "/v1/indexes/docs/documents/a00#/v1/indexes/bare",
        "/v1/indexes/bare/documents/../../docs/documents/a00",
        "/v1/indexes/bare/documents/%2e%2e/%2e%2e/docs/documents/a00",
        "http://localhost/v1/indexes/docs/documents/a00",
        "http://localhost/v1/indexes/bare/../docs/documents/a00",
        "/v1/indexes/{generation}/documents/a00",
        "/v1/indexes/bare-20260101T000000Z-abcd/../docs/documents/a00",
    ],
)
@pytest.mark.parametrize(
    "more",
    [
        "",
        "x-original-url: /v1/indexes/bare\r\nx-rewrite-url: /v1/indexes/bare\r\nx-forwarded-prefix: /v1\r\n",
        "x-http-method-override: GET\r\nx-forwarded-for: 127.0.0.1\r\nx-real-ip: 127.0.0.1\r\n",
        "authorization: Bearer {admin}\r\n",
    ],
    ids=["plain", "rewritten", "overridden", "twice"],
)
def test_no_spelling_of_a_target_gets_into_another_index(fenced: Fenced, target: str, more: str) -> None:
    target, more = target.replace("{generation}", fenced.generation), more.replace("{admin}", fenced.of["admin"])
    for method in ("GET", "HEAD", "POST", "get"):
        answer = raw(
            fenced.port,
            f"{method} {target} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {fenced.of['search']}\r\n{more}"
            "content-length: 0\r\nconnection: close\r\n\r\n",
        )
        assert answer[9:12] in (b"400", b"401", b"403", b"404", b"405", b"410"), answer
        assert SECRET.encode() not in answer
        assert fenced.generation.encode() not in answer.replace(target.encode(), b"")


def test_a_second_request_in_the_same_segment_is_judged_by_its_own_key(fenced: Fenced) -> None:
    """A connection has no identity: what was let in before says nothing about what follows on it."""
    head = "GET /v1/indexes/{} HTTP/1.1\r\nhost: localhost\r\n{}\r\n"
    allowed = head.format("docs", f"authorization: Bearer {fenced.of['all']}\r\n")
    last = "connection: close\r\n"
    for key, status in (("", b"401"), (f"authorization: Bearer {fenced.of['search']}\r\n", b"403")):
        answer = raw(fenced.port, allowed + head.format("docs", key + last))
        first, second = answer.split(b"HTTP/1.1 ")[1:]
        assert (first[:3], second[:3]) == (b"200", status)
        assert fenced.generation.encode() in first
        assert fenced.generation.encode() not in second


def test_no_upgrade_leads_past_the_gate(fenced: Fenced) -> None:
    for path in ("/v1/indexes/docs/search", "/livez"):
        answer = raw(
            fenced.port,
            f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        assert not answer.startswith(b"HTTP/1.1 101")


def test_a_search_may_not_be_moved_by_its_body(fenced: Fenced) -> None:
    """Nothing in a body names an index, a generation that is answered from, or a file."""
    with Client(fenced.server.url, key=fenced.of["all"]) as everyone:
        theirs = everyone.search("docs", text="key", k=1, cursor="").next_cursor
    query = {"vector": [1.0] * 8, "k": 1}
    with fenced.server.client(headers=bearer(fenced.of["search"])) as client:
        for body, status in (
            ({**query, "index": "docs"}, 422),
            ({**query, "cursor": theirs}, 410),
            ({**query, "expect": {"generation": fenced.generation}}, 412),
            ({"id": "a00"}, 404),
            ({**query, "group_by": "url"}, 422),
            ({**query, "filter": {"field": "url", "exists": True}}, 422),
        ):
            single = client.post("/v1/indexes/bare/search", json=body)
            batch = client.post("/v1/indexes/bare/search/batch", json={"queries": [body]})
            assert single.status_code == status, single.text
            assert batch.json()["results"][0]["error"]["status"] == status
            assert SECRET not in single.text + batch.text


def test_an_alias_is_not_pointed_at_the_generation_of_another_index(fenced: Fenced) -> None:
    with fenced.server.client(headers=bearer(fenced.of["admin"])) as client:
        for generation in (fenced.generation, f"../docs/{fenced.generation}", "../docs", "docs", "/etc/passwd"):
            answer = client.put("/v1/aliases/bare", json={"generation": generation})
            assert answer.status_code == 422, answer.text
            assert "is not the id of a generation of bare" in answer.json()["detail"]
        gone = client.put("/v1/aliases/bare", json={"generation": "bare-20260101T000000Z-abcd"})
        assert gone.status_code == 422, gone.text
        assert "docs" not in gone.text


@pytest.mark.parametrize("who", ["metrics", "admin"])
def test_metrics_name_the_indexes_of_the_key_alone(fenced: Fenced, who: str) -> None:
    with fenced.server.client() as client:
        told = client.get("/metrics", headers=bearer(fenced.of[who])).text
        assert client.get("/metrics", headers=bearer(fenced.of["all"])).text.count('index="docs"') >= 3
    assert told.count('index="bare"') >= 3
    assert "docs" not in told
    assert "perwatt_requests_total" in told


def test_no_route_names_an_index_that_the_key_is_not_for(fenced: Fenced) -> None:
    paths = [
        path for method, path, *_ in entries() if method == "GET" and "{" not in path and not path.startswith("/v1")
    ]
    for who in ("metrics", "search", "admin"):
        with fenced.server.client(headers=bearer(fenced.of[who])) as client:
            for path in [*paths, "/v1/indexes", "/v1/indexes/bare"]:
                answer = client.get(path)
                assert fenced.generation not in answer.text
                assert not re.search(r'"docs"|docs-2', answer.text), path


@pytest.mark.parametrize("way", ["rotated", "two workers"])
def test_a_quota_is_that_of_the_key_however_it_comes(root: Path, tmp_path: Path, way: str) -> None:
    """Both secrets, both workers, every route and every connection draw on one bucket."""
    path = tmp_path / "keys.json"
    tokens = [make(path, "few", "search", rate_per_s=0.001, burst=9)]
    if way == "rotated":
        with keys.changing(path) as held:
            tokens.append(keys.add_secret(held, keys.find(held, "few"), None))
    more = ("--workers", "2") if way == "two workers" else ()
    statuses = []
    with serving(root, tmp_path, "--keys", str(path), *more) as server:
        for number in range(24):
            with server.client(headers=bearer(tokens[number % len(tokens)])) as client:
                asked: Any = [
                    lambda c: c.post("/v1/indexes/docs/search", json={"id": "a01"}),
                    lambda c: c.get("/v1/indexes/docs/documents/a01"),
                    lambda c: c.head("/v1/indexes"),
                    lambda c: c.get("/nothing"),
                ][number % 4]
                statuses.append(asked(client).status_code)
    assert [status == 429 for status in statuses] == [False] * 9 + [True] * 15


@pytest.mark.parametrize(
    ("path", "body", "cost"),
    [
        ("/v1/indexes/docs/search/batch", {"queries": [{"id": "a01"}] * 200}, 200),
        ("/v1/indexes/docs/search/batch", {"queries": [{"nonsense": 1}] * 200}, 200),
        ("/v1/embeddings", {"input": ["a"] * 200}, 200),
        ("/v1/indexes/docs/recall", {"queries": 20}, 40),  # each is searched twice
        ("/v1/indexes/docs/recall", {"texts": ["a"] * 20}, 40),
    ],
    ids=["batch", "bad batch", "embeddings", "recall", "recall of texts"],
)
def test_many_in_one_request_cost_as_many(root: Path, tmp_path: Path, path: str, body: Any, cost: int) -> None:
    keys_path = tmp_path / "keys.json"
    token = make(keys_path, "few", "admin", rate_per_s=0.01, burst=cost // 2)
    with serving(root, tmp_path, "--keys", str(keys_path)) as server, server.client(headers=bearer(token)) as client:
        assert client.post(path, json=body).status_code == 200
        refused = client.post("/v1/indexes/docs/search", json={"id": "a01"})
    assert refused.status_code == 429
    left = cost - cost // 2 + 1  # requests that have to be earned before the next one
    assert left - 1 < float(refused.json()["retry_after_s"]) * 0.01 <= left


def test_a_key_is_in_no_log_no_span_no_answer_and_no_error(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    right, wrong = make(path, "shop", "admin"), "pw_0123456789ab_" + "Z" * 43
    gone = make(path, "gone", "search")
    with keys.changing(path) as held:
        held.remove(keys.find(held, "gone"))
    collector = Collector()
    told = ""
    arguments = ("--keys", str(path), "--log-format", "json", "--access-log")
    with serving(root, tmp_path, *arguments, env=collector.environment()) as server:
        with server.client() as client:
            for token in (right, wrong, gone):
                for kind in ("Bearer", "bearer", "Basic", "Token"):
                    headers = {"authorization": f"{kind} {token}", "x-request-id": f"x{len(told)}"}
                    for method, where, body in (
                        ("POST", "/v1/indexes/docs/search", b'{"text": "a"}'),
                        ("POST", "/v1/indexes/docs/search", b"{"),
                        ("GET", "/metrics", None),
                        ("GET", "/openapi.json", None),
                        ("PUT", "/v1/aliases/docs", b'{"generation": "x"}'),
                        ("GET", "/v1/indexes/docs/documents/nobody", None),
                    ):
                        answer = client.request(method, where, headers=headers, content=body)
                        told += answer.text + str(answer.headers)
        with Client(server.url, key=right) as typed, pytest.raises(Exception, match="nobody") as caught:
            typed.document("docs", "nobody")
        told += repr(typed) + repr(caught.value) + str(caught.value) + repr(caught.value.__dict__)
    assert collector.spans
    told += server.log() + "".join(server.said) + "".join(body.decode("latin-1") for body in collector.bodies)
    assert "shop" in told  # the key is known by its name
    for token in (right, wrong, gone):
        assert token.split("_", 2)[2][:12] not in told
        assert keys.digest(token) not in told
        assert keys.digest(token)[:16] not in told
    collector.server.shutdown()
    collector.server.server_close()
