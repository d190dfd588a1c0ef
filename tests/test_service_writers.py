"""One writes and all see it: kills, workers that hand over and take over, second services, damaged logs."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from patience import patient
from serving import NotStarted, Server, serving
from writes_over_http import BAKING, ids, made, put

from index.changes.log import Log
from index.changes.log_reader import LogReader, changes

pytest_plugins = ["serving_fixtures", "writes_over_http_fixtures"]


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

        def put_in_time(client: httpx.Client, document: Any) -> Any:
            """A writer that takes long to start is told with 503, which is to be tried again."""
            limit_s = time.monotonic() + patient(60)
            while True:
                answer = client.put("/v1/indexes/bare/documents", json={"documents": [document]})
                if answer.status_code != 503 or time.monotonic() > limit_s:
                    assert answer.status_code == 200, answer.text
                    return answer.json()

        def write(name: int) -> None:
            for turn in range(10):
                with running.client() as client:  # a connection each, so that both workers get some
                    id_ = f"w{name}-{turn}"
                    seq = put_in_time(client, {"id": id_, "vector": [float(name + 1), *[0.0] * 7]})["failed"]
                    assert seq
                    seq = put_in_time(client, {"id": str(10_000 + name * 100 + turn), "vector": [1.0 + name] * 8})
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
