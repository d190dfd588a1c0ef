"""The filter of a request, and the one that its caller's key imposes, as one filter.

The language and its meaning belong to the index (`index/search/filtering.py`). Here it meets HTTP: JSON in, problems
out, and the rule that the filter of a key cannot be avoided. That filter is joined to the request's own by AND, after
the request's limits were checked, so that neither can push the other over them. It holds for single documents as well
as for searches, and an index that does not have its field answers nothing at all.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from index import FieldError, FilterError
from index.changes.view import Searchable, Surviving
from index.search.bitmap import Bitmap
from index.search.filtering import Filter
from index.search.filtering import parse as parse_json
from service.wire.problems import Problem

CACHED_BYTES = 2048  # of a filter's JSON; parsed filters are remembered up to this size, 512 of them
_NONE = (b"null", b"")


def parse(raw: Raw) -> Filter | None:
    """The filter of a request's body, None where it has none; raises Problem."""
    given = bytes(raw)
    if given in _NONE:
        return None
    return _parsed(given) if len(given) <= CACHED_BYTES else _parse(given)


def of_key(given: Mapping[str, Any] | None) -> Filter | None:
    """The filter that a key imposes; raises Problem where it is not a filter."""
    return None if given is None else parse(Raw(msgspec.json.encode(given)))


def conjoin(asked: Filter | None, imposed: Filter | None) -> Filter | None:
    """The filter that keeps what both keep; None keeps everything."""
    if asked is None or imposed is None:
        return imposed if asked is None else asked
    return asked & imposed


def survivors(rows: Searchable, filter_: Filter) -> Bitmap | Surviving:
    """The rows that a filter keeps; raises Problem filter-field-not-indexed or invalid-value."""
    try:
        return rows.survivors(filter_)
    except (FieldError, FilterError) as error:
        raise problem_of(error) from None


def holds(rows: Searchable, imposed: Filter | None, row: int) -> bool:
    """Whether a caller may see this row at all."""
    return imposed is None or survivors(rows, imposed).holds(row)


def _parse(given: bytes) -> Filter:
    try:
        return parse_json(msgspec.json.decode(given))
    except FilterError as error:
        raise problem_of(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # msgspec skips over what it leaves raw
        raise Problem("bad-json", f"The filter cannot be read: {error}.", pointer="/filter") from None


_parsed = functools.lru_cache(maxsize=512)(_parse)


def problem_of(error: FieldError | FilterError) -> Problem:
    text = str(error)
    detail = f"{text[0].upper()}{text[1:]}."
    pointer = f"/filter{error.at}"
    if isinstance(error, FieldError):
        return Problem("filter-field-not-indexed", detail, pointer=pointer)
    if error.unknown is not None:
        return Problem("unknown-field", detail, pointer=pointer)
    return Problem("invalid-value", detail, pointer=pointer)
