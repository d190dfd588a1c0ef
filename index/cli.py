"""`perwatt build`; deploy/command.py mounts it."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from index.disk.root import Root
from index.errors import GenerationError, InputError, NotFoundError, PublishCheckError
from index.options import CHECKS, STRUCTURE, json_option, options, root_option
from index.printing import print_built, print_json, print_sharded

if TYPE_CHECKING:
    from index.build.rows.models import BuildModels


def _filters_of_served(root: Path, name: str) -> list[str]:
    """The fields that the served generation can be filtered by; none where none is served, or none that can be read."""
    from index.disk.manifest import read_manifest

    try:
        return list(read_manifest(Root(root).path(name))["filterable"])
    except (NotFoundError, GenerationError, InputError):
        return []


class _ServedFitted(NamedTuple):
    path: Path
    loss: float


def _fitted_in_served(root: Path, name: str) -> _ServedFitted | None:
    """The folder of the served generation and the loss it was asked for, where it has a fitted query encoder."""
    from index.disk.manifest import QUERY_ENCODER, read_manifest

    try:
        path = Root(root).path(name)
        entry = read_manifest(path).get(QUERY_ENCODER)
    except (NotFoundError, GenerationError, InputError):
        return None
    return None if entry is None else _ServedFitted(path, float(entry["loss_asked"]))


@click.command()
@click.argument("vectors", metavar="DIR", type=click.Path(path_type=Path), required=False)
@click.option("--index", "name", metavar="NAME", required=True, help="Index to build a generation of.")
@root_option
@click.option(
    "--from-changes",
    is_flag=True,
    help="Build from the served generation and what was written since, in place of DIR; metric, recall target, "
    "filters, words, profile, builder and originals are those of the served one.",
)
@click.option(
    "--drop-changes",
    is_flag=True,
    help="Build from DIR alone: forget what was written to the index, instead of adding it.",
)
@options(STRUCTURE)
@click.option(
    "--builder",
    type=click.Choice(["auto", "own", "quick", "faiss"]),
    default="auto",
    show_default=True,
    help="What makes a graph from nothing: own makes the same graph on any machine; quick does too, in some two thirds "
    "of the time, and searches of it take a little longer. auto is own, and for inner products faiss.",
)
@click.option(
    "--parts",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Let other machines do parts of the graph: they are put into DIR, and `perwatt draft DIR` there does what it "
    "finds. The graph is the same.",
)
@click.option("--no-switch", is_flag=True, help="Build only; what is served stays.")
@options(CHECKS)
@click.option("--anew", is_flag=True, help="Build the graph from nothing, though --from-changes could go on from one.")
@click.option(
    "--shards",
    type=click.IntRange(1, 1024),
    metavar="S",
    help="Build S shards, an ordinary index each; a hash of its id says which one a document belongs to.",
)
@click.option(
    "--query-encoder",
    type=click.Choice(["model", "fitted", "auto"]),
    help="What encodes queries: the model, or a fitted encoder of two layers that is taught here on the documents' own "
    "words, for minutes and with PyTorch, and measured. auto leaves queries to the model where --query-loss is missed, "
    "fitted refuses then.  [default: that of the served generation, measured again; model where it has none]",
)
@click.option(
    "--query-loss",
    type=click.FloatRange(0, 1),
    default=0.02,
    show_default=True,
    help="Share of the model's nDCG@10 that a fitted query encoder may lose.",
)
@click.option(
    "--query-steps",
    type=click.IntRange(0),
    default=800,
    show_default=True,
    help="Batches of 128 texts that it is taught.",
)
@click.option(
    "--model",
    metavar="FOLDER|NAME",
    help="The model of the vectors, for a fitted encoder, where its name does not say.",
)
@click.option(
    "--sparse",
    metavar="FOLDER|NAME|none",
    help="A learned sparse model whose queries need no network: it weighs the documents here, and they are searched by "
    "that too (mode sparse).  [default: that of the served generation; none where it has none]",
)
@click.option("--threads", type=click.IntRange(1), help="Default: every core of the cgroup.")
@json_option
@click.pass_obj
def build(
    load_models: "Callable[[], BuildModels] | None",
    vectors: Path | None,
    name: str,
    root: Path,
    from_changes: bool,
    drop_changes: bool,
    family: str,
    profile: str,
    originals: str,
    builder: str,
    parts: Path | None,
    metric: Any,
    recall_target: float,
    filterable: tuple[str, ...],
    lexical: bool,
    language: str,
    no_switch: bool,
    min_count_ratio: float,
    max_slowdown: float | None,
    anew: bool,
    shards: int | None,
    query_encoder: str | None,
    query_loss: float,
    query_steps: int,
    model: str | None,
    sparse: str | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Build a generation of an index from the vectors in DIR, and serve it when its checks pass.

    What was written to the index since is laid over them, so no write is lost. What is served changes at the very end
    or not at all. A generation that misses one of its checks is kept, not served, and the command fails.
    """
    from index import machine
    from index.build.pipeline import build_generation
    from index.build.rows.models import NO_SPARSE, served_paths, sparse_in_served
    from index.build.rows.remembered import RememberedSparse
    from index.build.sharded import build_sharded
    from index.changes import rebuild
    from index.changes.fold import Folded
    from index.disk.lists import PROFILE
    from index.disk.manifest import read_manifest
    from index.disk.vectors_folder import VectorsFolder
    from index.progress import say
    from index.search.fields.columns import parse_fields
    from index.whole_recall import measured

    if (vectors is None) != from_changes:
        raise click.UsageError("give a folder of vectors, or --from-changes, and not both")
    if from_changes and drop_changes:
        raise click.UsageError("--drop-changes builds from a folder of vectors alone: give that, or leave it out")
    folder = None if vectors is None else VectorsFolder(vectors)
    failure: PublishCheckError | None = None
    settings: dict[str, Any] = {
        "metric": metric,
        "recall_target": recall_target,
        "filterable": filterable,
        "lexical": lexical,
        "language": language,
        "originals": originals,
        "profile": profile,
        "builder": builder,
    }
    if folder is not None:
        settings |= {key: value for key, value in folder.settings().items() if not _given(key)}
    common: dict[str, Any] = {
        "root": root,
        "name": name,
        "family": family,
        "threads": threads,
        "switch": not no_switch,
        "min_count_ratio": min_count_ratio,
        "max_slowdown": max_slowdown,
        "anew": anew,
        "progress": True,
        "parts": parts,
    }
    with_sparse = sparse or sparse_in_served(root, name)
    if with_sparse not in (None, NO_SPARSE):
        cores = threads or machine.cores()
        weighing = _models(load_models, "--sparse").sparse(with_sparse, cores, served=sparse is None)
        common["sparse"] = RememberedSparse(weighing, served_paths(root, name), cores)
    if shards is not None:
        if folder is None:
            raise click.UsageError("--shards takes a folder of vectors: changes are laid over it, shard by shard")
        if query_encoder not in (None, "model"):
            raise click.UsageError(
                "--shards goes with --query-encoder model: a fitted one is measured on whole indexes"
            )
        how = {**common, **settings, "drop_changes": drop_changes, "measure": measured}
        sharded = build_sharded(folder, shards, **how)
        if as_json:
            print_json({"path": str(sharded.path), "switched": not no_switch, "shards": sharded.content})
        else:
            print_sharded(sharded.content, sharded.path)
        return
    before = _filters_of_served(root, name)
    place = Root(root)
    try:
        with ExitStack() as opened:
            source: VectorsFolder | Folded
            if folder is None:
                source, kept = opened.enter_context(rebuild.folded_from_served(place, name, threads or machine.cores()))
                if kept["profile"] == PROFILE and family not in ("auto", "ivf"):
                    kept["profile"] = "auto"  # another family was asked for
                settings |= {key: value for key, value in kept.items() if not _given(key)}
            elif drop_changes:
                source = rebuild.dropping(place, name, folder)
            else:
                source = rebuild.folded_from_folder(place, name, folder)
            served = _fitted_in_served(root, name) if query_encoder is None else None
            if (wanted := query_encoder or ("auto" if served else "model")) != "model":
                settings["fit_queries"] = _models(load_models, "--query-encoder").query_fitter(
                    source.model,
                    wanted=wanted,
                    loss=query_loss if served is None or _given("query_loss") else served.loss,
                    steps=query_steps,
                    model=model,
                    threads=threads or machine.cores(),
                    before=None if served is None else served.path,
                    say=say,
                )
            path = build_generation(source, **common, **settings)
    except PublishCheckError as error:
        failure, path = error, error.generation
    manifest = read_manifest(path)
    if as_json:
        print_json({"path": str(path), "switched": not no_switch and failure is None, "manifest": manifest})
    else:
        print_built(path, manifest, {field.name for field in parse_fields(filterable) if not field.type})
    if failure is not None:
        raise failure
    if lost := [field for field in before if field not in manifest["filterable"]]:
        click.echo(
            f"{name} could be filtered by {', '.join(lost)}, and this generation cannot: searches that do it are "
            f"refused. If that is not meant, build again with --filterable {','.join(before)}",
            err=True,
        )


def _models(load: "Callable[[], BuildModels] | None", option: str) -> "BuildModels":
    if load is None:
        raise click.UsageError(f"{option} is a matter of `perwatt build`, which knows models")
    return load()


def _given(parameter: str) -> bool:
    """Whether an option of the running command was typed, and not left at its default."""
    context = click.get_current_context()
    return context.get_parameter_source(parameter) is not ParameterSource.DEFAULT
