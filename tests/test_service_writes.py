"""Documents written over HTTP: durable when acknowledged, found by whoever asks for their seq, whoever answers."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from serving import NotStarted, Server, serving

from index.changes.log import Log
from index.changes.log_reader import LogReader, changes
from service.access.keys import Key, add, changing
from service.cli.searching import search as search_command
from service.cli.writes import delete as delete_command
from service.cli.writes import put as put_command
from service.client import Client
from service.errors import RemoteError

pytest_plugins = ["serving_fixtures"]
BAKING = {"id": "n1", "payload": {"title": "Rye bread", "text": "Bake rye bread in a hot oven with steam.", "words": 9}}


@pytest.fixture
def writable(own_root: Path, tmp_path: Path) -> Iterator[Server]:
    with serving(own_root, made(tmp_path / "server")) as running:
        yield running


@pytest.fixture
def talking(writable: Server) -> Iterator[httpx.Client]:
    with writable.client() as client:
        yield client


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def put(client: httpx.Client, *documents: Any, index: str = "docs") -> Any:
    answer = client.put(f"/v1/indexes/{index}/documents", json={"documents": list(documents)})
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(client: httpx.Client, index: str = "docs", **query: Any) -> list[str]:
    answer = client.post(f"/v1/indexes/{index}/search", json=query)
    assert answer.status_code == 200, answer.text
    return [hit["id"] for hit in answer.json()["hits"]]


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


def test_writes_outlive_a_kill_and_are_served_again(own_root: Path, tmp_path: Path) -> None:
    with serving(own_root, made(tmp_path / "first")) as first, first.client() as client:
        put(client, BAKING)
        client.delete("/v1/indexes/docs/documents/a00")
        first.end(signal.SIGKILL)
    with serving(own_root, made(tmp_path / "second")) as second, second.client() as client:
        found = client.post("/v1/indexes/docs/search", json={"text": "rye bread", "k": 30}).json()
        assert found["hits"][0]["id"] == "n1"
        assert "a00" not in [hit["id"] for hit in found["hits"]]
        assert put(client, {"id": "n2", "payload": {"text": "More bread."}})["seq"] == 3


def test_workers_hand_their_writes_to_one_and_all_of_them_see_all(own_root: Path, tmp_path: Path) -> None:
    with serving(own_root, made(tmp_path / "server"), "--workers", "2") as running:
        written: list[tuple[str, int]] = []
        lock = threading.Lock()

        def write(name: int) -> None:
            for turn in range(10):
                with running.client() as client:  # a connection each, so that both workers get some
                    id_ = f"w{name}-{turn}"
                    seq = put(client, {"id": id_, "vector": [float(name + 1), *[0.0] * 7]}, index="bare")["failed"]
                    assert seq
                    seq = put(client, {"id": str(10_000 + name * 100 + turn), "vector": [1.0 + name] * 8}, index="bare")
                    with lock:
                        written.append((str(10_000 + name * 100 + turn), seq["seq"]))

        threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({seq for _, seq in written}) == 40
        for id_, seq in written:
            with running.client() as client:
                answer = client.post("/v1/indexes/bare/search", json={"id": id_, "k": 1, "min_seq": seq})
                assert answer.status_code == 200, answer.text
    assert [change.seq for change in changes(own_root / "bare", 0)] == list(range(1, 41))


def test_another_worker_takes_over_when_the_one_that_writes_dies(own_root: Path, tmp_path: Path) -> None:
    with serving(own_root, made(tmp_path / "server"), "--workers", "2") as running:
        with running.client() as client:
            put(client, BAKING)
        running.wait_for_log("writes the changes under")
        found = re.search(r"process (\d+) writes the changes", running.log())
        assert found is not None
        os.kill(int(found[1]), signal.SIGKILL)
        seqs = []
        for turn in range(200):
            with running.client() as client:
                try:
                    answer = client.put(
                        "/v1/indexes/docs/documents",
                        json={"documents": [{"id": f"t{turn}", "payload": {"text": "After the fall."}}]},
                    )
                except httpx.TransportError:
                    continue
                if answer.status_code == 200:
                    seqs.append(answer.json()["seq"])
                    if len(seqs) == 5:
                        break
                else:
                    assert answer.json()["code"] == "not-ready", json.dumps(answer.json())
        assert len(seqs) == 5
        assert seqs == sorted(seqs)
    assert {change.id for change in changes(own_root / "docs", 0)} >= {"n1"}


def test_a_second_service_on_the_root_serves_reads_and_says_who_writes(own_root: Path, tmp_path: Path) -> None:
    with (
        serving(own_root, made(tmp_path / "first")) as first,
        serving(own_root, made(tmp_path / "second")) as second,
        first.client() as writer,
        second.client() as reader,
    ):
        seq = put(writer, BAKING)["seq"]
        assert ids(reader, text="rye bread", k=1, min_seq=seq) == ["n1"]
        refused = reader.put("/v1/indexes/docs/documents", json={"documents": [BAKING]})
        assert (refused.status_code, refused.json()["code"]) == (503, "not-ready")
        assert "Another service writes" in refused.json()["detail"]
        first.end()
        assert put(reader, {"id": "n2", "payload": {"text": "Now it is mine."}})["seq"] == seq + 1


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


def test_a_log_that_another_program_holds_is_said(own_root: Path, writable: Server, talking: httpx.Client) -> None:
    with LogHeld(own_root / "bare"):
        refused = talking.put("/v1/indexes/bare/documents", json={"documents": [{"id": "1", "vector": [1.0] * 8}]})
        assert refused.json()["code"] == "not-ready"
    assert put(talking, {"id": "1", "vector": [1.0] * 8}, index="bare")["written"] == 1


class LogHeld:
    def __init__(self, folder: Path) -> None:
        self._log = Log(folder, 8, None)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._log.close()


def test_a_damaged_log_is_named_and_what_is_served_goes_on(own_root: Path, tmp_path: Path) -> None:
    with serving(own_root, made(tmp_path / "first")) as first, first.client() as client:
        put(client, BAKING)
    with LogReader(own_root / "docs") as reader:
        path = reader.path
    content = bytearray(path.read_bytes())
    content[content.index(b"Rye bread")] ^= 1
    path.write_bytes(content)
    refused = pytest.raises(NotStarted, match=r"changes\.sqlite: is damaged|changes\.sqlite: cannot be read")
    with refused, serving(own_root, made(tmp_path / "second")):
        pass
