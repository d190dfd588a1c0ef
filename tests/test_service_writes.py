"""Documents written over HTTP: durable when acknowledged, found by whoever asks for their seq."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from click.testing import CliRunner
from serving import Server, serving
from writes_over_http import BAKING, ids, made, put

from deploy.command import perwatt
from service.access.keys import Key, add, changing
from service.cli.searching import search as search_command
from service.cli.writes import delete as delete_command
from service.cli.writes import put as put_command
from service.client import Client
from service.errors import RemoteError

pytest_plugins = ["serving_fixtures", "writes_over_http_fixtures"]


def test_a_document_is_found_by_every_mode_once_it_is_acknowledged(talking: httpx.Client) -> None:
    assert "n1" not in ids(talking, text="rye bread", k=3)
    answer = put(talking, BAKING)
    assert (answer["seq"], answer["written"]) == (1, 1)
    for mode in ("dense", "lexical", "hybrid"):
        found = talking.post(
            "/v1/indexes/docs/search", json={"text": "rye bread in the oven", "mode": mode, "min_seq": 1, "k": 3}
        ).json()
        assert found["hits"][0]["id"] == "n1"
        assert found["hits"][0]["payload"] == BAKING["payload"]
        assert found["seq"] == 1
        assert found["coverage"]["survivors"] == 23
    assert ids(talking, text="rye bread", filter={"field": "words", "eq": 9})[0] == "n1"
    assert "n1" not in ids(talking, text="rye bread", k=30, filter={"field": "words", "gt": 9})
    assert talking.get("/v1/indexes/docs/documents/n1").json()["payload"] == BAKING["payload"]
    assert ids(talking, id="n1", k=2)[0] != "n1"
    assert talking.get("/v1/indexes/docs").json()["count"] == 23
    metrics = talking.get("/metrics").text
    assert 'perwatt_changes_seq{index="docs"} 1.0' in metrics
    assert "perwatt_documents_put_total 1.0" in metrics


def test_a_put_replaces_and_a_delete_removes(talking: httpx.Client) -> None:
    put(talking, {"id": "a16", "payload": {"title": "Cuttlefish", "text": "A cuttlefish changes colour.", "words": 4}})
    found = talking.post("/v1/indexes/docs/search", json={"text": "octopus hearts", "k": 30}).json()
    assert len(found["hits"]) == 22
    assert [hit["payload"]["title"] for hit in found["hits"] if hit["id"] == "a16"] == ["Cuttlefish"]
    assert "a16" not in ids(talking, text="octopus", mode="lexical", k=30)
    gone = talking.delete("/v1/indexes/docs/documents/a16")
    assert (gone.status_code, gone.json()["deleted"], gone.json()["seq"]) == (200, 1, 2)
    assert "a16" not in ids(talking, text="cuttlefish", k=30, min_seq=2)
    assert talking.get("/v1/indexes/docs/documents/a16").status_code == 404
    assert talking.delete("/v1/indexes/docs/documents/a16").json()["code"] == "document-not-found"


def test_deleting_by_filter_counts_first_and_then_deletes_what_it_counted(talking: httpx.Client) -> None:
    asked = {"filter": {"field": "words", "gte": 12}, "dry_run": True}
    counted = talking.post("/v1/indexes/docs/documents/delete", json=asked).json()
    assert counted["dry_run"] is True
    assert counted["deleted"] > 3
    assert talking.get("/v1/indexes/docs").json()["count"] == 22
    done = talking.post("/v1/indexes/docs/documents/delete", json={"filter": asked["filter"]}).json()
    assert done["deleted"] == counted["deleted"]
    assert len(ids(talking, text="anything", k=30, min_seq=done["seq"])) == 22 - done["deleted"]
    some = talking.post("/v1/indexes/docs/documents/delete", json={"ids": ["a00", "a00", "nobody"]}).json()
    assert some["deleted"] in (0, 1)
    for wrong in ({}, {"ids": ["a"], "filter": {"field": "words", "eq": 1}}, {"ids": []}):
        assert talking.post("/v1/indexes/docs/documents/delete", json=wrong).status_code == 422


def test_each_document_that_cannot_be_written_says_why_and_the_others_are(talking: httpx.Client) -> None:
    answer = put(
        talking,
        BAKING,
        {"payload": {"text": "no id"}},
        {"id": "x" * 1025, "payload": {"text": "t"}},
        {"id": "é" * 600, "payload": {"text": "t"}},
        {"id": "n2", "payload": {"text": "t", "words": "many"}},
        {"id": "n3", "payload": [1]},
        {"id": "n4", "payload": {"note": "nothing to search by"}},
        {"id": "n5", "vector": [1.0, 2.0]},
        {"id": "n6", "vector": [0.0] * 384},
        {"id": "n7", "payload": {"text": "t"}, "oops": 1},
        {"id": "n8", "text": "apples", "vector": [0.1] * 384},
        {"id": "n10", "vector": [1e18] * 384},
        {"id": "n9", "text": "only searched by, not kept", "payload": {"url": "/n9"}},
    )
    assert answer["written"] == 2
    codes = {one["place"]: one["error"]["code"] for one in answer["failed"]}
    assert codes == {
        **dict.fromkeys((1, 2, 3, 4, 5, 6, 8, 10, 11), "invalid-value"),
        7: "dimension-mismatch",
        9: "unknown-field",
    }
    assert {one["place"]: one["id"] for one in answer["failed"]}[4] == "n2"
    assert "expected an integer" in next(one["error"]["detail"] for one in answer["failed"] if one["place"] == 4)
    assert ids(talking, text="only searched by, not kept", k=1) == ["n9"]
    assert talking.put("/v1/indexes/docs/documents", json={"documents": []}).status_code == 422
    assert talking.put("/v1/indexes/nowhere/documents", json={"documents": [BAKING]}).status_code == 404
    generation = talking.get("/v1/indexes/docs").json()["generation"]
    refused = talking.put(f"/v1/indexes/{generation}/documents", json={"documents": [BAKING]})
    assert refused.json()["code"] == "invalid-value"


def test_vectors_go_to_an_index_without_a_model(talking: httpx.Client) -> None:
    vector = np.full(8, 3.0, np.float32)
    raw = base64.b64encode(vector.astype("<f4").tobytes()).decode()
    assert put(talking, {"id": "900", "vector": raw}, index="bare")["written"] == 1
    assert ids(talking, "bare", vector=vector.tolist(), k=1) == ["900"]
    failed = put(talking, {"id": "x9", "vector": raw}, {"id": "7", "text": "words"}, index="bare")["failed"]
    assert ["integers of 64 bits" in one["error"]["detail"] for one in failed] == [True, False]
    assert "was built from bare vectors" in failed[1]["error"]["detail"]


def test_a_search_that_asks_for_a_write_that_never_was_is_told(talking: httpx.Client) -> None:
    answer = talking.post("/v1/indexes/docs/search", json={"text": "bread", "min_seq": 7})
    assert (answer.status_code, answer.json()["code"], answer.json()["seq"]) == (412, "precondition-failed", 0)


def test_pages_show_what_was_there_at_the_first_one(talking: httpx.Client) -> None:
    everything = ids(talking, text="bread and butter", k=30)
    first = talking.post("/v1/indexes/docs/search", json={"text": "bread and butter", "k": 5, "cursor": ""}).json()
    put(talking, {"id": everything[0], "payload": {"text": "Nothing alike any more."}}, BAKING)
    seen = [hit["id"] for hit in first["hits"]]
    cursor = first["next_cursor"]
    while cursor:
        page = talking.post(
            "/v1/indexes/docs/search", json={"text": "bread and butter", "k": 5, "cursor": cursor}
        ).json()
        seen += [hit["id"] for hit in page["hits"]]
        cursor = page.get("next_cursor")
    assert seen == everything


def test_an_index_of_which_every_document_was_deleted_finds_nothing_however_it_is_asked(talking: httpx.Client) -> None:
    gone = ids(talking, text="anything", k=1000)
    assert talking.post("/v1/indexes/docs/documents/delete", json={"ids": gone}).json()["deleted"] == len(gone) == 22
    exact, filtered = {"params": {"exact": True}}, {"filter": {"field": "words", "gte": 0}}
    for mode in ("dense", "lexical", "hybrid"):
        for more in ({}, exact, {"cursor": ""}, {"group_by": "url"}, filtered, {**filtered, **exact, "cursor": ""}):
            assert ids(talking, text="volcano", mode=mode, **more) == []
    refused = talking.post("/v1/indexes/docs/recall", json={})
    assert (refused.status_code, refused.json()["detail"]) == (422, "Index docs has no documents to measure with.")
    put(talking, BAKING)
    assert ids(talking, text="volcano", mode="hybrid", **filtered) == ["n1"]


def test_groups_and_recall_take_the_changes_in(talking: httpx.Client) -> None:
    put(talking, *({"id": f"g{n}", "payload": {"text": f"Rye bread number {n}", "url": "/same"}} for n in range(6)))
    found = talking.post("/v1/indexes/docs/search", json={"text": "rye bread", "group_by": "url", "k": 30}).json()
    urls = [hit["payload"].get("url", hit["id"]) for hit in found["hits"]]
    assert urls.count("/same") == 1
    assert len(urls) == len(set(urls)) == 23
    assert found["hits"][0]["id"].startswith("g")
    measured = talking.post("/v1/indexes/docs/recall", json={"queries": 20}).json()
    assert measured["recall"] == 1.0
    assert measured["survivors"] == 28


def test_scopes_and_filters_of_keys_hold_for_writes(own_root: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"

    def key(name: str, scope: Any, filter_: dict[str, Any] | None = None) -> dict[str, str]:
        with changing(keys) as kept:
            token = add(kept, Key(name, 0, scope, [], None, filter_), None)
        return {"authorization": f"Bearer {token}"}

    search, write = key("reader", "search"), key("writer", "write")
    tenant = key("tenant", "write", {"field": "url", "eq": "/mine"})
    with serving(own_root, made(tmp_path / "server"), "--keys", str(keys)) as running, running.client() as client:
        path = "/v1/indexes/docs/documents"
        body = {"documents": [BAKING]}
        assert client.put(path, json=body).status_code == 401
        assert client.put(path, json=body, headers=search).status_code == 403
        assert client.delete(f"{path}/a00", headers=search).status_code == 403
        assert client.put(path, json=body, headers=write).json()["written"] == 1
        assert client.post("/v1/indexes/docs/search", json={"text": "x"}, headers=write).status_code == 200
        assert client.post("/v1/aliases/docs/rollback", headers=write).status_code == 403
        mine = {"id": "m1", "payload": {"text": "My own words.", "url": "/mine"}}
        stolen = {"id": "a00", "payload": {"text": "Taken over.", "url": "/mine"}}
        foreign = {"id": "m2", "payload": {"text": "Put elsewhere.", "url": "/theirs"}}
        answer = client.put(path, json={"documents": [mine, stolen, foreign]}, headers=tenant).json()
        assert answer["written"] == 1
        assert [one["error"]["code"] for one in answer["failed"]] == ["forbidden", "forbidden"]
        assert client.delete(f"{path}/a00", headers=tenant).status_code == 404
        gone = client.post(f"{path}/delete", json={"ids": ["a00", "m1"]}, headers=tenant).json()
        assert gone["deleted"] == 1
        all_of_it = {"filter": {"field": "words", "exists": False}}
        assert client.post(f"{path}/delete", json=all_of_it, headers=tenant).json()["deleted"] == 0
        assert client.get(f"{path}/a00", headers=write).status_code == 200


def test_the_client_and_the_command_line_write_too(writable: Server, tmp_path: Path) -> None:
    with Client(writable.url) as client:
        done = client.put("docs", [BAKING, {"id": "n2", "vector": [0.5] * 384}, {"id": "bad"}])
        assert (done.written, [one.id for one in done.failed]) == (2, ["bad"])
        assert client.search("docs", text="rye bread", k=1, min_seq=done.seq).hits[0].id == "n1"
        assert client.delete("docs", filter={"field": "words", "eq": 9}, dry_run=True).deleted >= 1
        assert client.delete("docs", ids=["n2", "nobody"]).deleted == 1
    corpus = tmp_path / "corpus.jsonl"
    lines = [
        {"id": f"c{n}", "title": "Numbers", "text": f"The number {n} written out.", "words": n} for n in range(450)
    ]
    corpus.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ran = CliRunner().invoke(put_command, ["docs", str(corpus), "--url", writable.url])
    assert (ran.exit_code, ran.stdout) == (0, "docs: 450 documents written, seq 453\n"), ran.output
    with writable.client() as client:
        assert client.get("/v1/indexes/docs").json()["count"] == 22 + 1 + 450
    arguments = ["docs", "--filter", '{"field": "words", "gte": 100}', "--url", writable.url]
    assert CliRunner().invoke(delete_command, [*arguments, "--dry-run"]).stdout.startswith("docs: 350 documents would")
    assert CliRunner().invoke(delete_command, arguments).stdout.startswith("docs: 350 documents deleted, seq ")
    corpus.write_text(json.dumps({"id": "c1", "text": "x", "words": 1}))
    ran = CliRunner().invoke(perwatt, ["import", "docs", str(corpus), "--url", writable.url])
    assert (ran.exit_code, ran.stdout.partition(", seq ")[0]) == (0, "docs: 1 document written"), ran.output
    np.save(corpus.with_name("v.npy"), np.ones((1, 2)))
    source = ["import", "docs", f"npy:{corpus.with_name('v.npy')}", "--records", str(corpus), "--url", writable.url]
    ran = CliRunner().invoke(perwatt, source)
    assert (ran.exit_code, ran.stdout.partition(", seq ")[0]) == (0, "docs: 1 document written"), ran.output
    corpus.write_text(json.dumps({"id": "c1", "text": "x", "words": "none"}))
    ran = CliRunner().invoke(put_command, ["docs", str(corpus), "--url", writable.url])
    assert isinstance(ran.exception, RemoteError)
    assert "expected an integer" in str(ran.exception)


def test_a_search_without_a_server_finds_what_was_written(talking: httpx.Client, own_root: Path) -> None:
    put(talking, BAKING)
    talking.delete("/v1/indexes/docs/documents/a00")
    for mode in ("dense", "lexical", "hybrid"):
        arguments = ["docs", "rye bread in the oven", "--root", str(own_root), "--mode", mode, "--k", "30", "--json"]
        found = json.loads(CliRunner().invoke(search_command, arguments).stdout)
        hits = [hit["id"] for hit in found["hits"]]
        assert hits[0] == "n1"
        assert "a00" not in hits


def test_a_method_that_documents_do_not_take_is_told_all_that_they_do(talking: httpx.Client) -> None:
    refused = talking.post("/v1/indexes/docs/documents/a01", json={})
    assert (refused.status_code, refused.headers["allow"]) == (405, "DELETE, GET, HEAD")
