"""Lines for machines: whole, one a request, and without what was asked or who could ask it."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

from patience import patient
from serving import serving

from service.access import keys
from service.http.protocol import HEAD_BYTES

pytest_plugins = ["serving_fixtures"]

SEARCH = "/v1/indexes/docs/search"


# What is asked in each test, and the line that it leaves: operation, method, path, status, key.
ASKED = [
    ("search", "POST", SEARCH, 200, "shop"),
    ("search", "POST", SEARCH, 200, "shop"),
    ("search", "POST", SEARCH, 200, "shop"),
    ("search_batch", "POST", f"{SEARCH}/batch", 200, "shop"),
    ("search", "POST", SEARCH, 422, "shop"),
    ("document", "GET", "/v1/indexes/docs/documents/no%0Aone", 404, "shop"),
    ("rollback", "POST", "/v1/aliases/docs/rollback", 403, "shop"),
    ("search", "POST", "/v1/indexes/bare/search", 403, "shop"),
    ("search", "POST", SEARCH, 429, "busy"),
    ("page", "GET", "/", 200, None),
    ("none", "GET", "/nothing", 404, "shop"),
    ("list_indexes", "GET", "/v1/indexes", 401, None),
]


class Asked:
    """What a server with keys wrote to stderr under `ASKED`; answers are the bytes of each answer's body."""

    def __init__(self, root: Path, folder: Path, form: str) -> None:
        path = folder / "keys.json"
        with keys.changing(path) as held:
            self.token = keys.add(held, keys.Key("shop", 0, "search", [], indexes=["docs"]), None)
            busy = keys.add(held, keys.Key("busy", 0, "search", [], rate_per_s=0.001, burst=1), None)
        headers = {"authorization": f"Bearer {self.token}", "x-request-id": "the-id"}
        wrong, other = ({"authorization": f"Bearer {token}"} for token in ("pw_aaaaaaaaaaaa_wrong", busy))
        with (
            serving(root, folder, "--keys", str(path), "--log-format", form, "--access-log") as server,
            server.client(headers=headers) as client,
            server.client() as anyone,
        ):
            answers = [
                *(client.post(SEARCH, json={"text": text}) for text in ("xyzzy-secret", "xyzzy-secret", "xyzzy-other")),
                client.post(f"{SEARCH}/batch", json={"queries": [{"text": "xyzzy-batch"}]}),
                client.post(SEARCH, json={"text": "xyzzy", "foo": 1}),
                client.get("/v1/indexes/docs/documents/no%0Aone"),
                client.post("/v1/aliases/docs/rollback"),
                client.post("/v1/indexes/bare/search", json={"text": "xyzzy"}),
                [client.post(SEARCH, json={"id": "a01"}, headers=other) for _ in range(2)][1],
                anyone.get("/?q=xyzzy", headers={"x-request-id": "the-id"}),
                client.get("/nothing?q=xyzzy"),
                client.get("/v1/indexes", headers=wrong),
            ]
            server.wait_for_log("/v1/indexes 401")
            self.log = server.log()
        self.answers = [len(answer.content) for answer in answers]


def test_every_request_is_a_line_of_json_without_its_query(root: Path, tmp_path: Path) -> None:
    asked = Asked(root, tmp_path, "json")
    assert "xyzzy" not in asked.log
    assert asked.token.split("_", 2)[2] not in asked.log
    lines = [json.loads(line) for line in asked.log.splitlines()]
    assert all({"time", "level", "message", "process"} <= set(line) for line in lines)
    told = [line for line in lines if line["logger"] == "perwatt.access"]
    told = [line for line in told if (line["key"], line["status"]) != ("busy", 200)]
    named = [(line["operation"], line["method"], line["path"], line["status"], line["key"]) for line in told]
    assert named == ASKED
    assert [line["answer_bytes"] for line in told] == asked.answers
    assert {line["request_id"] for line in told} == {"the-id"}
    assert all(line["ms"] > 0 for line in told)
    first, second, other = (line["body_hash"] for line in told[:3])
    assert first == second != other
    assert told[0]["body_bytes"] == len(json.dumps({"text": "xyzzy-secret"}, separators=(",", ":")))


def test_the_default_format_tells_people_the_same(root: Path, tmp_path: Path) -> None:
    """What the help of --access-log promises, a line a request."""
    asked = Asked(root, tmp_path, "text")
    assert "xyzzy" not in asked.log
    assert asked.token.split("_", 2)[2] not in asked.log
    told = [line for line in asked.log.splitlines() if " operation=" in line]
    told = [line for line in told if not (" 200 " in line and "key=busy" in line)]
    for line, (operation, method, path, status, key), length in zip(told, ASKED, asked.answers, strict=True):
        assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO ", line)
        assert f" INFO {method} {path} {status} ms=" in line
        said = dict(pair.split("=", 1) for pair in line.split() if "=" in pair)
        assert (said["operation"], said["key"], said["request_id"]) == (operation, key or "-", "the-id")
        assert int(said["answer_bytes"]) == length
        assert float(said["ms"]) > 0


def test_bytes_that_are_no_request_are_a_line_and_a_count(root: Path, tmp_path: Path) -> None:
    wrong = {
        400: b"xyzzy\r\n\r\n",
        431: b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 2 * HEAD_BYTES,
        501: b"CONNECT localhost:80 HTTP/1.1\r\nhost: localhost:80\r\n\r\n",
        505: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    }
    with serving(root, tmp_path, "bare", "--access-log") as server, server.client() as client:
        port = int(server.url.rsplit(":", 1)[1])
        for status, content in wrong.items():
            with socket.create_connection(("127.0.0.1", port), patient(30)) as connection:
                connection.sendall(content)
                answer = connection.makefile("rb").read()
            assert answer.startswith(b"HTTP/1.1 %d " % status)
            request_id = re.search(rb"x-request-id: (\w+)", answer)
            assert request_id
            server.wait_for_log(f" INFO - - {status} ")
            [line] = [line for line in server.log().splitlines() if f" INFO - - {status} " in line]
            assert f"request_id={request_id[1].decode()} key=- operation=none" in line
        counted = client.get("/metrics").text
    assert "xyzzy" not in server.log()
    for status in wrong:
        assert f'perwatt_requests_total{{operation="none",status="{status}"}} 1.0' in counted


def test_a_path_cannot_write_lines_of_its_own(root: Path, tmp_path: Path) -> None:
    with serving(root, tmp_path, "bare", "--access-log") as server, server.client() as client:
        client.get("/v1/indexes/a%0A2026-01-01%20INFO%20all%20is%20well" + "/x" * 5000)
        server.wait_for_log(" 404 ")
        [line] = [line for line in server.log().splitlines() if "all" in line]
    assert len(line) < 1000


def test_without_being_asked_for_there_is_no_line_a_request(root: Path, tmp_path: Path) -> None:
    with serving(root, tmp_path) as server, server.client() as client:
        assert client.post(SEARCH, json={"id": "a01"}).status_code == 200
    assert "operation" not in server.log()
    assert "200" not in server.log()
