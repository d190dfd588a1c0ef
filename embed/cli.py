"""`perwatt embed`: the first step of the data path."""

import re
import shlex
import signal
import sys
from contextlib import closing
from pathlib import Path

import click

from embed.documents.document import Faults, FieldNames, NoSuchInputError
from embed.documents.inputs import find_sources, read_documents
from embed.encoders.backends import usable_cores
from embed.encoders.contract import AT_ONCE, Backend, Encoder
from embed.opening import chunker_for, open_encoder
from embed.options import MODEL, READING, check_model, check_reading, options
from embed.pipeline import EmbedSettings, embed_documents, slices_at_once
from embed.progress import Silent, Terminal, format_seconds
from embed.stopping import stoppable
from embed.vectors.provenance import peak_rss_bytes
from embed.vectors.record import EmbedRecord


@click.command()
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Vectors folder to write.")
@options(READING)
@click.option(
    "--embedded-from",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    multiple=True,
    metavar="DIR",
    help="Another vectors folder: a text embedded there by this model is not embedded again. Repeatable.",
)
@options(MODEL)
@click.option(
    "--encoder-price",
    type=click.FloatRange(min=0),
    metavar="USD",
    help="What a million tokens cost on that server, for the summary and embed.json.",
)
@click.option(
    "--dim",
    type=click.IntRange(1),
    help="The first so many numbers of each vector alone, for a model that was trained for it (Matryoshka).",
)
@click.option("--replace-model", is_flag=True, help="Replace vectors of another model or precision in --out.")
@click.option(
    "--threads",
    type=click.IntRange(1),
    help="Threads; with --encoder, requests at once.  [default: the cores this process may use; 8]",
)
@click.option("--quiet", is_flag=True, help="No progress and no summary; warnings and errors only.")
def embed(
    inputs: tuple[str, ...],
    out: Path,
    format: str | None,
    separator: str | None,
    id_field: str | None,
    text_field: str | None,
    title_field: str | None,
    number_rows: bool,
    on_error: str,
    omit_text: bool,
    chunk_tokens: int | None,
    chunk_overlap: int,
    embedded_from: tuple[Path, ...],
    model: str | None,
    encoder: str | None,
    encoder_price: float | None,
    query_prefix: str | None,
    document_prefix: str | None,
    precision: str | None,
    dim: int | None,
    replace_model: bool,
    backend: Backend,
    threads: int | None,
    quiet: bool,
) -> None:
    """Embed documents into a vectors folder.

    INPUT is a file or folder of JSON Lines (.jsonl, .ndjson, .gz), CSV, TSV or Parquet, a glob, `-`
    for stdin, or a corpus of docstrings: python:stdlib, python:all, python:NAME. Of Markdown, HTML and PDF
    (pip install 'perwatt[pages]') each file is a document.

    Run it again after a kill and it goes on; after a change and it embeds what changed.
    """
    check_reading(id_field, number_rows, chunk_tokens, chunk_overlap)
    if encoder and dim is not None:
        raise click.UsageError("--dim is of a model that runs here; --encoder runs it elsewhere")
    check_model(encoder, precision, backend, query_prefix, document_prefix, encoder_price)
    try:
        sources = find_sources(inputs, format, separator, out)
    except NoSuchInputError as error:
        raise click.UsageError(str(error)) from error

    threads = threads or (AT_ONCE if encoder else usable_cores())
    record, faults = EmbedRecord(threads=threads, usd_per_million_tokens=encoder_price), Faults(on_error)
    names = FieldNames(id_field, text_field, title_field, number_rows)

    def end(number: signal.Signals) -> None:
        _warn(stopped(number, record))
        sys.exit(128 + number)

    with (
        stoppable(end),
        closing(
            open_encoder(
                model,
                encoder=encoder,
                query_prefix=query_prefix,
                document_prefix=document_prefix,
                precision=precision,
                dim=dim,
                backend=backend,
                threads=threads,
            )
        ) as running,
    ):
        record.backend = running.backend
        for note in [] if encoder else choices(running, model, precision, backend):
            _warn(note)
        chunker = chunker_for(running, chunk_tokens, chunk_overlap)
        with closing(Silent() if quiet else Terminal(sources, "chunks" if chunker else "docs")) as progress:
            embed_documents(
                read_documents(sources, names, faults),
                running,
                out,
                EmbedSettings(
                    embedded_from=embedded_from,
                    chunker=chunker,
                    omit_text=omit_text,
                    replace_model=replace_model,
                    slices_at_once=slices_at_once(threads),
                ),
                faults=faults,
                progress=progress,
                warn=_warn,
                record=record,
            )
    for source in sources:
        for note in source.notes:
            _warn(note)
    if faults.skipped:
        _warn(skipped(faults))
    if not quiet:
        click.echo(summary(record, out, running.fingerprint.max_length, chunker is not None), err=True)


