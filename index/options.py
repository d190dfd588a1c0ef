"""Options that several commands of this package have."""

from collections.abc import Callable, Sequence
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


# What is built, whether in one piece or in shards.
STRUCTURE = (
    click.option(
        "--family",
        type=click.Choice(["auto", "flat", "graph", "ivf"]),
        default="auto",
        show_default=True,
        help="Search structure; auto chooses by size and memory.",
    ),
    click.option(
        "--profile",
        type=click.Choice(["auto", "speed", "compact", "disk"]),
        default="auto",
        show_default=True,
        help="Layout of a graph: speed takes three times the memory of compact; auto takes what is quicker here. disk "
        "is lists that take a tenth of it, and read rows from the disk as they search.",
    ),
    click.option(
        "--originals",
        type=click.Choice(["keep", "drop"]),
        default="keep",
        show_default=True,
        help="What becomes of a graph's float32 vectors: drop leaves codes of 12 bits a dimension, less than 1 kB a "
        "vector of 384, and the build measures what that loses.",
    ),
    click.option(
        "--metric",
        type=click.Choice(["cosine", "ip", "l2"]),
        default="cosine",
        show_default=True,
        help="Cosine scales every vector to length 1.",
    ),
    click.option(
        "--recall-target",
        type=click.FloatRange(0, 1),
        default=0.95,
        show_default=True,
        help="Recall@10 that the lower end of its 95 % interval must reach.",
    ),
    click.option(
        "--filterable",
        metavar="FIELD[:TYPE],…",
        multiple=True,
        help="Payload fields that filters may use, with their types: keyword, keyword[], int, float, bool or date. "
        "Strings are read as the declared type, as CSV needs it. Without a type the narrowest that fits every value is "
        "taken, and said.",
    ),
    click.option(
        "--lexical/--no-lexical",
        default=True,
        show_default=True,
        help="Search by words too, where documents have a title or text.",
    ),
    click.option("--language", default="english", show_default=True, help="Of their stems; none: words as they are."),
)
# What must hold before it is served.
CHECKS = (
    click.option(
        "--min-count-ratio",
        type=click.FloatRange(0, 1),
        default=0.5,
        show_default=True,
        help="Least share of the served generation's rows; fewer looks like half an input and is not switched to.",
    ),
    click.option(
        "--max-slowdown",
        type=click.FloatRange(1),
        metavar="TIMES",
        help="Refuse a generation in which a search takes more than so many times what it takes in the served one.",
    ),
)


def options(group: Sequence[Callable[[Command], Command]]) -> Callable[[Command], Command]:
    """All of a group, in its order."""

    def decorate(command: Command) -> Command:
        for option in reversed(group):
            command = option(command)
        return command

    return decorate
