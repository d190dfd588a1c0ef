"""A job makes the same bytes whoever dies while it runs, does nothing twice, and says what is wrong with its input."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from encoder_server import EncoderServer, encoder_server
from running_jobs import Here, Killing, documents, made, planned, ran, ran_here
from warm import shared

from deploy.command import perwatt
from deploy.errors import BadInputError, JobError
from deploy.jobs import attempts
from deploy.jobs.plan import Job
from deploy.jobs.ray_cluster import RayWorkers
from deploy.jobs.run import run
from deploy.jobs.tally import JobDisplay, Tally
from deploy.jobs.work import work
from index.build.sharded import build_sharded
from index.changes.log import Log
from index.changes.log_file import Write
from index.disk.vectors_folder import VectorsFolder
from index.errors import GenerationError
from index.search.opening import open_generation
from index.shards.sealed import ShardedIndex

OPTIONS = ("--shards", 2, "--filterable", "year:int")


@pytest.fixture(scope="module")
def server() -> Iterator[EncoderServer]:
    with encoder_server() as running:
        yield running


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return documents(tmp_path_factory.mktemp("docs") / "docs.jsonl")


@pytest.fixture(scope="module")
def undisturbed(docs: Path, server: EncoderServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a job that ran from its start to its end in this process."""
    folder = tmp_path_factory.mktemp("undisturbed")
    job = planned(docs, folder, server.url, *OPTIONS)
    for stage in ("embed", "build", "measure", "publish"):
        for task in range(job.tasks(stage)):
            work(job.folder, stage, task, 1)
    return folder


def perwatt_says(*words: object) -> tuple[int, str]:
    ran = CliRunner().invoke(perwatt, [str(word) for word in words])
    return ran.exit_code, ran.output


def test_killed_workers_cost_what_they_were_working_on_and_the_bytes_are_the_same(
    docs: Path, server: EncoderServer, undisturbed: Path, tmp_path: Path
) -> None:
    job = planned(docs, tmp_path, server.url, *OPTIONS)
    marks = {("embed", "1"): "/part-00000-", ("embed", "2"): "/embed.json", ("build", "1"): "/manifest.json"}
    marks |= {("publish", "0"): "/shards.json"}
    start = Killing(marks)
    said = ran(job, start, usd_per_core_hour=0.04)
    assert start.marks == {}
    assert sorted(start.started) == sorted(
        [f"{stage} {task}" for stage in ("embed", "build", "measure", "publish") for task in range(job.tasks(stage))]
        + [f"{stage} {task}" for stage, task in marks]
    )
    last = {line.split(":")[0]: line for line in said}
    assert list(last) == ["embed", "build", "measure", "publish"]
    assert f"embed: {job.tasks('embed')} of {job.tasks('embed')} done, 0 failed, 2 retried" in last["embed"]
    assert "so far" in last["embed"]
    assert made(tmp_path) == made(undisturbed)
    assert len(made(tmp_path)) == 2
    assert job.index.alias().generation == job.plan.generation
    assert job.index.generation().content["recall"]["recall"] == 1.0
    assert ran_here(job) == []


