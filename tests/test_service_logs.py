"""Lines for machines: whole, one a request, and without what was asked or who could ask it."""

from __future__ import annotations

import json
from pathlib import Path

from serving import serving

from service import keys

pytest_plugins = ["serving_fixtures"]

SEARCH = "/v1/indexes/docs/search"


def test_every_request_is_a_line_of_json_without_its_query(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    with keys.changing(path) as held:
        token = keys.add(held, keys.Key("shop", 0, "search", []), None)
    headers = {"authorization": f"Bearer {token}", "x-request-id": "the-id"}
    with (
        serving(root, tmp_path, "--keys", str(path), "--log-format", "json", "--access-log") as server,
        server.client(headers=headers) as client,
    ):
        for _ in range(2):
            client.post(SEARCH, json={"text": "xyzzy-secret"})
        client.post(SEARCH, json={"text": "xyzzy-other"})
        client.post(f"{SEARCH}/batch", json={"queries": [{"text": "xyzzy-batch"}]})
        client.post(SEARCH, json={"text": "xyzzy", "foo": 1})
        client.get("/v1/indexes", headers={"authorization": "Bearer pw_aaaaaaaaaaaa_wrong"})
        server.wait_for_log('"operation":"none","status":401')
        log = server.log()
    assert "xyzzy" not in log
    assert token.split("_", 2)[2] not in log
    lines = [json.loads(line) for line in log.splitlines()]
    assert all({"time", "level", "message", "process"} <= set(line) for line in lines)
    asked = [line for line in lines if line["logger"] == "perwatt.access"]
    assert [(line["operation"], line["status"], line["key"]) for line in asked] == [
        *[("search", 200, "shop")] * 3,
        ("search_batch", 200, "shop"),
        ("search", 422, "shop"),
        ("none", 401, None),
    ]
    assert {line["request_id"] for line in asked} == {"the-id"}
    first, second, other = (line["body_hash"] for line in asked[:3])
    assert first == second != other
    assert asked[0]["body_bytes"] == len(json.dumps({"text": "xyzzy-secret"}, separators=(",", ":")))


def test_without_being_asked_for_there_is_no_line_a_request(root: Path, tmp_path: Path) -> None:
    with serving(root, tmp_path) as server, server.client() as client:
        assert client.post(SEARCH, json={"id": "a01"}).status_code == 200
    assert "operation" not in server.log()
    assert "search 200" not in server.log()
