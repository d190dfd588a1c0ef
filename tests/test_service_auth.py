"""Who gets in: every route with every kind of caller, with keys and without, before a body is read."""

from __future__ import annotations

import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from patience import patient
from server_keys import bearer, make_key
from serving import NotStarted, Server, ask_route, build_docs, own_address, serving
from starlette.exceptions import HTTPException

from index import Root
from service.access import keys
from service.access.auth import Auth, RouteEntry
from service.access.keyring import Keyring
from service.access.quota import Quotas
from service.http.api.routed import ROUTED
from service.http.api.routes import OPERATIONS
from service.http.api.starlette_routes import entries
from service.http.app import create_app
from service.settings import Settings

pytest_plugins = ["serving_fixtures"]

SEARCH = "/v1/indexes/docs/search"
JSON = {"content-type": "application/json"}


class Guarded:
    """A server with keys: `of[name]` is the key of that name."""

    def __init__(self, server: Server, path: Path, of: dict[str, str]) -> None:
        self.server, self.path, self.of = server, path, of


@pytest.fixture(scope="module")
def guarded(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    path = folder / "keys.json"
    of = {scope: make_key(path, scope, scope) for scope in ("metrics", "search", "write", "admin")}
    of["bare-only"] = make_key(path, "bare-only", "search", indexes=["bare"])
    of["bare-admin"] = make_key(path, "bare-admin", "admin", indexes=["bare"])
    own = Path(shutil.copytree(root, folder / "root"))  # there are routes that write
    with serving(own, folder, "--keys", str(path)) as server:
        yield Guarded(server, path, of)


# What a route of each scope answers to a request that is well-formed as far as auth goes, by who asks. 401: no key;
# 403: not this one. Everything else is the route's own answer, which shows that auth let the request through.
REFUSED = {
    "open": {"wrong": 401},
    "metrics": {"none": 401, "wrong": 401, "search": 403},
    "search": {"none": 401, "wrong": 401, "metrics": 403},
    "own": {"none": 401, "wrong": 401, "metrics": 403},
    "write": {"none": 401, "wrong": 401, "metrics": 403, "search": 403},
    "admin": {"none": 401, "wrong": 401, "metrics": 403, "search": 403, "write": 403},
}


@pytest.mark.parametrize("operations", [OPERATIONS, ROUTED], ids=["server", "router"])
def test_the_table_of_routes_is_the_whole_application_and_says_who_may_call_each(operations: Any) -> None:
    """Every route of the application, FastAPI's own included, is one that auth knows."""

    class Nothing:
        encoder = metrics = reranking = None
        here = None if operations is ROUTED else "here"

        def close(self) -> None: ...

    nothing: Any = Nothing()
    app = create_app(nothing, Auth((), None))
    routed = {
        (method, getattr(route, "path", None))
        for route in app.routes
        for method in getattr(route, "methods", None) or {"?"}
        if method != "HEAD"
    }
    assert routed == {(entry.method, entry.path) for entry in entries(operations)}
    assert {entry.scope for entry in entries(operations)} <= set(REFUSED)
    assert [operation.path for operation in OPERATIONS if operation.scope not in REFUSED] == []


@pytest.mark.parametrize("who", ["none", "wrong", "metrics", "search", "write", "admin"])
@pytest.mark.parametrize("entry", entries(), ids=lambda entry: f"{entry.method} {entry.path}")
def test_every_route_with_every_scope(guarded: Guarded, entry: RouteEntry, who: str) -> None:
    token = {"none": None, "wrong": guarded.of["search"][:-3] + "AAA"}.get(who, guarded.of.get(who))
    with guarded.server.client() as client:
        answer = ask_route(client, entry, **({} if token is None else bearer(token)))
    expected = REFUSED[entry.scope].get(who)
    if expected is None:
        assert answer.status_code in (200, 400, 404, 412), answer.text
    else:
        assert answer.status_code == expected
        assert answer.json()["code"] == {401: "unauthenticated", 403: "forbidden"}[expected]
        assert ("www-authenticate" in answer.headers) == (expected == 401)


def test_two_keys_are_none(guarded: Guarded) -> None:
    both = [("authorization", f"Bearer {guarded.of[who]}") for who in ("admin", "search")]
    with guarded.server.client() as client:
        for headers in (both, both[::-1]):
            assert client.get("/v1/indexes", headers=headers).status_code == 401
            assert client.post(SEARCH, json={"id": "a01"}, headers=headers).status_code == 401


def test_what_is_not_there_is_not_told_to_strangers(guarded: Guarded) -> None:
    with guarded.server.client() as client:
        for path in ("/nothing", "/v1/indexes/nothing", "/docs", "/v1/indexes/docs"):
            assert client.get(path).status_code == 401
        for path in ("/nothing", "/v1/indexes/nothing"):
            assert client.get(path, headers=bearer(guarded.of["search"])).status_code == 404


@pytest.mark.parametrize("path", ["/metrics%0A", "/v1/aliases/docs/rollback%0A", "/v1//aliases/docs/rollback"])
def test_no_spelling_of_a_path_gets_around_its_scope(guarded: Guarded, path: str) -> None:
    with guarded.server.client() as client:
        for method in ("GET", "POST", "HEAD"):
            answer = client.request(method, path, headers=bearer(guarded.of["search"]))
            assert answer.status_code in (403, 404, 405), answer.text


def test_a_key_for_some_indexes_sees_no_other(guarded: Guarded, root: Path) -> None:
    generation = Root(root).alias("docs").generation
    with guarded.server.client(headers=bearer(guarded.of["bare-only"])) as client:
        assert client.post("/v1/indexes/bare/search", json={"id": "1"}).status_code == 200
        for index in ("docs", generation, "nowhere", "nowhere-20200101T000000Z-abcd"):
            for path in (f"/v1/indexes/{index}", f"/v1/indexes/{index}/documents/a01"):
                assert client.get(path).json()["code"] == "forbidden"
            for tail in ("search", "search/batch"):
                answer = client.post(f"/v1/indexes/{index}/{tail}", json={"queries": [{"text": "a"}]})
                assert answer.json()["code"] == "forbidden"
        assert [index["alias"] for index in client.get("/v1/indexes").json()["indexes"]] == ["bare"]
        assert set(client.get("/readyz").json()["indexes"]) == {"bare"}
        everything = "".join(client.get(path).text for path in ("/v1/indexes", "/readyz", "/version"))
        assert "docs" not in everything
    with guarded.server.client(headers=bearer(guarded.of["bare-admin"])) as client:
        assert client.post("/v1/aliases/docs/rollback").status_code == 403
        assert client.post("/v1/aliases/bare/rollback").status_code == 412


def test_the_document_says_whether_a_key_is_needed(guarded: Guarded, client: httpx.Client) -> None:
    with guarded.server.client(headers=bearer(guarded.of["search"])) as asking:
        for answer, security in (
            (asking.get("/openapi.json"), [{"key": []}]),
            (client.get("/openapi.json"), [{"key": []}, {}]),
        ):
            paths = answer.json()["paths"]
            assert paths["/v1/indexes/{index}/search"]["post"]["security"] == security
            assert "security" not in paths["/livez"]["get"]


def test_probes_need_no_key_and_learn_nothing(guarded: Guarded) -> None:
    with guarded.server.client() as client:
        assert client.get("/livez").json() == {"status": "alive"}
        assert client.get("/readyz").json() == {"status": "ready"}
        assert client.get("/").status_code == 200


def test_a_stranger_is_refused_before_a_body_is_read(guarded: Guarded) -> None:
    """The answer comes while not one byte of the body has been sent, and the connection ends."""
    port = int(guarded.server.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(
            f"POST {SEARCH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            "content-length: 1000000\r\n\r\n".encode()
        )
        assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Basic dXNlcjpwYXNz",
        "pw_a_b",
        "Bearer pw_",
        "Bearer pw__",
        "bearer \xff\xfe",
        "B" * 5000,
    ],
)
def test_what_is_no_key_is_no_key(guarded: Guarded, value: str) -> None:
    with guarded.server.client() as client:
        answer = client.post(SEARCH, json={"text": "a"}, headers=[(b"authorization", value.encode("latin-1"))])
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


