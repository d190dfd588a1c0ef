"""What a job is: inputs cut into fragments, ids sent to shards, and every setting, in one sealed file.

    JOB/plan.json                 written once by `perwatt plan`; workers only read it
    JOB/parts/<key>/              a folder of vectors: what was embedded of a fragment
    JOB/splits/<key>-<digest>/    the same rows, each shard's in a file of their own, and what was counted in them
    JOB/built/<generation>-<shard>/           some rows of a shard, for the queries that all are measured by
    JOB/measured/<generation>-<shard>.npz     answers of a shard, for the recall and the effort of the whole
    ROOT/<index>.shards/…         the shards, where `perwatt build --shards` puts them

JOB and ROOT are folders, or both are in a store of objects (places.py).

The key of a part is a hash of the fragment's bytes, the model, and how it is read. So a part is made once, whoever
makes it and however often it is asked for; a plan of tomorrow finds those whose input has not changed; and nothing but
names goes from one worker to another.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from deploy.errors import JobError
from deploy.jobs.inputs import cut_sources
from deploy.jobs.places import FORMAT, PLAN_FILE, JobOutput, place_of_job
from embed.documents.document import DocumentSource
from embed.documents.pieces import FragmentFile
from embed.models.fingerprint import Fingerprint
from embed.vectors.manifest import MANIFEST
from embed.vectors.provenance import now_utc
from index.backup.address import is_address
from index.disk.sealed import SEAL
from index.disk.whole import SHARDS_FILE
from index.errors import GenerationError
from index.search.fields.columns import Field, parse_fields
from index.search.lexical.text import check_language
from index.shards.folder import check_shards
from index.shards.plan import RULE

STAGES = ("embed", "build", "measure", "publish")
SURVEY_FILE, SAMPLE_FILE = "survey.json", "sample.npy"


class JobReading(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How documents are read; as the options of `perwatt embed`."""

    id_field: str | None
    text_field: str | None
    title_field: str | None
    number_rows: bool
    on_error: str
    omit_text: bool
    chunk_tokens: int | None
    chunk_overlap: int


class JobModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which model embeds them; as the options of `perwatt embed`."""

    model: str | None
    encoder: str | None
    query_prefix: str | None
    document_prefix: str | None
    precision: str | None
    backend: str


class JobBuilding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is built of their vectors; as the options of `perwatt build`. sparse: that model, and its id."""

    family: str
    profile: str
    metric: str
    recall_target: float
    filterable: tuple[str, ...]
    lexical: bool
    language: str
    min_count_ratio: float
    max_slowdown: float | None
    drop_changes: bool
    originals: str = "keep"
    sparse: tuple[str, str] | None = None

    @property
    def fields(self) -> list[Field]:
        return parse_fields(self.filterable)

    @property
    def words(self) -> str | None:
        """The language of the words that are searched; None for no words."""
        return check_language(self.language) if self.lexical else None


class JobPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """fingerprint: of the model. fragments: the files of each, as `FragmentFile.as_dict` gives them."""

    format: int
    id: str
    created_at: str
    index: str
    root: str
    shards: int
    rule: str
    generation: str
    reading: JobReading
    model: JobModel
    fingerprint: dict[str, Any]
    embedded_from: tuple[str, ...]
    building: JobBuilding
    switch: bool
    fragments: list[list[dict[str, Any]]]


class JobSettings(NamedTuple):
    """What a plan is made from, beside the inputs."""

    name: str
    root: Path | str
    shards: int
    reading: JobReading
    model: JobModel
    fingerprint: Fingerprint
    building: JobBuilding
    embedded_from: tuple[Path, ...] = ()
    switch: bool = True
    fragment_bytes: int | None = None


