"""Without keys: everyone may search, and only the person at this machine may change anything.

A web page gets in by a name that leads here, or by its visitor's browser; a stranger by another machine, or through a
proxy on this one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings, strategies
from patience import patient
from serving import Server, ask_route, serving
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from service.access.auth import Auth, RouteEntry
from service.http.api.starlette_routes import entries, routes
from service.http.app import create_app
from service.processes.loading import load
from service.settings import Settings

pytest_plugins = ["serving_fixtures"]

SEARCH = "/v1/indexes/docs/search"
JSON = {"content-type": "application/json"}
ROUTES = routes()


# Without keys. A page at another name that leads here (DNS rebinding), a page of another site, what came through a
# proxy on the same machine, and the person at this machine: headers, and what they are refused on the loopback and
# where the server is bound to every address.
ALL = {"open", "metrics", "search", "own", "write", "admin"}
LOCAL = {"own", "write", "admin"}
WITHOUT_KEYS: dict[str, tuple[dict[str, str], set[str], set[str]]] = {
    "local": ({}, set(), set()),
    "by a given name": ({"host": "search.internal:8000"}, set(), set()),
    "from its own page": ({"host": "localhost:80", "origin": "http://localhost:80"}, set(), set()),
    "rebound": ({"host": "evil.example"}, ALL, LOCAL),
    "rebound page": ({"host": "evil.example", "origin": "http://evil.example"}, ALL, LOCAL),
    "another address": ({"host": "192.0.2.1"}, LOCAL, LOCAL),
    "another site": ({"origin": "https://evil.example"}, LOCAL, LOCAL),
    "sandboxed page": ({"origin": "null"}, LOCAL, LOCAL),
    "Forwarded": ({"forwarded": "for=192.0.2.1"}, LOCAL, LOCAL),
    "Via": ({"via": "1.1 proxy"}, LOCAL, LOCAL),
    "X-Forwarded-For": ({"X-Forwarded-For": "127.0.0.1"}, LOCAL, LOCAL),
    "X-Forwarded-Proto": ({"x-forwarded-proto": "https"}, LOCAL, LOCAL),
    "X-Forwarded-Host": ({"x-forwarded-host": ""}, LOCAL, LOCAL),
    "X-Forwarded": ({"x-forwarded": "for=127.0.0.1"}, LOCAL, LOCAL),
    "X-Real-IP": ({"x-real-ip": "127.0.0.1"}, LOCAL, LOCAL),
}


@pytest.fixture(scope="module", params=["127.0.0.1", "0.0.0.0"])
def keyless(root: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Server]:
    arguments = ("--host", request.param, *(["--insecure"] if request.param == "0.0.0.0" else []))
    folder = tmp_path_factory.mktemp("keyless")
    with serving(root, folder, "bare", *arguments, "--allow-host", "Search.Internal:80") as running:
        yield running


@pytest.mark.parametrize("who", WITHOUT_KEYS)
def test_every_route_without_keys(keyless: Server, who: str) -> None:
    headers, on_the_loopback, everywhere = WITHOUT_KEYS[who]
    refused = everywhere if "0.0.0.0" in keyless.url else on_the_loopback
    with httpx.Client(base_url=keyless.url.replace("0.0.0.0", "127.0.0.1"), timeout=patient(30)) as client:
        for entry in entries():
            answer = ask_route(client, entry, "bare", **headers)
            if entry.scope in refused:
                assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), entry
            else:
                assert answer.status_code in (200, 400, 404, 412), (entry, answer.text)
            if entry.scope in LOCAL and refused == LOCAL and "origin" not in headers:
                assert "--keys" in answer.json()["detail"], "it says what to do"


@pytest.mark.parametrize(
    ("address", "local"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("::ffff:127.0.0.1", True), ("192.0.2.7", False),
     ("::ffff:192.0.2.7", False), ("2001:db8::1", False), ("10.0.0.1", False)],
)  # fmt: skip
def test_without_keys_another_machine_may_search_and_no_more(root: Path, address: str, local: bool) -> None:
    """By the address at the other end of the connection; the names that a caller gives itself count for nothing."""
    running = load(Settings(root=root, names=("bare",), host="0.0.0.0", insecure=True))

    async def statuses() -> list[tuple[RouteEntry, int]]:
        transport = httpx.ASGITransport(create_app(running.state, running.auth), client=(address, 4321))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            asked = []
            for entry in entries():
                id_ = "not-there" if entry.method == "DELETE" else "1"  # what is served here is other tests', too
                path = entry.path.replace("{index}", "bare").replace("{alias}", "bare").replace("{id:rest}", id_)
                asked.append(
                    (entry, (await client.request(entry.method, path, headers=JSON, content=b"{")).status_code)
                )
            return asked

    try:
        for entry, status in asyncio.run(statuses()):
            assert (status == 403) == (entry.scope in LOCAL and not local), entry
    finally:
        running.close()


def verdict_of(auth: Auth, method: str, path: str, *headers: tuple[bytes, bytes], version: str = "1.1") -> Any:
    peer = ("127.0.0.1", 4321)
    return auth.judge(
        {"method": method, "path": path, "headers": list(headers), "client": peer, "http_version": version}
    )


@pytest.mark.parametrize(
    ("hosts", "version", "taken"),
    [
        ([], "1.1", False),
        ([b"localhost"], "1.1", True),
        ([b"localhost", b"evil.example"], "1.1", False),
        ([b"evil.example", b"localhost"], "1.1", False),
        ([b"127.0.0.1"], "1.0", False),  # what nginx makes of a request for any name, if nobody tells it otherwise
        ([b"0.0.0.0"], "1.1", False),
    ],
)
def test_a_change_names_this_machine(hosts: list[bytes], version: str, taken: bool) -> None:
    headers = [(b"host", host) for host in hosts]
    verdict = verdict_of(Auth(entries(), None), "POST", "/v1/aliases/docs/rollback", *headers, version=version)
    assert verdict.operation == "rollback"
    assert (verdict.refusal is None) == taken


PIECES = (
    *("/", "/v1", "/indexes", "/docs", "/search", "/batch", "/documents", "/aliases", "/rollback", "/recall", "/livez"),
    *("/metrics", "\n", "\r", " ", "%2f", "..", "é", "x", ";", "\0", "/page.js"),
)


@given(strategies.lists(strategies.sampled_from(PIECES), max_size=7).map("".join), strategies.sampled_from(ROUTES))
@settings(max_examples=300, derandomize=True)
def test_the_router_runs_what_the_gate_has_judged_and_nothing_else(tail: str, route: Route) -> None:
    """However a path is spelt: two readings of one path would be a way around the table."""
    auth = Auth(entries(), None)
    examples = route.path.replace("{id:rest}", "a").replace("{index}", "docs").replace("{alias}", "docs")
    for path in (tail, examples + tail, examples[:-1] + tail):
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
            scope = {"type": "http", "method": method, "path": path, "root_path": ""}
            runs = [each.endpoint.__name__ for each in ROUTES if each.matches(scope)[0] is Match.FULL][:1]
            verdict = verdict_of(auth, method, path, (b"host", b"localhost"))
            if not isinstance(verdict.refusal, HTTPException):  # 404: it never comes to the router
                assert runs == ([] if verdict.operation == "none" else [verdict.operation])


@pytest.mark.parametrize(
    ("host", "taken"),
    [
        ("localhost", True),
        ("localhost:8000", True),
        ("LOCALHOST", True),
        ("127.0.0.1:8000", True),
        ("[::1]:8000", True),
        ("::1", False),  # an address of IPv6 stands in brackets
        ("192.0.2.7", True),
        ("search.internal", True),
        ("evil.example", False),
        ("evil.example:8000", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
        ("[evil.example]", False),
        ("[127.0.0.1]evil.example", False),
        ("[::1]evil.example", False),
        ("[::1]:8000:evil.example", False),
        ("127.0.0.1:8000.evil.example", False),
    ],
)
def test_a_name_that_could_be_rebound_is_not_taken_on_the_loopback(host: str, taken: bool) -> None:
    guarding = Auth(entries(), None, ["search.internal"], own_names_only=True)
    verdict = verdict_of(guarding, "GET", "/", (b"host", host.encode()))
    assert getattr(verdict.refusal, "code", None) == (None if taken else "forbidden")
    assert verdict_of(Auth(entries(), None), "GET", "/", (b"host", host.encode())).refusal is None


def test_the_server_refuses_a_rebound_name(client: httpx.Client) -> None:
    for method, path in (("GET", "/"), ("POST", SEARCH), ("GET", "/metrics")):
        answer = client.request(method, path, headers={"host": "evil.example"}, content=b"{}")
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "--allow-host" in json.dumps(answer.json())
