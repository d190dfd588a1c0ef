"""The language of filters, and how a generation turns a filter into a bitmap of the rows that survive it.

    {"field": "lang", "eq": "en"}           the value is this one; for keyword[], the list holds it
    {"field": "lang", "in": ["en", "de"]}   one of these; of none, no row
    {"field": "year", "gte": 2020, "lt": 2024}      int, float and date; gt or gte, lt or lte, one or both, the
                                            lower bound not above the upper
    {"field": "tags", "exists": true}       there is a value, be it an empty list; false: there is none
    {"and": […]}  {"or": […]}  {"not": …}

A row without a value (the field is missing, or null) meets no condition but `exists: false`. `not` is everything else,
so `not eq` holds for it: who does not mean that adds `exists: true`. Values are of the field's type exactly; an int
field is never compared with "7", though 7.0 is 7. Fields are those that were declared when the generation was built;
another one is an error and never a scan of the payload.

Parsing knows no generation, so that a filter is parsed once and applied to many. Bitmaps of the filters used last are
kept, up to KEPT_BYTES a generation: a filter that comes again costs one lookup.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from index.errors import FieldError, FilterError
from index.search.bitmap import Bitmap, Kept
from index.search.fields.columns import TYPES
from index.search.fields.conditions import Bits, Column, Numbers

MAX_NODES, MAX_DEPTH, MAX_VALUES = 64, 6, 1024
KEPT_BYTES = 32 << 20
KEPT_BYTES_OF_FEW, KEPT_BYTES_A_ROW = 1 << 20, 64  # of few rows a filter is quickly answered anew
_BOUNDS = {"gt": True, "gte": False, "lt": True, "lte": False}  # whether the bound itself is left out


class OneOf(NamedTuple):
    """`at`: JSON pointer to the operator, for the errors of its values."""

    field: str
    values: tuple[Any, ...]
    at: str


class Between(NamedTuple):
    """low, high: (name of the operator, value) or None."""

    field: str
    low: tuple[str, Any] | None
    high: tuple[str, Any] | None
    at: str


class Exists(NamedTuple):
    field: str
    wanted: bool
    at: str


class And(NamedTuple):
    parts: "tuple[Node, ...]"


class Or(NamedTuple):
    parts: "tuple[Node, ...]"


class Not(NamedTuple):
    part: "Node"


Node = OneOf | Between | Exists | And | Or | Not


@dataclass(frozen=True)
class Filter:
    """A parsed filter. `key`: its canonical JSON; two filters with the same key mean the same. Where it is empty, what
    survives is not remembered."""

    tree: Node
    key: bytes

    def __and__(self, other: "Filter") -> "Filter":
        key = self.key + b"\0" + other.key if self.key and other.key else b""
        return Filter(And((self.tree, other.tree)), key)


def undeclared(name: str, declared: Mapping[str, str], at: str = "") -> FieldError:
    """declared: the types of the fields that were."""
    there = ", ".join(f"{field} ({type_})" for field, type_ in declared.items())
    return FieldError(
        f"field {name[:80]!r} was not declared filterable when this generation was built; "
        f"{f'declared are {there}' if there else 'no field was'}",
        at,
    )


def parse(given: Any) -> Filter:
    """The filter of a decoded JSON object. Raises FilterError, with a JSON pointer to the fault."""
    tree = _Parser().node(given, "", 1)
    return Filter(tree, msgspec.json.encode(given, order="deterministic"))


class _Parser:
    def __init__(self) -> None:
        self._nodes = 0

    def node(self, given: Any, at: str, depth: int) -> Node:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise FilterError(f"the filter has more than {MAX_NODES} nodes", at)
        if depth > MAX_DEPTH:
            raise FilterError(f"the filter nests more than {MAX_DEPTH} deep", at)
        if not isinstance(given, dict):
            raise FilterError(f"a filter is an object, this is {_kind(given)}", at)
        if "field" in given:
            return self._condition(given, at)
        if len(given) != 1:
            raise FilterError(
                f"a filter has 'field' and a condition, or exactly one of 'and', 'or' and 'not'; "
                f"this has {_listed(given) or 'nothing'}",
                at,
            )
        [(name, inside)] = given.items()
        if name == "not":
            return Not(self.node(inside, f"{at}/not", depth + 1))
        if name not in ("and", "or"):
            raise FilterError(
                f"there is no {name[:80]!r} in a filter; it has 'field' and a condition, or 'and', 'or' or 'not'",
                f"{at}/{_escaped(name)}",
                unknown=name,
            )
        if not isinstance(inside, list) or not inside:
            raise FilterError(f"{name!r} takes a list of at least one filter", f"{at}/{name}")
        parts = tuple(self.node(part, f"{at}/{name}/{place}", depth + 1) for place, part in enumerate(inside))
        return And(parts) if name == "and" else Or(parts)

    def _condition(self, given: dict[str, Any], at: str) -> Node:
        field = given["field"]
        if not isinstance(field, str):
            raise FilterError(f"'field' is a name, this is {_kind(field)}", f"{at}/field")
        operators = [name for name in given if name != "field"]
        for name in operators:
            if name not in ("eq", "in", "exists", *_BOUNDS):
                raise FilterError(
                    f"there is no {name[:80]!r} in a condition; there are eq, in, gt, gte, lt, lte and exists",
                    f"{at}/{_escaped(name)}",
                    unknown=name,
                )
        low = [(name, given[name]) for name in ("gt", "gte") if name in given]
        high = [(name, given[name]) for name in ("lt", "lte") if name in given]
        if len(operators) == len(low) + len(high) and operators and len(low) < 2 and len(high) < 2:
            return Between(field, low[0] if low else None, high[0] if high else None, at)
        if len(operators) != 1:
            raise FilterError(
                f"a condition is one of eq, in and exists, or a range with at most one lower and one upper bound; "
                f"this has {_listed(operators) or 'none'}",
                at,
            )
        [name] = operators
        value = given[name]
        if name == "exists":
            if not isinstance(value, bool):
                raise FilterError(f"'exists' is true or false, this is {_kind(value)}", f"{at}/exists")
            return Exists(field, value, at)
        if name == "eq":
            return OneOf(field, (value,), f"{at}/eq")
        if not isinstance(value, list):
            raise FilterError(f"'in' takes a list of values, this is {_kind(value)}", f"{at}/in")
        if len(value) > MAX_VALUES:
            raise FilterError(f"'in' has {len(value):,} values, at most {MAX_VALUES:,} are allowed", f"{at}/in")
        return OneOf(field, tuple(value), f"{at}/in")


class Filters:
    """The declared fields of a generation. Safe to use from several threads."""

    def __init__(self, columns: Mapping[str, Column], count: int) -> None:
        self.columns, self.count = dict(columns), count
        self.kept: Kept[Bitmap] = Kept(min(KEPT_BYTES, KEPT_BYTES_OF_FEW + count * KEPT_BYTES_A_ROW))

    def bitmap(self, filter_: Filter) -> Bitmap:
        """The rows that survive. Raises FieldError for a field that was not declared, FilterError for a value of
        another type than the field's."""
        known = self.kept.get(filter_.key)
        if known is None:
            known = Bitmap(self._bits(filter_.tree), self.count)
            self.kept.put(filter_.key, known)
        return known

    def known(self, filter_: Filter) -> bool:
        """Whether its bitmap is at hand."""
        return filter_.key in self.kept

    def column(self, name: str, at: str = "") -> Column:
        """Raises FieldError, with the pointer `at`, for a field that was not declared."""
        column = self.columns.get(name)
        if column is None:
            raise undeclared(name, {field.name: field.type for field in self.columns.values()}, at)
        return column

    def values(self, node: OneOf) -> tuple[Column, list[Any]]:
        """The column and the values as it compares them."""
        column = self.column(node.field, f"{node.at.rpartition('/')[0]}/field")
        many = node.at.endswith("/in")
        return column, [
            _read(column, value, f"{node.at}/{place}" if many else node.at) for place, value in enumerate(node.values)
        ]

    def bounds(self, node: Between) -> tuple[Numbers, Any, Any, bool, bool]:
        """The column, the bounds as it compares them or None, and whether each is left out itself."""
        column = self.column(node.field, f"{node.at}/field")
        if not isinstance(column, Numbers):
            raise FilterError(f"field {node.field!r} is {column.type}, and ranges are for int, float and date", node.at)
        bounds: list[Any] = [
            None if bound is None else _read(column, bound[1], f"{node.at}/{bound[0]}")
            for bound in (node.low, node.high)
        ]
        low, high = bounds
        if node.low and node.high and low > high:
            raise FilterError(
                f"the range of field {node.field!r} runs backwards: {node.low[0]} {_kind(node.low[1])} is above "
                f"{node.high[0]} {_kind(node.high[1])}; exchange them",
                node.at,
            )
        above, below = (bound is not None and _BOUNDS[bound[0]] for bound in (node.low, node.high))
        return column, low, high, above, below

    def _bits(self, node: Node) -> Bits:
        if isinstance(node, OneOf):
            column, values = self.values(node)
            return column.one_of(values)
        if isinstance(node, Between):
            numbers, low, high, above, below = self.bounds(node)
            return numbers.between(low, high, above=above, below=below)
        if isinstance(node, Exists):
            present = self.column(node.field, f"{node.at}/field").present()
            return present if node.wanted else ~present
        if isinstance(node, Not):
            return ~self._bits(node.part)
        join: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]] = (
            np.bitwise_and if isinstance(node, And) else np.bitwise_or
        )
        return functools.reduce(join, map(self._bits, node.parts))


def _read(column: Column, value: Any, at: str) -> Any:
    type_ = TYPES[column.type]
    try:
        return type_.read_one(value)
    except (TypeError, ValueError):
        hint = " (for no value at all: exists)" if value is None else ""
        raise FilterError(
            f"field {column.name!r} is {column.type} and compared with {type_.expected_one}, "
            f"this is {_kind(value)}{hint}",
            at,
        ) from None


def _kind(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return repr(value)[:80]


def _listed(names: Any) -> str:
    return ", ".join(str(name)[:80] for name in list(names)[:8])


def _escaped(name: str) -> str:
    return name[:80].replace("~", "~0").replace("/", "~1")