class Job:
    """A job whose plan is made, at its place. Raises JobError where there is none, GenerationError where it is damaged.

    `close` ends it; what a worker has of a store on its own disk is gone then.
    """

    def __init__(self, where: Path | str) -> None:
        self.place = place_of_job(where)
        self.folder = self.place.folder
        try:
            self.plan = self._read()
        except BaseException:
            self.place.close()
            raise
        self.index = self.place.index(self.plan.root, self.plan.index)

    def _read(self) -> JobPlan:
        where, found = self.place.where, self.place.read_plan()
        if found is None:
            raise JobError(
                f"{where} has no {PLAN_FILE}; `perwatt plan INPUT… --index NAME --shards S --job {where}` writes it"
            )
        path = Path(where, PLAN_FILE)
        if found.get("format") != FORMAT:
            raise GenerationError(path, f"has format {found.get('format')!r}, expected {FORMAT}; plan again")
        try:
            return msgspec.convert({key: value for key, value in found.items() if key != SEAL}, JobPlan)
        except msgspec.ValidationError as error:
            raise GenerationError(path, f"is not a plan of this version ({error}); plan again") from error

    def close(self) -> None:
        self.place.close()

    def tasks(self, stage: str) -> int:
        """How many tasks a stage has."""
        return {"embed": len(self.plan.fragments), "publish": 1}.get(stage, self.plan.shards)

    def to_do(self, stage: str) -> list[int]:
        """The tasks of a stage that are not done."""
        if stage == "publish":
            return [] if self.published() else [0]
        return self.place.missing([self.output(stage, task) for task in range(self.tasks(stage))])

    def fragment(self, task: int) -> list[FragmentFile]:
        return [FragmentFile.from_dict(file) for file in self.plan.fragments[task]]

    def weight(self, stage: str, task: int) -> int:
        """How much work a task is, beside the others of its stage."""
        return sum(file.end - file.start for file in self.fragment(task)) if stage == "embed" else 1

    def about(self, stage: str, task: int) -> str:
        """A task in words."""
        if stage == "embed":
            files = self.fragment(task)
            more = f" and {len(files) - 1} more" if len(files) > 1 else ""
            return f"{stage} {task} ({files[0].where}{more})"
        return stage if stage == "publish" else f"{stage} {task} (shard {task} of {self.plan.shards})"

    def words(self, stage: str, task: int) -> list[str]:
        """What `perwatt` is told, to do a task."""
        doing = ["publish"] if stage == "publish" else ["work", stage, f"--task={task}"]
        return [*doing, f"--job={self.place.where}"]

    def undone(self, stage: str, task: int) -> JobError:
        """What to raise where a task is not done that should be."""
        return JobError(
            f"{self.about(stage, task)} is not done; `perwatt {shlex.join(self.words(stage, task))}` does it"
        )

    def part(self, task: int) -> JobOutput:
        """The vectors of a fragment, whatever is built of them."""
        key = self._key(task)
        return JobOutput(f"part-{key}", self.folder / "parts" / key, MANIFEST)

    def split(self, task: int) -> JobOutput:
        """The rows of a part, those of each shard in a file of their own, and what was counted in all of them; another
        shard count or language is another one."""
        building = self.plan.building
        wanted = [self.plan.shards, self.plan.rule, building.words, sorted(field.name for field in building.fields)]
        name = f"{self._key(task)}-{_digest(wanted)[:16]}"
        return JobOutput(f"split-{name}", self.folder / "splits" / name, SURVEY_FILE)

    def built(self, number: int) -> JobOutput:
        """What is known of a shard once it is built: some of its rows, to make queries of."""
        name = f"{self.plan.generation}-{number}"
        return JobOutput(f"built-{name}", self.folder / "built" / name, SAMPLE_FILE)

    def measured(self, number: int) -> JobOutput:
        """What a shard answers to the queries of all."""
        name = f"{self.plan.generation}-{number}"
        return JobOutput(f"measured-{name}", self.folder / "measured" / f"{name}.npz")

    def output(self, stage: str, task: int) -> JobOutput:
        """What is there once a task is done: its name is all that others need of it."""
        made = {"embed": self.split, "build": self.built, "measure": self.measured}
        if stage in made:
            return made[stage](task)
        return JobOutput(stage, self.index.folder / self.plan.generation, SHARDS_FILE)

    def shard(self, number: int) -> Path:
        """Where a shard is, once it is built."""
        return self.index.root_of(number, self.plan.shards).folder / self.plan.index / self.plan.generation

    def published(self) -> dict[str, Any] | None:
        """What the `shards.json` of this job says; None before it is published, and where it is to be served and never
        was: who died in between goes on there."""
        content = self.place.published(self.index, self.plan.generation)
        if self.plan.switch and not self.place.was_served(self.index, self.plan.generation):
            return None
        return content

    def bring(self, stage: str, task: int, wanted: Callable[[str], bool] | None = None) -> JobOutput:
        """Has what a task made on this machine, or the `wanted` files of it. Raises JobError where it is not done."""
        output = self.output(stage, task)
        if not self.place.bring(output, wanted):
            raise self.undone(stage, task)
        return output

    def _key(self, task: int) -> str:
        plan = self.plan
        files = [
            (file["name"], file["format"], file["separator"], file["inside"], file["sha256"])
            + ((file["rows"],) if plan.reading.number_rows else ())
            for file in plan.fragments[task]
        ]
        return _digest([FORMAT, plan.fingerprint["id"], msgspec.to_builtins(plan.reading), files])


def make_plan(where: Path | str, sources: list[DocumentSource], asked: JobSettings) -> tuple[Job, bool]:
    """Writes the plan of a job to its place, and returns the job and whether it goes on with a plan that was there: one
    of the same inputs and settings whose generation was not published.

    Raises EmbedError for inputs that cannot be read, IndexingError for settings that no index can be built with.
    """
    check_shards(asked.shards)
    root = str(asked.root) if is_address(asked.root) else str(Path(asked.root).absolute())
    with closing(place_of_job(where)) as place:
        generation = place.new_generation(root, asked.name)
        settings = {
            "index": asked.name,
            "root": root,
            "shards": asked.shards,
            "rule": RULE,
            "reading": msgspec.to_builtins(asked.reading),
            "model": msgspec.to_builtins(asked.model),
            "fingerprint": asked.fingerprint.as_dict(),
            "embedded_from": [str(path.absolute()) for path in asked.embedded_from],
            "building": msgspec.to_builtins(asked.building),
            "switch": asked.switch,
            "fragments": [[file.as_dict() for file in files] for files in cut_sources(sources, asked.fragment_bytes)],
        }
        _ = asked.building.fields, asked.building.words  # refused here, and not by the first worker that builds
        id_ = _digest(settings)
        if place.read_plan() is not None:
            before = Job(where)
            if before.plan.id == id_ and before.published() is None:
                return before, True
            before.close()
        place.write_plan({"format": FORMAT, "id": id_, "created_at": now_utc(), "generation": generation, **settings})
    return Job(where), False


def _digest(content: Any) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return blake2b(canonical.encode(), digest_size=16).hexdigest()
