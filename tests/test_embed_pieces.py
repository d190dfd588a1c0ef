"""Inputs cut into fragments: read apart they are what they are in one piece, and an edit moves few of the cuts."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed.documents.document import DocumentError, Faults, FieldNames, NoSuchInputError
from embed.documents.inputs import find_sources, read_documents
from embed.documents.pieces import ChangedInputError, FragmentFile, Fragments, cut

NAMES = FieldNames()


def line(number: int) -> str:
    return json.dumps({"id": f"d{number}", "text": "some words " * (1 + number * 7919 % 13)}) + "\n"


def read(files: list[FragmentFile]) -> list[tuple[str, str, str]]:
    sources = [FragmentFile.from_dict(json.loads(json.dumps(file.as_dict()))).source(n) for n, file in enumerate(files)]
    found = read_documents(sources, NAMES, Faults(), none_is_fine=True)
    return [(document.id, document.text, document.where) for document in found]


def whole(path: Path) -> list[tuple[str, str, str]]:
    return [(each.id, each.text, each.where) for each in read_documents(find_sources([str(path)]), NAMES, Faults())]


def cuts(path: Path, most_bytes: int = 4000) -> Fragments:
    return cut(find_sources([str(path)]), most_bytes)


def test_lines_are_read_apart_as_in_one_piece(tmp_path: Path) -> None:
    path = tmp_path / "docs.jsonl"
    for text in (
        "".join(map(line, range(500))),
        "".join(map(line, range(500))).rstrip("\n"),
        line(1),
        line(1) + "\n\n",
    ):
        path.write_text(text)
        fragments = cuts(path)
        assert [each for files in fragments for each in read(files)] == whole(path)
        assert all(file.end - file.start <= 4000 for [file] in fragments)
    assert len(fragments) == 1


def test_an_edit_moves_few_of_the_cuts(tmp_path: Path) -> None:
    lines = [line(number) for number in range(2000)]
    path = tmp_path / "docs.jsonl"
    path.write_text("".join(lines))
    before = {file.sha256 for [file] in cuts(path)}
    assert len(before) > 30
    for changed in (
        [*lines, line(9999)],
        [*lines[:700], '{"id": "d700", "text": "mended"}\n', *lines[701:]],
        [*lines[:700], *lines[702:]],
        [line(9999), *lines],
    ):
        path.write_text("".join(changed))
        after = {file.sha256 for [file] in cuts(path)}
        assert len(before - after) <= 5


def test_parquet_is_cut_between_row_groups(tmp_path: Path) -> None:
    path = tmp_path / "docs.parquet"
    table = pa.table({"id": [f"d{n}" for n in range(1000)], "text": [f"text {n} {n * 7919}" for n in range(1000)]})
    pq.write_table(table, path, row_group_size=100)
    fragments = cuts(path)
    assert 2 <= len(fragments) <= 10
    assert [each for files in fragments for each in read(files)] == whole(path)
    assert {file.groups for files in cuts(path, 1) for file in files} == {(number, number + 1) for number in range(10)}


def test_what_cannot_be_cut_goes_together_while_it_is_small(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"{number}.csv").write_text(f'id,text\nc{number},"two\nlines"\n')
    with gzip.open(tmp_path / "more.jsonl.gz", "wt") as file:
        file.write("".join(map(line, range(300))))
    fragments = cuts(tmp_path, 90)
    assert [len(files) for files in fragments] == [3, 3, 1]
    assert [each for files in fragments for each in read(files)] == whole(tmp_path)


def test_what_was_changed_since_is_refused_and_a_fault_is_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "docs.jsonl"
    path.write_text("".join(map(line, range(300))) + '{"id": 7}\n')
    fragments = cuts(path)
    with pytest.raises(DocumentError, match=f"{path}:301: there is no field 'text'"):
        read(fragments[-1])
    text = path.read_text()
    path.write_text(text.replace('"d299"', '"d999"'))
    assert read(fragments[0])
    with pytest.raises(ChangedInputError, match=r"docs\.jsonl was changed since the job was planned"):
        read(fragments[-1])


def test_an_input_that_workers_cannot_read_is_refused() -> None:
    with pytest.raises(NoSuchInputError, match="only files can be read so"):
        cut(find_sources(["-"]))
