"""`perwatt keys`: creates, lists, changes and revokes the keys of a server with `--keys`.

A key is printed once, alone on stdout so that it can be piped into a secret store, and is stored nowhere. A running
server follows the file within a second.
"""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path

import click

from service.access import keys as store
from service.errors import KeysError

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Duration(click.ParamType[datetime.timedelta]):
    """90d, 12h, 30m, 45s, 2w."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime.timedelta:
        if isinstance(value, datetime.timedelta):
            return value
        found = re.fullmatch(r"(\d{1,6})([smhdw])", str(value))
        if not found:
            self.fail(f"{value!r}: expected a number and one of s, m, h, d, w, like 90d.", param, ctx)
        return datetime.timedelta(**{_UNITS[found[2]]: int(found[1])})


_file = click.option(
    "--keys",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("keys.json"),
    envvar="PERWATT_KEYS",
    show_default=True,
    help="The file; also from PERWATT_KEYS.",
)
_expires = click.option("--expires", type=Duration(), metavar="90d", help="When the new secret ends. Default: never.")


@click.group()
def keys() -> None:
    """Make, show, rotate and revoke the keys of a server."""


@keys.command()
@click.argument("name")
@_file
@click.option("--scope", type=click.Choice(list(store.RANK)), default="search", show_default=True)
@click.option("--index", "indexes", multiple=True, metavar="NAME", help="An index it may use; default: every one.")
@click.option("--filter", "filter_json", metavar="JSON", help="A filter that holds for everything it asks.")
@click.option(
    "--rate", "rate_per_s", type=click.FloatRange(min=0, min_open=True), help="Requests a second; default: no limit."
)
@click.option("--burst", type=click.IntRange(min=1), help="Requests at once; default: a second's worth.")
@_expires
def create(
    name: str,
    path: Path,
    scope: store.Access,
    indexes: tuple[str, ...],
    filter_json: str | None,
    rate_per_s: float | None,
    burst: int | None,
    expires: datetime.timedelta | None,
) -> None:
    """Make key NAME and print it, once."""
    if burst is not None and rate_per_s is None:
        raise click.UsageError("--burst needs --rate.")
    key = store.Key(name, 0, scope, [], list(indexes) or None, _filter(filter_json), rate_per_s=rate_per_s, burst=burst)
    with store.changing(path) as held:
        token = store.add(held, key, _from_now(expires))
    _say_once(token, f"Key {name} of scope {scope} is in {path}.")


@keys.command()
@click.argument("name")
@_file
@_expires
@click.option(
    "--old-expires",
    type=Duration(),
    metavar="7d",
    help="When the present secret ends. Default: when it is revoked.",
)
def rotate(name: str, path: Path, expires: datetime.timedelta | None, old_expires: datetime.timedelta | None) -> None:
    """Give key NAME a second secret and print it; the first one stays good until it is revoked or ends."""
    with store.changing(path) as held:
        key = store.find(held, name)
        before = [secret.id for secret in key.secrets]
        token = store.add_secret(held, key, _from_now(expires))
        if old_expires is not None:
            end = _from_now(old_expires)
            for secret in key.secrets:
                if secret.id in before and (secret.expires_at is None or end is None or end < secret.expires_at):
                    secret.expires_at = end
    _say_once(token, f"Key {name} has a second secret; `perwatt keys revoke ID` ends the first ({', '.join(before)}).")


@keys.command()
@click.argument("name")
@_file
def revoke(name: str, path: Path) -> None:
    """End key NAME with all its secrets, or only the secret with the id NAME."""
    with store.changing(path) as held:
        for key in held:
            left = [secret for secret in key.secrets if secret.id != name]
            if len(left) < len(key.secrets):
                key.secrets = left
                if not left:
                    held.remove(key)
                break
        else:
            held.remove(store.find(held, name))
    click.echo(f"{name} is revoked; a server that runs takes notice within a second.", err=True)


@keys.command("list")
@_file
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def list_keys(path: Path, as_json: bool) -> None:
    """Show every key but its secrets."""
    held = store.read(path)
    if as_json:
        click.echo(json.dumps([_described(key) for key in held]))
        return
    for key in held:
        quota = "" if key.rate_per_s is None else f"  {key.rate_per_s:g}/s"
        where = "every index" if key.indexes is None else ", ".join(key.indexes)
        click.echo(
            f"{click.style(key.name, bold=True)}  {key.scope}  {where}{quota}{'  filtered' if key.filter else ''}"
        )
        for secret in key.secrets:
            until = "" if secret.expires_at is None else f", until {secret.expires_at:%Y-%m-%d %H:%M} UTC"
            click.echo(f"  {secret.id}  since {secret.created_at:%Y-%m-%d %H:%M}{until}")


def _described(key: store.Key) -> dict[str, object]:
    return {
        "name": key.name,
        "scope": key.scope,
        "indexes": key.indexes,
        "filter": key.filter,
        "rate_per_s": key.rate_per_s,
        "burst": key.burst,
        "secrets": [
            {
                "id": secret.id,
                "created_at": secret.created_at.isoformat(),
                "expires_at": secret.expires_at and secret.expires_at.isoformat(),
            }
            for secret in key.secrets
        ],
    }


def _filter(given: str | None) -> dict[str, object] | None:
    if given is None:
        return None
    try:
        found = json.loads(given)
    except ValueError as error:
        raise KeysError(f"--filter is not JSON ({error}); write it like a filter in a search.") from None
    if not isinstance(found, dict):
        raise KeysError(f"--filter is {given}, expected an object like a filter in a search.")
    from service.wire.filters import of_key
    from service.wire.problems import Problem

    try:
        of_key(found)
    except Problem as problem:
        raise KeysError(f"--filter is none: {problem.detail}") from None
    return found


def _from_now(duration: datetime.timedelta | None) -> datetime.datetime | None:
    return None if duration is None else datetime.datetime.now(datetime.UTC) + duration


def _say_once(token: str, what: str) -> None:
    click.echo(token)
    click.echo(f"{what} This is the only time it is shown.", err=True)
