"""`perwatt search` and `eval`.

Nothing heavy is imported before a command runs: native libraries read their thread counts when they are imported, and
`--help` should not take a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.cli.options import (
    FusionWeights,
    effort_option,
    encoder_option,
    exact_option,
    filter_option,
    json_object,
    json_option,
    key_option,
    mode_option,
    model_option,
    precision_option,
    qrels_option,
    queries_option,
    query_encoder_option,
    reranker_option,
    root_option,
    url_option,
    weights_option,
)
from service.processes import native_threads
from service.settings import Settings

if TYPE_CHECKING:
    from index.search.finding import Effort
    from service.cli.searcher.contract import IndexSearcher


@click.command()
@click.argument("name")
@click.argument("text", required=False)
@click.option("--k", type=click.IntRange(1, 1000), default=10, show_default=True)
@root_option
@url_option
@key_option
@click.option(
    "--vector",
    "vector_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A .npy file with the query vector, instead of TEXT.",
)
@mode_option
@weights_option
@filter_option
@effort_option
@exact_option
@model_option
@precision_option
@encoder_option
@query_encoder_option
@json_option
def search(
    name: str,
    text: str | None,
    k: int,
    root: Path,
    url: str | None,
    key: str | None,
    vector_file: Path | None,
    mode: Any,
    weights: FusionWeights | None,
    filter_json: str | None,
    effort: Effort | None,
    exact: bool,
    model: str | None,
    precision: str | None,
    encoder: str | None,
    query_encoder: str,
    as_json: bool,
) -> None:
    """Search index NAME for TEXT, here or on a server.

    Prints score, id, title and a piece of the text of each hit, best first.
    """
    if (text is None) == (vector_file is None):
        raise click.UsageError("Give either TEXT or --vector FILE.")
    if weights is not None and mode != "hybrid":
        raise click.UsageError(f"--weights are of the rankings that --mode hybrid fuses; this is --mode {mode}.")
    native_threads.pin()
    from embed.vectors.npy import read_vector
    from service.cli import terminal
    from service.cli.searcher.contract import SearchOptions, check

    query = read_vector(vector_file) if vector_file is not None else str(text)
    how = SearchOptions(k, effort, exact, mode, filter=None if filter_json is None else json_object(filter_json))
    how = how if weights is None else how.weighed(weights)
    check(query, how)
    with _searcher(
        name,
        url,
        key,
        Settings(root=root, model=model, precision=precision, encoder=encoder, query_encoder=query_encoder),
    ) as asking:
        [hits] = asking.ask([query], how)
    if as_json:
        click.echo(terminal.json_of_hits(asking.generation, hits))
    elif hits:
        terminal.print_hits(hits)
    else:
        click.echo("no hits", err=True)


@click.command("eval")
@click.argument("name")
@queries_option
@qrels_option
@root_option
@url_option
@key_option
@click.option(
    "--k",
    "cutoffs",
    type=click.IntRange(1, 1000),
    multiple=True,
    default=(10, 100),
    show_default=True,
    help="Cut-offs: the first of nDCG and MRR, each of them of recall.",
)
@click.option(
    "--mode",
    "modes",
    type=click.Choice(["dense", "lexical", "sparse", "hybrid", "all"]),
    multiple=True,
    help="How to search; all (the default) compares every mode that the index has.",
)
@weights_option
@click.option(
    "--drop-same-id",
    is_flag=True,
    help="Leave out a hit that has the id of its query: for collections whose queries are documents of the corpus.",
)
@effort_option
@exact_option
@model_option
@precision_option
@encoder_option
@query_encoder_option
@reranker_option
@click.option("--rerank", is_flag=True, help="With --url: measure the server's reranker too.")
@click.option(
    "--rerank-top",
    "top",
    type=click.IntRange(1, 200),
    default=100,
    show_default=True,
    help="Hits that the reranker reads; there are no others then.",
)
@json_option
def evaluate(
    name: str,
    queries_file: Path,
    qrels_file: Path,
    root: Path,
    url: str | None,
    key: str | None,
    cutoffs: tuple[int, ...],
    modes: tuple[Any, ...],
    weights: FusionWeights | None,
    drop_same_id: bool,
    effort: Effort | None,
    exact: bool,
    model: str | None,
    precision: str | None,
    encoder: str | None,
    query_encoder: str,
    reranker: str | None,
    rerank: bool,
    top: int,
    as_json: bool,
) -> None:
    """Score index NAME against relevance judgements in BEIR's format.

    nDCG has linear gain; chunks are folded to documents; definitions are trec_eval's and BEIR's, so
    that figures can be laid beside published ones. Relevant documents that are not in the index are
    counted as not found, and said; where none of them is, the exit status is 2. With --reranker, or
    --rerank and --url, every mode is measured with and without, and the time of a query beside it.
    """
    if rerank and url is None:
        raise click.UsageError("--rerank measures the reranker of a server (--url); one here is named with --reranker.")
    if reranker is not None and url is not None:
        raise click.UsageError("--reranker runs a model here; the server's own is measured with --rerank.")
    from loky import cpu_count

    native_threads.pin(cpu_count())
    from service.cli import evaluate as measures
    from service.cli import terminal
    from service.cli.searcher.contract import SearchOptions, rankings

    queries = measures.read_queries(queries_file)
    qrels = measures.read_qrels(qrels_file)
    settings = Settings(
        root=root,
        reranker=reranker,
        model=model,
        precision=precision,
        encoder=encoder,
        threads=cpu_count(),
        query_encoder=query_encoder,
    )
    with _searcher(name, url, key, settings) as asking:
        asked = asking.modes if not modes or "all" in modes else modes
        seen: set[str] = set()
        how: dict[str, SearchOptions] = {mode: SearchOptions(1, effort, exact, mode) for mode in asked}
        how = how if weights is None else {mode: each.weighed(weights) for mode, each in how.items()}
        if rerank or reranker is not None:
            how |= {f"{mode}+rerank": each._replace(rerank=top) for mode, each in how.items()}
        reports = {
            name: measures.evaluate(queries, qrels, rankings(asking, each, seen), cutoffs, drop_same_id=drop_same_id)
            for name, each in how.items()
        }
        relevant = measures.relevant(queries, qrels)
        absent = sorted(asking.absent(relevant - seen))
    if absent and len(absent) == len(relevant):
        raise click.BadParameter(
            f"none of the {len(relevant):,} relevant documents of {qrels_file} is in {asking.generation}: they are "
            f"{terminal.some(absent)}, and it has {terminal.some(sorted(seen))}. Is it the index of this collection, "
            "and was it embedded with the --id-field that the judgements use?",
            param_hint="--qrels",
        )
    if as_json:
        click.echo(terminal.json_of_reports(asking.generation, reports, len(relevant), absent))
    else:
        terminal.print_reports(asking.generation, reports, len(relevant), absent)


@contextmanager
def _searcher(name: str, url: str | None, key: str | None, settings: Settings) -> Iterator[IndexSearcher]:
    if url is not None:
        from service.cli.searcher.remote import RemoteSearcher

        with closing(RemoteSearcher(url, name, key)) as asking:
            yield asking
    else:
        from service.cli.searcher.local import local_searcher

        with local_searcher(settings, name) as here:
            yield here