def test_no_key_and_no_part_of_one_is_logged(guarded: Guarded) -> None:
    wrong = "pw_0123456789ab_" + "Z" * 43
    with guarded.server.client() as client:
        for token in (*guarded.of.values(), wrong):
            client.post(SEARCH, json={"text": "a"}, headers=bearer(token))
            client.post("/v1/aliases/docs/rollback", headers=bearer(token))
            client.post(SEARCH, content=b"{", headers=bearer(token))
    log = guarded.server.log() + "".join(guarded.server.said)
    for token in (*guarded.of.values(), wrong):
        assert token.split("_", 2)[2][:12] not in log
        assert keys.digest(token) not in log


def test_keys_change_while_the_server_runs_and_no_request_is_lost(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    first = make_key(path, "first", "search")
    with serving(root, tmp_path, "--keys", str(path)) as server, server.client() as client:

        def status(token: str) -> int:
            return client.post(SEARCH, json={"id": "a01"}, headers=bearer(token)).status_code

        def until(token: str, wanted: int, other: str) -> None:
            limit_s = time.monotonic() + patient(20)
            while status(token) != wanted:
                assert status(other) == 200
                assert time.monotonic() < limit_s

        assert status(first) == 200
        second = make_key(path, "second", "search")
        until(second, 200, first)  # found by looking at the file
        with keys.changing(path) as held:
            held.remove(keys.find(held, "first"))
        server.process.send_signal(signal.SIGHUP)
        until(first, 401, second)
        path.write_text("{")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log("the keys stay as they were")
        assert status(second) == 200


def test_a_quota_is_kept_over_the_routes_of_a_key(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    small = make_key(path, "small", "search", rate_per_s=0.01, burst=5)
    free = make_key(path, "free", "search")
    with serving(root, tmp_path, "--keys", str(path)) as server, server.client() as client:
        query = {"id": "a01"}
        answers = [client.post(SEARCH, json=query, headers=bearer(small)) for _ in range(3)]
        answers.append(client.post(f"{SEARCH}/batch", json={"queries": [query] * 4}, headers=bearer(small)))
        assert [answer.status_code for answer in answers] == [200] * 4
        for method, where in (("POST", SEARCH), ("GET", "/v1/indexes"), ("POST", "/v1/embeddings")):
            refused = client.request(method, where, headers={**JSON, **bearer(small)})
            assert (refused.status_code, refused.json()["code"]) == (429, "quota-exceeded")
            assert int(refused.headers["retry-after"]) > 60
        assert client.get("/livez", headers=bearer(small)).status_code == 200
        assert client.post(SEARCH, json=query, headers=bearer(free)).status_code == 200


def test_an_admin_key_switches_from_another_address(own_root: Path, tmp_path: Path, served_encoder: Any) -> None:
    path = tmp_path / "keys.json"
    admin, search = make_key(path, "admin", "admin"), make_key(path, "search", "search")
    second = build_docs(own_root, served_encoder, drop=2, switch=False).name
    with serving(own_root, tmp_path, "--host", "0.0.0.0", "--keys", str(path)) as server:
        address = f"http://{own_address()}:{server.url.rsplit(':', 1)[1]}"
        with httpx.Client(base_url=address, timeout=patient(30)) as outside:
            for token, status in ((search, 403), (admin, 200)):
                answer = outside.put("/v1/aliases/docs", json={"generation": second}, headers=bearer(token))
                assert answer.status_code == status
            evil = {**bearer(admin), "origin": "https://evil.example"}
            assert outside.post("/v1/aliases/docs/rollback", headers=evil).status_code == 403


def test_keys_that_cannot_be_used_keep_the_server_from_starting(root: Path, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{}")
    for file in ("keys.json", "nowhere.json"):
        with pytest.raises(NotStarted) as caught, serving(root, tmp_path, "--keys", str(tmp_path / file)):
            pass
        assert caught.value.status == 1
        assert caught.value.log.startswith("perwatt: error: ")


def test_a_public_address_is_served_with_keys() -> None:
    assert Settings(host="0.0.0.0", keys=Path("keys.json")).host == "0.0.0.0"


def test_an_unknown_path_is_never_passed_to_the_router(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    token = make_key(path, "key", "admin")
    for keyring in (None, Keyring(path, Quotas())):
        key = (b"authorization", f"Bearer {token}".encode())
        scope = {"method": "POST", "path": "/v1/aliases/docs/rollback\n", "headers": [key]}
        assert isinstance(Auth(entries(), keyring).judge(scope).refusal, HTTPException)