def test_a_driver_that_died_before_its_shards_were_served_goes_on_there(
    docs: Path, server: EncoderServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every byte of every shard is checked before the alias is written, which takes long where they are large."""
    job = planned(docs, tmp_path, server.url, *OPTIONS)
    for stage in ("embed", "build", "measure"):
        for task in range(job.tasks(stage)):
            work(job.folder, stage, task, 1)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(ShardedIndex, "switch", die)
        with pytest.raises(KeyboardInterrupt):
            work(job.folder, "publish", 0, 1)
    assert job.index.generations() == [job.plan.generation]
    assert (job.published(), job.to_do("publish")) == (None, [0])
    again = planned(docs, tmp_path, server.url, *OPTIONS)
    assert again.plan == job.plan
    assert ran_here(again) == ["publish 0"]
    assert again.index.alias().generation == job.plan.generation
    assert again.published() is not None
    assert planned(docs, tmp_path, server.url, *OPTIONS).plan.generation > job.plan.generation  # that is published


def test_a_job_makes_what_a_build_in_shards_makes(
    docs: Path, server: EncoderServer, undisturbed: Path, tmp_path: Path
) -> None:
    status, said = perwatt_says("embed", docs, "--out", tmp_path / "v", "--encoder", server.url)
    assert status == 0, said
    build_sharded(VectorsFolder(tmp_path / "v"), 2, root=tmp_path / "i", name="docs", filterable=["year:int"])
    assert made(tmp_path) == made(undisturbed)


def test_another_plan_uses_the_parts_that_are_there(
    docs: Path, server: EncoderServer, undisturbed: Path, tmp_path: Path
) -> None:
    shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
    first = Job(tmp_path / "j")
    assert planned(docs, undisturbed, server.url, *OPTIONS).plan.generation > first.plan.generation  # that is published
    asked = len(server.texts())
    with docs.open() as lines:
        longer = tmp_path / "docs.jsonl"
        longer.write_text(lines.read() + '{"id": "new", "text": "one more"}\n')
    before = [file["sha256"] for [file] in first.plan.fragments]
    job = planned(docs, tmp_path, server.url, "--shards", 3, "--filterable", "year")
    assert planned(docs, tmp_path, server.url, "--shards", 3, "--filterable", "year").plan == job.plan
    assert [file["sha256"] for [file] in job.plan.fragments] == before
    ran_here(job)
    assert len(server.texts()) - asked < 100  # some of each part, to see whether the model is still the same
    content = job.index.generation().content
    assert (content["count"], len(content["shards"]), content["filterable"]) == (240, 3, {"year": "int"})
    again = planned(longer, tmp_path, server.url, *OPTIONS)
    assert [file["sha256"] for [file] in again.plan.fragments[:-1]] == before[:-1]


def test_what_was_written_to_a_shard_is_in_its_next_generation(
    docs: Path, server: EncoderServer, undisturbed: Path, tmp_path: Path
) -> None:
    shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
    job = planned(docs, tmp_path, server.url, *OPTIONS)
    place = job.index.root_of(0, 2)
    with open_generation(place.path("docs")) as shard:
        gone, vector = str(shard.external_id(0)), shard.vector(1)
        model = shard.manifest["model"]["id"]
        words, count = shard.manifest["lexical"]["whole"]["documents"], shard.count
    with Log(place.folder / "docs", vector.shape[0], model) as log:
        log.append([Write(gone, None, None)])
    ran_here(job)
    with open_generation(job.shard(0)) as shard:
        assert (shard.count, shard.manifest["lexical"]["whole"]["documents"]) == (count - 1, words - 1)
    with open_generation(job.shard(1)) as other:
        assert other.manifest["lexical"]["whole"]["documents"] == words - 1


def poisoned(docs: Path, to: Path, row: int, line: str) -> Path:
    lines = docs.read_text().splitlines(keepends=True)
    lines[row] = line + "\n"
    to.write_text("".join(lines))
    return to


def test_a_poisoned_input_is_not_tried_again_and_is_named(docs: Path, server: EncoderServer, tmp_path: Path) -> None:
    bad = poisoned(docs, tmp_path / "docs.jsonl", 130, '{"id": "d130", "text": ')
    job = planned(bad, tmp_path, server.url, *OPTIONS)
    workers = Here(job)
    with pytest.raises(BadInputError, match=rf"1 of {job.tasks('embed')} tasks of the stage embed failed") as failed:
        run(job, workers, display=JobDisplay(io.StringIO()), most_failed=10)
    assert f"{bad}:131: not JSON" in str(failed.value)
    assert "--on-error skip" in str(failed.value)
    assert "give the same command again" in str(failed.value)
    assert len(workers.started) == job.tasks("embed")
    [task] = job.to_do("embed")
    status, said = perwatt_says("work", "embed", "--job", job.folder, "--task", task)
    assert status == 42
    assert f"{bad}:131" in said

    poisoned(docs, bad, 130, docs.read_text().splitlines()[130])
    status, said = perwatt_says("work", "embed", "--job", job.folder, "--task", task)
    assert (status, "was changed since the job was planned" in said) == (42, True)
    mended = planned(bad, tmp_path, server.url, *OPTIONS)
    assert [each for each in ran_here(mended) if each.startswith("embed")] == [f"embed {task}"]


def test_originals_are_dropped_where_a_job_says_so(docs: Path, server: EncoderServer, tmp_path: Path) -> None:
    """As a family says that cannot do without."""
    assert planned(docs, tmp_path / "kept", server.url, *OPTIONS).plan.building.originals == "keep"
    job = planned(docs, tmp_path / "dropped", server.url, *OPTIONS, "--family", "flat", "--originals", "drop")
    for task in range(job.tasks("embed")):
        work(job.folder, "embed", task, 1)
    with pytest.raises(BadInputError, match="flat scores float32 rows, so it needs the originals"):
        work(job.folder, "build", 0, 1)


def test_an_id_that_two_fragments_have_is_named(docs: Path, server: EncoderServer, tmp_path: Path) -> None:
    bad = poisoned(docs, tmp_path / "docs.jsonl", 200, '{"id": "d3", "text": "another d3"}')
    job = planned(bad, tmp_path, server.url, *OPTIONS)
    with pytest.raises(BadInputError, match="have the same id 'd3'"):
        ran_here(job)


def test_a_worker_that_never_succeeds_is_given_up_and_says_why(
    docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "PAUSES_S", (0.0, 0.01))
    with encoder_server() as server:
        job = planned(docs, tmp_path, server.url, *OPTIONS)
        server.failures.extend([(401, {}, b"")] * 99)
        workers = Here(job)
        with pytest.raises(JobError, match="401") as failed:
            run(job, workers, display=JobDisplay(io.StringIO()))
    assert not isinstance(failed.value, BadInputError)
    assert workers.started.count("embed 0") == 3
    assert len(workers.started) <= 3 * job.tasks("embed")


def test_what_a_task_needs_is_named_where_it_is_not_there(docs: Path, server: EncoderServer, tmp_path: Path) -> None:
    job = planned(docs, tmp_path, server.url, *OPTIONS)
    for stage, lacks in (("build", "embed 0"), ("measure", "build 0"), ("publish", "build 0")):
        with pytest.raises(JobError, match=rf"{lacks} .* is not done; `perwatt work {lacks[:5]} --task=0"):
            work(job.folder, stage, 0)
    with pytest.raises(JobError, match="task 99 was asked for; this job has"):
        work(job.folder, "embed", 99)
    with pytest.raises(JobError, match=r"has no plan\.json"):
        Job(tmp_path)


def test_a_build_reads_the_rows_of_its_shard_and_no_others(docs: Path, server: EncoderServer, tmp_path: Path) -> None:
    job = planned(docs, tmp_path, server.url, *OPTIONS)
    for task in range(job.tasks("embed")):
        work(job.place.where, "embed", task, 1)
    shutil.rmtree(job.folder / "parts")
    for others in job.folder.glob("splits/*/1-*.parquet"):
        others.unlink()
    assert work(job.place.where, "build", 0, 1)["rows"] > 0
    with pytest.raises(GenerationError, match=r"/1-\w+\.parquet: is missing"):
        work(job.place.where, "build", 1, 1)


def test_a_worker_ends_with_the_job_that_started_it(docs: Path, tmp_path: Path) -> None:
    with encoder_server() as server:
        job = planned(docs, tmp_path, server.url, *OPTIONS)
        server.slow_s = 600
        worker = shared().start([*job.words("embed", 0), "--parent=1"])
        worker.communicate()
        assert worker.returncode == 1
    assert 0 in job.to_do("embed")


def test_a_tally_says_how_far_a_job_is(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    tally = Tally("embed", {1: 2.0, 2: 1.0, 3: 3.0}, there=1, cores=2, usd_per_core_hour=0.05, spent_usd=0.5)
    assert tally.line() == "embed: 1 of 4 done, 0 failed, 0 retried, $0.5000 so far"
    for task in (1, 2):
        tally.begin(task)
    now += 3600
    tally.end(1)
    tally.done.add(1)
    assert tally.line() == (
        "embed: 2 of 4 done, 1 running, 0 failed, 0 retried, 0.0 a minute, 2 h 00 min to go, $0.7000 so far"
    )
    tally.end(2)
    tally.failed[2] = "no"
    assert (tally.left, tally.usd) == ([3], pytest.approx(0.7))


def test_nothing_of_a_cluster_is_imported_for_processes() -> None:
    code = "import sys, json, deploy.jobs.run_cli, deploy.jobs.run, deploy.jobs.processes, deploy.jobs.work\n"
    code += "print(json.dumps([name for name in ('ray', 'kubernetes') if name in sys.modules]))"
    worker: Any = shared().start([], program=code)
    said, errors = worker.communicate()
    assert (json.loads(said), errors) == ([], "")


def test_who_asks_for_ray_and_has_none_is_told_where_it_belongs(
    docs: Path, server: EncoderServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    job = planned(docs, tmp_path, server.url, *OPTIONS)
    with pytest.raises(JobError, match=r"in every worker's environment: pip install 'perwatt\[ray\]'"):
        RayWorkers(job, 1)
    given = ("job", "run", docs, "--index", "docs", "--shards", 2, "--root", tmp_path / "i", "--encoder", server.url)
    for words, said in (
        (("--address", "auto"), "goes with --on ray"),
        (("--on", "ray", "--workers", 2), "of processes"),
    ):
        status, output = perwatt_says(*given, "--job", tmp_path / "j", *words)
        assert (status, said in output) == (2, True)
