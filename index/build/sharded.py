"""Builds a sharded generation: S ordinary ones from one folder of vectors, and the file that names them.

    split     which rows belong to which shard                          shards/folder.py
    survey    one pass over all payloads: types of fields, words of the whole     shards/survey.py
    build     one shard after another, each as ever                     pipeline.py
    seal      `shards.json`, once every shard is there                  shards/sealed.py
    publish   the alias of every shard, if all their checks pass

What was written to a shard since is laid over its rows, as `perwatt build` does it for an index. The steps may be
those of a job on many machines, each a process of its own; here they follow each other.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from index import machine
from index.build import publish_checks
from index.build.pipeline import build_generation
from index.changes import rebuild
from index.changes.fold import Folded
from index.changes.log_file import LOG_FILE
from index.disk.manifest import read_manifest
from index.disk.vectors_folder import VectorsFolder
from index.errors import GenerationError, InputError, NotFoundError, PublishCheckError
from index.progress import say
from index.search.fields.columns import Field, parse_fields
from index.search.lexical.text import check_language
from index.shards.folder import check_counts, split
from index.shards.plan import Shard
from index.shards.sealed import ShardedGeneration, ShardedIndex
from index.shards.survey import Survey, survey_and_infer


def build_sharded(
    vectors: VectorsFolder,
    shards: int,
    *,
    root: Path | str,
    name: str,
    filterable: Sequence[str | Field] = (),
    lexical: bool = True,
    language: str = "english",
    threads: int | None = None,
    switch: bool = True,
    drop_changes: bool = False,
    min_count_ratio: float = publish_checks.MIN_COUNT_RATIO,
    max_slowdown: float | None = None,
    progress: bool = False,
    measure: Callable[[Sequence[Path], int], dict[str, Any]] | None = None,
    **settings: Any,
) -> ShardedGeneration:
    """Builds a sharded generation of index `name` under `root`, and serves it (`switch`).

    Args:
        measure: recall and effort of the shards in these folders together (whole_recall.py); they are not measured
            without.
        settings: as `build_generation` takes them, for every shard.

    Raises as `build_generation`; PublishCheckError names the folder of the sharded generation.
    """
    index = sharded_index(root, name)
    threads = threads or machine.cores()
    sources = laid_over(index, split(vectors, shards, threads), drop_changes)
    fields, found = survey_and_infer(
        sources, parse_fields(filterable), check_language(language) if lexical else None, progress
    )
    generation = index.new_id()
    folders = []
    for number, source in enumerate(sources):
        say(f"shard {number + 1} of {shards}: {source.count:,} rows", show=progress)
        shard = Shard(generation, number, shards, found.whole)
        how: dict[str, Any] = {"fields": fields, "language": language, "threads": threads, "progress": progress}
        folders.append(build_shard(index, source, shard, **how, **settings))
    measured = None if measure is None else measure(folders, threads)
    return publish(
        index,
        generation,
        shards,
        switch=switch,
        min_count_ratio=min_count_ratio,
        max_slowdown=max_slowdown,
        measured=measured,
    )


def sharded_index(root: Path | str, name: str) -> ShardedIndex:
    """The index of that name. Raises InputError where there is one without shards."""
    index = ShardedIndex(root, name)
    if (Path(root) / name).exists():
        raise InputError(f"{Path(root) / name} is an index without shards; give the sharded one another name or --root")
    return index


def laid_over(
    index: ShardedIndex, folders: Sequence[VectorsFolder], drop_changes: bool
) -> list[VectorsFolder | Folded]:
    """The rows of each shard with what was written to it since, or without it."""
    lay_over = rebuild.dropping if drop_changes else rebuild.folded_from_folder
    places = [index.root_of(number, len(folders)) for number in range(len(folders))]
    return [lay_over(place, index.name, folder) for place, folder in zip(places, folders, strict=True)]


def build_one_shard(
    index: ShardedIndex,
    shards: Sequence[VectorsFolder],
    generation: str,
    number: int,
    surveyed: Survey,
    *,
    fields: list[Field],
    language: str | None,
    drop_changes: bool,
    threads: int,
    progress: bool,
    **settings: Any,
) -> Path:
    """Builds a shard alone, from rows that were surveyed when they were made.

    Where documents were written to any shard since, or a field has no type, all rows are surveyed once more, as the
    words and types of the whole are those with the changes.

    Args:
        shards: the rows of each; those of others are read only for such a survey.
        language: of the words; None: no words.
    """
    check_counts([each.count for each in shards])
    of = len(shards)
    logs = [index.root_of(each, of).folder / index.name / LOG_FILE for each in range(of)]
    anew = (not drop_changes and any(log.exists() for log in logs)) or not all(field.type for field in fields)
    for each in shards if anew else ():
        each.check(threads)
    sources = laid_over(index, shards, drop_changes)
    if anew:
        fields, surveyed = survey_and_infer(sources, fields, language, progress)
    surveyed.check_fields()
    shard = Shard(generation, number, of, surveyed.whole)
    return build_shard(
        index,
        sources[number],
        shard,
        fields=fields,
        language=language or "english",
        threads=threads,
        progress=progress,
        **settings,
    )


def build_shard(
    index: ShardedIndex, source: VectorsFolder | Folded, shard: Shard, *, fields: list[Field], **settings: Any
) -> Path:
    """Builds a shard and leaves the alias as it is; returns its folder."""
    return build_generation(
        source,
        root=index.root_of(shard.number, shard.of).folder,
        name=index.name,
        filterable=fields,
        lexical=shard.words is not None,
        switch=False,
        shard=shard,
        **settings,
    )


def _too_few(index: ShardedIndex, count: int, min_count_ratio: float) -> str | None:
    """Why so many rows must not follow those that are served, in however many shards; None where they may."""
    try:
        served = index.generation()
    except (NotFoundError, GenerationError):
        return None
    if count >= served.content["count"] * min_count_ratio:
        return None
    return (
        f"all shards have {count:,} rows, and those of {served.path.name}, which is served, "
        f"{served.content['count']:,}; fewer than {min_count_ratio:g} of that looks like half an input "
        "(--min-count-ratio)"
    )


def publish(
    index: ShardedIndex,
    generation: str,
    shards: int,
    *,
    switch: bool,
    serve: Callable[[], object] | None = None,
    min_count_ratio: float = publish_checks.MIN_COUNT_RATIO,
    max_slowdown: float | None = None,
    measured: dict[str, Any] | None = None,
) -> ShardedGeneration:
    """Makes the finished shards of a generation a sharded one, and serves it (`switch`) if all their checks pass.

    Args:
        serve: how; by default the aliases of all shards are moved.
        measured: recall and effort of all shards together, for `shards.json`.

    Raises PublishCheckError, with the folder of the sharded generation, where a check fails.
    """
    failed: list[str] = []
    count = 0
    for number in range(shards):
        place = index.root_of(number, shards)
        path = place.path(index.name, generation)
        reasons = publish_checks.failed(place, path, read_manifest(path), min_count_ratio, max_slowdown)
        failed += [f"shard {number}: {reason}" for reason in reasons]
        count += read_manifest(path)["count"]
    failed += [reason for reason in [_too_few(index, count, min_count_ratio)] if reason and not failed]
    sharded = index.write(generation, shards, measured)
    if switch and failed:
        raise PublishCheckError(
            f"{generation} was built but not switched to: {'; '.join(failed)}. "
            f"`perwatt switch {index.name} {generation}` serves it all the same.",
            sharded.path,
        )
    if switch and serve is not None:
        serve()
    elif switch:
        index.switch(generation)
    return sharded
