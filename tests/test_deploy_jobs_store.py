"""A job whose inputs, parts and shards are in a store of S3's API: the same index, whoever dies."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from encoder_server import EncoderServer, encoder_server
from running_jobs import Killing, documents, made, planned, ran, ran_here
from store_servers import BUCKET, client, credentials, seaweed

from deploy.command import perwatt
from deploy.errors import BadInputError
from deploy.jobs.inputs import job_sources
from deploy.jobs.work import work
from embed.documents.document import NoSuchInputError
from index.backup.address import open_store
from index.backup.sharded import sealed_shards, sharded_backups
from index.backup.store import FolderStore
from index.disk.sealed import parse_sealed, render_sealed
from index.errors import BackupError, PublishCheckError

OPTIONS = ("--shards", 2, "--filterable", "year:int")


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with seaweed(tmp_path_factory.mktemp("seaweed")) as address:
        yield address


@pytest.fixture(scope="module")
def server() -> Iterator[EncoderServer]:
    with encoder_server() as running:
        yield running


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with JSON Lines and a Parquet file of several row groups."""
    folder = tmp_path_factory.mktemp("inputs")
    rows = [json.loads(line) for line in documents(folder / "docs.jsonl").read_text().splitlines()]
    (folder / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:140]))
    pq.write_table(pa.Table.from_pylist(rows[140:]), folder / "docs.parquet", row_group_size=30)
    return folder


