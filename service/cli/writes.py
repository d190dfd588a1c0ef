"""`perwatt put` and `perwatt delete`: write documents to an index of a running service, and delete them.

They use the client like any other caller, because only the service's own process writes an index.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
import msgspec
from tqdm import tqdm

from service.cli.options import json_object, key_option
from service.errors import RemoteError

if TYPE_CHECKING:
    from embed.documents.document import Document, Faults

AT_ONCE = 200  # documents in a request: enough for one fsync to be little, and few to send again
AT_ONCE_BYTES = 4 << 20  # of their payloads; a service takes twice as much
TIMEOUT_S = 120
LOOK_S = 0.5  # between looks at a rebuild

_url = click.option("--url", required=True, metavar="URL", help="Of the service, as http://127.0.0.1:8000.")


@click.command()
@click.argument("name")
@click.argument("inputs", nargs=-1, required=True)
@_url
@key_option
@click.option("--format", "format_", type=click.Choice(["jsonl", "csv", "tsv", "parquet"]), help="Of every INPUT.")
@click.option("--id-field", help="Field that holds the id; default: id or _id.")
@click.option("--text-field", help="Field that holds the text; default: text.")
@click.option("--title-field", help="Field that holds the title; default: title, where there is one.")
@click.option("--on-error", type=click.Choice(["fail", "skip"]), default="fail", show_default=True)
def put(
    name: str,
    inputs: tuple[str, ...],
    url: str,
    key: str | None,
    format_: str | None,
    id_field: str | None,
    text_field: str | None,
    title_field: str | None,
    on_error: str,
) -> None:
    """Write the documents of INPUT… to index NAME of a running service.

    INPUT is what `perwatt embed` takes: files, folders, globs, `-` for stdin. A document with the id of another
    replaces it. What this prints as written is on the service's disk and will be in the next generation.
    """
    from embed.documents.document import Faults, FieldNames
    from embed.documents.inputs import find_sources, read_documents

    faults = Faults(on_error)
    names = FieldNames(id_field, text_field, title_field)
    put_documents(name, read_documents(find_sources(inputs, format_), names, faults), faults, url, key)


def put_documents(name: str, documents: Iterator[Document], faults: Faults, url: str, key: str | None) -> None:
    """Writes the documents and says how many; those that the service refuses are faults like those of the reader.

    Raises:
        RemoteError: The service cannot be asked, or refuses a document while faults are to fail.
    """
    from service.client import Client, ClientError

    written = seq = 0
    refused: list[str] = []
    try:
        with Client(url, key=key or None, timeout_s=TIMEOUT_S) as client, tqdm(unit=" documents", disable=None) as bar:
            for some in _groups(documents):
                answer = client.put(name, some)
                written, seq = written + answer.written, max(seq, answer.seq)
                refused += [f"{one.id}: {one.error['detail']}" for one in answer.failed]
                if refused and faults.on_error == "fail":
                    raise RemoteError(
                        f"{refused[0]} {written:,} documents before it were written; --on-error skip leaves such out"
                    )
                bar.update(len(some))
    except ClientError as error:
        raise RemoteError(f"{error} {written:,} documents were written before; putting them again is safe") from error
    click.echo(f"{name}: {_documents(written)} written, seq {seq}")
    for reason in refused[: faults.SHOWN]:
        click.echo(f"not written: {reason}", err=True)
    if refused or faults.skipped:
        click.echo(f"{len(refused) + faults.skipped:,} documents were left out", err=True)


@click.command()
@click.argument("name")
@click.argument("ids", nargs=-1)
@_url
@key_option
@click.option("--filter", "filter_json", metavar="JSON", help="Delete what this filter keeps, as the API takes it.")
@click.option("--dry-run", is_flag=True, help="Count what would be deleted.")
def delete(name: str, ids: tuple[str, ...], url: str, key: str | None, filter_json: str | None, dry_run: bool) -> None:
    """Delete documents from index NAME of a running service, by their IDS or by a filter."""
    from service.client import Client, ClientError

    if bool(ids) == (filter_json is not None):
        raise click.UsageError("name documents by their ids, or by --filter; one of the two")
    try:
        with Client(url, key=key or None, timeout_s=TIMEOUT_S) as client:
            if filter_json is not None:
                done = client.delete(name, filter=json_object(filter_json), dry_run=dry_run)
            else:
                done = client.delete(name, ids=list(ids), dry_run=dry_run)
    except ClientError as error:
        raise RemoteError(str(error)) from error
    what = "would be deleted" if dry_run else f"deleted, seq {done.seq}"
    click.echo(f"{name}: {_documents(done.deleted)} {what}")


@click.command()
@click.argument("name")
@_url
@key_option
@click.option("--source", default="changes", show_default=True, help="Or a name of `serve --rebuilds FILE`.")
@click.option("--wait/--no-wait", default=True, help="Until it has ended.")
def rebuild(name: str, url: str, key: str | None, source: str, wait: bool) -> None:
    """Have a running service build index NAME anew, and serve what it built when its checks pass.

    Ctrl-C stops the waiting, not the rebuild.
    """
    from service.client import Client, ClientError

    try:
        with Client(url, key=key or None, timeout_s=TIMEOUT_S) as client:
            answer = client.start_rebuild(name, source)
            click.echo(f"{name}: rebuild {answer.id} from {source} is {answer.state}")
            said = ""
            while wait and answer.ended_at is None:
                time.sleep(LOOK_S)
                answer = client.rebuild(answer.id)
                now = f"{answer.step}: {answer.progress}" if answer.progress else answer.step
                if now != said:
                    click.echo(now, err=True)
                said = now
    except ClientError as error:
        raise RemoteError(str(error)) from error
    if not wait:
        return
    if answer.state != "succeeded":
        raise RemoteError(f"the rebuild has {answer.state}: {answer.detail or 'what is served stays'}")
    click.echo(f"{name}: {answer.generation} is served")


def _groups(documents: Iterator[Document]) -> Iterator[list[dict[str, Any]]]:
    from embed.documents.document import embedded_text, payload_json

    some: list[dict[str, Any]] = []
    size = 0
    for document in documents:
        one: dict[str, Any] = {"id": document.id, "payload": msgspec.Raw(payload_json(document, document.payload))}
        if document.text_field != "text":
            one["text"] = embedded_text(document.title, document.text)
        bytes_ = len(msgspec.json.encode(one))
        if some and (len(some) == AT_ONCE or size + bytes_ > AT_ONCE_BYTES):
            yield some
            some, size = [], 0
        some.append(one)
        size += bytes_
    if some:
        yield some


def _documents(count: int) -> str:
    return f"{count:,} document" if count == 1 else f"{count:,} documents"
