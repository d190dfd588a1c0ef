"""A filter keeps exactly the rows that it says, whatever is asked of whatever data; and what is wrong is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from filter_language import DECLARED, TYPES, filters, payloads, survives
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from indexing import clustered

from index import Generation, build_generation, open_generation
from index.errors import FieldError, FilterError
from index.search.columns import ColumnReader, parse_fields
from index.search.conditions import FEW, MANY
from index.search.filtering import Filters, parse
from index.search.postings import open_columns
from index.search.rowfiles import write_columns

ALL = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


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


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.02, 0.3, 0.9, 1.0])
def test_rare_and_frequent_values_take_different_ways_to_the_same_rows(tmp_path: Path, share: float) -> None:
    count = 8 * FEW
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
    fields._most = 3
    first = parse({"field": "year", "eq": 1})
    made = fields.bitmap(first)
    assert fields.bitmap(parse({"eq": 1, "field": "year"})) is made
    for year in range(2, 5):
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
        "published": {"type": "date", "present": 2, "min": "1960-01-01T00:00:00Z", "max": "2020-05-06T07:08:09Z"},
        "tags": {"type": "keyword[]", "present": 2, "distinct": 2,
                 "values": [{"value": "a", "count": 2}, {"value": "b", "count": 1}]},
    }  # fmt: skip


COUNT, DIM = 12_000, 16
SHARES = (1.0, 0.5, 0.1, 0.02, 0.001, 0.0001)


@pytest.fixture(scope="module", params=["flat", "graph", "ivf"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=["cosine", "ip", "l2"])
def opened(request: pytest.FixtureRequest, family: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Rows with a number of their own, the cluster that they are in, and a letter by chance."""
    vectors = clustered(COUNT, DIM, seed=5)
    cluster = np.argmax(vectors @ clustered(12, DIM, seed=1, spread=0.0).T, axis=1)
    random = np.random.default_rng(2)
    payload = [
        {"n": row, "cluster": f"c{cluster[row]}", "u": float(random.random()), "odd": bool(row % 2)}
        for row in range(COUNT)
    ]
    path = build_generation(
        vectors, list(range(COUNT)), root=tmp_path_factory.mktemp("families"), name="test", family=family,
        metric=request.param, payload=payload, filterable=["n", "cluster", "u", "odd"], switch=False,
    )  # fmt: skip
    with open_generation(path) as generation:
        assert generation.manifest["filterable"] == {"n": "int", "cluster": "keyword", "u": "float", "odd": "bool"}
        yield generation


def recall_of(generation: Generation, queries: Any, asked: dict[str, Any], k: int = 10) -> float:
    """Recall@k through a filter; every answer holds min(k, survivors) different survivors, best first."""
    keep = generation.filter(asked)
    found = generation.search_rows(queries, k, keep=keep)
    exactly = generation.search_rows(queries, k, keep=keep, exact=True)
    reach = min(k, keep.count)
    survivors = set(keep.rows.tolist())
    hits = 0
    for rows, scores, best, best_scores in zip(found.rows, found.scores, exactly.rows, exactly.scores, strict=True):
        for answer in (rows, best):
            assert len(set(answer[:reach].tolist()) & survivors) == reach
            assert (answer[reach:] == -1).all()
        assert (np.diff(scores[:reach]) <= 0).all()
        hits += int((scores[:reach] >= best_scores[reach - 1]).sum()) if reach else 0
    return hits / (len(queries) * reach) if reach else 1.0


@pytest.mark.parametrize("share", SHARES)
def test_recall_holds_through_a_filter_of_any_selectivity(opened: Generation, share: float) -> None:
    queries = clustered(60, DIM, seed=11)
    found, exactly = (opened.search_rows(queries, 10, exact=exact).scores for exact in (False, True))
    enough = 0.97 * float((found >= exactly[:, -1:]).mean())  # of the same queries, without a filter
    assert recall_of(opened, queries, {"field": "u", "lt": share}) >= enough
    assert recall_of(opened, queries, {"field": "n", "lt": round(share * COUNT)}) >= enough


