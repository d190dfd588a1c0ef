"""What a job is: inputs cut into fragments, ids sent to shards, and every setting, in one sealed file.

    JOB/plan.json                 written once by `perwatt plan`; workers only read it
    JOB/parts/<key>/              a folder of vectors: what was embedded of a fragment, and what was counted on the way
    JOB/measured/<generation>-<shard>.npy     answers of a shard, for the recall of the whole
    ROOT/<index>.shards/…         the shards, where `perwatt build --shards` puts them

The key of a part is a hash of the fragment's bytes, the model, and how it is read. So a part is made once, whoever
makes it and however often it is asked for; a plan of tomorrow finds those whose input has not changed; and nothing but
names goes from one worker to another.
"""

from __future__ import annotations

import json
import shlex
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from deploy.errors import JobError
from embed.documents.document import DocumentSource
from embed.documents.pieces import FragmentFile, cut
from embed.models.fingerprint import Fingerprint
from embed.vectors.manifest import read_manifest
from embed.vectors.provenance import now_utc
from embed.vectors.vector_cache import hash_texts
from index.build.sharded import sharded_index
from index.disk.sealed import SEAL, read_sealed, write_sealed
from index.disk.vectors_folder import VectorsFolder
from index.errors import GenerationError
from index.search.columns import Field, parse_fields
from index.search.words import check_language
from index.shards.folder import check_shards
from index.shards.plan import RULE
from index.shards.sealed import SHARDS_FILE, ShardedIndex

PLAN_FILE, FORMAT = "plan.json", 1
STAGES = ("embed", "build", "measure", "publish")
CANARIES = 16


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
    """What is built of their vectors; as the options of `perwatt build`."""

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
    root: Path
    shards: int
    reading: JobReading
    model: JobModel
    fingerprint: Fingerprint
    building: JobBuilding
    embedded_from: tuple[Path, ...] = ()
    switch: bool = True
    fragment_bytes: int | None = None


class Job:
    """A folder with a plan. Raises JobError where there is none, GenerationError where it is damaged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / PLAN_FILE
        if not path.is_file():
            raise JobError(
                f"{folder} has no {PLAN_FILE}; `perwatt plan INPUT… --index NAME --shards S --job {folder}` writes it"
            )
        found = read_sealed(path)
        if found.get("format") != FORMAT:
            raise GenerationError(path, f"has format {found.get('format')!r}, expected {FORMAT}; plan again")
        try:
            self.plan = msgspec.convert({key: value for key, value in found.items() if key != SEAL}, JobPlan)
        except msgspec.ValidationError as error:
            raise GenerationError(path, f"is not a plan of this version ({error}); plan again") from error
        self.index = ShardedIndex(self.plan.root, self.plan.index)

    def tasks(self, stage: str) -> int:
        """How many tasks a stage has."""
        return {"embed": len(self.plan.fragments), "publish": 1}.get(stage, self.plan.shards)

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
        return [*(["publish"] if stage == "publish" else ["work", stage, f"--task={task}"]), f"--job={self.folder}"]

    def undone(self, stage: str, task: int) -> JobError:
        """What to raise where a task is not done that should be."""
        return JobError(
            f"{self.about(stage, task)} is not done; `perwatt {shlex.join(self.words(stage, task))}` does it"
        )

    def part(self, task: int) -> Path:
        """Where the vectors of a fragment are."""
        return self.folder / "parts" / self._key(task)

    def survey_file(self, task: int) -> Path:
        """Where what was counted in a part is; another shard count or language is another file."""
        building = self.plan.building
        wanted = [self.plan.shards, self.plan.rule, building.words, sorted(field.name for field in building.fields)]
        return self.part(task) / f"survey-{_digest(wanted)[:16]}.json"

    def shard(self, number: int) -> Path:
        """Where a shard is, once it is built."""
        return self.index.root_of(number, self.plan.shards).folder / self.plan.index / self.plan.generation

    def measured(self, number: int) -> Path:
        return self.folder / "measured" / f"{self.plan.generation}-{number}.npy"

    def output(self, stage: str, task: int) -> Path:
        """What is there once a task is done: its name is all that others need of it."""
        if stage == "embed":
            return self.survey_file(task)
        if stage == "build":
            return self.shard(task) / "manifest.json"
        return self.measured(task) if stage == "measure" else self.index.folder / self.plan.generation / SHARDS_FILE

    def vectors(self) -> VectorsFolder:
        """All parts as one folder of vectors. Raises JobError where one is missing."""
        entries: list[dict[str, Any]] = []
        canaries: dict[bytes, dict[str, Any]] = {}
        first: dict[str, Any] = {}
        for task in range(self.tasks("embed")):
            meta = read_manifest(self.part(task))
            if meta is None:
                raise self.undone("embed", task)
            first = first or meta
            place = self.part(task).relative_to(self.folder)
            entries += [{**entry, "file": f"{place}/{entry['file']}"} for entry in meta["fragments"]]
            texts = [canary["text"] for canary in meta["canaries"]]
            canaries |= {bytes(key): each for key, each in zip(hash_texts(texts), meta["canaries"], strict=True)}
        kept = [canaries[key] for key in sorted(canaries)[:CANARIES]]
        count = sum(entry["rows"] for entry in entries)
        return VectorsFolder(self.folder, {**first, "count": count, "fragments": entries, "canaries": kept})

    def _key(self, task: int) -> str:
        plan = self.plan
        files = [
            (file["name"], file["format"], file["separator"], file["inside"], file["sha256"])
            + ((file["rows"],) if plan.reading.number_rows else ())
            for file in plan.fragments[task]
        ]
        return _digest([FORMAT, plan.fingerprint["id"], msgspec.to_builtins(plan.reading), files])


def make_plan(folder: Path, sources: list[DocumentSource], asked: JobSettings) -> tuple[Job, bool]:
    """Writes the plan of a job into its folder, and returns the job and whether it goes on with a plan that was there:
    one of the same inputs and settings whose generation was not published.

    Raises EmbedError for inputs that cannot be read, IndexingError for settings that no index can be built with.
    """
    check_shards(asked.shards)
    index = sharded_index(asked.root, asked.name)
    settings = {
        "index": asked.name,
        "root": str(asked.root.absolute()),
        "shards": asked.shards,
        "rule": RULE,
        "reading": msgspec.to_builtins(asked.reading),
        "model": msgspec.to_builtins(asked.model),
        "fingerprint": asked.fingerprint.as_dict(),
        "embedded_from": [str(path.absolute()) for path in asked.embedded_from],
        "building": msgspec.to_builtins(asked.building),
        "switch": asked.switch,
        "fragments": [[file.as_dict() for file in files] for files in cut(sources, asked.fragment_bytes)],
    }
    _ = asked.building.fields, asked.building.words  # refused here, and not by the first worker that builds
    id_ = _digest(settings)
    if (folder / PLAN_FILE).exists():
        before = Job(folder)
        if before.plan.id == id_ and not before.output("publish", 0).exists():
            return before, True
    folder.mkdir(parents=True, exist_ok=True)
    content = {"format": FORMAT, "id": id_, "created_at": now_utc(), "generation": index.new_id(), **settings}
    write_sealed(folder / PLAN_FILE, content)
    return Job(folder), False


def _digest(content: Any) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return blake2b(canonical.encode(), digest_size=16).hexdigest()
