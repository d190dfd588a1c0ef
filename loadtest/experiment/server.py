"""The machine that serves, where it is another one: what it is, what it costs, and what meters its power."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from loadtest.errors import PowerError, PriceError, RecordError
from loadtest.experiment.config import ExperimentConfig
from loadtest.machine import Machine
from loadtest.power.probe import choose, probe
from loadtest.power.sources import PowerSource
from loadtest.prices.price import Price
from loadtest.prices.table import find_prices, misplaced, price_table
from loadtest.record.run_record import EncoderElsewhere


def facts_of(file: Path | None) -> Machine | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Machine) if file is not None else None
    except (OSError, msgspec.MsgspecError) as error:
        raise RecordError(
            f"--server-facts {file}: expected what perwatt loadtest machine --json writes: {error}"
        ) from error


def encoder_elsewhere(config: ExperimentConfig) -> EncoderElsewhere | None:
    price, joules = config.encoder_price, config.encoder_joules
    return None if price is joules is None else EncoderElsewhere(price, joules)


def power_source(config: ExperimentConfig, local: bool) -> PowerSource | None:
    """The finest that says something of it; PowerError where the one asked for does not.

    Args:
        local: the service runs on this machine.
    """
    sources = probe(powercap=config.sysfs_powercap, redfish=config.redfish, shelly=config.shelly)
    own = local or config.redfish or config.shelly
    if config.power_source and not own:
        raise PowerError(
            f"--power-source {config.power_source!r}: the service is on another machine, and the sensors of this "
            "one say nothing about it; give its --redfish or --shelly"
        )
    if not local:  # what this machine has of its own meters the generator
        sources = [each for each in sources if isinstance(each, PowerSource) and each.given]
    return choose(sources, config.power_source) if own else None


def price_of(
    config: ExperimentConfig, server: Machine | None, tell: Callable[[str], None]
) -> tuple[Price | None, list[str]]:
    """Its price, if one is known, and what is to be noted of it. PriceError where the one asked for is not known."""
    instance = config.instance or (server.instance_type if server else None)
    if instance is None:
        return None, []
    table = price_table(config.prices) if config.prices else None
    region = config.region or (server.region if server else None)
    try:
        price = find_prices(instance, table, region)
    except PriceError as error:
        if config.instance:
            raise
        return None, [f"no price: {error}"]
    if server is None or not (note := misplaced(price, server.architecture)):
        return price, []
    tell(f"warning: {note}")
    return price, [note]