@pytest.mark.parametrize("kind", ["another", "all others", "half of the others"])
def test_recall_holds_where_the_survivors_lie_elsewhere_than_the_query(opened: Generation, kind: str) -> None:
    """Each query asks for its neighbours in clusters that are not its own."""
    queries = clustered(36, DIM, seed=12)
    own = np.argmax(queries @ clustered(12, DIM, seed=1, spread=0.0).T, axis=1)
    recalls = []
    for query, cluster in zip(queries, own.tolist(), strict=True):
        steps = {"another": [5], "all others": range(1, 12), "half of the others": range(3, 9)}[kind]
        asked = {"field": "cluster", "in": [f"c{(cluster + step) % 12}" for step in steps]}
        recalls.append(recall_of(opened, query[None], asked))
    # Lists are visited by how near they are, survivors in them or not; a walk goes on until it has enough of them.
    assert np.mean(recalls) >= {"flat": 1.0, "graph": 0.9, "ivf": 0.8}[opened.family]


class Rows(NamedTuple):
    """All that is known of the rows without the code under test: payloads read as JSON, float64 vectors."""

    vectors: Any
    of: dict[str, Any]


@pytest.fixture(scope="module")
def rows(opened: Generation) -> Rows:
    payload = [json.loads(opened.payload(row)) for row in range(COUNT)]
    vectors = np.stack([opened.vector(row) for row in range(COUNT)]).astype(np.float64)
    return Rows(vectors, {name: np.array([each[name] for each in payload]) for name in ("n", "u", "cluster", "odd")})


def asked_and_kept(rows: Rows, kind: str, share: float, low: float, cluster: int) -> tuple[dict[str, Any], Any]:
    """A filter that keeps about `share` of the rows, and those that it keeps, row by row."""
    u, n = rows.of["u"], rows.of["n"]
    by_chance = {"field": "u", "gte": low, "lt": low + share}
    within = (u >= low) & (u < low + share)
    if kind == "a part":  # of the rows by chance
        return by_chance, within
    if kind == "a stretch":
        first, last = round(low * COUNT), round((low + share) * COUNT)
        return {"field": "n", "gte": first, "lt": last}, (n >= first) & (n < last)
    own = {"field": "cluster", "eq": f"c{cluster}"}
    inside = rows.of["cluster"] == f"c{cluster}"
    if kind == "in a cluster":
        return {"and": [own, by_chance]}, inside & within
    if kind == "not in a cluster":
        return {"and": [by_chance, {"not": own}]}, within & ~inside
    odd = {"and": [{"field": "odd", "eq": True}, {"field": "n", "lt": 3}]}
    return {"or": [by_chance, odd]}, within | (rows.of["odd"] & (n < 3))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    kind=st.sampled_from(["a part", "a stretch", "in a cluster", "not in a cluster", "or three more"]),
    share=st.sampled_from([1.0, 0.5, 0.1, 0.03, 0.01, 1e-3, 1e-4]),
    low=st.just(0.0) | st.floats(0, 1),
    cluster=st.integers(0, 11),
    k=st.integers(1, 50),
    effort=st.sampled_from([None, 1, 50]),
    seed=st.integers(0, 9),
)
def test_an_answer_through_a_filter_is_that_of_brute_force(
    opened: Generation, rows: Rows, kind: str, share: float, low: float, cluster: int, k: int, effort: Any, seed: int
) -> None:
    """Survivors and scores are the true ones however the search went, and so is the order where all was compared; an
    effort of 1 finds too little, and what it leaves is scanned for."""
    asked, kept = asked_and_kept(rows, kind, share, low, cluster)
    keep = opened.filter(asked)
    assert keep.rows.tolist() == np.flatnonzero(kept).tolist()
    queries = clustered(3, DIM, seed=seed)
    near = rows.vectors @ queries.astype(np.float64).T
    if opened.metric == "l2":
        near = -((rows.vectors[:, None, :] - queries[None].astype(np.float64)) ** 2).sum(axis=2)
    elif opened.metric == "cosine":
        near /= np.linalg.norm(queries, axis=1)
    reach = min(k, int(kept.sum()))
    for exactly in (False, True):
        found = opened.search_rows(queries, k, effort, keep=keep, exact=exactly)
        for at, (answer, scores) in enumerate(zip(found.rows, found.scores, strict=True)):
            assert len(set(answer[:reach].tolist())) == reach
            assert (answer[reach:] == -1).all()
            assert kept[answer[:reach]].all()
            np.testing.assert_allclose(scores[:reach], near[answer[:reach], at], rtol=1e-5, atol=1e-5)
            if exactly or opened.family == "flat" or keep.count <= opened.few(effort):
                best = np.sort(near[kept, at])[::-1][:reach]
                np.testing.assert_allclose(scores[:reach], best, rtol=1e-5, atol=1e-5)
