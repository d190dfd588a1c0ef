"""The commands that show what figures rest on: `perwatt power | prices`."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import click

from loadtest.cli.options import Finite
from loadtest.errors import PriceError
from loadtest.prices.price import STALE_DAYS, Price


@click.command()
@click.option("--redfish", default=None, help="URL of a Redfish chassis.")
@click.option("--shelly", default=None, help="URL of a Shelly plug.")
@click.option("--sysfs-powercap", type=click.Path(path_type=Path), default=None, help="Where powercap was mounted.")
@click.option("--seconds", default=1.0, type=Finite(0), show_default=True, help="How long each source is read.")
def power(redfish: str | None, shelly: str | None, sysfs_powercap: Path | None, seconds: float) -> None:
    """Show which power sources can be read here, what they read, and why the rest cannot."""
    from loadtest.power.show import show

    for line in show(Path("/"), sysfs_powercap, redfish, shelly, seconds):
        click.echo(line)


@click.group()
def prices() -> None:
    """What machines cost: the dated table, and refreshing it."""


@prices.command("list")
@click.option("--table", type=click.Path(exists=True, path_type=Path), default=None)
@click.argument("pattern", default="")
def list_(table: Path | None, pattern: str) -> None:
    """Prices whose instance name contains PATTERN."""
    from loadtest.prices.table import price_table

    chosen = [price for price in (price_table(table) if table else price_table()) if pattern in price.instance]
    if not chosen:
        raise PriceError(f"no machine in the table has {pattern!r} in its name")
    for price in chosen:
        per_core = price.usd_per_hour / price.cores
        click.echo(
            f"{price.instance:18} {price.region:10} {price.architecture:6} {price.microarchitecture:19} "
            f"{price.vcpus:4} vCPU "
            f"{price.cores:4} cores {price.memory_gib:6g} GiB  ${price.usd_per_hour:<9g}/h  ${per_core:.5f} a "
            f"core  {price.as_of}"
        )
    stale = {price.as_of for price in chosen if price.stale_on(today := date.today().isoformat())}
    if stale:
        click.echo(f"{min(stale)} is more than {STALE_DAYS} days ago ({today}): perwatt prices refresh", err=True)


@prices.command()
@click.option("--provider", type=click.Choice(["aws", "azure", "gcp"]), default="aws", show_default=True)
@click.option("--region", help="Default: that of the built-in table.")
@click.option(
    "--from",
    "given",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A list of prices instead of the provider's API: an answer of Azure's that was kept, or a list of Karpenter's "
    "providers. Google's prices come from such a list alone.",
)
@click.option("--source", help="The address that the list is from; needed with --from.")
@click.option("--as-of", metavar="YYYY-MM-DD", help="Of which day the list is, where it does not say.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where to write the table.")
@click.argument("instances", nargs=-1)
def refresh(
    provider: str,
    region: str | None,
    given: Path | None,
    source: str | None,
    as_of: str | None,
    out: Path,
    instances: tuple[str, ...],
) -> None:
    """Ask a provider for today's prices, or read a list; without INSTANCES, of all its machines in the built-in table.

    AWS needs credentials, Azure none. Rows of other providers and regions that OUT has already are kept.
    """
    from loadtest.prices.listed import REGIONS, azure_list, read_list, refreshed
    from loadtest.prices.refresh import write_table
    from loadtest.prices.table import price_table, read_table

    region = region or REGIONS[provider]
    wanted = instances or tuple(p.instance for p in price_table() if p.provider == provider)
    if given is not None:
        if not source:
            raise click.UsageError("--from needs --source, the address that the list is from.")
        rows = refreshed(provider, region, read_list(given, region, source), wanted, as_of)
    elif provider == "aws":
        rows = _of_aws(region, wanted)
    elif provider == "azure":
        rows = refreshed(provider, region, azure_list(region, wanted), wanted, as_of)
    else:
        raise click.UsageError("Google tells its prices to accounts only: give a list with --from.")
    missing = sorted(set(wanted) - {row.instance for row in rows})
    try:
        others = read_table(out) if out.exists() else []
        write_table([*(row for row in others if (row.provider, row.region) != (provider, region)), *rows], out)
    except OSError as error:
        raise PriceError(f"{out} cannot be written: {error}") from error
    click.echo(f"wrote {len(rows)} prices to {out}")
    if missing:
        click.echo(f"not sold in {region}: {', '.join(missing)}", err=True)


def _of_aws(region: str, wanted: tuple[str, ...]) -> list[Price]:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    from loadtest.prices.refresh import PRICE_LIST_REGION
    from loadtest.prices.refresh import refresh as fetch

    try:
        pricing, ec2 = (boto3.client("pricing", region_name=PRICE_LIST_REGION), boto3.client("ec2", region_name=region))
        return fetch(pricing, ec2, region, wanted)
    except (BotoCoreError, ClientError) as error:
        raise PriceError(
            f"AWS gave no prices: {error}. It needs credentials that may use pricing:GetProducts and "
            "ec2:DescribeInstanceTypes"
        ) from error
