"""`perwatt bench router`: what a request costs through a router over shards (`service/bench/routed/`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.command("router")
@click.option(
    "--vectors",
    "file",
    type=click.Path(exists=True, path_type=Path),
    help="A .npy file (n, dim).  [default: WordNet's, in $PERWATT_DATA]",
)
@click.option("--rows", type=click.IntRange(min=2000), default=100_000, show_default=True)
@click.option("--shards", type=click.IntRange(2, 64), default=4, show_default=True)
@click.option("--recall", "wanted", type=click.FloatRange(0, 1), default=0.95, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=9, show_default=True)
@click.option("--seconds", type=click.IntRange(min=1), default=1, show_default=True, help="Of each part of a round.")
@click.option("--connections", type=click.IntRange(min=1), default=16, show_default=True)
@click.option("--work", type=click.Path(path_type=Path), help="Keep what was built here.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def bench_router(as_json: bool, **options: Any) -> None:
    """What a request costs through a router over shards, beside one of them and one server of all rows."""
    from service.bench.routed import cost

    figures = cost.measure(**options)
    if as_json:
        click.echo(json.dumps(figures, indent=1))
        return
    for form in ("vector", "text"):
        found = figures[form]
        click.echo(
            f"{form:<6}  router {found['router_us']:,.0f} µs of processor time, {found['router_over_shard']:.2f} × a "
            f"shard asked directly; queries per processor second {found['of_one']:.3f} × one server of all rows; "
            f"{found['beyond_ms']:.2f} ms after the slowest shard"
        )
    stopped = figures["stopped"]
    click.echo(f"one replica stopped: p99 {stopped['stopped_p99_ms']:.1f} ms, {stopped['ratio']:.2f} × undisturbed")
