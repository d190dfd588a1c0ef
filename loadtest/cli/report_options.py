"""Options that several of the reading commands take: which arms are compared, and the demand that a fleet must meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from loadtest.cli.options import Finite


def _share(_context: click.Context, _option: click.Parameter, value: str) -> float:
    try:
        share = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise click.BadParameter(f"{value!r} is not a share: give 5% or 0.05")
    return share


def arm_options(command: Any) -> Any:
    for option in reversed(
        [
            click.option("--baseline", default=None, help="Arm that is compared with."),
            click.option("--candidate", default=None, help="Arm that is compared."),
            click.option("--replica", default=None, help="Arm that is the baseline once more (A/A)."),
            click.option(
                "--margin",
                default="2%",
                callback=_share,
                show_default=True,
                help="Loss that does not matter, as 2% or 0.02.",
            ),
        ]
    ):
        command = option(command)
    return command


def fleet_options(required: bool) -> Callable[[Any], Any]:
    """The reader's own demand; a report has its fleet section only when --peak is given."""
    options = [
        click.option(
            "--peak", "peak_qps", required=required, type=Finite(0, min_open=True), help="Peak rate of the day, q/s."
        ),
        click.option("--shape", default="office", show_default=True, help="flat, office, evening, or 24 numbers."),
        click.option(
            "--headroom",
            default=0.3,
            type=Finite(0, 1, max_open=True),
            show_default=True,
            help="Share of capacity kept free at the peak.",
        ),
        click.option(
            "--pue",
            default=1.2,
            type=Finite(1),
            show_default=True,
            help="Energy at the meter over energy at the machine.",
        ),
        click.option("--grid", "grid", type=Finite(0), default=None, help="kgCO2e a kWh of your grid."),
        click.option(
            "--fewest", default=2, type=click.IntRange(1), show_default=True, help="Never fewer machines than this."
        ),
        click.option("--autoscale/--no-autoscale", default=False, help="Follow the hours of the day."),
    ]

    def with_options(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return with_options


def demand_of(
    peak_qps: float, shape: str, headroom: float, pue: float, grid: float | None, fewest: int, autoscale: bool
) -> Any:
    from loadtest.analysis.fleet import Demand, parse_shape

    return Demand(peak_qps, parse_shape(shape), headroom, pue, grid, fewest, autoscale)
