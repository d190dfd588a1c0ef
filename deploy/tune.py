"""`perwatt tune`: what each way of searching an index costs and is worth, on the user's own judgements.

The measuring is `service.cli.tuning`, the judging `service.cli.judging`; here are the options, the table, what a second
of processor time takes in joules, and the picture, which is drawn with the parts of the load test's charts.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from service.cli.serve import Watts
from service.processes import native_threads
from service.settings import Settings

if TYPE_CHECKING:
    from deploy.tune_energy import EnergyPrice
    from service.cli.judging import Point, Tuned


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
    type=click.Choice(["dense", "lexical", "sparse", "hybrid"]),
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
    help="What words weigh in a hybrid search, and a third ranking by sparse weights where the index has them.",
)
@click.option(
    "--loss",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="Of nDCG, that the recommended search may have against the best one.",
)
@click.option(
    "--slo-p99-ms",
    "slo_ms",
    type=click.FloatRange(0, min_open=True),
    help="Recommend only what takes at most that for 99 of 100 queries, each alone on a core, without HTTP.",
)
@click.option(
    "--cpu-watts",
    type=Watts(),
    metavar="LOW[:HIGH]",
    help="Of one busy CPU, for joules where no counter can be read.  [default: published models of the processor]",
)
@click.option(
    "--beside",
    multiple=True,
    metavar="INDEX",
    help="Another index of the same documents, of another model, precision or --dim, whose searches are tried too; "
    "repeat for more.",
)
@click.option(
    "--write",
    is_flag=True,
    help="Keep the recommended search as the index's default: what a search is that names neither mode nor params.",
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
    slo_ms: float | None,
    cpu_watts: tuple[float, float] | None,
    beside: tuple[str, ...],
    write: bool,
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
    where the index has both; with --reranker each mode also with its hits read anew, with --beside the same of other
    indexes. Shown are nDCG and processor time of a query with 95 % intervals, joules where a counter or a model gives
    them, the searches that no other one beats, and the cheapest within --loss of the best and within --slo-p99-ms, as a
    request asks for it. With --write it is its index's default from then on: servers take it when they start, switch,
    or get SIGHUP. Whoever names a mode or params in a request is asked as before, and a rebuild keeps it but for its
    effort.
    """
    native_threads.pin(1)
    from deploy.tune_energy import energy_of
    from service.cli import judging, tuning
    from service.cli.evaluate import read_qrels, read_queries
    from service.telemetry.spending import Spending

    queries, qrels = read_queries(queries_file), read_qrels(qrels_file)
    settings = Settings(root=root, model=model, precision=precision, encoder=encoder, reranker=reranker, threads=1)
    with ExitStack() as stack:
        indexes = {"": stack.enter_context(tuning.opened(settings, name))}
        for other in beside:
            indexes[other] = stack.enter_context(tuning.opened(replace(settings, model=None, precision=None), other))
        tried = [
            corner._replace(beside=other)
            for other, index in indexes.items()
            for corner in tuning.corners(
                [mode for mode in index.modes if mode in (modes or index.modes)],
                index.encoders,
                [None if each == "default" else int(each) for each in efforts] or index.efforts,
                depths,
                weights,
                index.exact and not efforts,
                k,
                [top for top in tops if top >= k] if reranker else [],
            )
        ]
        if not tried:
            raise click.BadParameter(f"the index has {', '.join(indexes[''].modes)}.", param_hint="--mode")
        generations = {other: index.generation for other, index in indexes.items()}
        click.echo(f"{len(tried)} searches of {', '.join(generations.values())}, each for every judged query", err=True)
        ask = {(other, encoder): one for other, index in indexes.items() for encoder, one in index.ask.items()}
        with tqdm(unit=" queries", disable=None) as bar:

            def progress(done: int, of: int) -> None:
                bar.total = of
                bar.update(done - bar.n)

            spending = Spending(cpu_watts=cpu_watts)
            allowed = judging.Allowed(loss, slo_ms)
            tuned = tuning.tune(queries, qrels, tried, ask, allowed=allowed, progress=progress)
            energy = energy_of(spending)
    if plot is not None:
        from deploy.tune_picture import picture

        plot.write_text(picture(name, tuned))
    if as_json:
        asked = {"generation": generations[""], "k": k, "loss": loss, "slo_p99_ms": slo_ms}
        said = {} if energy is None else {"joules_of_cpu_s": energy.joules._asdict(), "joules_are": energy.evidence}
        click.echo(json.dumps(asked | said | judging.as_json(tuned, None if energy is None else energy.joules)))
    else:
        _print(tuned, k, loss, energy)
    if write:
        better = tuned.recommended.corner.beside
        _write(root, better or name, generations[better], tuned, k)


