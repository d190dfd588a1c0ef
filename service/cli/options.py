"""Options that several commands of the service take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.settings import DEFAULT_ROOT

FusionWeights = tuple[float, float, float]  # of dense, lexical and sparse

if TYPE_CHECKING:  # finding needs numpy
    from index.search.finding import Effort

root_option = click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_ROOT,
    show_default=True,
    help="Folder of indexes.",
)
model_option = click.option(
    "--model", metavar="FOLDER|NAME", help="The model of the vectors, where its name does not say."
)
encoder_option = click.option(
    "--encoder",
    metavar="URL",
    help="Encode texts on this server instead of here: the one that made the vectors (`perwatt embed --encoder`). A "
    "key is read from PERWATT_ENCODER_KEY.",
)
precision_option = click.option(
    "--precision", type=click.Choice(["fp32", "int8"]), help="Default: that of the vectors."
)
reranker_option = click.option(
    "--reranker",
    metavar="FOLDER|NAME|URL",
    help="A cross-encoder that reads the best hits anew, for searches with `rerank`: a BERT-shaped one here, or one "
    "behind /rerank on another server (MODEL@URL where it has several; its key is read from PERWATT_RERANKER_KEY).",
)
query_encoder_option = click.option(
    "--query-encoder",
    type=click.Choice(["auto", "model"]),
    default="auto",
    show_default=True,
    help="What encodes texts to search for: the fitted encoder of a generation that has one, or always the model.",
)
queries_option = click.option(
    "--queries",
    "queries_file",
    type=click.Path(path_type=Path),
    required=True,
    help="JSONL with _id and text.",
)
qrels_option = click.option(
    "--qrels",
    "qrels_file",
    type=click.Path(path_type=Path),
    required=True,
    help="TSV with query-id, corpus-id and score.",
)


class EffortOption(click.ParamType[Any]):
    """A whole number from 1 on, or "target"."""

    name = "INTEGER|target"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Effort:
        return "target" if value == "target" else click.IntRange(min=1).convert(value, param, ctx)


effort_option = click.option(
    "--effort",
    type=EffortOption(),
    help="How hard to look: a number, or target: what met the recall target for rows of the index.  [default: what "
    "does for questions too]",
)


class WeightsOption(click.ParamType[Any]):
    """Two or three numbers with commas between them, within what the API takes; a tuple of three."""

    name = "DENSE,LEXICAL[,SPARSE]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> FusionWeights:
        import msgspec

        from service.wire.request.search import Weights

        try:
            numbers = [float(each) for each in value.split(",")]
            if not 2 <= len(numbers) <= 3:
                raise ValueError("there are two rankings, or three")
            asked = msgspec.convert(dict(zip(("dense", "lexical", "sparse"), numbers, strict=False)), Weights)
        except ValueError as error:  # msgspec's own among them
            self.fail(f"{value!r}: expected two or three numbers, like 1,0.5 or 1,0.5,0.8 ({error}).", param, ctx)
        return asked.dense, asked.lexical, asked.sparse


weights_option = click.option(
    "--weights",
    type=WeightsOption(),
    help="Of the rankings that a hybrid search fuses: by meaning, by words, and by sparse weights where the index has "
    "them.  [default: 1,1,0]",
)
exact_option = click.option("--exact", is_flag=True, help="Compare with every vector.")
mode_option = click.option(
    "--mode",
    type=click.Choice(["dense", "lexical", "sparse", "hybrid"]),
    default="dense",
    show_default=True,
    help="By meaning, by words, by sparse weights that the index was built with, or fused.",
)
filter_option = click.option(
    "--filter",
    "filter_json",
    metavar="JSON",
    help="""Only documents that it keeps, like '{"field": "year", "gte": 2020}'; of fields that `build` declared.""",
)
json_option = click.option("--json", "as_json", is_flag=True, help="For programs.")
url_option = click.option("--url", help="Ask this server instead of opening the index here.")


def _sendable(_context: click.Context, _option: click.Parameter, key: str | None) -> str | None:
    from service.client import calls

    try:
        return key and key.strip() and calls.authorization(key.strip()).removeprefix("Bearer ")
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


key_option = click.option(
    "--key", envvar="PERWATT_KEY", callback=_sendable, help="Key for that server; better from PERWATT_KEY."
)


def json_object(given: str) -> dict[str, Any]:
    try:
        found = json.loads(given)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"{given[:80]} is not JSON ({error}).", param_hint="--filter") from None
    if not isinstance(found, dict):
        raise click.BadParameter(f"{given[:80]} is no JSON object with a condition.", param_hint="--filter")
    return found
