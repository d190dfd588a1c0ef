"""What INPUT may be, and that ids are unique over all of it."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed.documents.document import Document, DocumentError, Faults, FieldNames, NoSuchInputError, UnreadableInputError
from embed.documents.inputs import CHECKED_TOGETHER, find_sources, read_documents


def jsonl(*ids: str) -> bytes:
    return "".join(json.dumps({"id": each, "text": f"text {each}"}) + "\n" for each in ids).encode()


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def read(*inputs: object, format: str | None = None, on_error: str = "fail") -> list[Document]:
    sources = find_sources([str(each) for each in inputs], format)
    return list(read_documents(sources, FieldNames(), Faults(on_error)))


def ids(documents: Sequence[Document]) -> list[str]:
    return [document.id for document in documents]


def test_every_format_and_gzip_by_extension(tmp_path: Path) -> None:
    files = [
        put(tmp_path / "a.jsonl", jsonl("a")),
        put(tmp_path / "b.ndjson", jsonl("b")),
        put(tmp_path / "c.jsonl.gz", gzip.compress(jsonl("c"))),
        put(tmp_path / "d.CSV", b"id,text\nd,x\n"),
        put(tmp_path / "e.tsv.gz", gzip.compress(b"id\ttext\ne,e\tx\n")),
        tmp_path / "f.parquet",
    ]
    pq.write_table(pa.table({"id": ["f"], "text": ["x"]}), files[-1])
    assert ids(read(*files)) == ["a", "b", "c", "d", "e,e", "f"]


def test_a_folder_is_read_in_order_without_hidden_and_unknown_files(tmp_path: Path) -> None:
    put(tmp_path / "z.jsonl", jsonl("z"))
    put(tmp_path / "sub" / "a.jsonl", jsonl("sub-a"))
    put(tmp_path / "a.csv", b"id,text\na,x\n")
    put(tmp_path / ".hidden" / "h.jsonl", jsonl("h"))
    put(tmp_path / ".h.jsonl", jsonl("h"))
    put(tmp_path / "README.md", b"# no document")
    assert ids(read(tmp_path)) == ["a", "sub-a", "z"]


def test_what_was_made_of_documents_is_none(tmp_path: Path) -> None:
    """Vectors of an earlier run, and those that are being written, which have no manifest before the end."""
    put(tmp_path / "a.jsonl", jsonl("a"))
    for name in ("vectors/old", "vectors/new"):
        pq.write_table(pa.table({"id": ["v"], "text": ["x"]}), put(tmp_path / name / "part-00000.parquet", b""))
    put(tmp_path / "vectors" / "old" / "embed.json", b"{}")
    assert [source.inside for source in find_sources([str(tmp_path)], out=tmp_path / "vectors" / "new")] == ["a.jsonl"]
    assert [source.inside for source in find_sources([str(tmp_path / "vectors" / "old")])] == ["part-00000.parquet"]


def test_pages_beside_tables_are_left_out_and_it_is_said(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl", jsonl("a"))
    for name in ("README.md", "docs/guide.md"):
        put(tmp_path / name, b"# A page")
    [source] = find_sources([str(tmp_path)])
    assert source.notes == [f"{tmp_path}: 2 pages beside tables of documents were left out. Name them to embed them"]
    assert [each.notes for each in find_sources([str(tmp_path / "docs")])] == [[]]


def test_of_a_beir_folder_only_the_corpus_is_taken(tmp_path: Path) -> None:
    put(tmp_path / "corpus.jsonl", jsonl("c"))
    put(tmp_path / "queries.jsonl", jsonl("q"))
    put(tmp_path / "qrels" / "test.tsv", b"query-id\tcorpus-id\tscore\nq\tc\t1\n")
    assert ids(read(tmp_path)) == ["c"]


def test_globs_are_sorted_and_a_file_named_twice_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b", "a", "c"):
        put(tmp_path / "x" / f"{name}.jsonl", jsonl(name))
    assert ids(read(tmp_path / "x" / "*.jsonl")) == ["a", "b", "c"]
    assert ids(read(tmp_path / "**" / "[ab].jsonl", tmp_path / "x")) == ["a", "b", "c"]
    monkeypatch.chdir(tmp_path)
    assert ids(read("x/b.jsonl", "./x/b.jsonl")) == ["b"]


def test_a_file_whose_name_looks_like_a_glob_is_a_file(tmp_path: Path) -> None:
    assert ids(read(put(tmp_path / "part[1].jsonl", jsonl("x")))) == ["x"]


def test_stdin_is_json_lines_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(jsonl("1", "2"))))
    assert ids(read("-")) == ["1", "2"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"id,text\n5,x\n")))
    documents = read("-", format="csv")
    assert [(d.id, d.where) for d in documents] == [("5", "stdin:2")]


@pytest.mark.parametrize("given", ["missing.jsonl", "nothing-*.jsonl", "empty-folder"])
def test_an_input_that_names_nothing(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty-folder").mkdir()
    with pytest.raises(NoSuchInputError, match=given.replace("*", r"\*")):
        find_sources([given])


@pytest.mark.parametrize("name", ["data.json", "data.txt", "data"])
def test_an_unknown_extension_asks_for_the_format(name: str, tmp_path: Path) -> None:
    path = put(tmp_path / name, jsonl("1"))
    with pytest.raises(UnreadableInputError, match="--format"):
        find_sources([str(path)])
    assert ids(read(path, format="jsonl")) == ["1"]


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux's /proc")
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = Path("/proc/self/mem")  # opens, and fails to be read, even for root
    link = tmp_path / "unreadable.jsonl"
    link.symlink_to(path)
    with pytest.raises(UnreadableInputError, match=r"unreadable\.jsonl:1: cannot be read: Input/output error"):
        read(link)


MANY = jsonl(*map(str, range(20_000)))


@pytest.mark.parametrize(
    ("data", "line", "said"),
    [
        (gzip.compress(MANY)[:-20], range(15_000, 20_001), "was cut off"),
        (gzip.compress(MANY)[:-4], [20_001], "was cut off"),
        (gzip.compress(MANY)[:-8] + b"12345678", [20_001], "cannot be unpacked as gzip: CRC check failed"),
        (b"no gzip at all", [1], "cannot be unpacked as gzip: Not a gzipped file"),
    ],
)
@pytest.mark.parametrize("name", ["cut.jsonl.gz", "cut.csv.gz"])
def test_a_damaged_gzip_is_named_with_its_line(
    name: str, data: bytes, line: Sequence[int], said: str, tmp_path: Path
) -> None:
    path = put(tmp_path / name, data)
    with pytest.raises(UnreadableInputError) as caught:
        read(path, on_error="skip")
    place, message = str(caught.value).removeprefix(f"{path}:").split(": ", 1)
    assert int(place) in line
    assert said in message


def test_a_name_that_is_not_unicode_can_be_part_of_an_id(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jsonl"))
    sources = find_sources([str(put(path, jsonl("1")))])
    [document] = read_documents(sources, FieldNames(number_rows=True), Faults())
    assert document.id == f"{tmp_path}/caf\ufffd.jsonl:1"


def test_nothing_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInputError, match="no document could be read from"):
        read(put(tmp_path / "a.jsonl", b"\n\n"), put(tmp_path / "b.csv", b"id,text\n"))
    with pytest.raises(UnreadableInputError, match=r"all 2 were skipped, first: .*c\.jsonl:1"):
        read(put(tmp_path / "c.jsonl", b"{}\n{}\n"), on_error="skip")


def test_an_empty_file_among_others_is_no_error(tmp_path: Path) -> None:
    assert ids(read(put(tmp_path / "a.jsonl", b""), put(tmp_path / "b.jsonl", jsonl("b")))) == ["b"]


@pytest.mark.parametrize("between", [0, CHECKED_TOGETHER - 1, CHECKED_TOGETHER, 3 * CHECKED_TOGETHER + 1])
def test_a_duplicate_id_names_both_places(between: int, tmp_path: Path) -> None:
    first = put(tmp_path / "a.jsonl", jsonl("other", "twice", *map(str, range(between))))
    second = put(tmp_path / "b.jsonl", jsonl("before", "twice", "after"))
    with pytest.raises(DocumentError) as caught:
        read(first, second)
    assert str(caught.value) == (
        f"{second}:2: id 'twice' was given before, at {first}:2. "
        "To leave out records that cannot be used: --on-error skip"
    )
    kept = ids(read(first, second, on_error="skip"))
    assert len(kept) == len(set(kept)) == between + 4


def test_every_further_use_of_an_id_is_refused_and_names_the_first(tmp_path: Path) -> None:
    between = map(str, range(CHECKED_TOGETHER))
    path = put(tmp_path / "a.jsonl", jsonl("x", "x", *between, "x", "y", "x"))
    faults = Faults("skip")
    assert ids(list(read_documents(find_sources([str(path)]), FieldNames(), faults)))[-1] == "y"
    assert faults.skipped == 3
    assert all(message.endswith(f"was given before, at {path}:1") for message in faults.first)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.jsonl.gz"])
def test_progress_is_counted_in_bytes_of_the_file(name: str, tmp_path: Path) -> None:
    lines = jsonl(*map(str, range(3000)))
    data = {"a.jsonl": lines, "a.jsonl.gz": gzip.compress(lines)}.get(
        name, b"id,text\n" + b"".join(b"%d,text\n" % n for n in range(3000))
    )
    sources = find_sources([str(put(tmp_path / name, data))])
    assert sources[0].size_bytes == len(data)
    documents = read_documents(sources, FieldNames(), Faults())
    next(documents)
    assert 0 < sources[0].done_bytes <= len(data)
    assert len(list(documents)) == 2999
    assert sources[0].done_bytes == len(data)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_progress_foretells_the_number_of_records_whatever_their_order_by_length(name: str, tmp_path: Path) -> None:
    """The first records are the shortest: by bytes alone there would seem to be three times as many."""
    texts = ["x" * (10 + number // 10) for number in range(20_000)]
    lines = [json.dumps({"id": number, "text": text}) for number, text in enumerate(texts)]
    if name == "a.csv":
        lines = ["id,text", *(f"{number},{text}" for number, text in enumerate(texts))]
    sources = find_sources([str(put(tmp_path / name, "\n".join(lines).encode()))])
    for number, document in enumerate(read_documents(sources, FieldNames(), Faults()), start=1):
        if number in (2000, 10_000, 20_000):
            expected = number * sources[0].size_bytes / document.done_bytes
            assert 19_600 < expected < 20_400
