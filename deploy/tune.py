"""`perwatt tune`: what each way of searching an index costs and is worth, on the user's own judgements.

The measuring is `service.cli.tuning`; here are the options, the table and the picture, which is drawn with the parts of
the load test's charts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from service.cli.options import (
    encoder_option,
    json_option,
    model_option,
    precision_option,
    qrels_option,
    queries_option,
    reranker_option,
    root_option,
)
from service.processes import native_threads
from service.settings import Settings


def _efforts(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    for each in given:
        if each != "default" and not (each.isdecimal() and int(each) > 0):
            raise click.BadParameter(f"{each!r}: expected a whole number above 0, or default.")
    return given


@click.command()
@click.argument("name")
@queries_option
@qrels_option
@root_option
@click.option("--k", type=click.IntRange(1, 1000), default=10, show_default=True, help="Documents of a query: nDCG@k.")
@click.option(
    "--mode",
    "modes",
    type=click.Choice(["dense", "lexical", "hybrid"]),
    multiple=True,
    help="Default: all that the index has.",
)
@click.option(
    "--effort",
    "efforts",
    callback=_efforts,
    multiple=True,
    help="Default: that of the index, a half and the double of it, and an exact search.",
)
@click.option(
    "--depth",
    "depths",
    type=click.IntRange(2, 1000),
    multiple=True,
    default=(20, 100),
    show_default=True,
    help="Rows of each ranking that count in a hybrid search, beside the default of 50.",
)
@click.option(
    "--words",
    "weights",
    type=click.FloatRange(0, min_open=True),
    multiple=True,
    default=(0.5, 1.0, 2.0),
    show_default=True,
    help="What words weigh in a hybrid search.",
)
@click.option(
    "--loss",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="Of nDCG, that the recommended search may have against the best one.",
)
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw it as an SVG file.")
@model_option
@precision_option
@encoder_option
@reranker_option
@click.option(
    "--rerank-top",
    "tops",
    type=click.IntRange(1, 200),
    multiple=True,
    default=(20, 50),
    show_default=True,
    help="Hits that the --reranker reads.",
)
@json_option
def tune(
    name: str,
    queries_file: Path,
    qrels_file: Path,
    root: Path,
    k: int,
    modes: tuple[Any, ...],
    efforts: tuple[str, ...],
    depths: tuple[int, ...],
    weights: tuple[float, ...],
    loss: float,
    plot: Path | None,
    model: str | None,
    precision: str | None,
    encoder: str | None,
    reranker: str | None,
    tops: tuple[int, ...],
    as_json: bool,
) -> None:
    """Find the search of index NAME that is worth its price, by relevance judgements in BEIR's format.

    Every judged query goes through every mode, effort and fusion, by the fitted query encoder and by the whole model
    where the index has both; with --reranker each mode also with its hits read anew. Shown are nDCG and processor time
    of a query with 95 % intervals, the searches that no other one beats, and the cheapest within --loss of the best, as
    a request asks for it. Nothing is written: an index has no default of its own, and a request says what it wants.
    """
    native_threads.pin(1)
    from service.cli import tuning
    from service.cli.evaluate import read_qrels, read_queries

    queries, qrels = read_queries(queries_file), read_qrels(qrels_file)
    settings = Settings(root=root, model=model, precision=precision, encoder=encoder, reranker=reranker, threads=1)
    with tuning.opened(settings, name) as index:
        tried = tuning.corners(
            [mode for mode in index.modes if mode in (modes or index.modes)],
            index.encoders,
            [None if each == "default" else int(each) for each in efforts] or index.efforts,
            depths,
            weights,
            index.exact and not efforts,
            k,
            [top for top in tops if top >= k] if reranker else [],
        )
        if not tried:
            raise click.BadParameter(f"the index has {', '.join(index.modes)}.", param_hint="--mode")
        click.echo(f"{len(tried)} searches of {index.generation}, each for every judged query", err=True)
        with tqdm(unit=" queries", disable=None) as bar:

            def progress(done: int, of: int) -> None:
                bar.total = of
                bar.update(done - bar.n)

            tuned = tuning.tune(queries, qrels, tried, index.ask, loss=loss, progress=progress)
    if plot is not None:
        from deploy.figures.tune_picture import picture

        plot.write_text(picture(name, tuned))
    if as_json:
        click.echo(json.dumps({"generation": index.generation, "k": k, "loss": loss} | tuning.as_json(tuned)))
    else:
        _print(tuned, k, loss)


def _print(tuned: Any, k: int, loss: float) -> None:
    width = max(len(point.corner.name) for point in tuned.points)
    click.echo(
        f"{'':2}{'':{width}}  {f'nDCG@{k}':>6}  {'95 %':^15}  {'CPU µs':>7}  {'95 %':^15}  loss against the best"
    )
    for point in tuned.points:
        mark = "→ " if point is tuned.recommended else "* " if point.front else "  "
        ndcg, cpu, lost = point.ndcg, point.cpu_us, point.loss
        click.echo(
            f"{mark}{point.corner.name:{width}}  {ndcg.mean:7.4f}  {ndcg.low:.4f} … {ndcg.high:.4f}  {cpu.mean:7,.0f}  "
            f"{cpu.low:5,.0f} … {cpu.high:6,.0f}  {lost.mean:+.4f} ({lost.low:+.4f} … {lost.high:+.4f})"
        )
    chosen = tuned.recommended
    request = json.dumps(chosen.corner.request())
    click.echo(
        f"\n{tuned.queries:,} queries. * nothing is as good for less. → the cheapest that loses at most {loss:g} to "
        f"the best ({tuned.best.corner.name}):\n  {request}"
        + ("  with --query-encoder model" if chosen.corner.encoder == "model" else "")
    )
