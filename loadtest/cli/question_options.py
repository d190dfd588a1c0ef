"""The options that say what is asked, and of which engine."""

from __future__ import annotations

from pathlib import Path

import click

from loadtest.cli.options import Read
from loadtest.errors import WorkloadError


def _effort(text: str) -> None:
    if text != "auto" and not (text.isdecimal() and int(text) > 0):
        raise WorkloadError(f"{text!r}: expected a number or 'auto'")


def _target(text: str) -> None:
    from loadtest.targets.named import names

    if text not in names():
        raise WorkloadError(f"no target is called {text!r}; there are: {', '.join(names())}")


def _variable(text: str) -> None:
    from loadtest.experiment.config import parse_variables

    parse_variables((text,))


def _popularity(text: str) -> None:
    from loadtest.workload.requests import popularity

    popularity(text, 1)


def _filter(text: str) -> None:
    from loadtest.workload.filters import parse_filters

    parse_filters((text,))


QUESTION_OPTIONS = (
    click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="The service under test."),
    click.option("--index", default="", help="Name of the index (collection, table) to search."),
    click.option(
        "--target",
        default="perwatt",
        type=Read(_target),
        show_default=True,
        help="The engine: perwatt, http with --template, or one that perwatt loadtest targets lists.",
    ),
    click.option(
        "--template",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        default=None,
        help="With --target http: a TOML file that says how the engine is asked.",
    ),
    click.option(
        "--set",
        "variables",
        type=Read(_variable),
        multiple=True,
        metavar="NAME=VALUE",
        help="A variable of the engine's template, such as field=embedding.",
    ),
    click.option(
        "--truth",
        type=(click.Path(exists=True, path_type=Path), click.Path(exists=True, dir_okay=False, path_type=Path)),
        default=None,
        metavar="VECTORS.npy IDS.txt",
        help="What the engine holds, for exact answers; else it is asked for them, where it can be.",
    ),
    click.option(
        "--metric",
        type=click.Choice(["cosine", "ip", "l2"]),
        default="cosine",
        show_default=True,
        help="How --truth measures nearness: as the engine's index does.",
    ),
    click.option(
        "--qrels",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        default=None,
        help="Judgements (TREC or BEIR) of queries by their _id.",
    ),
    click.option(
        "--measure",
        type=click.Choice(["recall", "ndcg"]),
        default="recall",
        show_default=True,
        help="What --recall is a bound of; ndcg with --qrels.",
    ),
    click.option(
        "--queries",
        required=True,
        type=click.Path(exists=True, path_type=Path),
        help="Real queries: .jsonl, .txt, .npy, or a vectors folder.",
    ),
    click.option(
        "--field",
        "field",
        default="title",
        show_default=True,
        help="Payload field to ask for, when --queries is a vectors folder.",
    ),
    click.option("-k", "k", default=10, type=click.IntRange(1, 1000), show_default=True, help="Neighbours asked for."),
    click.option(
        "--effort",
        type=Read(_effort),
        default=None,
        help="Search effort: a number, or 'auto' for the cheapest that proves --recall.",
    ),
    click.option("--mode", type=click.Choice(["dense", "lexical", "sparse", "hybrid"]), default=None),
    click.option(
        "--popularity",
        type=Read(_popularity),
        default="uniform",
        show_default=True,
        help="uniform or zipf:<exponent>.",
    ),
    click.option(
        "--filter",
        "filters",
        type=Read(_filter),
        multiple=True,
        help='SHARE:JSON, e.g. \'0.2:{"field":"kind","eq":"class"}\'.',
    ),
    click.option(
        "--filters",
        "filters_file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        default=None,
        help='The same from a file: {"share": …, "filter": {…}} a line.',
    ),
    click.option(
        "--send",
        type=click.Choice(["text", "vector", "both"]),
        default="text",
        show_default=True,
        help="Text queries as text, as the vectors that the service makes of them, or by turns.",
    ),
)
