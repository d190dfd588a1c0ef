"""Options that several commands of this package have."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from index.disk.root import DEFAULT_ROOT

Command = TypeVar("Command", bound=Callable[..., Any])


def root_option(command: Command) -> Command:
    return click.option(
        "--root",
        type=click.Path(path_type=Path, file_okay=False),
        default=DEFAULT_ROOT,
        show_default=True,
        help="Folder of the indexes.",
    )(command)


def json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)
