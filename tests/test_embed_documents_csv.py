"""CSV and TSV: quoting, line numbers, and rows that do not fit."""

from __future__ import annotations

import csv
import io

import pytest

import embed.documents.csv as csv_reader
from embed.documents import lines
from embed.documents.document import Document, DocumentError, DocumentSource, Faults, FieldNames, UnreadableInputError


def read(
    data: bytes, on_error: str = "fail", kind: str = "csv", separator: str | None = None
) -> tuple[list[Document], Faults]:
    faults = Faults(on_error)
    source = DocumentSource(f"c.{kind}", kind, separator=separator)
    return list(csv_reader.read_csv(io.BytesIO(data), source, FieldNames(), faults)), faults


def test_what_the_csv_module_writes_is_read_back() -> None:
    rows = [{"id": "1", "text": 'a "quoted", word', "note": "two\nlines"}, {"id": "2", "text": "é 東", "note": ""}]
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, ["id", "text", "note"])
    writer.writeheader()
    writer.writerows(rows)
    documents, _ = read(buffer.getvalue().encode())
    assert [{"id": d.id, **d.payload} for d in documents] == rows


def test_rows_are_named_by_the_line_they_start_on() -> None:
    documents, _ = read(b'id,text\n1,"two\nlines"\n\n2,x\n')
    assert [(d.id, d.row) for d in documents] == [("1", 2), ("2", 5)]


def test_bom_crlf_and_a_padded_header() -> None:
    documents, _ = read(b"\xef\xbb\xbfid, text\r\n1,one\r\n")
    assert (documents[0].id, documents[0].text) == ("1", "one")


def test_tsv_is_split_at_tabs_only() -> None:
    documents, _ = read(b"id\ttext\n1\ta, b\n", kind="tsv")
    assert documents[0].text == "a, b"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (b"2,x,extra", r"c\.csv:3: 3 fields where the header has 2"),
        (b"2", r"c\.csv:3: 1 fields where the header has 2"),
        (b"2,caf\xe9", r"c\.csv:3: field 'text' is not valid UTF-8"),
        (b'2,"a"b', r"c\.csv:3: not valid CSV"),
        (b"2,", r"c\.csv:3: nothing to embed"),
    ],
)
def test_a_bad_row_is_named_and_under_skip_costs_only_itself(row: bytes, message: str) -> None:
    data = b"id,text\n1,one\n" + row + b"\n3,three\n"
    with pytest.raises(DocumentError, match=message):
        read(data)
    documents, faults = read(data, "skip")
    assert [d.id for d in documents] == ["1", "3"]
    assert faults.skipped == 1


def test_a_quote_left_open_is_named_with_the_line_it_opens_on() -> None:
    with pytest.raises(DocumentError, match=r"c\.csv:3: not valid CSV.*quote left open"):
        read(b'id,text\n1,one\n2,"never closed\n3,three\n')


def test_a_line_or_a_quoted_field_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (csv_reader, lines):
        monkeypatch.setattr(module, "MAX_RECORD_BYTES", 1 << 20)
    long_line = b"2," + b"x" * (3 << 20) + b"\n"
    documents, faults = read(b"id,text\n1,ok\n" + long_line + b"3,ok\n", "skip")
    assert [(d.id, d.row) for d in documents] == [("1", 2), ("3", 4)]
    assert faults.first == ["c.csv:3: the line is longer than 1 MiB"]
    long_field = b'id,text\n1,"' + (b"x" * 1023 + b"\n") * 1025 + b'"\n'
    with pytest.raises(DocumentError, match=r"c\.csv:2: .*quote left open"):
        read(long_field)


@pytest.mark.parametrize("header", [b"id,text,text", b"id,,text"])
def test_a_header_must_name_every_column_once(header: bytes) -> None:
    with pytest.raises(UnreadableInputError, match="must name every column once"):
        read(header + b"\n1,2,3\n")


def test_a_file_without_id_names_its_columns() -> None:
    with pytest.raises(DocumentError, match=r"'name', 'text'.*--id-field"):
        read(b"name,text\na,b\n")


@pytest.mark.parametrize(
    ("header", "kind", "said"),
    [
        (b"id;text;title", "csv", "--separator ';'"),
        (b'\xef\xbb\xbf"id";"text"', "csv", "use --separator"),
        (b"id|text", "tsv", "--separator '|'"),
        (b"id,text", "tsv", "--separator ','"),
        (b"id\ttext", "csv", "--separator tab"),
    ],
)
def test_another_separator_is_recognised_and_the_option_named(header: bytes, kind: str, said: str) -> None:
    for on_error in ("fail", "skip"):
        with pytest.raises(UnreadableInputError) as caught:
            read(header + b"\n1;2;3\n", on_error, kind)
        assert str(caught.value).startswith(f"c.{kind}:1: ")
        assert said in str(caught.value)


def test_a_separator_may_be_given() -> None:
    documents, _ = read(b'\xef\xbb\xbf"id";"text"\r\n"1";"a; b"\r\n', separator=";")
    assert [(d.id, d.text) for d in documents] == [("1", "a; b")]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_table_that_is_not_utf8_is_named_with_its_encoding(encoding: str) -> None:
    with pytest.raises(UnreadableInputError, match=rf"c\.csv:1: this file is UTF-{encoding[4:6]}.*iconv"):
        read("id,text\n1,x\n".encode(encoding))
