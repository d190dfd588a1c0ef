"""What a worker knows that was busy elsewhere while another one wrote: before it writes itself, all of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from changing import DIM, Documents, document, vector, write
from patience import patient
from server_keys import bearer, make_key
from serving import serving

from index import open_generation
from index.changes.log import Log
from index.changes.log_reader import LogReader
from index.changes.words import ChangedWords
from index.errors import StorageError
from service.query import following
from service.query.following import AT_ONCE, Follower

DOCUMENTS = "/v1/indexes/docs/documents"
MANY = 2 * AT_ONCE  # more than a search applies by the way


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """A connection to each of two workers, of which the second has never answered; keys of a writer."""
    Documents(40).build(tmp_path / "root")
    keys = tmp_path / "keys.json"
    token = make_key(keys, "writer", "write")
    make_key(keys, "unused", "search")
    with serving(tmp_path / "root", tmp_path, "--workers", "2", "--keys", str(keys)) as server, ExitStack() as opened:
        first, second = (opened.enter_context(server.client(headers=bearer(token))) for _ in range(2))
        first.get("/livez")  # connected in this order, so to a worker each
        second.get("/livez")
        yield first, second


def put(client: httpx.Client, numbers: range, **more: Any) -> int:
    documents = [
        {"id": f"n{number}", "vector": vector(number).tolist(), "payload": document(number)} for number in numbers
    ]
    answer = client.put(DOCUMENTS, json={"documents": documents}, **more)
    assert (answer.status_code, answer.json()["written"]) == (200, len(documents)), answer.text
    return int(answer.json()["seq"])


def test_what_another_worker_put_is_deleted_by_its_id(two: tuple[httpx.Client, httpx.Client]) -> None:
    first, second = two
    put(first, range(MANY))
    assert second.delete(f"{DOCUMENTS}/n{MANY - 1}").json()["deleted"] == 1


def test_what_another_worker_put_is_deleted_by_ids_and_by_a_filter(two: tuple[httpx.Client, httpx.Client]) -> None:
    first, second = two
    put(first, range(MANY))
    put(first, range(MANY, MANY + 3))
    gone = second.post(f"{DOCUMENTS}/delete", json={"ids": [f"n{number}" for number in range(MANY, MANY + 3)]})
    assert gone.json()["deleted"] == 3
    put(first, range(MANY + 3, 2 * MANY))
    rest = [*range(40), *range(MANY), *range(MANY + 3, 2 * MANY)]
    german = sum(document(number)["lang"] == "de" for number in rest)
    gone = second.post(f"{DOCUMENTS}/delete", json={"filter": {"field": "lang", "eq": "de"}})
    assert gone.json()["deleted"] == german


def test_a_worker_that_nobody_asks_knows_what_another_one_wrote(two: tuple[httpx.Client, httpx.Client]) -> None:
    """All of it, and not a part with each search: of ten thousand that were deleted the last would come back."""
    first, second = two
    for start in range(0, 8 * AT_ONCE, AT_ONCE):
        seq = put(first, range(start, start + AT_ONCE))
    last = 8 * AT_ONCE - 1
    asked = {"vector": vector(last).tolist(), "k": 1, "params": {"exact": True}}
    limit_s = time.monotonic() + patient(60)
    while True:
        time.sleep(patient(2))  # so seldom that searches alone, which apply a part each, would not do it
        answer = second.post("/v1/indexes/docs/search", json=asked).json()
        if answer["hits"][0]["id"] == f"n{last}" or time.monotonic() > limit_s:
            break
    assert (answer["hits"][0]["id"], answer["seq"]) == (f"n{last}", seq)


def test_what_a_search_has_begun_is_applied_to_its_end_behind_it(tmp_path: Path) -> None:
    with open_generation(Documents(10).build(tmp_path)) as opened, Log(tmp_path / "docs", DIM, None) as log:
        follower = Follower(opened)
        log.append([write(f"n{number}", number) for number in range(5 * AT_ONCE)])
        follower._open_safely()

        async def asked() -> list[int]:
            follower.now()
            seen = [follower.behind]
            for _ in range(6):
                await asyncio.sleep(0)
                seen.append(follower.behind)
            return seen

        assert asyncio.run(asked()) == [AT_ONCE * left for left in (4, 3, 2, 1, 0, 0, 0)]
        follower.close()


def test_the_first_look_at_a_log_shows_what_is_in_it(tmp_path: Path) -> None:
    with open_generation(Documents(10).build(tmp_path)) as opened:
        follower = Follower(opened)
        with Log(tmp_path / "docs", DIM, None) as log:  # it is begun later
            log.append([write("new", 1)])
            assert follower.now().row_of("new") is not None
        follower.close()


def test_a_disk_that_could_not_be_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "AGAIN_S", 3600.0)
    with open_generation(Documents(10).build(tmp_path)) as opened, Log(tmp_path / "docs", DIM, None) as log:
        follower = Follower(opened)
        log.append([write("new", 1)])
        with monkeypatch.context() as failing:
            failing.setattr(LogReader, "since", raising(StorageError("too many open files")))
            follower.now()
            follower.now()
        assert (follower.failure, follower.behind) == ("too many open files", 1)
        follower.now()
        assert follower.behind == 1  # not at once
        monkeypatch.setattr(following, "AGAIN_S", 0.0)
        follower._again_s = 0.0
        follower.now()
        assert (follower.failure, follower.behind) == (None, 0)
        follower.close()


def raising(error: Exception) -> Any:
    def fail(*_: Any) -> Any:
        raise error

    return fail


def test_a_generation_holds_all_changes_until_one_is_written_or_none_can_be_read(tmp_path: Path) -> None:
    with open_generation(Documents(10).build(tmp_path)) as opened:
        follower = Follower(opened)
        assert follower.folded
        with Log(tmp_path / "docs", DIM, None) as log:
            assert not follower.folded  # there is a log, and what is in it was not looked at yet
            follower.now()
            log.append([write("new", 1)])
        assert not follower.folded
        follower.close()
        for file in (tmp_path / "docs").glob("changes.sqlite*"):
            file.write_bytes(b"no database" * 500)
        follower._open_safely()
        assert follower.failure is not None
        assert not follower.folded


def test_a_change_that_fails_half_way_is_not_searched_and_none_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the defect is: rows without their vectors would give every later document another one's."""
    folder = Documents(40).build(tmp_path / "root")
    with open_generation(folder) as generation, Log(folder.parent, DIM, None) as log:
        log.append([write("n1", 1), write("n2", 2)])
        follower = Follower(generation)
        before = follower.now()
        assert (before.count, follower.seq) == (42, 2)
        add = ChangedWords.add

        def failing(self: ChangedWords, text: str) -> None:
            if text.endswith("the defect"):
                raise BufferError("Existing exports of data")
            add(self, text)

        monkeypatch.setattr(ChangedWords, "add", failing)
        log.append([write("n3", 3), write("n4", 4)._replace(payload=b'{"text": "the defect"}'), write("n1", 5)])
        for _ in range(2):
            assert follower.now() is before
            assert (before.row_of("n1"), before.row_of("n3"), follower.seq, follower.behind) == (40, None, 2, 3)
        assert follower.failure == "Existing exports of data"
        follower.close()
