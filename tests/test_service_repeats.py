"""A write that is sent again with its Idempotency-Key is done once, and answered as the first time."""

from __future__ import annotations

import signal
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from patience import patient
from server_keys import bearer, make_key
from serving import serving
from writes_over_http import BAKING, ids, made, put

from index.changes import repeats
from index.changes.log import Log
from index.changes.log_file import LOG_FILE, Write
from index.changes.repeats import KeyedRequest, KeyReusedError
from index.changes.writer import Writer
from index.errors import GenerationError
from service.client import Client

pytest_plugins = ["serving_fixtures", "writes_over_http_fixtures"]
DOCUMENTS = "/v1/indexes/docs/documents"
ONCE = {"idempotency-key": "once"}
FROZEN = {"id": "n1", "payload": {"title": "Frozen lake", "text": "Skating on the ice of a frozen lake.", "words": 7}}


def again(client: httpx.Client, document: dict[str, Any], **headers: str) -> httpx.Response:
    return client.put(DOCUMENTS, json={"documents": [document]}, headers=ONCE | headers)


def test_what_was_written_since_is_not_replaced_by_a_put_that_is_sent_again(talking: httpx.Client) -> None:
    first = again(talking, BAKING)
    assert first.status_code == 200, first.text
    put(talking, FROZEN)
    repeated = again(talking, BAKING)
    assert repeated.json() == first.json() | {"took_ms": repeated.json()["took_ms"]}
    assert talking.get(f"{DOCUMENTS}/n1").json()["payload"]["title"] == "Frozen lake"
    assert put(talking, BAKING)["seq"] == 3, "the one sent again wrote nothing"


def test_what_was_deleted_once_is_not_deleted_again(talking: httpx.Client) -> None:
    everything = {"filter": {"field": "words", "gte": 0}}
    first = talking.post(f"{DOCUMENTS}/delete", json=everything, headers=ONCE)
    assert first.json()["deleted"] > 10
    put(talking, BAKING)
    repeated = talking.post(f"{DOCUMENTS}/delete", json=everything, headers=ONCE)
    assert repeated.json()["deleted"] == first.json()["deleted"]
    assert "n1" in ids(talking, text="rye bread", k=3)
    one = {"idempotency-key": "one"}
    assert talking.delete(f"{DOCUMENTS}/n1", headers=one).status_code == 200
    assert talking.delete(f"{DOCUMENTS}/n1", headers=one).json()["deleted"] == 1, "not 404: it was there the first time"
    assert talking.delete(f"{DOCUMENTS}/n1").status_code == 404
    nothing = {"ids": ["n2"]}
    none = talking.post(f"{DOCUMENTS}/delete", json=nothing, headers={"idempotency-key": "none"})
    assert none.json()["deleted"] == 0
    put(talking, BAKING | {"id": "n2"})
    none = talking.post(f"{DOCUMENTS}/delete", json=nothing, headers={"idempotency-key": "none"})
    assert none.json()["deleted"] == 0, "nothing was deleted the first time, so nothing is now"


def test_a_dry_run_uses_up_no_key(talking: httpx.Client) -> None:
    asked = {"ids": ["a00"], "dry_run": True}
    assert talking.post(f"{DOCUMENTS}/delete", json=asked, headers=ONCE).json()["deleted"] == 1
    done = talking.post(f"{DOCUMENTS}/delete", json={"ids": ["a00"]}, headers=ONCE)
    assert (done.json()["deleted"], done.json()["dry_run"]) == (1, False)


def test_a_key_is_of_one_request(talking: httpx.Client) -> None:
    again(talking, BAKING)
    other = again(talking, FROZEN)
    assert (other.status_code, other.json()["code"]) == (412, "precondition-failed")
    assert "came with another request" in other.json()["detail"]
    for length in (0, 256):
        refused = again(talking, BAKING, **{"idempotency-key": "x" * length})
        assert refused.status_code == 422
        assert "1 to 255" in refused.json()["detail"]


def test_a_key_is_of_one_caller(own_root: Path, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    tokens = [make_key(file, name, "write") for name in ("nightly", "editor")]
    with serving(own_root, made(tmp_path / "server"), "--keys", str(file)) as running, running.client() as client:
        first, other = (
            again(client, one, **bearer(token)) for one, token in zip((BAKING, FROZEN), tokens, strict=True)
        )
        assert (first.json()["seq"], other.json()["seq"]) == (1, 2)


def test_many_at_once_on_any_worker_are_written_once_and_remembered_after_a_kill(
    own_root: Path, tmp_path: Path
) -> None:
    def send(_: int) -> int:
        until_s = time.monotonic() + patient(60)
        while True:
            with running.client() as client:
                answer = again(client, BAKING)
            if answer.status_code != 503 or time.monotonic() > until_s:  # the process that writes is starting
                assert answer.status_code == 200, answer.text
                return int(answer.json()["seq"])
            time.sleep(0.05)

    with serving(own_root, made(tmp_path / "first"), "--workers", "2") as running:
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(send, range(24))) == {1}
        with running.client() as client:
            assert put(client, FROZEN)["seq"] == 2
        running.end(signal.SIGKILL)
    with serving(own_root, made(tmp_path / "second")) as running:
        assert send(0) == 1


