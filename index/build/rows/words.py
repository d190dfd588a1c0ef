"""Writes the words of a generation: its rows in tantivy, with the columns that filters may use beside them.

`index/search/lexical/` says what tantivy keeps, and searches it.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import tantivy
from tantivy import Document, SchemaBuilder

from index.disk.files import digest
from index.search.lexical.filter_query import PRESENT_FIELD
from index.search.lexical.text import analyser, text_of
from index.search.lexical.words import FOLDER, HEAP_BYTES, ROW_FIELD, WORDS_FIELD
from index.weights.whole import WholeWords, write_whole

FIELDS = ("title", "text")  # as the manifest names them
_OS_ERROR = re.compile(r"\b(?:os error|code:) (\d+)")


class LexicalWriter:
    """Indexes rows in their order. Nothing is written before the first row that has a title or text.

    Args:
        whole: of a shard, the statistics by which its words are scored; it has words even where no row of it has any.
    """

    def __init__(self, folder: Path, language: str, columns: pa.Table | None, whole: WholeWords | None = None) -> None:
        self._whole = whole
        self._folder, self._language = folder / FOLDER, language
        self._columns = [_Values(column.chunk(0)) for column in columns.columns] if columns is not None else []
        self._index: Any = None
        self._writer: Any = None
        self._row = self._with_text = self._bytes = 0

    def take(self, payload: Sequence[bytes]) -> None:
        texts = [self._text(raw) for raw in payload]
        if self._writer is None and (any(texts) or self._whole is not None):
            self._open()
        if self._writer is not None:
            columns = [column.between(self._row, self._row + len(payload)) for column in self._columns]
            for offset, text in enumerate(texts):
                document = Document()
                document.add_text(WORDS_FIELD, text)
                document.add_unsigned(ROW_FIELD, self._row + offset)
                for place, column in enumerate(columns):
                    _add(document, place, self._columns[place].kind, column[offset])
                with _said_by_number(self._folder):
                    self._writer.add_document(document)
        self._row += len(payload)

    def finish(self) -> dict[str, Any] | None:
        """What the manifest says of it; None, and no folder, when no row has any text."""
        if self._writer is None:
            return None
        with _said_by_number(self._folder):
            self._writer.commit()
            self._writer.wait_merging_threads()
        self._writer = self._index = None
        for lock in self._folder.glob(".*.lock"):
            lock.unlink()
        _name_by_content(self._folder)
        readers = self._folder.stat().st_mode & 0o666  # tantivy's own lists of its files are for nobody else to read
        for file in self._folder.iterdir():
            file.chmod(readers)
        entry: dict[str, Any] = {} if self._whole is None else {"whole": self._whole.entry()}
        if self._whole is not None:
            write_whole(self._folder.parent, self._whole)
        return entry | {
            "fields": list(FIELDS),
            "language": self._language,
            "documents": self._with_text,
            "text_bytes": self._bytes,
            "engine": version("tantivy"),
        }

    def _open(self) -> None:
        self._folder.mkdir()
        self._index = tantivy.Index(_schema(self._columns), path=str(self._folder))
        # Nobody searches it yet, and a reader that looks for commits by itself may lock the folder after the last one.
        self._index.config_reader("manual")
        self._index.register_tokenizer(WORDS_FIELD, analyser(self._language))
        # One thread, so that documents lie in the order of their rows.
        self._writer = self._index.writer(HEAP_BYTES, 1)
        for row in range(self._row):  # those before had no text, so no query will ever meet them
            document = Document()
            document.add_unsigned(ROW_FIELD, row)
            self._writer.add_document(document)

    def _text(self, raw: bytes) -> str:
        text = text_of(raw)
        self._with_text += bool(text)
        self._bytes += len(text)
        return text


@contextmanager
def _said_by_number(folder: Path) -> Iterator[None]:
    """tantivy says what the system refused in words; raises the OSError that they are about."""
    try:
        yield
    except Exception as error:
        number = _OS_ERROR.search(str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(folder)) from error


def _name_by_content(folder: Path) -> None:
    """Names segments by their bytes in place of tantivy's random names, so that the same rows make the same files."""
    listed = [folder / "meta.json", folder / ".managed.json"]
    texts = [path.read_text(encoding="utf-8") for path in listed]
    segments: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path not in listed:
            segments.setdefault(path.name.partition(".")[0], []).append(path)
    for name, files in segments.items():
        state = hashlib.sha256()
        for path in files:
            state.update(bytes.fromhex(digest(path).sha256))
        made = state.hexdigest()[:32]
        for path in files:
            path.rename(path.with_name(made + path.name[len(name) :]))
        texts = [text.replace(name, made).replace(str(UUID(name)), str(UUID(made))) for text in texts]
    texts[1] = json.dumps(sorted(json.loads(texts[1])))
    for path, text in zip(listed, texts, strict=True):
        path.write_text(text, encoding="utf-8")


class _Values:
    """A column as tantivy takes it: numbers of words, integers, floats, 0 and 1; None for no value."""

    def __init__(self, column: Any) -> None:
        self._column, self._starts = column, None
        self.kind = _kind(column.type)
        if pa.types.is_list(column.type):
            self._starts, self._numbers = column.offsets.to_pylist(), column.values.indices
        elif pa.types.is_dictionary(column.type):
            self._column = column.indices
        elif pa.types.is_timestamp(column.type):
            self._column = column.cast(pa.int64())

    def between(self, start: int, stop: int) -> list[Any]:
        if self._starts is None:
            return list(self._column.slice(start, stop - start).to_pylist())
        valid = self._column.slice(start, stop - start).is_valid().to_pylist()
        first, ends = self._starts[start], self._starts[start : stop + 1]
        numbers = self._numbers.slice(first, ends[-1] - first).to_pylist()
        return [
            numbers[ends[place] - first : ends[place + 1] - first] if there else None
            for place, there in enumerate(valid)
        ]


def _kind(type_: Any) -> str:
    if pa.types.is_floating(type_):
        return "float"
    return "integer" if pa.types.is_integer(type_) or pa.types.is_timestamp(type_) else "unsigned"


def _add(document: Any, place: int, kind: str, value: Any) -> None:
    if value is None:
        return
    name = f"f{place}"
    document.add_unsigned(PRESENT_FIELD, place)
    if kind == "float":
        document.add_float(name, value + 0.0)  # −0.0 becomes 0.0, which is another term
    elif kind == "integer":
        document.add_integer(name, value)
    else:
        for number in value if isinstance(value, list) else [int(value)]:
            document.add_unsigned(name, number)


def _schema(columns: list[_Values]) -> Any:
    builder = SchemaBuilder()
    builder.add_text_field(WORDS_FIELD, tokenizer_name=WORDS_FIELD, index_option="freq")
    builder.add_unsigned_field(ROW_FIELD, fast=True)
    builder.add_unsigned_field(PRESENT_FIELD, indexed=True)
    for place, column in enumerate(columns):
        if column.kind == "float":
            builder.add_float_field(f"f{place}", indexed=True, fast=True)
        elif column.kind == "integer":
            builder.add_integer_field(f"f{place}", indexed=True, fast=True)
        else:
            builder.add_unsigned_field(f"f{place}", indexed=True)
    return builder.build()