@pytest.fixture
def bucket(endpoint: str, inputs: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A prefix for this test alone, with the inputs under docs/."""
    credentials(endpoint, monkeypatch)
    for path in inputs.iterdir():
        put(endpoint, f"{request.node.name}/docs/{path.name}", path.read_bytes())
    return f"s3://{BUCKET}/{request.node.name}"


def put(endpoint: str, key: str, content: bytes) -> None:
    client(endpoint).put_object(Bucket=BUCKET, Key=key, Body=content)


def taken(endpoint: str, key: str) -> bytes:
    raw: bytes = client(endpoint).get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return raw


def keys(endpoint: str, address: str) -> list[str]:
    pages = client(endpoint).get_paginator("list_objects_v2")
    found = pages.paginate(Bucket=BUCKET, Prefix=address.removeprefix(f"s3://{BUCKET}/"))
    return [entry["Key"] for page in found for entry in page.get("Contents", [])]


def pulled(address: str, folder: Path) -> dict[str, Any]:
    """What `perwatt pull` brings, as `made` tells of it."""
    ran = CliRunner().invoke(perwatt, ["pull", "docs", address, "--root", str(folder / "i"), "--switch", "--json"])
    assert ran.exit_code == 0, ran.output
    return made(folder)


def test_a_store_gives_the_bytes_of_a_folder_whoever_dies(
    endpoint: str, bucket: str, inputs: Path, server: EncoderServer, tmp_path: Path
) -> None:
    beside = planned(inputs, tmp_path / "folder", server.url, *OPTIONS)
    ran_here(beside)
    job = planned(f"{bucket}/docs", f"{bucket}/indexes", server.url, *OPTIONS)
    assert job.place.where == f"{bucket}/indexes/docs.job"
    assert [[file["sha256"] for file in files] for files in job.plan.fragments] == [
        [file["sha256"] for file in files] for files in beside.plan.fragments
    ]
    marks = {("embed", "1"): "/part-00000-", ("build", "1"): "/manifest.json", ("measure", "0"): "/measured/"}
    start = Killing(marks)
    said = {line.split(":")[0]: line for line in ran(job, start)}
    assert start.marks == {}
    for stage in ("embed", "build", "measure"):
        tasks = job.tasks(stage)
        assert f"{stage}: {tasks} of {tasks} done, 0 failed, 1 retried" in said[stage]
    assert len(start.started) == 2 * 2 + job.tasks("embed") + 1 + len(marks)
    assert pulled(f"{bucket}/indexes", tmp_path / "pulled") == made(tmp_path / "folder")
    assert ran_here(job) == []

    again = planned(f"{bucket}/docs", f"{bucket}/indexes", server.url, "--shards", 3, "--filterable", "year")
    asked = len(server.texts())
    assert again.plan.generation > job.plan.generation
    ran_here(again)
    assert len(server.texts()) == asked
    assert len(pulled(f"{bucket}/indexes", tmp_path / "again")) == 3


def test_what_is_damaged_or_changed_is_refused_and_nothing_of_it_is_seen(
    endpoint: str, bucket: str, server: EncoderServer, inputs: Path
) -> None:
    job = planned(f"{bucket}/docs", f"{bucket}/indexes", server.url, *OPTIONS)
    where, tasks = job.place.where, job.tasks("embed")
    key = f"{bucket.removeprefix(f's3://{BUCKET}/')}/docs/docs.jsonl"
    put(endpoint, key, (inputs / "docs.jsonl").read_bytes().replace(b"alpha", b"omega"))
    with pytest.raises(BadInputError, match=r"docs\.jsonl was changed since the job was planned"):
        work(where, "embed", 0)
    client(endpoint).delete_object(Bucket=BUCKET, Key=key)
    with pytest.raises(BadInputError, match=r"docs\.jsonl is missing"):
        work(where, "embed", 0)
    put(endpoint, key, (inputs / "docs.jsonl").read_bytes())
    for task in range(tasks):
        work(where, "embed", task)
    lists = {each: taken(endpoint, each) for each in keys(endpoint, where) if "/outputs/split-" in each}
    for each, raw in lists.items():
        put(endpoint, each, re.sub(rb'"([0-9a-f]{64})"', lambda found: b'"' + found[1][::-1] + b'"', raw))
    with pytest.raises(BackupError, match=r"outputs/split-\w+-\w+\.json .*; delete it, and its task is done again"):
        work(where, "build", 0)
    for each, raw in lists.items():
        put(endpoint, each, raw)
    for piece in (each for each in keys(endpoint, where) if "/kept/split-" in each):
        raw = taken(endpoint, piece)
        put(endpoint, piece, raw[:-1] + bytes([raw[-1] ^ 1]))
    with pytest.raises(BackupError, match=rf"is damaged: .* Delete {where}/kept/split-\w+-\w+ and "):
        work(where, "build", 0)
    assert sharded_backups(open_store(f"{bucket}/indexes"), "docs") == []


def test_one_of_two_that_publish_does_and_half_an_input_is_not_published(
    endpoint: str, bucket: str, server: EncoderServer, inputs: Path
) -> None:
    job = planned(f"{bucket}/docs", f"{bucket}/indexes", server.url, *OPTIONS)
    ran_here(job)
    store = open_store(f"{bucket}/indexes")
    [before] = sharded_backups(store, "docs")
    work(job.place.where, "publish", 0)
    assert sharded_backups(store, "docs") == [before]
    name = f"docs.shards/{job.plan.generation}/shards.json"
    content = parse_sealed(store.get(name, 1 << 20))
    assert content == sealed_shards(store, "docs", job.plan.generation)
    store.put(name, render_sealed({**content, "count": 1}))
    with pytest.raises(BackupError, match="is there already and says something else"):
        work(job.place.where, "publish", 0)
    store.put(name, render_sealed(content))

    lines = (inputs / "docs.jsonl").read_text().splitlines(keepends=True)
    put(endpoint, f"{bucket.removeprefix(f's3://{BUCKET}/')}/half/docs.jsonl", "".join(lines[:60]).encode())
    half = planned(f"{bucket}/half", f"{bucket}/indexes", server.url, *OPTIONS)
    for stage in ("embed", "build", "measure"):
        for task in range(half.tasks(stage)):
            work(half.place.where, stage, task)
    with pytest.raises(PublishCheckError, match="looks like half an input"):
        work(half.place.where, "publish", 0)
    assert sharded_backups(store, "docs") == [before]


def test_inputs_are_found_by_the_rules_for_files(endpoint: str, bucket: str, tmp_path: Path) -> None:
    top = f"{bucket.removeprefix(f's3://{BUCKET}/')}/docs"
    for name in ("more/deep.csv", "README.md", ".hidden.jsonl", "empty/"):
        put(endpoint, f"{top}/{name}", b"")

    def found(*given: str) -> list[str]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        return [source.name.removeprefix(f"{bucket}/docs/") for source in job_sources(given, None, None, folder)]

    assert found(f"{bucket}/docs") == found(f"{bucket}/docs/") == ["docs.jsonl", "docs.parquet", "more/deep.csv"]
    assert found(f"{bucket}/docs/*.jsonl", f"{bucket}/docs/docs.*") == ["docs.jsonl", "docs.parquet"]
    assert found(f"{bucket}/docs/docs.parquet") == ["docs.parquet"]
    with pytest.raises(NoSuchInputError, match=f"there is no object {bucket}/docs/none.jsonl"):
        found(f"{bucket}/docs/none.jsonl")
    with pytest.raises(NoSuchInputError, match=rf"no file matches {bucket}/docs/\*\.csv"):
        found(f"{bucket}/docs/*.csv")


def test_a_store_keeps_what_was_put_first(bucket: str, tmp_path: Path) -> None:
    for store in (open_store(bucket), FolderStore(tmp_path)):
        assert store.create("a/b", b"first")
        assert not store.create("a/b", b"second")
        assert store.get("a/b", 9) == b"first"


def test_options_that_do_not_go_with_a_store_are_refused(tmp_path: Path) -> None:
    for words, said in (
        (("--root", "s3://b/x", "--job", tmp_path), "both folders, or both in a store"),
        (("--root", "s3://b/x", "--no-switch"), "--no-switch is about a folder of indexes"),
        (("--root", "s3://b/x", "--max-slowdown", 2), "--max-slowdown is about a folder of indexes"),
    ):
        ran = CliRunner().invoke(perwatt, ["plan", "x", "--index", "docs", "--shards", "2", *map(str, words)])
        assert (ran.exit_code, said in ran.output) == (2, True), ran.output
