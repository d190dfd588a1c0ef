"""Types of filterable fields that were declared without one: the narrowest that every value of the payload has.

A string stays a string: "007" and "1e5" may well be names, so what reads as a number is a keyword until it is declared.
But nobody should find out by a search that fails that one odd row made keywords of a column of dates, or that a CSV
file has only strings. So for each field that ends as a keyword, what most of its values read as is said, with the
first row that does not.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from index.errors import InputError
from index.search.fields.columns import TYPES, Field, Names, read_keyword

# Narrowest first. A date is a keyword too, an int a float.
_ORDER = ("bool", "int", "float", "date", "keyword", "keyword[]")
# What a string may read as, were it declared so; "1" is a number before it is true.
_READABLE = ("int", "float", "date", "bool")
_TRIED = 100  # misfits after which a type that fits fewer values than that is no longer tried


class Rows(NamedTuple):
    """Some rows of a build. rows: which of the input they were."""

    payload: Sequence[bytes]
    ids: Sequence[Any]
    rows: Sequence[int]


def infer_types(fields: Sequence[Field], batches: Iterable[Rows]) -> tuple[list[Field], list[str]]:
    """The fields with their types, and sentences about keywords that may not be meant as such.

    Raises InputError, with the row, for a field that no type fits, and for one that has no value anywhere.
    """
    open_ = {field.name: OpenField(field.name) for field in fields if not field.type}
    names = Names(open_)
    for batch in batches if open_ else ():
        for raw, id_, row in zip(*batch, strict=True):
            content = msgspec.json.decode(raw)
            names.take([content])
            for field in open_.values():
                field.take(content.get(field.name), f"row {row} (id {id_!r})")
    for name in names.unseen:
        raise names.missing(name)
    typed = [Field(field.name, field.type or open_[field.name].type()) for field in fields]
    return typed, [note for field in open_.values() if (note := field.note())]


class OpenField:
    """A field whose type is open, and what each type makes of the values so far."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.possible = list(_ORDER)
        self.values = 0  # blanks aside
        self._fits = Counter[str]()
        self._misfit: dict[str, tuple[str, Any]] = {}  # where the first one is, and what
        self._tried = list(_READABLE)

    def take(self, value: Any, where: str) -> None:
        if value is None:
            return
        blank = isinstance(value, str) and not value.strip()
        self.values += not blank
        before = self.possible
        self.possible = [type_ for type_ in before if _holds(type_, value, blank)]
        if not self.possible and before == list(_ORDER):
            raise InputError(f"{where}: field {self.name!r} is {value!r}, expected a value of type {', '.join(_ORDER)}")
        if not self.possible:
            raise InputError(
                f"field {self.name!r} has no one type: {where} has {value!r}, and the values before it are all "
                f"{before[0]}. Make its values alike, or declare it as {self.name}:TYPE"
            )
        for type_ in [] if blank else self._tried[:]:
            if _reads(type_, value):
                self._fits[type_] += 1
                continue
            misses = self.values - self._fits[type_]
            self._misfit.setdefault(type_, (where, value))
            if misses > max(_TRIED, self._fits[type_]):
                self._tried.remove(type_)

    def type(self) -> str:
        if self.values:
            return self.possible[0]
        if self.possible == list(_ORDER):
            raise InputError(
                f"no row has a value of field {self.name!r} to infer a type from; declare it as {self.name}:TYPE"
            )
        return "keyword"  # blanks and nothing else

    def note(self) -> str | None:
        if self.type() != "keyword":
            return None
        type_ = max(_READABLE, key=self._fits.__getitem__)
        fits = self._fits[type_]
        if not fits or 2 * fits < self.values:
            return None
        if fits == self.values:
            return (
                f"field {self.name} is a keyword, since its values are strings, and every one reads as {type_}; "
                f"--filterable {self.name}:{type_} makes them so"
            )
        where, value = self._misfit[type_]
        return (
            f"field {self.name} is a keyword, although {fits:,} of {self.values:,} values read as {type_}: {where} has "
            f"{str(value)[:80]!r}. Mend such values and declare --filterable {self.name}:{type_}, or declare "
            f"{self.name}:keyword if that is meant"
        )


def _holds(type_: str, value: Any, blank: bool) -> bool:
    """Whether a value is of this type as it is; a blank string is a missing value of any type, or a keyword."""
    if blank:
        return type_ != "keyword[]"
    if type_ == "int" and isinstance(value, float):
        return False  # a filter may say 2001.0 and mean 2001; a column of such values is one of floats
    try:
        (TYPES[type_].read if type_ == "keyword[]" else TYPES[type_].read_one)(value)
    except (TypeError, ValueError):
        return False
    return True


def _reads(type_: str, value: Any) -> bool:
    try:
        TYPES[type_].read(read_keyword(value))
    except (TypeError, ValueError):
        return False
    return True
