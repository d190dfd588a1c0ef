"""A wall clock that is set back or forward breaks neither the log, nor rebuilds, nor the order of generations."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from changing import Documents, document, vector
from patience import patient
from serving import Server, serving
from wall_clock import WallClock

from index import Root
from index.changes.log_reader import LogReader, changes
from service.rebuilds.due import Due
from service.rebuilds.plan import RebuildPlan, Trigger
from service.rebuilds.records import KEPT, RebuildRecords
from service.rebuilds.starting import Rebuilds

DAY = timedelta(days=1)


@pytest.fixture
def clock(tmp_path: Path) -> WallClock:
    return WallClock(tmp_path)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    Documents(60).build(tmp_path / "root")
    return Root(tmp_path / "root")


@pytest.fixture
def server(root: Root, clock: WallClock, tmp_path: Path) -> Iterator[Server]:
    with serving(root.folder, tmp_path, "--workers", "2", env=clock.environment) as running:
        yield running


def put(server: Server, id_: str, seed: int) -> int:
    """By a connection of its own, so by either worker; its id is its key, too."""
    body = {"documents": [{"id": id_, "vector": vector(seed).tolist(), "payload": document(seed)}]}
    with server.client() as client:
        answer = client.put("/v1/indexes/docs/documents", json=body, headers={"idempotency-key": id_})
    assert answer.status_code == 200, answer.text
    return int(answer.json()["seq"])


def best(server: Server, seed: int, min_seq: int) -> Any:
    asked = {"vector": vector(seed).tolist(), "k": 1, "min_seq": min_seq, "params": {"exact": True}}
    with server.client() as client:
        answer = client.post("/v1/indexes/docs/search", json=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def rebuilt(client: httpx.Client, key: str) -> Any:
    headers = {"idempotency-key": key}
    started = client.post("/v1/rebuilds", json={"index": "docs"}, headers=headers)
    assert started.status_code == 202, started.text
    limit_s = time.monotonic() + patient(240)
    while (answer := client.get(f"/v1/rebuilds/{started.json()['id']}").json())["ended_at"] is None:
        assert time.monotonic() < limit_s, answer
        time.sleep(0.05)
    assert answer["state"] == "succeeded", f"{answer}"  # whole: its detail says why
    assert client.post("/v1/rebuilds", json={"index": "docs"}, headers=headers).json() == answer  # started once
    return answer


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([-400 * DAY, 400 * DAY, -timedelta(seconds=2)], id="back and forth"),
        pytest.param([DAY, -400 * DAY, 400 * DAY, -timedelta(seconds=2), -30 * DAY], id="more", marks=pytest.mark.long),
    ],
)
def test_writes_rebuilds_and_generations_keep_their_order_whatever_the_clock_does(
    server: Server, clock: WallClock, root: Root, tmp_path: Path, steps: list[timedelta]
) -> None:
    made, records = root.generations("docs"), []
    with server.client() as client:
        for number, off in enumerate(steps, 1):
            clock.step_to(off)
            assert put(server, f"n{number}", 1000 + number) == number
            found = best(server, 1000 + number, number)
            assert (found["seq"], found["hits"][0]["id"]) == (number, f"n{number}")
            done = rebuilt(client, f"key {number}")
            assert abs(datetime.fromisoformat(done["requested_at"]) - datetime.now(UTC) - off) < timedelta(hours=1)
            made.append(done["generation"])
            records.insert(0, done["id"])
            assert root.generations("docs") == made[-2:]
            assert root.alias("docs")[:2] == (made[-1], made[-2])
            assert [one["id"] for one in client.get("/v1/rebuilds").json()["rebuilds"]] == records
        back = client.post("/v1/aliases/docs/rollback").json()
        assert back["generation"] == made[-2]
        clock.step_to(-4000 * DAY)
        assert rebuilt_before(client, "key 1") == records[-1]  # keys are kept by number, not by age
        assert put(server, "n1", 1001) == 1  # what was written, and not another write
    for number in range(1, len(steps) + 1):
        assert best(server, 1000 + number, len(steps))["hits"][0]["id"] == f"n{number}"
    server.end()
    with serving(root.folder, tmp_path, env=clock.environment) as again:
        assert put(again, "last", 2000) == len(steps) + 1
        assert best(again, 1001, len(steps) + 1)["hits"][0]["id"] == "n1"
    with LogReader(root.folder / "docs") as log:
        first = log.head.first  # what every generation has is trimmed once a minute
    left = [change.seq for change in changes(root.folder / "docs", first - 1)]
    assert left == list(range(first, len(steps) + 2))


def rebuilt_before(client: httpx.Client, key: str) -> Any:
    return client.post("/v1/rebuilds", json={"index": "docs"}, headers={"idempotency-key": key}).json()["id"]


def test_a_new_rebuild_is_not_forgotten_as_the_oldest_when_the_clock_was_ahead_before(tmp_path: Path) -> None:
    records = RebuildRecords(tmp_path)
    with records.lock() as lock:
        assert lock is not None
        first = records.create(lock, "docs", "changes").answer.id
        content = (records.folder / f"{first}.json").read_text()
        for number in range(KEPT):
            id_ = f"20990101T000000Z-{number:06x}"
            (records.folder / f"{id_}.json").write_text(content.replace(first, id_))
        new = records.create(lock, "docs", "changes").answer.id
    assert records.ids()[0] == new
    assert len(records.ids()) == KEPT


def test_a_rebuild_that_failed_under_a_clock_that_was_ahead_is_tried_again(root: Root) -> None:
    rebuilds = Rebuilds(root, RebuildPlan(triggers=[Trigger("docs", changes=1)]), dict(os.environ))
    with rebuilds.records.lock() as lock:
        assert lock is not None
        failed = rebuilds.records.create(lock, "docs", "changes", trigger=True).answer.id
        rebuilds.records.update(failed, state="failed", ended_at="2099-01-01T00:00:00Z")
    Due(rebuilds, Written()).look()
    assert len(rebuilds.records.all()) == 2
    until_s = time.monotonic() + patient(240)
    while rebuilds.records.running() is not None:
        assert time.monotonic() < until_s
        time.sleep(0.05)


class Written:
    def written(self, index: str) -> tuple[int, int]:
        return 5, 100

    def folded(self, index: str) -> bool:
        return False


def test_records_are_not_read_every_second_because_the_clock_was_set_back(tmp_path: Path) -> None:
    rebuilds = Rebuilds(Root(tmp_path), RebuildPlan(), {})
    rebuilds.records.folder.mkdir()
    ahead_s = time.time() + 3600
    os.utime(rebuilds.records.folder, (ahead_s, ahead_s))
    assert rebuilds.changed
    rebuilds.ended()
    assert not rebuilds.changed