def test_the_client_sends_a_key(own_root: Path, tmp_path: Path) -> None:
    with serving(own_root, made(tmp_path / "server")) as running, Client(running.url) as client:
        assert {client.put("docs", [BAKING], key="k").seq for _ in range(3)} == {1}
        assert {client.delete("docs", ids=["n1"], key="d").deleted for _ in range(3)} == {1}


def test_twins_in_one_group_are_written_once_and_another_request_is_refused(tmp_path: Path) -> None:
    """A blocked database makes all of them wait, so that the next group has them all."""
    writer = Writer(Log(tmp_path, 2, None))
    blocked = sqlite3.connect(tmp_path / LOG_FILE, isolation_level=None)
    blocked.execute("BEGIN IMMEDIATE")
    vector = b"\0" * 8
    before = writer.submit([Write("first", vector)])
    twins = [writer.submit([Write("twin", vector), Write("other", vector)], KeyedRequest(b"k", b"a")) for _ in range(3)]
    wrong = writer.submit([Write("wrong", vector)], KeyedRequest(b"k", b"b"))
    nothing = writer.submit([], KeyedRequest(b"n", b"a"))
    after = writer.submit([Write("last", vector)])
    blocked.execute("ROLLBACK")
    blocked.close()
    assert [before.result(), *(one.result() for one in twins), nothing.result(), after.result()] == [1, 3, 3, 3, 3, 4]
    with pytest.raises(KeyReusedError):
        wrong.result()
    assert writer.submit([], KeyedRequest(b"n", b"a")).result() == 3
    writer.close()


def test_a_twin_whose_key_was_forgotten_in_the_same_group_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeats, "MOST", 1)
    writer = Writer(Log(tmp_path, 2, None))
    blocked = sqlite3.connect(tmp_path / LOG_FILE, isolation_level=None)
    blocked.execute("BEGIN IMMEDIATE")
    vector = b"\0" * 8
    handed_in = [writer.submit([Write("first", vector)])]
    for key in (b"a", b"b", b"a"):
        handed_in.append(writer.submit([Write("one", vector)], KeyedRequest(key, b"")))
    blocked.execute("ROLLBACK")
    blocked.close()
    assert [one.result(60) for one in handed_in] == [1, 2, 3, 4]
    writer.close()


def test_the_last_keys_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "MOST", 3)
    asked = [KeyedRequest(b"%d" % number, b"a", b"answer") for number in range(5)]
    with Log(tmp_path, 2, None) as log:
        for number, request in enumerate(asked):
            log.append([Write(str(number), b"\0" * 8)], [(1, request)])
        kept = [log.answered(request) for request in asked]
    assert [None if one is None else (one.seq, one.answer) for one in kept] == [
        None,
        None,
        *((n, b"answer") for n in (3, 4, 5)),
    ]
    assert repeats.answered(tmp_path, asked[4]) == kept[4]


def test_answers_take_no_more_room_than_they_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a put that was refused document by document the answer is long."""
    monkeypatch.setattr(repeats, "ANSWER_BYTES", 1000)
    asked = [KeyedRequest(b"%d" % number, b"a", b"x" * size) for number, size in enumerate((400, 400, 300, 5000, 10))]
    known = []
    with Log(tmp_path, 2, None) as log:
        for request in asked:
            log.append([], [(0, request)])
            known.append([each for each, one in enumerate(asked) if log.answered(one) is not None])
    assert known == [[0], [0, 1], [1, 2], [3], [4]]


def test_a_damaged_note_is_refused_by_name(tmp_path: Path) -> None:
    request = KeyedRequest(b"key", b"a", b"answer")
    with Log(tmp_path, 2, None) as log:
        log.append([Write("one", b"\0" * 8)], [(1, request)])
    for column in ("asked = x'62'", "seq = 2", "answer = x''", "answer = 7"):
        with sqlite3.connect(tmp_path / LOG_FILE) as file:
            kept = file.execute("SELECT * FROM requests").fetchone()
            file.execute(f"UPDATE requests SET {column}")
        with pytest.raises(GenerationError, match=r"changes\.sqlite: is damaged.*Idempotency-Key"):
            repeats.answered(tmp_path, request)
        with sqlite3.connect(tmp_path / LOG_FILE) as file:
            file.execute("DELETE FROM requests")
            file.execute("INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?, ?)", kept)


def test_a_log_of_before_there_were_keys_knows_none_and_takes_them(tmp_path: Path) -> None:
    request = KeyedRequest(b"key", b"a")
    with Log(tmp_path, 2, None) as log:
        log.append([Write("one", b"\0" * 8)])
        log.connection.execute("DROP TABLE requests")
    assert repeats.answered(tmp_path, request) is None
    with Log(tmp_path, 2, None) as log:
        log.append([Write("two", b"\0" * 8)], [(1, request)])
    found = repeats.answered(tmp_path, request)
    assert found is not None
    assert found.seq == 2
