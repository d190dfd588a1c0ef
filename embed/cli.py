"""`perwatt embed`: the first step of the data path."""

import re
import shlex
import signal
import sys
from contextlib import closing
from pathlib import Path

import click

from embed.documents.chunks import Chunker
from embed.documents.document import Faults, FieldNames, NoSuchInputError
from embed.documents.inputs import FORMATS, find_sources, read_documents
from embed.encoders.backends import usable_cores
from embed.encoders.contract import AT_ONCE, Backend, Encoder
from embed.pipeline import EmbedSettings, embed_documents, slices_at_once
from embed.progress import Silent, Terminal, format_seconds
from embed.stopping import stoppable
from embed.vectors.provenance import peak_rss_bytes
from embed.vectors.record import EmbedRecord


def _one_character(given: str | None) -> str | None:
    character = "\t" if given in ("tab", "\\t") else given
    if character is not None and (len(character.encode()) != 1 or character in '"\r\n'):
        raise click.BadParameter(f"{given!r} was given; one ASCII character other than a quote, or tab, was expected")
    return character


@click.command()
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Vectors folder to write.")
@click.option("--format", type=click.Choice(FORMATS), help="Format of all inputs, whatever their extension says.")
@click.option(
    "--separator",
    callback=lambda _context, _option, given: _one_character(given),
    metavar="CHARACTER|tab",
    help="What separates the fields of a CSV.  [default: a comma; in TSV a tab]",
)
@click.option("--id-field", metavar="NAME", help="Field with the id.  [default: id or _id]")
@click.option("--text-field", metavar="NAME", help="Field with the text.  [default: text]")
@click.option(
    "--title-field",
    metavar="NAME",
    help='Field put before the text; "" for none.  [default: title, where there is one]',
)
@click.option("--number-rows", is_flag=True, help="Use FILE:ROW as the id, for data that has none.")
@click.option(
    "--on-error",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="What to do with a record that cannot be used.",
)
@click.option("--omit-text", is_flag=True, help="Leave the text out of the payload (smaller index, no snippets).")
@click.option(
    "--chunk-tokens", type=click.IntRange(8), metavar="N", help="Cut texts into chunks of N tokens.  [default: off]"
)
@click.option(
    "--chunk-overlap", type=click.IntRange(0), default=0, metavar="M", help="Tokens that consecutive chunks share."
)
@click.option(
    "--embedded-from",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    multiple=True,
    metavar="DIR",
    help="Another vectors folder: a text embedded there by this model is not embedded again. Repeatable.",
)
@click.option(
    "--model", metavar="NAME|DIR", help="A sentence-transformers folder or hub name.  [default: all-MiniLM-L6-v2]"
)
@click.option(
    "--encoder",
    metavar="URL",
    help="Embed on this server instead: OpenAI's API, text-embeddings-inference, or perwatt; --model is its name "
    "there. A key is read from PERWATT_ENCODER_KEY.",
)
@click.option(
    "--encoder-price",
    type=click.FloatRange(min=0),
    metavar="USD",
    help="What a million tokens cost on that server, for the summary and embed.json.",
)
@click.option("--query-prefix", help="Put before each query, with --encoder.  [default: by the name of the model]")
@click.option("--document-prefix", help="Put before each document, with --encoder.  [default: by the name]")
@click.option(
    "--precision", type=click.Choice(["fp32", "int8"]), help="Precision of the model's weights and arithmetic."
)
@click.option("--replace-model", is_flag=True, help="Replace vectors of another model or precision in --out.")
@click.option(
    "--backend",
    type=click.Choice(["auto", "native", "onnx", "torch"]),
    default="auto",
    show_default=True,
    help="What runs the model.",
)
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
    if number_rows and id_field:
        raise click.UsageError("--number-rows and --id-field both say what the id is; give one of them")
    if chunk_overlap and not chunk_tokens:
        raise click.UsageError("--chunk-overlap needs --chunk-tokens")
    if encoder and (precision or backend != "auto"):
        raise click.UsageError("--precision and --backend are of a model that runs here; --encoder runs it elsewhere")
    if not encoder and (query_prefix, document_prefix, encoder_price) != (None, None, None):
        raise click.UsageError("--query-prefix, --document-prefix and --encoder-price go with --encoder")
    try:
        sources = find_sources(inputs, format, separator)
    except NoSuchInputError as error:
        raise click.UsageError(str(error)) from error

    threads = threads or (AT_ONCE if encoder else usable_cores())
    record, faults = EmbedRecord(threads=threads, usd_per_million_tokens=encoder_price), Faults(on_error)
    names = FieldNames(id_field, text_field, title_field, number_rows)

    def end(number: signal.Signals) -> None:
        _warn(stopped(number, record))
        sys.exit(128 + number)

    def opened() -> Encoder:
        from embed import load_encoder, open_remote

        if encoder is None:
            return load_encoder(model, precision=precision, backend=backend, threads=threads)
        return open_remote(encoder, model, query_prefix=query_prefix, document_prefix=document_prefix, at_once=threads)

    with stoppable(end), closing(opened()) as running:
        record.backend = running.backend
        for note in [] if encoder else choices(running, model, precision, backend):
            _warn(note)
        chunker = _chunker(running, chunk_tokens, chunk_overlap) if chunk_tokens else None
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


def _chunker(encoder: Encoder, tokens: int, overlap: int) -> Chunker:
    prefix = encoder.fingerprint.document_prefix
    prefix_tokens = len(encoder.token_offsets(prefix)) if prefix else 0
    return Chunker(encoder.token_offsets, tokens, overlap, encoder.fingerprint.max_length or tokens, prefix_tokens)


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