def stopped(number: signal.Signals, record: EmbedRecord) -> str:
    """What a run that was told to end says."""
    done = f"{record.embedded:,} texts were embedded, and are kept" if record.embedded else "nothing was embedded"
    again = shlex.join(["perwatt", *sys.argv[1:]])
    return f"stopped by {number.name}; {done}. To go on, give the same command again: {again}"


def choices(encoder: Encoder, model: str | None, precision: str | None, backend: Backend) -> list[str]:
    """What was decided for the user and could surprise them: another runtime, another precision than the usual one."""
    from embed.encoders.native import unsuited
    from embed.encoders.precision import choose
    from embed.models.folder import find_model

    folder, notes = find_model(model), []
    if backend == "auto" and not encoder.backend.startswith("native"):
        notes.append(f"the model runs on {encoder.backend}, not on perwatt's own kernels: {unsuited(folder)}")
    if precision is None and backend in ("auto", "native") and encoder.fingerprint.precision == "fp32":
        notes.append(f"the model runs in fp32: {choose(folder).reason}")
    return notes


def skipped(faults: Faults) -> str:
    """What --on-error skip left out: the first few and how many in all."""
    more = faults.skipped - len(faults.first)
    lines = [f"skipped {faults.skipped:,} records:", *faults.first]
    return "\n  ".join(lines + [f"… and {more:,} more"] * (more > 0))


def summary(record: EmbedRecord, out: Path, max_length: int, chunked: bool) -> str:
    """The closing lines: what was done, what it took, what comes next."""
    unit = "chunks" if chunked else "documents"
    rows = f"{record.documents:,} documents" + (f" in {record.rows:,} chunks" if chunked else "")
    parts = [f"{rows}: {record.embedded:,} embedded, {record.reused:,} reused"]
    if record.skipped:
        parts[0] += f", {record.skipped:,} skipped"
    if record.embedded:
        rate = record.embedded / record.embedding_seconds
        parts.append(
            f"{format_seconds(record.seconds)}, {rate:,.0f} {unit}/s, "
            f"{record.tokens / record.embedding_seconds:,.0f} tokens/s, peak memory {peak_rss_bytes() >> 20:,} MiB"
        )
    if record.cost_usd is not None:
        parts.append(
            f"{record.tokens:,} tokens at {record.usd_per_million_tokens:g} USD a million, a price that was "
            f"given: {record.cost_usd:.4f} USD"
        )
    if record.cut:
        parts.append(
            f"{record.cut:,} {unit} reached the model's {max_length} tokens; what is beyond was not read"
            + ("" if chunked else " (--chunk-tokens splits them)")
        )
    state = "written" if record.changed else "unchanged"
    name = re.sub(r"[^a-z0-9]+", "-", out.resolve().name.lower())[:63].strip("-") or "documents"
    parts.append(f"{out} is {state}. Next: perwatt build {shlex.quote(str(out))} --index {name}")
    return "\n".join(parts)


def _warn(message: str) -> None:
    click.echo(f"perwatt: {message}", err=True)


@click.command("encode")
@click.option("--model", metavar="NAME|DIR", help="A BERT-shaped model.  [default: all-MiniLM-L6-v2]")
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True, help="Rounds; the fastest counts.")
@click.option("--json", "path", type=click.Path(path_type=Path, dir_okay=False), help="Write every figure here.")
def bench_encode(model: str | None, rounds: int, path: Path | None) -> None:
    """Time text to vector beside ONNX Runtime, OpenVINO and sentence-transformers."""
    import json

    from embed.bench.encode import measure, table

    figures = measure(model, rounds)
    if path:
        path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    click.echo(table(figures))
