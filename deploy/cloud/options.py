"""Options of the commands that rented machines run, parsed here by those commands, so that a slip is not paid for."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import click
from click.core import ParameterSource

from deploy.errors import DeployError

# What the machines' scripts and the plan set themselves, by the names of the commands' parameters.
OF_KNEE = frozenset(
    {
        *("url", "index", "queries", "server_facts", "prices", "out", "start"),
        *("arm", "block", "experiment", "instance", "region", "dry_run", "expect_workers", "bind"),
    }
)
OF_SERVE = frozenset({"root", "host", "port", "insecure", "keys"})
# Folders of a machine whose files its container sees.
LOADING, SERVING = "/srv/perwatt/", "/indexes/"


def check_knee(own: Sequence[str], more: Sequence[str]) -> None:
    """`own`: options that the fleet gives to `perwatt loadtest knee`; `more`: those that follow, of --knee-option.

    Raises DeployError for what that command would refuse, and for `more` that the fleet sets itself.
    """
    from loadtest.cli.load import knee

    _parsed(knee, "perwatt loadtest knee", own)
    _check(knee, "perwatt loadtest knee", "--knee-option", more, OF_KNEE, LOADING)


def knee_seconds(given: Sequence[str]) -> tuple[float, float]:
    """The least and the most that a trial with these options takes, once its machines are up."""
    from loadtest.cli.load import knee, knee_run
    from loadtest.cli.service_options import config_of
    from loadtest.experiment.duration import steps, total

    read = dict(_parsed(knee, "perwatt loadtest knee", given).params)
    for about_showing in ("dry_run", "watch", "watch_port"):
        del read[about_showing]
    run = knee_run(read)
    return total(steps(config_of(read), run))


def check_serve(more: Sequence[str]) -> None:
    """The same of --serve-option and `perwatt serve`."""
    from service.cli.serve import serve

    _check(serve, "perwatt serve", "--serve-option", more, OF_SERVE, SERVING)


def _check(
    command: click.Command, name: str, option: str, more: Sequence[str], taken: frozenset[str], mounted: str
) -> None:
    parsed = _parsed(command, name, more)
    for param in command.params:
        if param.name is None or parsed.get_parameter_source(param.name) is not ParameterSource.COMMANDLINE:
            continue
        if param.name in taken:
            raise DeployError(f"{option}: {param.opts[0]} is set by `perwatt fleet` itself. Leave it out.")
        value = parsed.params[param.name]
        values = value if isinstance(value, tuple) else (value,)
        if isinstance(param.type, click.Path) and not all(str(each).startswith(mounted) for each in values):
            raise DeployError(
                f"{option}: {param.opts[0]} names {', '.join(map(str, values))}, and a rented machine has no files but "
                f"those of index.tar, in {mounted}. Name one there, or leave it out."
            )


def _parsed(command: click.Command, name: str, given: Sequence[str]) -> click.Context:
    """What `command` makes of `given`, which may lack what it requires and name files that are elsewhere."""
    probe = click.Command(name, params=[_lenient(param) for param in command.params], add_help_option=False)
    try:
        return probe.make_context(name, list(given))
    except click.UsageError as error:
        raise DeployError(f"`{name}` would refuse {' '.join(given)!r}: {error.format_message()}") from error


def _lenient(param: click.Parameter) -> click.Parameter:
    changed = copy.copy(param)
    changed.required = False
    if isinstance(param.type, click.Path):
        changed.type = click.STRING
    return changed
