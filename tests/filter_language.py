"""Filters at random, and what each means, row by row and without any of the code under test."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

WORDS = ["de", "en", "fr", "ü", "", "日本", "en ", "EN"]
DATES = ["2020-01-01", "2020-01-01T00:00:00Z", "2019-12-31T23:30:00-00:30", "2021-06-01T12:00:00.5+02:00", "1969-07-20"]
TYPES = {
    "lang": "keyword", "year": "int", "price": "float", "draft": "bool", "published": "date", "tags": "keyword[]",
}  # fmt: skip
DECLARED = [f"{name}:{type_}" for name, type_ in TYPES.items()]

ints = st.integers(-3, 3) | st.sampled_from([2**63 - 1, -(2**63)])
floats = st.sampled_from([-1.5, -0.0, 0.0, 1e-300, 2.5, 3, 1e300])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "lang": st.sampled_from(WORDS),
    "year": ints,
    "price": floats,
    "draft": st.booleans(),
    "published": st.sampled_from(DATES),
    "tags": st.lists(st.sampled_from(WORDS), max_size=3),
}
ONE: dict[str, st.SearchStrategy[Any]] = VALUES | {"tags": st.sampled_from(WORDS)}
payloads = st.fixed_dictionaries({}, optional={name: values | st.none() for name, values in VALUES.items()})


def _condition(name: str) -> st.SearchStrategy[dict[str, Any]]:
    kinds = [
        st.builds(lambda value: {"field": name, "eq": value}, ONE[name]),
        st.builds(lambda values: {"field": name, "in": values}, st.lists(ONE[name], max_size=4)),
        st.builds(lambda wanted: {"field": name, "exists": wanted}, st.booleans()),
    ]
    if TYPES[name] in ("int", "float", "date"):
        low = st.builds(lambda op, value: {op: value}, st.sampled_from(["gt", "gte"]), ONE[name])
        high = st.builds(lambda op, value: {op: value}, st.sampled_from(["lt", "lte"]), ONE[name])
        kinds += [bound.map(lambda b: {"field": name, **b}) for bound in (low, high)]
        kinds.append(st.builds(lambda a, b: _forwards(name, a, b), low, high))
    return st.one_of(kinds)


def _forwards(name: str, low: dict[str, Any], high: dict[str, Any]) -> dict[str, Any]:
    """A range that does not run backwards, which would be refused: the bounds are exchanged where they do."""
    [(above, least)], [(below, most)] = low.items(), high.items()
    if _comparable(name, least) > _comparable(name, most):
        least, most = most, least
    return {"field": name, above: least, below: most}


conditions = st.one_of([_condition(name) for name in TYPES])
filters = st.recursive(
    conditions,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"and": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"or": parts}),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=8,
).filter(lambda made: depth(made) <= 6)


def depth(given: dict[str, Any]) -> int:
    inside = [given["not"]] if "not" in given else given.get("and", given.get("or", []))
    return 1 + max(map(depth, inside), default=0)


def survives(payload: dict[str, Any], given: dict[str, Any]) -> bool:
    if "and" in given:
        return all(survives(payload, part) for part in given["and"])
    if "or" in given:
        return any(survives(payload, part) for part in given["or"])
    if "not" in given:
        return not survives(payload, given["not"])
    name = given["field"]
    value = payload.get(name)
    if "exists" in given:
        return (value is not None) == given["exists"]
    if value is None:
        return False
    held = [_comparable(name, each) for each in (value if name == "tags" else [value])]
    for operator in ("eq", "in"):
        if operator in given:
            wanted = given["in"] if operator == "in" else [given["eq"]]
            return any(_comparable(name, one) in held for one in wanted)
    checks = {
        "gt": lambda a, b: a > b,
        "gte": lambda a, b: a >= b,
        "lt": lambda a, b: a < b,
        "lte": lambda a, b: a <= b,
    }
    return all(checks[op](held[0], _comparable(name, bound)) for op, bound in given.items() if op in checks)


def _comparable(name: str, value: Any) -> Any:
    if TYPES[name] != "date":
        return value
    moment = datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
