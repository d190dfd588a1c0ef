"""Builds a generation: rows in, a checked and immutable folder out, and the alias moved when the checks pass.

    take       every row is checked and spooled                     rows/spool.py
    arrange    rows in the order of their ids                       rows/spool.py
    rows       ids, payload, columns, words                         rows/writing.py
    sparse     where asked for, weights that a model gives them     rows/sparse.py
    queries    where asked for, a query encoder fitted to the rows  queries.py
    quantise   int8 codes, the sections of the kernels              disk/sections.py
    index      FAISS, and recall against exact search on the way    structure.py, recall.py
    write      the FAISS file and the manifest                      disk/manifest.py
    verify     opened as a reader will, compared with memory        search/opening.py
    publish    renamed; switched to if the checks pass               disk/staging.py, publish_checks.py, disk/root.py

All of it happens in a folder `.building-<generation>` next to the finished ones. Killed at any point, or out of disk,
a build has changed nothing that is served; the next build and gc remove what it left.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index import machine
from index.build import families, publish_checks, queries, structure
from index.build.built import Clock, check_sample, memory_to_serve, write_faiss
from index.build.drafts.parcels import require_shared
from index.build.grown import before_of
from index.build.queries import FitQueries
from index.build.rows.arrays import Arrays, PayloadRow
from index.build.rows.sparse import SparseModel, write_sparse
from index.build.rows.spool import Spool
from index.build.rows.writing import write_rows
from index.build.settings import BuildSettings, builder_of, metric_of, originals_of, parts_of, share_of
from index.changes.fold import Folded, check_kept
from index.disk.codes import Metric
from index.disk.layout import BLOCKS_FILE, Originals, drop_codes
from index.disk.manifest import FORMAT, MANIFEST_FILE, describe_files, read_manifest
from index.disk.root import DEFAULT_ROOT, Root, check_name
from index.disk.sealed import write_sealed
from index.disk.sections import VECTORS_FILE, keep_vectors, write_codes
from index.disk.staging import publish, staging
from index.disk.vectors_folder import Source, VectorsFolder
from index.errors import IndexingError, InputError, PublishCheckError
from index.progress import Progress, say
from index.search.fields.columns import Field, parse_fields
from index.search.generation import Generation
from index.search.lexical.text import check_language
from index.search.opening import open_staged
from index.search.rowfiles import Arranged
from index.search.structure import INDEX_FILE
from index.shards.plan import Shard
from index.shards.sealed import ShardedIndex


def build_generation(
    vectors: NDArray[np.float32] | VectorsFolder | Folded,
    ids: Sequence[str] | Sequence[int] | NDArray[Any] | None = None,
    *,
    root: Path | str = DEFAULT_ROOT,
    name: str,
    family: str = "auto",
    profile: str = "auto",
    metric: Metric = "cosine",
    recall_target: float = 0.95,
    payload: Sequence[PayloadRow] | None = None,
    model: dict[str, Any] | None = None,
    canaries: list[dict[str, Any]] | None = None,
    filterable: Sequence[str | Field] | None = None,
    lexical: bool = True,
    language: str = "english",
    threads: int | None = None,
    switch: bool = True,
    min_count_ratio: float = publish_checks.MIN_COUNT_RATIO,
    max_slowdown: float | None = None,
    anew: bool = False,
    progress: bool = False,
    shard: Shard | None = None,
    fit_queries: FitQueries | None = None,
    builder: str = "auto",
    originals: str = "keep",
    sparse: SparseModel | None = None,
    parts: Path | str | None = None,
) -> Path:
    """Builds a generation of index `name` under `root`, serves it (`switch`), and returns its folder.

    Args:
        vectors: float32 (n, dim), an array or memory map; or a VectorsFolder or Folded, which brings its own ids,
            payload, model and canaries.
        ids: Unique str or int, one a row, in any order.
        payload: One JSON object a row: dict, str or bytes.
        metric: "cosine", which scales vectors and queries to length 1, "ip" or "l2".
        family: "auto", "flat", "graph" or "ivf".
        profile: Of a graph, "auto", "speed" or "compact"; or "disk": lists that keep a code of each row in memory and
            read the rest from the disk (families.py).
        recall_target: Of recall@10, to be met by the lower end of its 95 % interval.
        filterable: FIELD:TYPE declarations, or FIELD to have the type inferred. Some row must have the field, unless it
            is given as a Field.
        lexical: Search by words too, where the payload has a title or text.
        language: Whose stems the words are reduced to, or "none".
        anew: Build the graph from nothing, also where most of it could be taken from the generation before.
        threads: By default all cores of the cgroup.
        progress: Shown on stderr.
        min_count_ratio: The least share of the rows of the generation that is served now; None is not checked.
        max_slowdown: How many times as long a search may take as in that one; None is not checked (publish_checks.py).
        shard: Which one these rows are of a sharded generation (sharded.py).
        fit_queries: Fits a query encoder to the rows, and may refuse the build (queries.py); None: the model's alone.
        builder: Of a graph from nothing: "own" (drafts/), the same graph on any machine, "quick" or "faiss"; "auto"
            is own, and for inner products faiss.
        originals: Whether a graph's generation holds the float32 rows: "keep", or "drop", and then their codes restore
            them. So few rows that they are scanned keep theirs.
        sparse: A model whose weights of the rows are searched by too (rows/sparse.py); None: there are none.
        parts: A folder in which others may do parts of the graph (drafts/parcels.py), which is the same then.

    Raises InputError, naming the row and id, for rows that cannot be indexed; StorageError when the disk fails;
    PublishCheckError, with the generation written but not served, when a check fails. What is served changes only at
    the very end.
    """
    settings = BuildSettings(
        check_name(name),
        family,
        profile,
        metric_of(metric),
        share_of(recall_target, "recall_target"),
        parse_fields(filterable or []),
        frozenset(field.name for field in parse_fields([each for each in filterable or [] if isinstance(each, str)])),
        threads or machine.cores(),
        share_of(min_count_ratio, "min_count_ratio"),
        max_slowdown,
        progress,
        check_language(language) if lexical else None,
        anew,
        shard,
        fit_queries,
        builder_of(builder, metric_of(metric)),
        originals_of(originals),
        sparse,
        parts_of(parts, builder_of(builder, metric_of(metric))),
    )
    source: Source
    if isinstance(vectors, VectorsFolder | Folded):
        if any(given is not None for given in (ids, payload, model, canaries)):
            raise InputError("a folder of vectors brings its own ids, payload, model and canaries; pass none of them")
        source = vectors
        if originals == "keep" and profile != families.DISK and isinstance(vectors, Folded):
            _check_originals(vectors.base)
    elif ids is None:
        raise InputError("ids are missing; expected one for each vector")
    else:
        source = Arrays(vectors, ids, payload, model, canaries)
    place = Root(root)
    if ShardedIndex(root, name).there:
        raise InputError(f"index {name!r} under {place.folder} has shards; build it with --shards")
    if shard is None and (there := _shard_there(place, name)) is not None:
        raise InputError(
            f"{name} under {place.folder} is shard {there['number']} of {there['of']}, and all of them have one "
            "generation: build all with `perwatt build VECTORS --shards`, which lays what was written to each over it"
        )
    path, manifest = _build(source, place, settings)
    failed = publish_checks.failed(place, path, manifest, settings.min_count_ratio, max_slowdown)
    if not switch:
        for reason in failed:
            say(f"{path.name} should not be served: {reason}", show=progress)
        return path
    if failed:
        raise PublishCheckError(
            f"{path.name} was built but not switched to: {'; '.join(failed)}. "
            f"`perwatt switch {name} {path.name}` serves it all the same.",
            path,
        )
    place.switch(name, path.name)
    return path


def _check_originals(base: Generation | VectorsFolder) -> None:
    if isinstance(base, Generation) and base.originals == "drop":
        raise InputError(
            f"{base.id} was built without its originals, so a generation from it has none to keep: build with "
            "--originals drop, or from the folder of vectors"
        )


def _shard_there(place: Root, name: str) -> dict[str, Any] | None:
    """Which shard an index is that was built as one."""
    with suppress(IndexingError):
        shard: dict[str, Any] | None = read_manifest(place.path(name)).get("shard")
        return shard
    return None


def _build(source: Source, root: Root, settings: BuildSettings) -> tuple[Path, dict[str, Any]]:
    clock = Clock()
    source.check(settings.threads)
    what = settings.profile, settings.family, machine.memory_limit_bytes(), settings.originals, settings.builder
    families.choose_both(source.count, source.dim, *what)  # what cannot be built is refused before anything is read
    if settings.parts is not None:
        require_shared(settings.parts)
    with staging(root, settings.name, settings.shard and settings.shard.generation) as (folder, generation, created_at):
        arranged = _take(source, folder, settings)
        clock.lap("take")
        # First, since it is what may be refused: not after the hours that a large graph takes.
        whole = settings.shard and settings.shard.words
        declared, language, show = settings.fields, settings.language, settings.show
        fields, words = write_rows(folder, arranged, declared, settings.required, language, whole, show=show)
        clock.lap("rows")
        more: dict[str, Any] = {}
        if settings.sparse is not None:
            more |= write_sparse(folder, arranged, settings.sparse, show=show)
            clock.lap("sparse")
        if settings.fit_queries is not None:
            more |= queries.fit(folder, arranged, settings.metric, settings.threads, settings.fit_queries)
            clock.lap("query encoder")
        for temporary in folder.glob(".spool-*"):
            temporary.unlink()
        count, dim, asked = len(arranged.ids), source.dim, settings.originals
        profile, profile_reason, choice = families.choose_both(count, dim, *what)
        say(f"family {choice.family}: {choice.reason}", show=settings.show)
        on_disk = settings.profile == families.DISK and choice.family == "ivf"
        originals: Originals = "drop" if on_disk else asked if choice.family == "graph" else "keep"
        if originals != asked:
            why = (
                "kept: so few rows are no graph, and scanned"
                if asked == "drop"
                else "dropped, as the profile disk does"
            )
            say(f"originals are {why}", show=settings.show)
        sections = write_codes(folder, arranged.vectors, settings.metric, show=settings.show)
        clock.lap("quantise")
        builder = structure.Builder(
            folder,
            arranged.vectors,
            sections,
            settings.metric,
            settings.recall_target,
            settings.threads,
            profile=profile,
            profile_reason=profile_reason,
            show=settings.show,
            before=None
            if settings.anew or choice.family != "graph"
            else before_of(source, arranged.ids, settings.metric, what[2], show=settings.show),
            graph_builder=settings.builder,
            parts=settings.parts,
            originals=originals,
        )
        built = builder.build(families.DISK if on_disk else choice.family)
        if choice.family == "graph":
            chosen = built.sections[BLOCKS_FILE]["profile"]
            say(f"profile {chosen}: {built.parameters['profile']['how']}", show=settings.show)
        clock.lap("index")
        sections |= built.sections
        if built.index is not None:
            write_faiss(built.index, folder / INDEX_FILE, originals, arranged.vectors)
        if originals == "drop":
            drop_codes(folder, sections)
        if choice.family == "ivf" and not on_disk:
            sections |= keep_vectors(folder, arranged.vectors)
        else:
            (folder / VECTORS_FILE).unlink()
        clock.lap("write")
        described = describe_files(folder, settings.threads)
        manifest = {
            "format": FORMAT,
            "generation": generation,
            "name": settings.name,
            "created_at": created_at.isoformat(timespec="seconds"),
            "count": count,
            "dim": dim,
            "metric": settings.metric,
            "family": choice.family,
            "family_reason": choice.reason,
            "id_type": arranged.id_type,
            "model": source.model,
            "canaries": source.canaries,
            "recall": built.recall,
            "effort": built.effort,
            "sections": sections,
            "filterable": {field.name: field.type for field in fields},
            "lexical": words,
            "language": settings.language,  # of words, also where no row had any; None: there are to be none
            "changes": source.entry if isinstance(source, Folded) else None,
            **({"shard": settings.shard.entry()} if settings.shard else {}),
            "originals": originals,
            "memory_bytes": memory_to_serve(described, originals),
            "memory_private_bytes": built.private_bytes,
            "files": described,
            "build": built.parameters | clock.record(count, settings.threads),
            **more,
        }
        write_sealed(folder / MANIFEST_FILE, manifest)
        with open_staged(folder, settings.threads, generation) as reopened:
            check_sample(reopened, built.sample)

        def check() -> None:
            if isinstance(source, Folded):
                check_kept(root.folder / settings.name, source.folded)

        check()
        return publish(root, settings.name, generation, folder, check), manifest


def _take(source: Source, folder: Path, settings: BuildSettings) -> Arranged:
    with Spool(folder, source.dim, settings.metric) as spool:
        with Progress("read", source.count, show=settings.show) as progress:
            for batch in source.batches():
                spool.take(batch)
                progress.add(len(batch.ids))
        return spool.arrange()
