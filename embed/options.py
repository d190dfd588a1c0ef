"""Options that several commands have: how documents are read, and by which model they are embedded."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from embed.documents.inputs import FORMATS

Command = TypeVar("Command", bound=Callable[..., Any])


def _one_character(given: str | None) -> str | None:
    character = "\t" if given in ("tab", "\\t") else given
    if character is not None and (len(character.encode()) != 1 or character in '"\r\n'):
        raise click.BadParameter(f"{given!r} was given; one ASCII character other than a quote, or tab, was expected")
    return character


READING = (
    click.option("--format", type=click.Choice(FORMATS), help="Format of all inputs, whatever their extension says."),
    click.option(
        "--separator",
        callback=lambda _context, _option, given: _one_character(given),
        metavar="CHARACTER|tab",
        help="What separates the fields of a CSV.  [default: a comma; in TSV a tab]",
    ),
    click.option("--id-field", metavar="NAME", help="Field with the id.  [default: id or _id]"),
    click.option("--text-field", metavar="NAME", help="Field with the text.  [default: text]"),
    click.option(
        "--title-field",
        metavar="NAME",
        help='Field put before the text; "" for none.  [default: title, where there is one]',
    ),
    click.option("--number-rows", is_flag=True, help="Use FILE:ROW as the id, for data that has none."),
    click.option(
        "--on-error",
        type=click.Choice(["fail", "skip"]),
        default="fail",
        show_default=True,
        help="What to do with a record that cannot be used.",
    ),
    click.option("--omit-text", is_flag=True, help="Leave the text out of the payload (smaller index, no snippets)."),
    click.option(
        "--chunk-tokens", type=click.IntRange(8), metavar="N", help="Cut texts into chunks of N tokens.  [default: off]"
    ),
    click.option(
        "--chunk-overlap", type=click.IntRange(0), default=0, metavar="M", help="Tokens that consecutive chunks share."
    ),
)
MODEL = (
    click.option(
        "--model", metavar="NAME|DIR", help="A sentence-transformers folder or hub name.  [default: all-MiniLM-L6-v2]"
    ),
    click.option(
        "--encoder",
        metavar="URL",
        help="Embed on this server instead: OpenAI's API, text-embeddings-inference, or perwatt; --model is its name "
        "there. A key is read from PERWATT_ENCODER_KEY.",
    ),
    click.option("--query-prefix", help="Put before each query, with --encoder.  [default: by the name of the model]"),
    click.option("--document-prefix", help="Put before each document, with --encoder.  [default: by the name]"),
    click.option(
        "--precision", type=click.Choice(["fp32", "int8"]), help="Precision of the model's weights and arithmetic."
    ),
    click.option(
        "--backend",
        type=click.Choice(["auto", "native", "onnx", "torch"]),
        default="auto",
        show_default=True,
        help="What runs the model.",
    ),
)


def options(group: Sequence[Callable[[Command], Command]]) -> Callable[[Command], Command]:
    """All of a group, in its order."""

    def decorate(command: Command) -> Command:
        for option in reversed(group):
            command = option(command)
        return command

    return decorate


def check_reading(id_field: str | None, number_rows: bool, chunk_tokens: int | None, chunk_overlap: int) -> None:
    """Raises UsageError for options that contradict each other."""
    if number_rows and id_field:
        raise click.UsageError("--number-rows and --id-field both say what the id is; give one of them")
    if chunk_overlap and not chunk_tokens:
        raise click.UsageError("--chunk-overlap needs --chunk-tokens")


def check_model(
    encoder: str | None,
    precision: str | None,
    backend: str,
    query_prefix: str | None,
    document_prefix: str | None,
    encoder_price: float | None = None,
) -> None:
    """Raises UsageError for options that contradict each other."""
    if encoder and (precision or backend != "auto"):
        raise click.UsageError("--precision and --backend are of a model that runs here; --encoder runs it elsewhere")
    if not encoder and (query_prefix, document_prefix, encoder_price) != (None, None, None):
        raise click.UsageError("--query-prefix, --document-prefix and --encoder-price go with --encoder")
