"""`perwatt import`: what another engine holds becomes a vectors folder, documents, or documents of a served index."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from service.cli.options import key_option

if TYPE_CHECKING:
    from embed.documents.document import Faults, FieldNames
    from service.moving.rows import Collection, Moving, SourceOptions
    from service.moving.vectors_folder import Moved


@click.command("import")
@click.argument("inputs", metavar="[NAME] SOURCE…", nargs=-1, required=True)
@click.option("--collection", metavar="NAME", help="Collection or table of the source; default: its only one.")
@click.option("--vector-field", metavar="NAME", help="Column or named vector to take, where there are several.")
@click.option(
    "--records",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="For npy: and faiss:, ids and fields of the vectors in their order: Parquet, JSON Lines, CSV; or ids alone.",
)
@click.option(
    "--into", type=click.Path(path_type=Path, file_okay=False), help="Vectors folder to write: keeps vectors."
)
@click.option(
    "--documents",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of JSON Lines (or .gz) to write: texts and fields, to embed anew.",
)
@click.option("--url", metavar="URL", help="Write documents to index NAME of this service.")
@key_option
@click.option(
    "--model",
    metavar="NAME|DIR|none",
    help="Model that made the vectors; it is checked. Default: what the source says.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "int8"]),
    default="fp32",
    show_default=True,
    help="Of that model when it encodes queries.",
)
@click.option("--metric", type=click.Choice(["cosine", "ip", "l2"]), help="Default: what the source says.")
@click.option(
    "--format", "format_", type=click.Choice(["jsonl", "csv", "tsv", "parquet"]), help="Of files, with --url."
)
@click.option("--id-field", metavar="NAME", help="Field that holds the id; default: id or _id.")
@click.option(
    "--text-field",
    metavar="NAME",
    help="Field that holds the text; default: text, document, page_content, content, chunk.",
)
@click.option("--title-field", metavar="NAME", help="Field that was put before the text when it was embedded.")
@click.option("--number-rows", is_flag=True, help="Take the place of a row, counted from 0, as its id.")
@click.option("--on-error", type=click.Choice(["fail", "skip"]), default="fail", show_default=True)
@click.option("--replace", is_flag=True, help="Replace what is there from elsewhere.")
@click.option("--source-key", envvar="PERWATT_SOURCE_KEY", help="Key for the source; better from PERWATT_SOURCE_KEY.")
def import_(
    inputs: tuple[str, ...],
    collection: str | None,
    vector_field: str | None,
    records: Path | None,
    into: Path | None,
    documents: Path | None,
    url: str | None,
    key: str | None,
    model: str | None,
    precision: str,
    metric: str | None,
    format_: str | None,
    id_field: str | None,
    text_field: str | None,
    title_field: str | None,
    number_rows: bool,
    on_error: str,
    replace: bool,
    source_key: str | None,
) -> None:
    """Move in from another engine: SOURCE becomes a vectors folder, a file, or documents of index NAME.

    SOURCE is chroma:PATH or chroma:http://HOST:PORT, qdrant:http://HOST:PORT, pgvector:postgresql://HOST/DATABASE,
    lancedb:PATH, npy:FILE, faiss:FILE, parquet:PATH, or dataset:PATH as Hugging Face's datasets saves it. With --url
    it may also be what `perwatt embed` takes: files, folders, globs, `-` for stdin.

    --into keeps the vectors, for `perwatt build`. --documents leaves them behind, for `perwatt embed`.
    """
    from embed.documents.document import Faults, FieldNames
    from embed.stopping import stoppable
    from service.moving.rows import Moving, SourceOptions
    from service.moving.sources import kind_of, opened

    if sum(each is not None for each in (into, documents, url)) != 1:
        raise click.UsageError(
            "say where to: --into VECTORS, --documents FILE, or NAME and --url URL; one of the three"
        )
    faults, names = Faults(on_error), FieldNames(id_field, text_field, title_field, number_rows)
    asked = SourceOptions("", collection, source_key, vector_field, records)
    if url is not None:
        _into_service(inputs, url, key, format_, names, faults, asked)
        return
    if len(inputs) != 1:
        raise click.UsageError(f"one SOURCE is moved at a time, and {len(inputs)} were given: {', '.join(inputs)}")
    if kind_of(inputs[0]) is None and Path(inputs[0]).exists():
        raise click.UsageError(
            f"{inputs[0]} is a file or folder of documents: perwatt embed {inputs[0]} --out VECTORS embeds it"
        )
    with stoppable(_stopped), opened(inputs[0], asked) as found:
        moving = Moving(found, names, faults, need_text=documents is not None)
        with tqdm(total=found.count, unit=" rows", disable=None) as bar:
            show = _shower(bar)
            if documents is not None:
                from service.moving.documents import into_documents

                count = into_documents(moving, documents, replace=replace, show=show)
                said = [
                    f"{count:,} documents from {found.name} are in {documents}. "
                    f"Next: perwatt embed {documents} --out VECTORS"
                ]
            else:
                assert into is not None
                moved = _into_vectors(moving, into, model, precision, metric, replace, show)
                said = _summary(found, moved, into)
    for name, other in moving.renamed.items():
        said.insert(1, f"field {name} is called {other} here, because the name was taken")
    if faults.skipped:
        from embed.cli import skipped

        said.append(skipped(faults))
    click.echo("\n".join(said), err=True)


def _shower(bar: Any) -> Callable[[int], object]:
    return lambda rows: bar.update(rows - bar.n)


def _stopped(number: signal.Signals) -> None:
    click.echo(
        f"perwatt: stopped by {number.name}; what was there before is unchanged. Give the same command again", err=True
    )
    sys.exit(128 + number)


def _into_service(
    inputs: tuple[str, ...],
    url: str,
    key: str | None,
    format_: str | None,
    names: FieldNames,
    faults: Faults,
    asked: SourceOptions,
) -> None:
    from embed.documents.inputs import find_sources, read_documents
    from service.cli.writes import put_documents
    from service.moving.rows import Moving
    from service.moving.sources import kind_of, opened

    name, *sources = inputs
    if not sources:
        raise click.UsageError("--url takes the NAME of an index and then a SOURCE")
    if kind_of(sources[0]) is None:
        put_documents(name, read_documents(find_sources(sources, format_), names, faults), faults, url, key)
        return
    if len(sources) != 1:
        raise click.UsageError(f"one SOURCE is moved at a time, and {len(sources)} were given: {', '.join(sources)}")
    with opened(sources[0], asked) as found:
        moving = Moving(found, names, faults, need_text=True)
        put_documents(name, moving.documents(vectors=False), faults, url, key)


def _into_vectors(
    moving: Moving,
    into: Path,
    model: str | None,
    precision: str,
    metric: str | None,
    replace: bool,
    show: Callable[[int], object],
) -> Moved:
    from contextlib import nullcontext

    from embed.encoders.backends import usable_cores
    from service.moving.recognised import start_encoder
    from service.moving.vectors_folder import into_vectors

    encoder = start_encoder(moving.collection, model, precision, usable_cores())
    with nullcontext() if encoder is None else closing(encoder):
        return into_vectors(
            moving, into, metric=metric, encoder=encoder, insist=model is not None, replace=replace, show=show
        )


def _summary(found: Collection, moved: Moved, into: Path) -> list[str]:
    """The closing lines: what was moved, what an index of it will know, what comes next."""
    said = [f"{moved.rows:,} rows of {moved.dim:,} dimensions from {found.name}"]
    if moved.model is not None and moved.agreement is not None:
        agreeing = f"{moved.agreement.agreeing} of {moved.agreement.of} texts agree"
        said.append(
            f"{moved.model['name']} made the vectors ({agreeing}): text queries are encoded by it, in "
            f"{moved.model['precision']}"
        )
    else:
        whose = f" (the source says {found.model})" if found.model else ""
        said.append(
            f"no model is recorded{whose}, so the index will answer vectors and ids and refuse texts; --model names "
            "the one that made the vectors"
        )
    said.append(
        f"metric {moved.metric}{moved.metric_why}" if moved.metric else "no metric is known; build takes cosine"
    )
    types = moved.fields.filterable
    said.append("filterable: " + (", ".join(f"{name}:{type_}" for name, type_ in types.items()) or "nothing"))
    said += [f"not filterable: {name}, because {why}" for name, why in moved.fields.left.items()]
    said.append(f"{into} is written. Next: perwatt build {into} --index NAME")
    return said
