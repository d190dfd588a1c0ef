"""`perwatt serve`.

Nothing heavy is imported before a command runs: native libraries read their thread counts when they are imported, and
`--help` should not take a second.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from service.cli.options import (
    encoder_option,
    model_option,
    precision_option,
    query_encoder_option,
    reranker_option,
    root_option,
)
from service.processes import native_threads
from service.settings import Settings


class Watts(click.ParamType[tuple[float, float]]):
    """2.4, or 1.4:3.6."""

    name = "watts"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        low, _, high = str(value).partition(":")
        try:
            watts = float(low), float(high or low)
        except ValueError:
            watts = (0.0, 0.0)
        if not 0 < watts[0] <= watts[1] < math.inf:
            self.fail(f"{value!r}: expected watts, like 2.4, or the lowest and the highest, like 1.4:3.6.", param, ctx)
        return watts


SERVING = (
    click.option("--host", default="127.0.0.1", show_default=True),
    click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any."),
    model_option,
    precision_option,
    encoder_option,
    click.option(
        "--threads",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Native threads of the encoder and of a search.",
    ),
    click.option("--insecure", is_flag=True, help="Allow a --host that other machines reach, without keys."),
    click.option(
        "--keys",
        type=click.Path(dir_okay=False, path_type=Path),
        help="File of keys (`perwatt keys`); every search needs one then.",
    ),
    click.option(
        "--allow-host",
        "allow_hosts",
        multiple=True,
        metavar="NAME",
        help="A name by which this server is asked on the loopback, besides localhost.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(1, 1024),
        default=1,
        show_default=True,
        help="Processes, one a core; connections are spread evenly.",
    ),
    click.option(
        "--query-cache",
        "query_cache_mib",
        type=click.IntRange(1, 1 << 20),
        default=64,
        show_default=True,
        metavar="MIB",
        help="Memory for the vectors of queries seen before, of all workers together; 64 hold 40,000 of 384 "
        "dimensions.",
    ),
    click.option("--no-query-cache", is_flag=True, help="Encode every query, also one that was seen before."),
    click.option(
        "--concurrency",
        type=click.IntRange(min=1),
        default=64,
        show_default=True,
        help="Requests that a worker works on at once; more wait until their deadline.",
    ),
    click.option(
        "--queue",
        type=click.IntRange(min=1),
        default=256,
        show_default=True,
        help="Requests that may wait for a worker; further ones are refused with 503.",
    ),
    click.option(
        "--connections",
        type=click.IntRange(min=1),
        default=20_000,
        show_default=True,
        help="Open ones of a worker; beyond it the one that was idle longest is closed.",
    ),
    click.option(
        "--client-timeout",
        "client_s",
        type=click.FloatRange(min=0.5, max=600),
        default=10.0,
        show_default=True,
        help="Seconds a caller may take to send the head of a request, and its body before a least rate is asked for.",
    ),
    click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(min=0.001, max=60),
        default=10.0,
        show_default=True,
        help="Seconds a request may take that sets no timeout_ms.",
    ),
    click.option(
        "--drain",
        "drain_s",
        type=click.FloatRange(min=0),
        default=2.0,
        show_default=True,
        help="Seconds between SIGTERM and closing the port, while /readyz says 503.",
    ),
    click.option(
        "--grace",
        "grace_s",
        type=click.FloatRange(min=1),
        default=20.0,
        show_default=True,
        help="Seconds that requests in flight may take to finish after that.",
    ),
    click.option(
        "--cpu-price",
        "cpu_hour_usd",
        type=click.FloatRange(min=0, min_open=True),
        metavar="USD",
        help="Of an hour of one CPU (the machine's price by its vCPUs): `perwatt usage` then tells dollars by key.",
    ),
    click.option(
        "--cpu-watts",
        type=Watts(),
        metavar="LOW[:HIGH]",
        help="Of one busy CPU, where no energy counter can be read: joules by key are then modelled. `perwatt power` "
        "has such figures of a whole machine.",
    ),
    click.option(
        "--otel/--no-otel",
        default=None,
        help="Send spans to an OpenTelemetry collector; without it, if the OTEL_… variables ask for it.",
    ),
    click.option(
        "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Of stderr."
    ),
    click.option(
        "--access-log",
        is_flag=True,
        help="A line a request: method, path, status, time, bytes of the answer, its id, the key's name; no query.",
    ),
)


def serving_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What `serve` and `route` have in common: how to listen, whom to answer, how much at once."""
    for option in reversed(SERVING):
        command = option(command)
    return command


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@root_option
@query_encoder_option
@reranker_option
@serving_options
@click.option(
    "--rebuilds",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File that says what indexes may be rebuilt from, and when the service does it by itself.",
)
@click.option(
    "--follow",
    is_flag=True,
    help="Look every second which generation each alias on disk names, and serve that one once it is checked.",
)
def serve(names: tuple[str, ...], log_format: str, access_log: bool, **options: Any) -> None:
    """Answer searches over HTTP, with a page for people.

    Serves the current generation of each NAME, or of every index in the root. SIGHUP follows the
    aliases on disk once, --follow always; SIGTERM finishes what is in flight and ends.
    """
    start(log_format, access_log, f"loading from {options['root']} …", names=names, **options)


def start(log_format: str, access_log: bool, said: str, no_query_cache: bool, **options: Any) -> None:
    """Serves until a signal ends it.

    Args:
        said: to the person who waits for it.
        options: of the settings.
    """
    settings = Settings(**options | ({"query_cache_mib": 0} if no_query_cache else {}))
    native_threads.pin(settings.threads)
    from service.telemetry import logs

    logs.configure(log_format, access_log)
    click.echo(said)
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
