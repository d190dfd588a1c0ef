"""`perwatt usage`: what each key of a running service has used, and what that cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from service.cli.options import json_option, key_option
from service.errors import RemoteError

if TYPE_CHECKING:
    from service.wire.answer.usage import KeyUsage, UsageAnswer


@click.command()
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, metavar="URL", help="Of the service.")
@key_option
@json_option
def usage(url: str, key: str | None, as_json: bool) -> None:
    """Show what each key of a running service has used: queries, processor time, joules, dollars.

    A key of scope admin sees all keys, any other its own.
    """
    from service.client import Client, ClientError
    from service.wire.encoding import encode

    try:
        with Client(url, key=key or None) as client:
            answer = client.usage()
    except ClientError as error:
        raise RemoteError(str(error)) from error
    if as_json:
        click.echo(encode(answer).decode())
    else:
        for line in table(answer):
            click.echo(line)


def table(answer: UsageAnswer) -> list[str]:
    """A line a key, the whole, and what the numbers are."""
    lines = [*answer.keys, *([answer.whole] if answer.whole else [])]
    heads = ["key", "queries", "tokens", "distances", "CPU s", "share", "joules", "dollars"]
    rows = [heads, *(_cells(line) for line in lines)]
    shown = [at for at, _ in enumerate(heads) if at < 5 or any(row[at] for row in rows[1:])]
    widths = {at: max(len(row[at]) for row in rows) for at in shown}
    found = [
        "  ".join(f"{row[at]:<{widths[at]}}" if at == 0 else f"{row[at]:>{widths[at]}}" for at in shown).rstrip()
        for row in rows
    ]
    price = answer.usd_per_cpu_hour
    told = "unknown: start the service with --cpu-price" if price is None else f"at ${price:g} for an hour of one CPU"
    return [*found, f"since    {answer.since}", f"joules   {answer.energy}: {answer.energy_of}", f"dollars  {told}"]


def _cells(line: KeyUsage) -> list[str]:
    joules = "" if line.joules is None else _three(line.joules)
    if line.joules_low is not None and line.joules_high is not None:
        joules = f"{_three(line.joules_low)} to {_three(line.joules_high)}"
    return [
        line.key,
        *(f"{number:,}" for number in (line.queries, line.tokens, line.vectors_scored)),
        f"{line.cpu_s:,.3f}",
        "" if line.share is None else f"{line.share:.1%}",
        joules,
        "" if line.dollars is None else f"{line.dollars:,.6f}",
    ]


def _three(value: float) -> str:
    """Three digits, or whole ones."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
