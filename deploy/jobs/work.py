"""The steps of a job, each a function of its plan and a number: what a worker does, whoever started it.

    embed     a fragment to vectors, sorted by shard, and what must be known of all rows to build one
    build     the rows of a shard to a generation
    measure   the answers of a shard to the queries of all, at every effort
    publish   all shards checked, the effort of all chosen, `shards.json` written, the alias moved

A task whose output is there and whole does nothing; one that was killed goes on where it was, as `perwatt embed` does,
or begins again. So any of them may be run twice, also at the same time: of two, one is refused and told so.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import msgspec
import numpy as np

from deploy.errors import BadInputError, JobError
from deploy.jobs.inputs import at_hand
from deploy.jobs.places import JobOutput
from deploy.jobs.plan import SAMPLE_FILE, SURVEY_FILE, Job
from embed.documents.document import DocumentError, Faults, FieldNames, UnreadableInputError
from embed.documents.inputs import read_documents
from embed.errors import TextError
from embed.opening import chunker_for, open_encoder
from embed.pipeline import EmbedSettings, embed_documents, slices_at_once
from embed.sparse.encoder import sparse_again
from embed.vectors.durable import replacing
from embed.vectors.vector_cache import hash_texts
from embed.window import VectorError
from index import machine
from index.backup.address import is_address
from index.build import sharded
from index.build.rows.models import served_paths
from index.build.rows.remembered import RememberedSparse
from index.build.rows.sparse import SparseModel
from index.disk.manifest import MANIFEST_FILE, check_files, read_manifest
from index.disk.vectors_folder import VectorsFolder
from index.errors import GenerationError, InputError, TakenError
from index.search.opening import open_generation
from index.shards.folder import divide
from index.shards.survey import Survey, survey
from index.whole_recall import ShardAnswers, answers, calibrated, queries_of, sample_of

T = TypeVar("T")
BAD_INPUT = 42  # exit status: the same task with the same input fails again
BAD = (DocumentError, UnreadableInputError, TextError, VectorError, InputError)
LOOK_FOR_PARENT_S = 0.5
CANARIES = 16


def work(where: Path | str, stage: str, task: int, threads: int | None = None) -> dict[str, Any]:
    """Does a task; returns what it was, its output, and what it cost.

    Raises:
        BadInputError: another try would fail too.
        JobError: the task is not of this job, or one before it is not done.
        EmbedError, IndexingError: as the steps raise them.
    """
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    with closing(Job(where)) as job:
        if not 0 <= task < job.tasks(stage):
            raise JobError(f"{stage} task {task} was asked for; this job has {job.tasks(stage)}, from 0")
        try:
            rows = _STEPS[stage](job, task, threads or machine.cores())
        except TakenError:
            raise
        except BAD as error:
            raise BadInputError(str(error)) from error
        output = job.output(stage, task).name
    return {
        "stage": stage,
        "task": task,
        "output": output,
        "rows": rows,
        "seconds": round(time.perf_counter() - wall_s, 3),
        "cpu_seconds": round(time.process_time() - cpu_s, 3),
    }


def embed_fragment(job: Job, task: int, threads: int) -> int:
    plan, part, split = job.plan, job.part(task), job.split(task)
    if (done := _whole_split(job, split, threads)) is not None:
        return done
    vectors = _whole_part(part.path, threads) if job.place.bring(part) else None
    if vectors is None:
        vectors = _embedded(job, task, part.path, threads)
        job.place.keep(part)
    found = survey([vectors], plan.building.fields, plan.building.words, show=False)
    meta = {key: value for key, value in vectors.meta.items() if key not in ("fragments", "count", "run", "created_at")}
    found.write(split.proof, fragments=divide(vectors, plan.shards, split.path), meta=meta)
    job.place.keep(split)
    return vectors.count


def _embedded(job: Job, task: int, part: Path, threads: int) -> VectorsFolder:
    plan = job.plan
    files = [at_hand(file, job.folder / "inputs" / str(place)) for place, file in enumerate(job.fragment(task))]
    sources = [file.source(number) for number, file in enumerate(files)]
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
    return VectorsFolder(part)


def _whole_part(part: Path, threads: int) -> VectorsFolder | None:
    """A part that is there and whole, else None: what of it is whole is used all the same."""
    try:
        vectors = VectorsFolder(part)
        vectors.check(threads)
    except (GenerationError, InputError):
        return None
    return vectors


def _whole_split(job: Job, split: JobOutput, threads: int) -> int | None:
    """How many rows a split has that is there and whole, else None."""
    if not job.place.bring(split):
        return None
    try:
        _, said = Survey.read(split.proof)
        entries = [entry for some in said["fragments"] for entry in some]
        vectors = VectorsFolder(split.path, {**said["meta"], "count": _rows(entries), "fragments": entries})
        vectors.check(threads)
    except GenerationError:
        return None
    return vectors.count


def build_shard(job: Job, task: int, threads: int) -> int:
    plan, building, built = job.plan, job.plan.building, job.built(task)
    if job.place.bring(built) and (built.path / MANIFEST_FILE).exists():  # the shard itself is in a store
        return int(read_manifest(built.path, plan.generation)["count"])
    path = job.shard(task)
    if (path / MANIFEST_FILE).exists():
        check_files(path, read_manifest(path), threads)
    else:
        shards, surveyed = _surveyed(job)
        every = not all(field.type for field in building.fields)  # types are inferred from all rows
        for part in range(job.tasks("embed")):
            job.bring("embed", part, lambda name: every or name.startswith(f"{task}-"))
        path = sharded.build_one_shard(
            job.index,
            shards,
            plan.generation,
            task,
            surveyed,
            fields=building.fields,
            language=building.words,
            drop_changes=building.drop_changes,
            threads=threads,
            progress=True,
            family=building.family,
            profile=building.profile,
            originals=building.originals,
            metric=building.metric,
            recall_target=building.recall_target,
            sparse=_sparse(job, threads),
        )
    built.path.mkdir(parents=True, exist_ok=True)
    job.place.keep_shard(job.index, plan.generation, task, plan.shards, built.path)
    with open_generation(path, threads) as shard, replacing(built.proof) as opened:
        np.save(opened, sample_of(shard, plan.shards), allow_pickle=False)
        count = shard.count
    job.place.keep(built)
    return count


def _sparse(job: Job, threads: int) -> SparseModel | None:
    """What weighs the documents of a shard, but for those that the served generation has weights of."""
    root, model = job.plan.root, job.plan.building.sparse
    if model is None:
        return None
    served = [] if is_address(root) else served_paths(Path(root), job.plan.index)
    return RememberedSparse(sparse_again(*model, threads), served, threads)


def _surveyed(job: Job) -> tuple[list[VectorsFolder], Survey]:
    """The rows of each shard, as folders of vectors whose files need not be here yet, and what is known of all rows.

    Raises JobError where a fragment is not embedded.
    """
    plan = job.plan
    found = Survey([field.name for field in plan.building.fields], plan.building.words)
    entries: list[list[dict[str, Any]]] = [[] for _ in range(plan.shards)]
    canaries: dict[bytes, dict[str, Any]] = {}
    meta: dict[str, Any] = {}
    for task in range(job.tasks("embed")):
        split = job.bring("embed", task, lambda name: name == SURVEY_FILE)
        one, said = Survey.read(split.proof)
        found.add(one)
        meta = meta or said["meta"]
        place = split.path.relative_to(job.folder)
        for mine, some in zip(entries, said["fragments"], strict=True):
            mine += [{**entry, "file": f"{place}/{entry['file']}"} for entry in some]
        keys = hash_texts([canary["text"] for canary in said["meta"]["canaries"]])
        canaries |= {bytes(key): each for key, each in zip(keys, said["meta"]["canaries"], strict=True)}
    meta["canaries"] = [canaries[key] for key in sorted(canaries)[:CANARIES]]
    return [VectorsFolder(job.folder, {**meta, "count": _rows(some), "fragments": some}) for some in entries], found


def measure_shard(job: Job, task: int, threads: int) -> int:
    measured = job.measured(task)
    if job.place.bring(measured):
        return len(_answers(measured.path).exact)
    samples = [
        _read(job.bring("build", number, lambda name: name == SAMPLE_FILE).proof, partial(np.load, allow_pickle=False))
        for number in range(job.plan.shards)
    ]
    queries = queries_of(samples)
    note = job.bring("build", task).path
    job.place.bring_shard(job.index, task, job.plan.shards, note)
    with open_generation(job.shard(task), threads) as shard:
        found = answers(shard, queries)
    measured.path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(measured.path) as opened:
        found.write(opened)
    job.place.keep(measured)
    return len(queries)


def publish(job: Job, _task: int, threads: int) -> int:
    plan, building = job.plan, job.plan.building
    notes = [job.bring("build", number).path for number in range(plan.shards)]
    found = [_answers(job.bring("measure", number).path) for number in range(plan.shards)]
    job.place.bring_manifests(job.index, plan.generation, notes)
    done = sharded.publish(
        job.index,
        plan.generation,
        plan.shards,
        switch=plan.switch,
        serve=lambda: job.place.serve(job.index, plan.generation, notes),
        min_count_ratio=building.min_count_ratio,
        max_slowdown=building.max_slowdown,
        measured=calibrated(found, read_manifest(job.shard(0))),
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


def _rows(entries: Sequence[dict[str, Any]]) -> int:
    return sum(entry["rows"] for entry in entries)


def _answers(file: Path) -> ShardAnswers:
    return _read(file, ShardAnswers.read)


def _read(file: Path, read: Callable[[Path], T]) -> T:
    try:
        return read(file)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise JobError(f"{file} cannot be read ({error}); delete it, and do its task again") from error


def end_with(parent: int) -> None:
    """Ends this process when `parent` is no longer there: a worker whose job was killed would only be in the way of the
    next one."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_FOR_PARENT_S)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()
