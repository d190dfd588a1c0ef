"""What a row is besides its vector, written: ids, payload, the columns of filterable fields, words."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from index.build.rows.words import LexicalWriter
from index.progress import Progress, say
from index.search import rowfiles
from index.search.fields.columns import ColumnReader, Field
from index.search.fields.field_inference import infer_types
from index.search.rowfiles import Arranged
from index.weights.whole import WholeWords


def write_rows(
    folder: Path,
    arranged: Arranged,
    declared: Sequence[Field],
    required: frozenset[str],
    language: str | None,
    whole: WholeWords | None,
    *,
    show: bool,
) -> tuple[list[Field], dict[str, Any] | None]:
    """Writes them; returns the fields with types, and the manifest's entry on words.

    Args:
        declared: Fields, some without a type, which is inferred.
        required: Of these, those that some row must have.
        language: That words are stemmed in; None: no words.
        whole: Of a shard, the words of all of them.
    """
    rowfiles.write_ids(folder, arranged)
    fields, notes = infer_types(declared, rowfiles.payload_batches(arranged))
    for note in notes:
        say(note, show=show)
    columns = ColumnReader(fields) if fields else None
    if arranged.has_payload or columns is not None:
        rowfiles.write_payload(folder, arranged, columns)
    table = None
    if columns is not None:
        columns.check_seen(required)
        table = rowfiles.write_columns(folder, columns)
    if not arranged.has_payload or language is None:
        return fields, None
    writer = LexicalWriter(folder, language, table, whole)
    with Progress("words", len(arranged.ids), show=show) as progress:
        for batch in rowfiles.payload_batches(arranged):
            writer.take(batch.payload)
            progress.add(len(batch.payload))
    return fields, writer.finish()
