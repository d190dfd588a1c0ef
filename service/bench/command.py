"""`perwatt bench http`: requests per second of one core over HTTP, beside other servers (`service/bench/`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.command("http")
@click.option(
    "--vectors",
    "file",
    type=click.Path(exists=True, path_type=Path),
    help="A .npy file (n, dim).  [default: WordNet's, in $PERWATT_DATA]",
)
@click.option("--rows", type=click.IntRange(min=2000), default=100_000, show_default=True)
@click.option("--recall", "wanted", type=click.FloatRange(0, 1), default=0.95, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--seconds", type=click.IntRange(min=1), default=3, show_default=True, help="Of a round.")
@click.option("--connections", type=click.IntRange(min=1), default=16, show_default=True)
@click.option("--peers", "folder", type=click.Path(path_type=Path), help="Of their virtual environments.")
@click.option("--work", type=click.Path(path_type=Path), help="Keep what was built here, for the next time.")
@click.option("--only", multiple=True, help="These peers; default: every one that is installed.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def bench_http(as_json: bool, **options: Any) -> None:
    """Requests per second of one core over HTTP, beside other servers."""
    from service.bench import race

    figures = race.measure(**options)
    if as_json:
        click.echo(json.dumps(figures, indent=1))
        return
    for row in figures["rows"]:
        recall = "" if row["recall"] is None else f"recall {row['recall']:.3f}"
        opened = f"{row['open']['p99_ms']:>9,.1f}" if row["open"] else f"{'–':>9}"
        click.echo(
            f"{row['name']:<38} {row['requests_per_s']:>9,.0f}/s {row['cpu_us_a_request']:>9,.0f} µs  p99 {opened} ms "
            f"open, {row['p99_ms']:>9,.1f} ms closed loop  {recall}"
        )
    for name, why in figures["left_out"].items():
        click.echo(f"{name:<38} left out: {why}")
    click.echo(f"beyond the search: {figures['beyond_search_us']:.0f} µs of processor time a request")
