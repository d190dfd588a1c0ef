"""The commands that show what figures rest on: `perwatt power | prices`."""

from __future__ import annotations

from pathlib import Path

import click

from loadtest.cli.options import Finite
from loadtest.errors import PriceError


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


@prices.command()
@click.option("--region", default="us-east-1", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where to write the table.")
@click.argument("instances", nargs=-1)
def refresh(region: str, out: Path, instances: tuple[str, ...]) -> None:
    """Ask AWS for today's prices (needs credentials); without INSTANCES, of all AWS machines of the built-in table."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    from loadtest.prices.refresh import PRICE_LIST_REGION, write_table
    from loadtest.prices.refresh import refresh as fetch
    from loadtest.prices.table import price_table

    wanted = instances or tuple(p.instance for p in price_table() if p.provider == "aws")
    try:
        pricing, ec2 = (boto3.client("pricing", region_name=PRICE_LIST_REGION), boto3.client("ec2", region_name=region))
        rows = fetch(pricing, ec2, region, wanted)
    except (BotoCoreError, ClientError) as error:
        raise PriceError(
            f"AWS gave no prices: {error}. It needs credentials that may use pricing:GetProducts and "
            "ec2:DescribeInstanceTypes"
        ) from error
    try:
        write_table(rows, out)
    except OSError as error:
        raise PriceError(f"{out} cannot be written: {error}") from error
    missing = sorted(set(wanted) - {row.instance for row in rows})
    click.echo(f"wrote {len(rows)} prices to {out}")
    if missing:
        click.echo(f"not sold in {region}: {', '.join(missing)}", err=True)
