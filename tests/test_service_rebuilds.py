"""An index rebuilt beside the service: from what was written, from a source, cancelled, killed, refused, due."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from patience import patient
from serving import Server, documents, serving

from index import Root
from service.access.keys import Key, add, changing
from service.cli.writes import rebuild
from service.client import Client
from service.errors import RemoteError
from service.rebuilds.records import RUNNING, RebuildRecords

pytest_plugins = ["serving_fixtures"]


BREAD = {"id": "n1", "payload": {"title": "Rye bread", "text": "Bake rye bread in a hot oven with steam.", "words": 9}}
PRECISION = ["--precision", os.environ.get("PERWATT_TEST_PRECISION", "fp32")]
FIELDS = ["--filterable", "words:int,url:keyword"]


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    """A source `articles` of the index `docs`, small, and one that takes a while."""
    ids, payloads = documents()
    lines = [json.dumps({"id": id_, **payload}) for id_, payload in zip(ids, payloads, strict=True)]
    (tmp_path / "articles.jsonl").write_text("\n".join(lines) + "\n")
    many = (json.dumps({"id": f"m{row}", "text": f"Remark {row} " + "on the weather " * 60}) for row in range(3_000))
    (tmp_path / "many.jsonl").write_text("\n".join(many) + "\n")
    sources = "".join(
        f'[sources.{name}]\nindex = "docs"\ninputs = ["{tmp_path / name}.jsonl"]\nvectors = "{tmp_path / name}"\n'
        f"embed = {json.dumps(PRECISION)}\nbuild = {json.dumps(FIELDS if name == 'articles' else [])}\n"
        for name in ("articles", "many")
    )
    plan = tmp_path / "rebuilds.toml"
    plan.write_text(f"max_slowdown = 100.0\n{sources}")
    return plan


@pytest.fixture
def server(own_root: Path, tmp_path: Path, plan_file: Path) -> Iterator[Server]:
    folder = tmp_path / "server"
    folder.mkdir()
    with serving(own_root, folder, "--rebuilds", str(plan_file), "--workers", "2") as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as talking:
        yield talking


def start(client: httpx.Client, status: int = 202, key: str | None = None, **asked: Any) -> Any:
    headers = {} if key is None else {"idempotency-key": key}
    answer = client.post("/v1/rebuilds", json={"index": "docs", **asked}, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json()


def ended(client: httpx.Client, id_: str) -> Any:
    limit_s = time.monotonic() + patient(90)
    while (answer := client.get(f"/v1/rebuilds/{id_}").json())["ended_at"] is None:
        assert time.monotonic() < limit_s, answer
        time.sleep(0.1)
    return answer


def at_work(root: Path, client: httpx.Client, id_: str) -> int:
    """The process of a rebuild that embeds."""
    limit_s = time.monotonic() + patient(60)
    while client.get(f"/v1/rebuilds/{id_}").json()["step"] != "embed":
        assert time.monotonic() < limit_s
        time.sleep(0.05)
    record = RebuildRecords(root).get(id_)
    assert record is not None
    return record.pid


def test_what_was_written_is_in_the_next_generation_and_every_worker_serves_it(
    client: httpx.Client, server: Server
) -> None:
    before = client.get("/v1/indexes/docs").json()["generation"]
    assert client.put("/v1/indexes/docs/documents", json={"documents": [BREAD]}).json()["seq"] == 1
    started = start(client)
    assert (started["state"], started["source"]) == ("running", "changes")
    done = ended(client, started["id"])
    assert (done["state"], done["switched"]) == ("succeeded", True), done
    assert done["generation"] != before
    for _ in range(8):  # of either worker: a connection a request
        with server.client() as another:
            found = another.post("/v1/indexes/docs/search", json={"text": "rye bread in the oven", "k": 1}).json()
            assert found["generation"] == done["generation"]
            assert found["hits"][0]["id"] == "n1"
    listed = client.get("/v1/rebuilds").json()["rebuilds"]
    assert [one["id"] for one in listed] == [started["id"]]
    again = ended(client, start(client)["id"])
    assert again["state"] == "failed"
    assert "holds every change of index 'docs' already" in again["detail"]
    assert client.get("/v1/indexes/docs").json()["generation"] == done["generation"]


def test_a_named_source_is_embedded_and_only_what_changed_is_embedded_again(
    client: httpx.Client, own_root: Path, tmp_path: Path
) -> None:
    first = ended(client, start(client, source="articles")["id"])
    assert first["state"] == "succeeded", first
    with (tmp_path / "articles.jsonl").open("a") as file:
        file.write(json.dumps({"id": "new", "title": "Rye bread", "text": "Bake rye bread in a hot oven."}) + "\n")
    second = ended(client, start(client, source="articles")["id"])
    assert second["state"] == "succeeded", second
    assert "1 embedded, 22 reused" in RebuildRecords(own_root).log_of(second["id"]).read_text()
    hits = client.post("/v1/indexes/docs/search", json={"text": "rye bread in the oven", "k": 1}).json()["hits"]
    assert hits[0]["id"] == "new"
    assert len(list((own_root / "docs").glob("docs-*"))) == 2  # keep


def test_the_client_and_the_command_start_one_and_wait_for_it(
    client: httpx.Client, server: Server, own_root: Path
) -> None:
    with Client(server.url) as talking:
        first = talking.start_rebuild("docs", "articles", key="tonight")
        assert talking.start_rebuild("docs", "articles", key="tonight").id == first.id
        assert ended(client, first.id)["state"] == "succeeded"
        assert [one.id for one in talking.rebuilds().rebuilds] == [first.id]
        assert talking.cancel_rebuild(first.id).state == "succeeded"
    done = CliRunner().invoke(rebuild, ["docs", "--url", server.url, "--source", "articles"])
    assert done.exit_code == 0, done.output
    assert f"{Root(own_root).alias('docs').generation} is served" in done.output
    failed = CliRunner().invoke(rebuild, ["docs", "--url", server.url])
    assert isinstance(failed.exception, RemoteError)
    assert "holds every change of index 'docs' already" in str(failed.exception)


def test_the_same_key_starts_one_rebuild(client: httpx.Client) -> None:
    first = start(client, key="tonight")
    assert start(client, key="tonight")["id"] == first["id"]
    problem = start(client, 412, key="tonight", source="articles")
    assert "another request needs another key" in problem["detail"]
    ended(client, first["id"])
    assert start(client, key="tonight")["id"] == first["id"]
    assert start(client, 422, key="k" * 256)["code"] == "invalid-value"


def test_there_is_one_at_a_time_and_a_cancelled_one_changes_nothing(client: httpx.Client, own_root: Path) -> None:
    before = client.get("/v1/indexes/docs").json()["generation"]
    id_ = start(client, source="many")["id"]
    pid = at_work(own_root, client, id_)
    refused = start(client, 409, source="articles")
    assert (refused["code"], refused["rebuild"]) == ("rebuild-running", id_)
    assert client.delete(f"/v1/rebuilds/{id_}").status_code == 202
    done = ended(client, id_)
    assert (done["state"], done["step"]) == ("cancelled", "embed")
    limit_s = time.monotonic() + patient(30)
    while RebuildRecords(own_root).running() is not None:  # the record is there before the process is gone
        assert time.monotonic() < limit_s
        time.sleep(0.05)
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < limit_s
        time.sleep(0.05)
    assert client.get("/v1/indexes/docs").json()["generation"] == before
    assert ended(client, start(client, source="articles")["id"])["state"] == "succeeded"
    assert client.delete(f"/v1/rebuilds/{id_}").json()["state"] == "cancelled"  # once more is no error


def test_one_whose_process_is_killed_has_failed_and_says_what_it_said_last(
    client: httpx.Client, own_root: Path
) -> None:
    id_ = start(client, source="many")["id"]
    os.kill(at_work(own_root, client, id_), signal.SIGKILL)
    done = ended(client, id_)
    assert done["state"] == "failed"
    assert "as one does that is killed" in done["detail"]
    assert RebuildRecords(own_root).running() is None


def test_only_what_the_configuration_names_is_rebuilt_and_by_an_admin_alone(own_root: Path, tmp_path: Path) -> None:
    of = {}
    with changing(tmp_path / "keys.json") as held:
        for slot, (name, scope, only) in enumerate(
            [("s", "search", None), ("w", "write", None), ("a", "admin", None), ("b", "admin", ["x"])]
        ):
            of[name] = {"authorization": f"Bearer {add(held, Key(name, slot, scope, [], only), None)}"}
    with serving(own_root, tmp_path, "--keys", str(tmp_path / "keys.json")) as server, server.client() as client:
        for name, status in (("s", 403), ("w", 403), ("b", 404)):
            answer = client.post("/v1/rebuilds", json={"index": "docs"}, headers=of[name])
            assert (answer.status_code, name) == (status, name)
        for asked, status, word in (
            ({"index": "docs", "source": "/etc/passwd"}, 422, "it has changes"),
            ({"index": "nobody"}, 404, "nobody"),
            ({"index": "docs", "inputs": ["/etc/passwd"]}, 422, "inputs"),
            ({"index": Root(own_root).alias("docs").generation}, 422, "not a generation"),
        ):
            answer = client.post("/v1/rebuilds", json=asked, headers=of["a"])
            assert answer.status_code == status, answer.text
            assert word in answer.json()["detail"]
        for path in ("/v1/rebuilds/nobody", "/v1/rebuilds/..%2f..%2fdocs"):
            assert client.get(path, headers=of["a"]).status_code == 404
        assert client.get("/v1/rebuilds", headers=of["a"]).json() == {"rebuilds": []}


def test_a_rebuild_keeps_to_its_memory(own_root: Path, tmp_path: Path) -> None:
    plan = tmp_path / "rebuilds.toml"
    plan.write_text('memory = "24 MiB"\n')
    with serving(own_root, tmp_path, "--rebuilds", str(plan)) as server, server.client() as client:
        client.put("/v1/indexes/docs/documents", json={"documents": [BREAD]})
        done = ended(client, start(client)["id"])
        assert done["state"] == "failed"
        assert (
            client.post("/v1/indexes/docs/search", json={"text": "rye bread", "k": 1}).json()["hits"][0]["id"] == "n1"
        )


def test_a_root_that_can_only_be_read_or_has_damaged_records_is_served(own_root: Path, tmp_path: Path) -> None:
    """Of rebuilds whose process has died, and of a file that is no record."""
    records = RebuildRecords(own_root)
    with records.lock() as lock:
        assert lock is not None
        died = records.create(lock, "docs", "changes").answer.id
        os.ftruncate(lock, 0)
    (records.folder / "20200101T000000Z-aaaaaa.json").write_text("{")
    before = {path: path.read_bytes() for path in records.folder.glob("*.json")}
    bound = ["unshare", "--mount", "sh", "-c", 'mount --bind -o ro "$0" "$0" 2>/dev/null; exec "$@"', str(own_root)]
    usable = subprocess.run([*bound, "sh", "-c", f"! touch {own_root}/x 2>/dev/null"], check=False).returncode == 0
    with serving(own_root, tmp_path, prefix=bound if usable else ()) as server, server.client() as client:
        [seen] = client.get("/v1/rebuilds").json()["rebuilds"]
        assert (seen["id"], seen["state"]) == (died, "failed")
        assert "as one does that is killed" in seen["detail"]
        assert client.get("/v1/rebuilds/20200101T000000Z-aaaaaa").status_code == 404
        if usable:
            assert start(client, 503)["code"] == "not-ready"
    if usable:
        assert {path: path.read_bytes() for path in records.folder.glob("*.json")} == before


def test_who_looks_does_not_keep_a_rebuild_from_starting(own_root: Path) -> None:
    records = RebuildRecords(own_root)
    with records.lock() as lock:
        assert lock is not None
    looking = os.open(records.folder / RUNNING, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    letting_go = threading.Timer(0.1, os.close, [looking])
    letting_go.start()
    with records.lock() as lock:
        assert lock is not None
        created = records.create(lock, "docs", "changes")
        assert records.running() == created.answer.id
        with records.lock() as second:
            assert second is None
        assert records.get(created.answer.id) == created  # no other takes it for dead
    letting_go.join()
