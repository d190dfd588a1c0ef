"""From documents to rows: one a document, or one a chunk, cut into windows that become fragments.

A window is bounded by rows and by bytes, and by nothing that differs between two runs over the same
documents (a clock, the machine): so a resumed run meets the same windows and finds the fragments it
wrote before."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from embed.documents.chunks import Chunker
from embed.documents.document import Document, DocumentError, Faults, check_id, embedded_text, payload_json

# 8,192 rows of 384 float32 are 12 MiB, read in some 50 ms; fewer would make a million documents a
# thousand files.
WINDOW_ROWS = 8192
# Texts of a window are held at once, with their payload: this bounds memory where documents are
# long.
WINDOW_BYTES = 32 << 20

CHUNK_FIELDS = frozenset(("doc_id", "chunk"))  # of a chunk's payload


@dataclass(slots=True)
class Row:
    """One row of the folder: `text` is what is embedded, payload one UTF-8 JSON object."""

    id: str
    text: str
    payload: bytes


def rows_of(
    documents: Iterable[Document], faults: Faults, chunker: Chunker | None = None, omit_text: bool = False
) -> Iterator[list[Row]]:
    """The rows of each document, in order."""
    for document in documents:
        payload = dict(document.payload)
        if omit_text:
            payload.pop(document.text_field, None)
        try:
            if chunker is None:
                text = embedded_text(document.title, document.text)
                yield [Row(document.id, text, payload_json(document, payload))]
                continue
            if taken := sorted(CHUNK_FIELDS & document.payload.keys()):
                raise DocumentError(
                    f"{document.where}: the field {taken[0]!r} (id {document.id!r}) would be overwritten: of a chunk, "
                    "doc_id is the id of its document, and chunk its number. Rename the field"
                )
            rows = []
            for number, (text, part) in enumerate(chunker.split(document.title, document.text)):
                payload |= {"doc_id": document.id, "chunk": number}
                if not omit_text:
                    payload[document.text_field] = part
                check_id(f"{document.id}#{number}", document.where)
                rows.append(Row(f"{document.id}#{number}", text, payload_json(document, payload)))
        except DocumentError as error:
            faults.meet(error)
        else:
            yield rows


def windows(rows: Iterable[Row], most_rows: int = WINDOW_ROWS, most_bytes: int = WINDOW_BYTES) -> Iterator[list[Row]]:
    """Consecutive rows, up to `most_rows` of them and about `most_bytes` of text and payload; never
    empty.
    """
    window: list[Row] = []
    size = 0
    for row in rows:
        window.append(row)
        size += len(row.text) + len(row.payload)
        if len(window) == most_rows or size >= most_bytes:
            yield window
            window, size = [], 0
    if window:
        yield window
