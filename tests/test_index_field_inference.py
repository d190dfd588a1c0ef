"""Types that nobody declared: the narrowest that every value has, and said where that may surprise."""

from __future__ import annotations

import json
from typing import Any

import pytest

from index.errors import InputError
from index.search.fields.columns import parse_fields
from index.search.fields.field_inference import Rows, infer_types


def inferred(values: list[Any], declared: str = "f") -> tuple[str, list[str]]:
    """The type of a field with these values, in two batches, and what is said about it."""
    payload = [json.dumps({"f": value}).encode() for value in values]
    ids = [f"doc-{row}" for row in range(len(values))]
    batches = [
        Rows(payload[start:stop], ids[start:stop], [row + 10 for row in range(start, stop)])
        for start, stop in ((0, 1), (1, len(values)))
    ]
    fields, notes = infer_types(parse_fields([declared, "g:int"]), batches)
    assert fields[1] == ("g", "int")
    return fields[0].type, notes


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        ([True, None, False], "bool"),
        ([1, 2**62], "int"),
        ([1, 2.5], "float"),
        ([2001.0, 2002.0], "float"),
        (["2020-01-01", "2020-01-01T10:00:00Z"], "date"),
        (["2020-01-01", "", None, " "], "date"),
        (["", 2001, None, " "], "int"),
        ([2.5, ""], "float"),
        (["", True], "bool"),
        (["en", "de", ""], "keyword"),
        (["", " "], "keyword"),
        ([["a"], [], None], "keyword[]"),
    ],
)
def test_a_type_is_inferred_from_every_value(values: list[Any], type_: str) -> None:
    assert inferred(values) == (type_, [])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (["2001", "2002", ""], "field f is a keyword, since its values are strings, and every one reads as int; "
                               "--filterable f:int makes them so"),
        (["1.5", "2"], "every one reads as float; --filterable f:float"),
        (["true", "False"], "every one reads as bool"),
        (["0", "1"], "every one reads as int"),
        (["2020-01-01", "soon"], "field f is a keyword, although 1 of 2 values read as date: row 11 (id 'doc-1') has "
                                 "'soon'. Mend such values and declare --filterable f:date, or declare f:keyword if"),
        (["2020-02-30", "2020-01-01", "2020-01-02", "x"], "2 of 4 values read as date: row 10 (id 'doc-0')"),
        (["7", "8", "n/a"], "2 of 3 values read as int: row 12 (id 'doc-2') has 'n/a'"),
        (["x"] * 90 + ["2020-01-01"] * 500, "500 of 590 values read as date: row 10"),
    ],
)  # fmt: skip
def test_a_keyword_that_may_not_be_meant_is_said_with_the_row_that_made_it_one(values: list[Any], says: str) -> None:
    type_, [note] = inferred(values)
    assert type_ == "keyword"
    assert says in note


@pytest.mark.parametrize("values", [["a", "b", "3"], ["x"] * 300 + ["7"] * 200, ["2020-01-01", "a", "b"]])
def test_words_are_not_talked_about(values: list[Any]) -> None:
    assert inferred(values) == ("keyword", [])
    assert inferred(["2001", "2002"], "f:keyword") == ("keyword", [])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (
            [1, "one"],
            r"field 'f' has no one type: row 11 \(id 'doc-1'\) has 'one', and the values before it are all i",
        ),
        (["a", ["b"]], r"has \['b'\], and the values before it are all keyword"),
        ([{"a": 1}], r"row 10 \(id 'doc-0'\): field 'f' is {'a': 1}, expected a value of type bool, int"),
        ([None, None], "no row has a value of field 'f' to infer a type from"),
    ],
)
def test_what_has_no_type_is_refused(values: list[Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        inferred(values)


def test_a_field_that_no_row_has_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(InputError, match=r"no row has a field 'h', .* the fields there are: 'f'\."):
        inferred([1, 2], "f,h")
