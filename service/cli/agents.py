"""`perwatt mcp`: an index of a running service as tools for agents."""

from __future__ import annotations

import asyncio
import socket

import click

from service.cli.options import key_option
from service.errors import RemoteError


@click.command()
@click.argument("name")
@click.option("--url", required=True, metavar="URL", help="Of the service, as http://127.0.0.1:8000.")
@click.option(
    "--http",
    "port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Listen on this port of 127.0.0.1 instead of stdin; 0 takes a free one.",
)
@key_option
def mcp(name: str, url: str, port: int | None, key: str | None) -> None:
    """Offer index NAME of a running service to agents, as tools of the Model Context Protocol.

    An agent starts this command and speaks to it over stdin and stdout. With --http it is a server instead, and
    each caller sends a key of its own.
    """
    from service.client import calls

    try:
        calls.address(url)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--url") from None
    if port is not None and key:
        raise click.UsageError("with --http each caller sends its own key; leave --key and PERWATT_KEY out")
    try:
        from service.integrations import mcp as tools
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "mcp":
            raise
        raise RemoteError("`perwatt mcp` needs the package mcp: pip install 'perwatt[mcp]'") from None
    if port is None:
        asyncio.run(tools.over_stdio(url, name, key or None))
        return
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((tools.HOST, port))
            listening.listen()  # before the address is said: who connects at once waits, and is not refused
        except OSError as error:
            raise RemoteError(f"port {port} of {tools.HOST} cannot be had: {error.strerror}; name another") from error
        click.echo(f"tools on http://{tools.HOST}:{listening.getsockname()[1]}/mcp")
        asyncio.run(tools.over_http(url, name, listening))
