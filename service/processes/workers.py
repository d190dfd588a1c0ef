"""`perwatt serve --workers N`: from settings to a supervisor and its workers.

Nothing native may be imported here: the workers are forked from this process, and a library that has started threads or
read its number of them does not survive a fork. What a worker needs is imported in the worker.
"""

from __future__ import annotations

import click

from service.processes.listening import address_of, bind
from service.settings import Settings
from service.telemetry.slab import Slab
from service.processes.supervisor import Shared, Supervisor

ROW_NUMBERS = 2048  # of a worker in the slab of metrics; its layout is known only where the routes are


def run_workers(settings: Settings) -> None:
    """Until a signal ends it."""

    def work(shared: Shared) -> None:
        from service.processes import server
        from service.cli.terminal import describe

        server.work(settings, shared, describe)

    with bind(settings.host, settings.port) as listening:
        address = address_of(settings, listening)

        def started(said: str) -> None:
            click.echo(f"{said}\n  workers          {settings.workers}")
            click.echo(f"\nperwatt is serving on {click.style(address, bold=True)}   (Ctrl-C ends it)")

        slab = Slab(ROW_NUMBERS, settings.workers)
        Supervisor(listening, settings.workers, slab, work, settings.drain_s, settings.grace_s).run(started)
