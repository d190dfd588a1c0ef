"""JSON Lines, as people really have them."""

from __future__ import annotations

import io
import json

import pytest

import embed.documents.jsonl as jsonl
from embed.documents import lines
from embed.documents.document import Document, DocumentError, DocumentSource, Faults, FieldNames, UnreadableInputError

GOOD = b'{"id":"1","text":"one"}\n'


def read(data: bytes, on_error: str = "fail") -> tuple[list[Document], Faults]:
    faults = Faults(on_error)
    source = DocumentSource("c.jsonl", "jsonl")
    return list(jsonl.read_jsonl(io.BytesIO(data), source, FieldNames(), faults)), faults


def test_order_lines_and_nested_payload() -> None:
    lines = [{"id": str(n), "text": f"t{n}", "deep": {"list": [n, {"x": None}]}} for n in range(5)]
    documents, _ = read("\n".join(json.dumps(line) for line in lines).encode())
    assert [d.id for d in documents] == list("01234")
    assert [d.row for d in documents] == [1, 2, 3, 4, 5]
    assert documents[3].payload["deep"] == {"list": [3, {"x": None}]}


def test_bom_crlf_and_blank_lines_are_accepted_and_lines_still_counted() -> None:
    documents, _ = read(b"\xef\xbb\xbf" + GOOD.replace(b"\n", b"\r\n") + b"\r\n  \n" + GOOD.replace(b'"1"', b'"2"'))
    assert [(d.id, d.row) for d in documents] == [("1", 1), ("2", 4)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"id":"x","text":}', r"c\.jsonl:2: not JSON: Expecting value at column 18"),
        (b'{"id":"x","text":"t"} trailing', r"c\.jsonl:2: not JSON"),
        (b"[1,2]", r"c\.jsonl:2: a JSON object was expected, got '\[1,2\]'"),
        (b'"string"', r"c\.jsonl:2: a JSON object was expected"),
        (b'{"id":"x","text":"caf\xe9"}', r"c\.jsonl:2: not valid UTF-8 at byte 22 of the line \(0xe9\)"),
        (b"[" * 200_000, r"c\.jsonl:2: the JSON is nested more than 64 levels deep"),
        (b'{"id":"x","text":"t","a":%s}' % (b"[" * 65 + b"]" * 65), r"c\.jsonl:2: field 'a' is nested more than 64"),
        (b'{"id":"x","text":"t","a":%s}' % (b'{"a":' * 900 + b"1" + b"}" * 900), r"c\.jsonl:2: field 'a' is nested"),
        (b'{"id":"%s","text":"t"}' % (b"x" * 1025), r"c\.jsonl:2: the id 'x{40}'… has 1,025 bytes, and .* 1,024"),
        (b'{"id":"%s","text":"t"}' % ("é".encode() * 513), r"c\.jsonl:2: the id .* has 1,026 bytes"),
        (b'{"id":"x","text":"t","n":' + b"9" * 5000 + b"}", r"c\.jsonl:2: not usable JSON"),
        (b'{"id":"x"}', r"c\.jsonl:2: there is no field 'text'"),
    ],
)
def test_a_bad_line_is_named_and_under_skip_costs_only_itself(line: bytes, message: str) -> None:
    data = GOOD + line + b"\n" + GOOD.replace(b'"1"', b'"3"')
    with pytest.raises(DocumentError, match=message + r".*--on-error skip$"):
        read(data)
    documents, faults = read(data, "skip")
    assert [d.id for d in documents] == ["1", "3"]
    assert faults.skipped == 1


def test_nan_and_infinity_become_null() -> None:
    documents, _ = read(b'{"id":"1","text":"t","a":NaN,"b":[-Infinity,1]}')
    assert documents[0].payload == {"text": "t", "a": None, "b": [None, 1]}


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_is_recognised(encoding: str, mark: str) -> None:
    with pytest.raises(UnreadableInputError, match=r"c\.jsonl:1: this file is UTF-16.*iconv"):
        read(f'{mark}{{"id":"1","text":"t"}}\n'.encode(encoding))


def test_files_with_a_byte_order_mark_may_be_joined() -> None:
    documents, _ = read(b"".join(b"\xef\xbb\xbf" + GOOD.replace(b'"1"', b'"%d"' % n) for n in range(3)))
    assert [(d.id, d.row) for d in documents] == [("0", 1), ("1", 2), ("2", 3)]


def test_a_payload_may_be_as_deep_and_an_id_as_long_as_the_limit() -> None:
    deep = "[" * 64 + "]" * 64
    documents, _ = read(f'{{"id":"{"x" * 1024}","text":"t","a":{deep}}}'.encode())
    assert json.dumps(documents[0].payload["a"]) == deep


def test_a_line_at_the_limit_is_read_and_one_beyond_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 1 << 20
    monkeypatch.setattr(lines, "MAX_RECORD_BYTES", limit)
    frame = len(b'{"id":"1","text":""}\n')
    at_limit = b'{"id":"1","text":"%s"}\n' % (b"x" * (limit - frame))
    assert len(at_limit) == limit
    beyond = b'{"id":"2","text":"%s"}\n' % (b"y" * (3 * limit))
    documents, faults = read(at_limit + beyond + GOOD.replace(b'"1"', b'"3"'), "skip")
    assert [(d.id, d.row) for d in documents] == [("1", 1), ("3", 3)]
    assert faults.first == ["c.jsonl:2: the line is longer than 1 MiB"]


def test_a_long_last_line_without_newline_ends_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_RECORD_BYTES", 1000)
    documents, faults = read(GOOD + b"z" * 5000, "skip")
    assert len(documents) == 1
    assert faults.skipped == 1
