"""Bytes from strangers: filter parser, cursor decoder and manifest reader meet them with their own error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from examples import examples
from filter_language import filters
from fuzzing import SEEDS, TARGETS, valid_manifest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MANY = settings(max_examples=examples(100), suppress_health_check=list(HealthCheck))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["and", "or", "not", "field", "eq", "in", "lt", "gte", "exists", "x"]), inner)
    ),
    max_leaves=12,
)


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A valid input with a few bytes changed, dropped, doubled or exchanged for others."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        stop = place + draw(st.integers(0, 8))
        data[place:stop] = draw(st.binary(max_size=8) | st.sampled_from([b"", b"null", b"-1", b"1e999", b'"', b"\xff"]))
    return bytes(data)


@pytest.mark.parametrize("name", list(TARGETS))
@MANY
@given(data=st.data())
def test_nothing_but_the_expected_error_comes_of_it(name: str, data: st.DataObject) -> None:
    TARGETS[name](data.draw(mutated(SEEDS[name]) | st.binary(max_size=200)))


@MANY
@given(asked=values | filters)
def test_any_json_is_a_filter_or_a_problem(asked: Any) -> None:
    TARGETS["filter"](json.dumps(asked).encode())


@MANY
@given(field=st.sampled_from(sorted(json.loads(valid_manifest()))), value=values)
def test_a_manifest_with_any_one_value_exchanged_is_refused_or_read(field: str, value: Any) -> None:
    content = json.loads(valid_manifest())
    content[field] = value
    try:
        data = json.dumps(content, allow_nan=False).encode()
    except ValueError:
        return
    TARGETS["manifest"](data)


def test_the_seeds_are_valid() -> None:
    """Else everything above would only ever see the first check."""
    from fuzzing import QUERY, columns, folder
    from msgspec import Raw

    from index.disk.manifest import MANIFEST_FILE, check_files, read_manifest
    from service.wire import cursor
    from service.wire import filters as service_filters

    for seed in SEEDS["filter"]:
        filter_ = service_filters.parse(Raw(seed))
        assert filter_ is not None
        service_filters.survivors(columns(), filter_)
    assert cursor.decode(SEEDS["cursor"][0].decode(), "gen", QUERY, 100).row == 7
    (folder() / MANIFEST_FILE).write_bytes(SEEDS["manifest"][0])
    check_files(folder(), read_manifest(folder()), 1)
