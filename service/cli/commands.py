"""`perwatt serve`, `search` and `eval`.

Nothing heavy is imported before a command runs: native libraries read their thread counts when they
are imported, and `--help` should not take a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.processes import native_threads
from service.settings import DEFAULT_ROOT, Settings

if TYPE_CHECKING:
    from service.cli.searchers import IndexSearcher

_root = click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_ROOT,
    show_default=True,
    help="Folder of indexes.",
)
_model = click.option("--model", metavar="FOLDER|NAME", help="The model of the vectors, where its name does not say.")
_precision = click.option("--precision", type=click.Choice(["fp32", "int8"]), help="Default: that of the vectors.")
_effort = click.option(
    "--effort",
    type=click.IntRange(min=1),
    help="How hard to look; default: what met the recall target when the index was built.",
)
_exact = click.option("--exact", is_flag=True, help="Compare with every vector.")
_mode = click.option(
    "--mode",
    type=click.Choice(["dense", "lexical", "hybrid"]),
    default="dense",
    show_default=True,
    help="By meaning, by words, or both fused.",
)
_filter = click.option(
    "--filter",
    "filter_json",
    metavar="JSON",
    help="""Only documents that it keeps, like '{"field": "year", "gte": 2020}'; of fields that `build` declared.""",
)
_json = click.option("--json", "as_json", is_flag=True, help="For programs.")
_url = click.option("--url", help="Ask this server instead of opening the index here.")


def _sendable(_context: click.Context, _option: click.Parameter, key: str | None) -> str | None:
    from service.client import calls

    try:
        return key and key.strip() and calls.authorization(key.strip()).removeprefix("Bearer ")
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


key_option = click.option(
    "--key", envvar="PERWATT_KEY", callback=_sendable, help="Key for that server; better from PERWATT_KEY."
)


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@_root
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any.")
@_model
@_precision
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Native threads of the encoder and of a search.",
)
@click.option("--insecure", is_flag=True, help="Allow a --host that other machines reach, without keys.")
@click.option(
    "--keys",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File of keys (`perwatt keys`); every search needs one then.",
)
@click.option(
    "--allow-host",
    "allow_hosts",
    multiple=True,
    metavar="NAME",
    help="A name by which this server is asked on the loopback, besides localhost.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Processes, one a core; connections are spread evenly.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Requests worked on at once; more wait until their deadline.",
)
@click.option(
    "--queue",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="Requests that may wait; further ones are refused with 503.",
)
@click.option(
    "--connections",
    type=click.IntRange(min=1),
    default=20_000,
    show_default=True,
    help="Open ones; beyond it the one that was idle longest is closed.",
)
@click.option(
    "--client-timeout",
    "client_s",
    type=click.FloatRange(min=0.5, max=600),
    default=10.0,
    show_default=True,
    help="Seconds a caller may take to send the head of a request, and its body before a least rate is asked for.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.001, max=60),
    default=10.0,
    show_default=True,
    help="Seconds a request may take that sets no timeout_ms.",
)
@click.option(
    "--drain",
    "drain_s",
    type=click.FloatRange(min=0),
    default=2.0,
    show_default=True,
    help="Seconds between SIGTERM and closing the port, while /readyz says 503.",
)
@click.option(
    "--grace",
    "grace_s",
    type=click.FloatRange(min=1),
    default=20.0,
    show_default=True,
    help="Seconds that requests in flight may take to finish after that.",
)
@click.option(
    "--rebuilds",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File that says what indexes may be rebuilt from, and when the service does it by itself.",
)
@click.option(
    "--otel/--no-otel",
    default=None,
    help="Send spans to an OpenTelemetry collector; without it, if the OTEL_… variables ask for it.",
)
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Of stderr.")
@click.option(
    "--access-log",
    is_flag=True,
    help="A line a request: method, path, status, time, bytes of the answer, its id and the name of the key; no query.",
)
def serve(names: tuple[str, ...], log_format: str, access_log: bool, **options: Any) -> None:
    """Answer searches over HTTP, with a page for people.

    Serves the current generation of each NAME, or of every index in the root. SIGHUP follows the
    aliases on disk; SIGTERM finishes what is in flight and ends.
    """
    settings = Settings(names=names, **options)
    native_threads.pin(settings.threads)
    from service.telemetry import logs

    logs.configure(log_format, access_log)
    click.echo(f"loading from {settings.root} …")
    if settings.workers > 1:
        from service.cli.terminal import describe, say_started
        from service.processes.workers import run_workers

        def started(said: str, address: str) -> None:
            say_started(f"{said}\n  workers          {settings.workers}", address)

        run_workers(settings, describe, started)
    else:
        from service.cli.terminal import print_started
        from service.processes import server

        server.run(settings, print_started)


@click.command()
@click.argument("name")
@click.argument("text", required=False)
@click.option("--k", type=click.IntRange(1, 1000), default=10, show_default=True)
@_root
@_url
@key_option
@click.option(
    "--vector",
    "vector_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A .npy file with the query vector, instead of TEXT.",
)
@_mode
@_filter
@_effort
@_exact
@_model
@_precision
@_json
def search(
    name: str,
    text: str | None,
    k: int,
    root: Path,
    url: str | None,
    key: str | None,
    vector_file: Path | None,
    mode: Any,
    filter_json: str | None,
    effort: int | None,
    exact: bool,
    model: str | None,
    precision: str | None,
    as_json: bool,
) -> None:
    """Search index NAME for TEXT, here or on a server.

    Prints score, id, title and a piece of the text of each hit, best first.
    """
    if (text is None) == (vector_file is None):
        raise click.UsageError("Give either TEXT or --vector FILE.")
    native_threads.pin()
    from embed.vectors.npy import read_vector
    from service.cli import terminal
    from service.cli.searchers import SearchOptions, check

    query = read_vector(vector_file) if vector_file is not None else str(text)
    how = SearchOptions(k, effort, exact, mode, filter=None if filter_json is None else json_object(filter_json))
    check(query, how)
    with _searcher(name, url, key, Settings(root=root, model=model, precision=precision)) as asking:
        [hits] = asking.ask([query], how)
    if as_json:
        click.echo(terminal.json_of_hits(asking.generation, hits))
    elif hits:
        terminal.print_hits(hits)
    else:
        click.echo("no hits", err=True)


@click.command("eval")
@click.argument("name")
@click.option(
    "--queries",
    "queries_file",
    type=click.Path(path_type=Path),
    required=True,
    help="JSONL with _id and text.",
)
@click.option(
    "--qrels",
    "qrels_file",
    type=click.Path(path_type=Path),
    required=True,
    help="TSV with query-id, corpus-id and score.",
)
@_root
@_url
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
    type=click.Choice(["dense", "lexical", "hybrid", "all"]),
    multiple=True,
    help="How to search; all (the default) compares every mode that the index has.",
)
@click.option(
    "--weights",
    type=(click.FloatRange(min=0), click.FloatRange(min=0)),
    default=(1.0, 1.0),
    show_default=True,
    help="Of dense and lexical in a hybrid search.",
)
@click.option(
    "--drop-same-id",
    is_flag=True,
    help="Leave out a hit that has the id of its query: for collections whose queries are documents of the corpus.",
)
@_effort
@_exact
@_model
@_precision
@_json
def evaluate(
    name: str,
    queries_file: Path,
    qrels_file: Path,
    root: Path,
    url: str | None,
    key: str | None,
    cutoffs: tuple[int, ...],
    modes: tuple[Any, ...],
    weights: tuple[float, float],
    drop_same_id: bool,
    effort: int | None,
    exact: bool,
    model: str | None,
    precision: str | None,
    as_json: bool,
) -> None:
    """Score index NAME against relevance judgements in BEIR's format.

    nDCG has linear gain; chunks are folded to documents; definitions are trec_eval's and BEIR's, so
    that figures can be laid beside published ones. Relevant documents that are not in the index are
    counted as not found, and said; where none of them is, the exit status is 2.
    """
    from loky import cpu_count

    native_threads.pin(cpu_count())
    from service.cli import evaluate as measures
    from service.cli import terminal
    from service.cli.searchers import SearchOptions, rankings

    queries = measures.read_queries(queries_file)
    qrels = measures.read_qrels(qrels_file)
    settings = Settings(root=root, model=model, precision=precision, threads=cpu_count())
    with _searcher(name, url, key, settings) as asking:
        asked = asking.modes if not modes or "all" in modes else modes
        seen: set[str] = set()
        reports = {
            mode: measures.evaluate(
                queries,
                qrels,
                rankings(asking, SearchOptions(1, effort, exact, mode, weights), seen),
                cutoffs,
                drop_same_id=drop_same_id,
            )
            for mode in asked
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


def json_object(given: str) -> dict[str, Any]:
    import json

    try:
        found = json.loads(given)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"{given[:80]} is not JSON ({error}).", param_hint="--filter") from None
    if not isinstance(found, dict):
        raise click.BadParameter(f"{given[:80]} is no JSON object with a condition.", param_hint="--filter")
    return found


@contextmanager
def _searcher(name: str, url: str | None, key: str | None, settings: Settings) -> Iterator[IndexSearcher]:
    from service.cli.searchers import RemoteSearcher, local_searcher

    if url is not None:
        with closing(RemoteSearcher(url, name, key)) as asking:
            yield asking
    else:
        with local_searcher(settings, name) as here:
            yield here