def _write(root: Path, name: str, generation: str, tuned: Tuned, k: int) -> None:
    import msgspec

    from index import Root
    from index.shards.sealed import ShardedIndex
    from service.tuned.kept import write_default
    from service.wire.default_search import DefaultSearch

    chosen = tuned.recommended
    found = msgspec.convert(
        chosen.corner.request()
        | {
            "generation": generation,
            "query_encoder": "model" if chosen.corner.encoder == "model" else "auto",
            "ndcg": round(chosen.ndcg.mean, 4),
            "loss": round(chosen.loss.mean, 4),
            "k": k,
            "queries": tuned.queries,
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        },
        DefaultSearch,
    )
    sharded = ShardedIndex(root, name)
    roots = sharded.generation().roots if sharded.there else [Root(root)]
    paths = [write_default(each, name, found) for each in roots]
    click.echo(
        f"{paths[0]}{' and that of each other shard' if sharded.there else ''} holds it: "
        f"what searches of {name} are that name neither mode nor params. Servers take it when they "
        "start, switch or get SIGHUP; delete the file to undo it",
        err=True,
    )


def _print(tuned: Tuned, k: int, loss: float, energy: EnergyPrice | None) -> None:
    from service.cli.judging import joules

    def spent(point: Point) -> str:
        return "" if energy is None else f"{joules(point, energy.joules).mean * 1e3:6.2f}  "

    width = max(len(point.corner.name) for point in tuned.points)
    joules_head = "" if energy is None else f"{'mJ':>6}  "
    click.echo(
        f"{'':2}{'':{width}}  {f'nDCG@{k}':>6}  {'95 %':^15}  {'CPU µs':>7}  {'95 %':^15}  {'p99 ms':>6}  "
        f"{joules_head}loss against the best"
    )
    for point in tuned.points:
        mark = "→ " if point is tuned.recommended else "* " if point.front else "  "
        ndcg, cpu, lost = point.ndcg, point.cpu_us, point.loss
        click.echo(
            f"{mark}{point.corner.name:{width}}  {ndcg.mean:7.4f}  {ndcg.low:.4f} … {ndcg.high:.4f}  {cpu.mean:7,.0f}  "
            f"{cpu.low:5,.0f} … {cpu.high:6,.0f}  {point.p99_ms.mean:6.2f}{' ' if point.quick else '!'} {spent(point)}"
            f"{lost.mean:+.4f} ({lost.low:+.4f} … {lost.high:+.4f})"
        )
    if energy is not None:
        click.echo(f"\nmJ of a query are {energy.evidence}.")
    chosen = tuned.recommended
    request = json.dumps(chosen.corner.request()) + (f"  of {chosen.corner.beside}" if chosen.corner.beside else "")
    good = chosen.loss.mean <= loss + 1e-12
    click.echo(
        f"\n{tuned.queries:,} queries. * nothing is as good for less. → "
        + (
            f"the cheapest that loses at most {loss:g} to the best ({tuned.best.corner.name})"
            if good
            else f"none that is quick enough loses at most {loss:g}; the best of those"
        )
        + ("" if all(point.quick for point in tuned.points) else "; ! takes longer than --slo-p99-ms")
        + f":\n  {request}"
        + ("  with --query-encoder model" if chosen.corner.encoder == "model" else "")
    )
