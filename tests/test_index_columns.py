"""Filterable fields: what is declared is what is stored, or the build stops at the row that differs."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pyarrow as pa
import pytest

from index.errors import InputError
from index.search.fields.columns import ColumnReader, Field, parse_fields


def stored(type_: str, *values: Any) -> list[Any]:
    reader = ColumnReader([Field("f", type_)])
    rows = [json.dumps({"f": value}).encode() for value in values]
    half = len(rows) // 2
    reader.take(rows[:half], ["x"] * half, range(half))
    reader.take(rows[half:], ["x"] * (len(rows) - half), range(half, len(rows)))
    return list(reader.table().column("f").to_pylist())


@pytest.mark.parametrize(
    ("type_", "values"),
    [
        ("keyword", ["a", "", "a", "ü", None]),
        ("keyword[]", [["a", "b"], [], None, ["a"]]),
        ("int", [1, -(2**63), 2**63 - 1, None]),
        ("float", [1.5, 2, -0.0, None]),
        ("bool", [True, False, None]),
    ],
)
def test_values_come_back(type_: str, values: list[Any]) -> None:
    assert stored(type_, *values) == values


def test_dates_are_moments_in_utc() -> None:
    utc = datetime.UTC
    values = ["2024-02-29", "2024-02-29T12:30:00", "2024-02-29T12:30:00+02:00", "2024-02-29T12:30:00.25Z", None]
    assert stored("date", *values) == [
        datetime.datetime(2024, 2, 29, tzinfo=utc),
        datetime.datetime(2024, 2, 29, 12, 30, tzinfo=utc),
        datetime.datetime(2024, 2, 29, 10, 30, tzinfo=utc),
        datetime.datetime(2024, 2, 29, 12, 30, 0, 250_000, tzinfo=utc),
        None,
    ]


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("keyword", 1), ("keyword", ["a"]), ("keyword", True),
        ("keyword[]", "a"), ("keyword[]", ["a", 1]), ("keyword[]", [None]),
        ("int", "one"), ("int", 1.5), ("int", True), ("int", 2**63), ("int", "1.5"), ("int", "1,000"), ("int", "1e3"),
        ("int", "0x10"), ("int", "1_0"), ("int", "٣"), ("int", str(2**63)), ("int", "9" * 50), ("int", 1e300),
        ("float", "3,14"), ("float", False), ("float", "nan"), ("float", "inf"), ("float", "1e999"), ("float", "."),
        ("float", 10**400),
        ("bool", 1), ("bool", "yes"), ("bool", "2"),
        ("date", "yesterday"), ("date", 1700000000), ("date", "2023-02-29"), ("date", "01/02/2023"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_named_by_row_id_and_field(type_: str, value: Any) -> None:
    reader = ColumnReader([Field("year", type_)])
    rows = [json.dumps({"year": each}).encode() for each in (None, value)]
    with pytest.raises(InputError, match=r"row 101 \(id 'doc-b'\): field 'year' is .*, expected ") as info:
        reader.take(rows, ["doc-a", "doc-b"], [7, 101])
    assert f"as declared by year:{type_}" in str(info.value)
    assert repr(value) in str(info.value)


@pytest.mark.parametrize(
    ("type_", "given", "expected"),
    [
        ("int", ["2001", " -7 ", "+3", "007", "2001.0", "", "  ", 2001.0], [2001, -7, 3, 7, 2001, None, None, 2001]),
        ("int", [str(2**63 - 1), str(-(2**63))], [2**63 - 1, -(2**63)]),
        ("float", ["1.5", "-2", ".5", "3.", "1e-3", " 4 ", ""], [1.5, -2.0, 0.5, 3.0, 0.001, 4.0, None]),
        ("bool", ["true", "False", "TRUE", "t", "f"], [True, False, True, True, False]),
        ("bool", ["1", "0", " true", ""], [True, False, True, None]),
        ("keyword", ["2001", "", " a "], ["2001", "", " a "]),
    ],
)
def test_strings_are_read_as_the_type_that_is_declared(type_: str, given: list[Any], expected: list[Any]) -> None:
    assert stored(type_, *given) == expected


def test_a_blank_date_is_none() -> None:
    assert stored("date", "", " 2024-02-29 ") == [None, datetime.datetime(2024, 2, 29, tzinfo=datetime.UTC)]


def test_a_field_that_no_row_has_is_refused_with_those_that_there_are() -> None:
    reader = ColumnReader([Field("yaer", "int"), Field("null", "int"), Field("late", "int")])
    reader.take([b'{"year": 1, "null": null}'], ["a"], [0])
    reader.take([b'{"late": 1, "lang": "en"}'], ["b"], [1])
    reader.check_seen(["null", "late"])
    with pytest.raises(InputError, match=r"no row has a field 'yaer'.* are: 'year', 'null', 'late', 'lang'\."):
        reader.check_seen(["yaer", "late"])


def test_a_missing_field_is_null() -> None:
    reader = ColumnReader([Field("a", "int"), Field("b", "keyword")])
    reader.take([b'{"a":1}', b'{"b":"x","c":2}'], ["x", "y"], [0, 1])
    assert reader.table().to_pylist() == [{"a": 1, "b": None}, {"a": None, "b": "x"}]


def test_a_column_that_is_null_everywhere_keeps_its_type() -> None:
    reader = ColumnReader([Field("a", "int"), Field("b", "keyword")])
    reader.take([b"{}"], ["x"], [0])
    assert reader.table().schema.types == [pa.int64(), pa.dictionary(pa.int32(), pa.large_string())]


def test_declarations_are_read() -> None:
    assert parse_fields(["lang:keyword", "a:b:int", "tags:keyword[]"]) == [
        ("lang", "keyword"),
        ("a:b", "int"),
        ("tags", "keyword[]"),
    ]
    assert parse_fields(["lang:keyword,year", "draft"]) == [("lang", "keyword"), ("year", ""), ("draft", "")]
    assert parse_fields(["lang:keyword, year ", Field("a", "int")]) == [("a", "int"), ("lang", "keyword"), ("year", "")]
    for text in (":int", "lang:", "lang:text", "lang:Int", "", "lang:int,"):
        with pytest.raises(InputError, match=r"expected FIELD:TYPE with a type of keyword, keyword\[\], int"):
            parse_fields([text])
    with pytest.raises(InputError, match="'a' is declared filterable twice"):
        parse_fields(["a:int", "a:keyword"])
