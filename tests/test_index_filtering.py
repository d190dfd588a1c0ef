"""A filter keeps exactly the rows that it says, whatever is asked of whatever data; and what is wrong is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import examples
from filter_language import DECLARED, TYPES, filters, payloads, survives
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from index.errors import FieldError, FilterError
from index.search.bitmap import Bitmap, Kept
from index.search.fields.columns import ColumnReader, parse_fields
from index.search.fields.conditions import FEW, MANY
from index.search.fields.postings import open_columns
from index.search.filtering import KEPT_BYTES_A_ROW, KEPT_BYTES_OF_FEW, Filter, Filters, parse
from index.search.rowfiles import write_columns

ALL = settings(max_examples=examples(150), suppress_health_check=list(HealthCheck))


def columns_of(folder: Path, rows: list[dict[str, Any]]) -> Filters:
    """The files that a build writes for these rows, opened as a generation opens them."""
    reader = ColumnReader(parse_fields(DECLARED))
    raw = [json.dumps(row).encode() for row in rows]
    half = len(rows) // 2
    reader.take(raw[:half], range(half), range(half))
    reader.take(raw[half:], range(half, len(rows)), range(half, len(rows)))
    write_columns(folder, reader)
    return Filters(open_columns(folder, TYPES, len(rows)), len(rows))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("columns")


@ALL
@given(rows=st.lists(payloads, min_size=1, max_size=40), asked=filters)
def test_a_filter_keeps_what_it_says_row_by_row(
    folder: Path, rows: list[dict[str, Any]], asked: dict[str, Any]
) -> None:
    kept = columns_of(folder, rows).bitmap(parse(asked))
    expected = [row for row, payload in enumerate(rows) if survives(payload, asked)]
    assert kept.rows.tolist() == expected
    assert kept.count == len(expected)


def test_a_filter_without_a_key_is_never_taken_for_another(tmp_path: Path) -> None:
    rows = [{"lang": "en" if row % 3 else "de", "year": row} for row in range(30)]
    kept = columns_of(tmp_path, rows)
    english, german = ({"field": "lang", "eq": lang} for lang in ("en", "de"))
    early = parse({"field": "year", "lt": 10})
    for given_, expected in ((english, 20), (german, 10), (english, 20)):
        nameless = Filter(parse(given_).tree, b"")
        assert kept.bitmap(nameless).count == expected
        assert not kept.known(nameless)
        both = nameless & early
        assert (
            kept.bitmap(both).count
            == kept.bitmap(Filter(early.tree, b"") & parse(given_)).count
            == (6 if given_ == english else 4)
        )


def test_what_is_kept_of_filters_has_a_bound(tmp_path: Path) -> None:
    kept = columns_of(tmp_path, [{"lang": "en", "year": row} for row in range(500)])
    values = [f"{'x' * 400}{number}" for number in range(50)]
    for number in range(100):
        kept.bitmap(parse({"field": "lang", "in": [*values, str(number)]})).rows32  # noqa: B018
    latest = parse({"field": "lang", "in": [*values, "99"]})
    assert kept.known(latest)
    assert kept.bitmap(latest) is kept.bitmap(latest)
    assert len(latest.key) > 20_000
    assert len(kept.kept) * len(latest.key) <= KEPT_BYTES_OF_FEW + 500 * KEPT_BYTES_A_ROW
    assert len(kept.kept) > 10


def test_what_searches_make_of_a_bitmap_counts_too() -> None:
    kept: Kept[Bitmap] = Kept(1 << 20)
    often = Bitmap(np.ones(64, np.bool_), 64)
    kept.put(b"often", often)
    for number in range(40):
        bits = Bitmap(np.ones(20_000, np.bool_), 20_000)
        kept.put(b"%d" % number, bits)
        assert len(bits.rows32) == 20_000  # 240 kB with the rows that they are made of
        assert kept.get(b"often") is often
    assert len(kept) <= 4 + 2  # of four times 240 kB; what was made of the last one is not known yet
    assert kept.get(b"0") is None


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.02, 0.3, 0.9, 1.0])
def test_rare_and_frequent_values_take_different_ways_to_the_same_rows(tmp_path: Path, share: float) -> None:
    count = 4 * FEW
    random = np.random.default_rng(int(share * 1e4))
    hit = random.random(count) < share
    rows = [
        {"lang": "en" if h else ("de" if row % 3 else None), "year": int(h), "price": float(row) if row % 5 else None,
         "draft": bool(h), "published": f"20{row % 90 + 10}-01-01", "tags": ["x", "y"] if h else []}
        for row, h in enumerate(hit.tolist())
    ]  # fmt: skip
    fields = columns_of(tmp_path, rows)
    for asked in (
        {"field": "lang", "eq": "en"},
        {"field": "lang", "in": ["en", "de", "fr"]},
        {"field": "year", "gt": 0},
        {"field": "year", "eq": 1},
        {"field": "draft", "eq": True},
        {"field": "tags", "in": ["x", "y"]},
        {"field": "price", "lt": share * count},
        {"field": "price", "gte": count - FEW / 2, "lt": count},
        {"field": "published", "gte": "2030-01-01", "lt": "2031-01-01"},
    ):
        expected = [row for row, payload in enumerate(rows) if survives(payload, asked)]
        assert fields.bitmap(parse(asked)).rows.tolist() == expected, asked
    assert FEW * MANY > count > FEW, "both sides of both thresholds are in the cases above"


def test_the_same_filter_again_is_a_lookup_and_the_oldest_is_forgotten(tmp_path: Path) -> None:
    fields = columns_of(tmp_path, [{"year": row} for row in range(100)])
    fields.kept = Kept(0)
    first = parse({"field": "year", "eq": 1})
    made = fields.bitmap(first)
    assert fields.bitmap(parse({"eq": 1, "field": "year"})) is made
    for year in range(2, 2 + Kept.FEW):
        fields.bitmap(parse({"field": "year", "eq": year}))
    assert not fields.known(first)
    assert fields.bitmap(first).rows.tolist() == [1]


def test_what_looks_alike_is_not_the_same_filter(tmp_path: Path) -> None:
    """1 and true are equal in Python, and two different things here; 1.0 is 1, as in JSON."""
    fields = columns_of(tmp_path, [{"year": 1, "price": 1, "draft": True}])
    for same in (1, 1.0):
        assert fields.bitmap(parse({"field": "year", "eq": same})).count == 1
    for other in (True, 1.5, 1e300):
        with pytest.raises(FilterError, match="field 'year' is int and compared with an integer of 64 bits"):
            fields.bitmap(parse({"field": "year", "eq": other}))
    with pytest.raises(FilterError, match="field 'price' is float"):
        fields.bitmap(parse({"field": "price", "eq": True}))
    with pytest.raises(FilterError, match="field 'draft' is bool"):
        fields.bitmap(parse({"field": "draft", "eq": 1}))


def nested(levels: int) -> dict[str, Any]:
    made: dict[str, Any] = {"field": "year", "eq": 1}
    for _ in range(levels - 1):
        made = {"not": made}
    return made


@pytest.mark.parametrize(
    ("asked", "at", "said"),
    [
        (None, "", "a filter is an object, this is null"),
        ([], "", "this is a list"),
        ({}, "", "this has nothing"),
        ({"and": []}, "/and", "'and' takes a list of at least one filter"),
        ({"or": {"field": "year", "eq": 1}}, "/or", "'or' takes a list"),
        ({"not": [{"field": "year", "eq": 1}]}, "/not", "this is a list"),
        ({"and": [{"field": "year", "eq": 1}], "or": []}, "", "exactly one of"),
        ({"xor": []}, "/xor", "there is no 'xor' in a filter"),
        ({"a/b~": 1}, "/a~1b~0", "there is no 'a/b~' in a filter"),
        ({"field": "year"}, "", "this has none"),
        ({"field": 7, "eq": 1}, "/field", "'field' is a name, this is 7"),
        ({"field": "year", "is": 1}, "/is", "there is no 'is' in a condition"),
        ({"field": "year", "eq": 1, "in": [1]}, "", "this has eq, in"),
        ({"field": "year", "gt": 1, "gte": 1}, "", "at most one lower and one upper bound"),
        ({"field": "year", "gt": 1, "eq": 1}, "", "this has gt, eq"),
        ({"field": "year", "in": 1}, "/in", "'in' takes a list of values, this is 1"),
        ({"field": "year", "in": [1] * 1025}, "/in", "'in' has 1,025 values, at most 1,024"),
        ({"field": "year", "exists": 1}, "/exists", "'exists' is true or false, this is 1"),
        ({"or": [{"field": "year", "eq": 1}, {"field": "year", "lt": "x"}]}, "/or/1/lt", "an integer of 64 bits"),
        ({"field": "year", "in": [1, "1"]}, "/in/1", "this is '1'"),
        ({"field": "year", "eq": None}, "/eq", r"this is null \(for no value at all: exists\)"),
        ({"field": "year", "eq": 2**63}, "/eq", "this is 9223372036854775808"),
        ({"field": "price", "gt": 10**400}, "/gt", "a finite number"),
        ({"field": "published", "gte": "last week"}, "/gte", "RFC 3339"),
        ({"field": "published", "gte": "2020-W01-1"}, "/gte", "RFC 3339"),
        ({"field": "published", "gte": "2020-02-30"}, "/gte", "RFC 3339"),
        ({"field": "lang", "gt": "a"}, "", "field 'lang' is keyword, and ranges are for int, float and date"),
        ({"field": "draft", "lte": True}, "", "ranges are for"),
        ({"field": "year", "gte": 2024, "lte": 2020}, "", "'year' runs backwards: gte 2024 is above lte 2020"),
        ({"not": {"field": "year", "gt": 1, "lt": 0}}, "/not", "gt 1 is above lt 0"),
        ({"field": "price", "gt": 2.5, "lte": 2.4}, "", "gt 2.5 is above lte 2.4"),
        (
            {"field": "published", "gte": "2020-01-01T00:00:00Z", "lt": "2020-01-01T00:30:00+01:00"},
            "",
            "gte '2020-01-01T00:00:00Z' is above lt '2020-01-01T00:30:00.01:00'",
        ),
        ({"field": "tags", "eq": ["x"]}, "/eq", "compared with a string, this is a list"),
        (nested(7), "/not" * 6, "nests more than 6 deep"),
        ({"and": [{"field": "year", "eq": 1}] * 64}, "/and/63", "more than 64 nodes"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_where_it_is(tmp_path: Path, asked: Any, at: str, said: str) -> None:
    fields = columns_of(tmp_path, [{"year": 1}])
    with pytest.raises(FilterError, match=said) as info:
        fields.bitmap(parse(asked))
    assert info.value.at == at


def test_the_limits_themselves_are_allowed(tmp_path: Path) -> None:
    fields = columns_of(tmp_path, [{"year": 1}])
    assert fields.bitmap(parse(nested(6))).count == 0
    assert fields.bitmap(parse({"and": [{"field": "year", "eq": 1}] * 63})).count == 1
    assert fields.bitmap(parse({"field": "year", "in": list(range(1024))})).count == 1


def test_a_field_that_was_not_declared_is_an_error_and_says_which_there_are(tmp_path: Path) -> None:
    fields = columns_of(tmp_path, [{"year": 1, "author": "x"}])
    with pytest.raises(FieldError, match=r"field 'author' was not declared .*; declared are lang \(keyword\)") as info:
        fields.bitmap(parse({"and": [{"field": "year", "eq": 1}, {"field": "author", "eq": "x"}]}))
    assert info.value.at == "/and/1/field"
    with pytest.raises(FieldError, match="no field was"):
        Filters({}, 1).bitmap(parse({"field": "year", "exists": True}))


def test_filters_are_joined(tmp_path: Path) -> None:
    fields = columns_of(tmp_path, [{"year": row, "lang": "en" if row % 2 else "de"} for row in range(10)])
    both = parse({"field": "year", "lt": 5}) & parse({"field": "lang", "eq": "en"})
    assert fields.bitmap(both).rows.tolist() == [1, 3]


def test_a_field_is_described_for_a_form(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"lang": "en", "year": 3, "published": "2020-05-06T07:08:09.5Z", "tags": ["a", "a", "b"], "draft": True},
        {"lang": "en", "year": -3, "published": "1960-01-01", "tags": ["a"], "draft": False},
        {"lang": "de", "price": 1.5, "draft": True},
    ]
    described = {name: column.describe() for name, column in columns_of(tmp_path, rows).columns.items()}
    assert described == {
        "lang": {"type": "keyword", "present": 3, "distinct": 2,
                 "values": [{"value": "en", "count": 2}, {"value": "de", "count": 1}]},
        "year": {"type": "int", "present": 2, "min": -3, "max": 3},
        "price": {"type": "float", "present": 1, "min": 1.5, "max": 1.5},
        "draft": {"type": "bool", "present": 3, "values": [{"value": True, "count": 2}, {"value": False, "count": 1}]},
        "published": {"type": "date", "present": 2, "min": "1960-01-01T00:00:00Z", "max": "2020-05-06T07:08:09.5Z"},
        "tags": {"type": "keyword[]", "present": 2, "distinct": 2,
                 "values": [{"value": "a", "count": 2}, {"value": "b", "count": 1}]},
    }  # fmt: skip
