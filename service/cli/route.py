"""`perwatt route`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from service.cli.options import reranker_option
from service.cli.serve import serving_options, start
from service.errors import SettingsError


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option(
    "--shard",
    "given",
    multiple=True,
    metavar="URL[,URL…]",
    help="Address of a shard's server, and of its replicas; once for each shard, in any order.",
)
@click.option(
    "--shards",
    "file",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help='The same as a file: {"shards": [["http://a:8000", "http://b:8000"], …]}.',
)
@click.option("--shard-key", envvar="PERWATT_SHARD_KEY", help="Key for the shards; better from PERWATT_SHARD_KEY.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="Seconds to wait at the start until every shard answers.",
)
@reranker_option
@serving_options
def route(
    names: tuple[str, ...], given: tuple[str, ...], file: Path | None, log_format: str, access_log: bool, **options: Any
) -> None:
    """Answer searches of an index in shards, by asking a server of each.

    The API is that of `perwatt serve`, for searches, reads and writes of each NAME, or of every index that the shards
    serve, and for switches of all shards at once. The text of a search is encoded once, here.
    """
    if bool(given) == (file is not None):
        raise click.UsageError("give the shards with --shard, once for each, or with --shards FILE")
    shards = tuple(tuple(filter(None, one.split(","))) for one in given) if file is None else _read(file)
    start(log_format, access_log, f"looking for {len(shards)} shards …", names=names, shards=shards, **options)


def _read(file: Path) -> tuple[tuple[str, ...], ...]:
    try:
        shards = json.loads(file.read_text())["shards"]
        if not shards or not all(replicas and all(isinstance(each, str) for each in replicas) for replicas in shards):
            raise ValueError("a shard without an address")
        return tuple(tuple([replicas] if isinstance(replicas, str) else replicas) for replicas in shards)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise SettingsError(
            f"{file} does not say where the shards are ({error!r}); expected "
            '{"shards": [["http://a:8000", "http://b:8000"], ["http://c:8000"]]}.'
        ) from None
