"""Builds a sharded generation: S ordinary ones from one folder of vectors, and the file that names them.

    split     which rows belong to which shard                          shards/folder.py
    survey    one pass over all payloads: types of fields, word statistics of the whole
    build     one shard after another, each as ever                     pipeline.py
    seal      `shards.json`, once every shard is there                  shards/sealed.py
    publish   the alias of every shard, if all their checks pass

What was written to a shard since is laid over its rows, as `perwatt build` does it for an index.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from index import machine
from index.build import publish_checks
from index.build.pipeline import build_generation
from index.changes import rebuild
from index.disk.manifest import read_manifest
from index.disk.vectors_folder import Source, VectorsFolder
from index.errors import InputError, PublishCheckError
from index.progress import Progress, say
from index.search.columns import Field, Names, parse_fields
from index.search.field_inference import Rows, infer_types
from index.search.words import analyser, check_language, text_of
from index.shards.folder import split
from index.shards.plan import Shard
from index.shards.sealed import ShardedGeneration, ShardedIndex
from index.weights.whole import WholeWords


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
    **settings: Any,
) -> ShardedGeneration:
    """Builds a sharded generation of index `name` under `root`, and serves it (`switch`).

    Args:
        settings: as `build_generation` takes them, for every shard.

    Raises as `build_generation`; PublishCheckError names the folder of the sharded generation.
    """
    index = ShardedIndex(root, name)
    if (Path(root) / name).exists():
        raise InputError(f"{Path(root) / name} is an index without shards; give the sharded one another name or --root")
    threads = threads or machine.cores()
    places = [index.root_of(number, shards) for number in range(shards)]
    lay_over = rebuild.dropping if drop_changes else rebuild.folded_from_folder
    folders = split(vectors, shards, threads)
    sources = [lay_over(place, name, folder) for place, folder in zip(places, folders, strict=True)]
    fields, words = _survey(sources, parse_fields(filterable), check_language(language) if lexical else None, progress)
    generation = index.new_id()
    failed: list[str] = []
    for number, (place, source) in enumerate(zip(places, sources, strict=True)):
        say(f"shard {number + 1} of {shards}: {source.count:,} rows", show=progress)
        path = build_generation(
            source,
            root=place.folder,
            name=name,
            filterable=fields,
            lexical=words is not None,
            language=language,
            threads=threads,
            switch=False,
            progress=progress,
            shard=Shard(generation, number, shards, words),
            **settings,
        )
        reasons = publish_checks.failed(place, path, read_manifest(path), min_count_ratio, max_slowdown)
        failed += [f"shard {number}: {reason}" for reason in reasons]
    sharded = index.write(generation, shards, words)
    if switch and failed:
        raise PublishCheckError(
            f"{generation} was built but not switched to: {'; '.join(failed)}. "
            f"`perwatt switch {name} {generation}` serves it all the same.",
            sharded.path,
        )
    if switch:
        index.switch(generation)
    return sharded


def _survey(
    sources: Sequence[Source], fields: list[Field], language: str | None, show: bool
) -> tuple[list[Field], WholeWords | None]:
    """The fields with the types that fit all rows, and the words of all texts; None where there are none.

    Raises InputError for a field that no row has.
    """
    analyse: Callable[[str], list[str]] = analyser(language or "none").analyze
    held, names = Counter[str](), Names(field.name for field in fields)
    words = rows = 0

    def batches() -> Iterator[Rows]:
        nonlocal words, rows
        with Progress("survey", sum(source.count for source in sources), show=show) as progress:
            for batch in (batch for source in sources for batch in source.batches()):
                payload = batch.payload or [b"{}"] * len(batch.ids)
                if names.unseen:
                    names.take(msgspec.json.decode(raw, type=dict[str, msgspec.Raw]) for raw in payload)
                for raw in payload if language is not None else ():
                    found = analyse(text_of(raw))
                    words += len(found)
                    held.update(set(found))
                yield Rows(payload, batch.ids, range(rows, rows + len(payload)))
                rows += len(payload)
                progress.add(len(payload))

    every = batches()
    typed, notes = infer_types(fields, every)
    for _ in every:  # what was not needed to infer types
        pass
    for note in notes:
        say(note, show=show)
    for name in names.unseen:
        raise names.missing(name)
    return typed, WholeWords(rows, words, held) if held else None
