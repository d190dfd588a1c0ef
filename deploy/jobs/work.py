"""The steps of a job, each a function of its plan and a number: what a worker does, whoever started it.

    embed     a fragment to vectors, and what must be known of all rows to build any shard
    build     the rows of a shard to a generation
    measure   the answers of a shard to the queries of all
    publish   all shards checked, `shards.json` written, the alias moved

A task whose output is there and whole does nothing; one that was killed goes on where it was, as `perwatt embed` does,
or begins again. So any of them may be run twice, also at the same time: of two, one is refused and told so.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from deploy.errors import BadInputError, JobError
from deploy.jobs.plan import Job
from embed.documents.document import DocumentError, Faults, FieldNames, UnreadableInputError
from embed.documents.inputs import read_documents
from embed.errors import TextError
from embed.opening import chunker_for, open_encoder
from embed.pipeline import EmbedSettings, embed_documents, slices_at_once
from embed.vectors.durable import replacing
from embed.window import VectorError
from index import machine
from index.build import sharded
from index.disk.manifest import check_files, read_manifest
from index.disk.vectors_folder import VectorsFolder
from index.errors import GenerationError, InputError, TakenError
from index.search.generation import open_generation
from index.shards.folder import counted
from index.shards.survey import Survey, survey
from index.whole_recall import answers, queries_of, recall_of_whole

BAD_INPUT = 42  # exit status: the same task with the same input fails again
BAD = (DocumentError, UnreadableInputError, TextError, VectorError, InputError)
LOOK_FOR_PARENT_S = 0.5


def work(folder: Path, stage: str, task: int, threads: int | None = None) -> dict[str, Any]:
    """Does a task; returns what it was, its output, and what it cost.

    Raises:
        BadInputError: another try would fail too.
        JobError: the task is not of this job, or one before it is not done.
        EmbedError, IndexingError: as the steps raise them.
    """
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    job = Job(folder)
    if not 0 <= task < job.tasks(stage):
        raise JobError(f"{stage} task {task} was asked for; this job has {job.tasks(stage)}, from 0")
    try:
        rows = _STEPS[stage](job, task, threads or machine.cores())
    except TakenError:
        raise
    except BAD as error:
        raise BadInputError(str(error)) from error
    return {
        "stage": stage,
        "task": task,
        "output": str(job.output(stage, task)),
        "rows": rows,
        "seconds": round(time.perf_counter() - wall_s, 3),
        "cpu_seconds": round(time.process_time() - cpu_s, 3),
    }


def embed_fragment(job: Job, task: int, threads: int) -> int:
    plan, part, survey_file = job.plan, job.part(task), job.survey_file(task)
    if (done := _whole_part(part, survey_file, threads)) is not None:
        return done
    sources = [file.source(number) for number, file in enumerate(job.fragment(task))]
    reading, faults = plan.reading, Faults(plan.reading.on_error)
    names = FieldNames(reading.id_field, reading.text_field, reading.title_field, reading.number_rows)
    with closing(open_encoder(**msgspec.structs.asdict(plan.model), threads=threads)) as encoder:
        if encoder.fingerprint.id != plan.fingerprint["id"]:
            raise JobError(
                f"the model {encoder.fingerprint.name} here is not the one of the plan: {encoder.fingerprint.id} in "
                f"{encoder.fingerprint.precision}, expected {plan.fingerprint['id']} in {plan.fingerprint['precision']}"
            )
        embed_documents(
            read_documents(sources, names, faults, none_is_fine=True),
            encoder,
            part,
            EmbedSettings(
                embedded_from=[Path(each) for each in plan.embedded_from],
                chunker=chunker_for(encoder, reading.chunk_tokens, reading.chunk_overlap),
                omit_text=reading.omit_text,
                slices_at_once=slices_at_once(threads),
            ),
            faults=faults,
        )
    vectors = VectorsFolder(part)
    found = survey([vectors], plan.building.fields, plan.building.words, show=False)
    found.write(survey_file, counts=counted(vectors, plan.shards))
    return vectors.count


def _whole_part(part: Path, survey_file: Path, threads: int) -> int | None:
    """How many rows a part has that is there and whole, else None: what of it is whole is used all the same."""
    try:
        Survey.read(survey_file)
        vectors = VectorsFolder(part)
        vectors.check(threads)
    except (GenerationError, InputError):
        return None
    return vectors.count


def build_shard(job: Job, task: int, threads: int) -> int:
    plan, shard = job.plan, job.shard(task)
    if (shard / "manifest.json").exists():
        manifest = read_manifest(shard)
        check_files(shard, manifest, threads)
        return int(manifest["count"])
    vectors = job.vectors()
    surveyed = Survey([field.name for field in plan.building.fields], plan.building.words)
    counts = np.zeros(plan.shards, np.int64)
    for part in range(job.tasks("embed")):
        found, said = Survey.read(job.survey_file(part))
        surveyed.add(found)
        counts += said["counts"]
    building = plan.building
    path = sharded.build_one_shard(
        sharded.sharded_index(plan.root, plan.index),
        vectors,
        plan.generation,
        task,
        counts.tolist(),
        surveyed,
        fields=building.fields,
        language=building.words,
        drop_changes=building.drop_changes,
        threads=threads,
        progress=True,
        family=building.family,
        profile=building.profile,
        metric=building.metric,
        recall_target=building.recall_target,
    )
    return int(read_manifest(path)["count"])


def measure_shard(job: Job, task: int, threads: int) -> int:
    file = job.measured(task)
    if file.exists():
        return len(_measured(file)[0])
    folders = [_built(job, number) for number in range(job.plan.shards)]
    queries = queries_of(folders, threads)
    with open_generation(folders[task], threads) as shard:
        found = answers(shard, queries)
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as opened:
        np.save(opened, found, allow_pickle=False)
    return len(queries)


def publish(job: Job, _task: int, threads: int) -> int:
    plan, building = job.plan, job.plan.building
    for number in range(plan.shards):
        _built(job, number)
    for number in range(plan.shards):
        if not job.measured(number).exists():
            raise job.undone("measure", number)
    recall = recall_of_whole([_measured(job.measured(number)) for number in range(plan.shards)])
    done = sharded.publish(
        sharded.sharded_index(plan.root, plan.index),
        plan.generation,
        plan.shards,
        switch=plan.switch,
        min_count_ratio=building.min_count_ratio,
        max_slowdown=building.max_slowdown,
        recall=recall,
    )
    if not plan.switch:
        job.index.verify(plan.generation)  # as a switch does
    return int(done.content["count"])


_STEPS: dict[str, Callable[[Job, int, int], int]] = {
    "embed": embed_fragment,
    "build": build_shard,
    "measure": measure_shard,
    "publish": publish,
}


def _built(job: Job, number: int) -> Path:
    if not job.output("build", number).exists():
        raise job.undone("build", number)
    return job.shard(number)


def _measured(file: Path) -> Any:
    try:
        return np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise JobError(f"{file} cannot be read ({error}); delete it, and measure again") from error


def end_with(parent: int) -> None:
    """Ends this process when `parent` is no longer there: a worker whose job was killed would only be in the way of the
    next one."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_FOR_PARENT_S)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()
