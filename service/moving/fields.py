"""Which fields of the rows can be filtered by, and as what.

`perwatt build` stops at a value that its field's type does not fit, so only fields are named whose every value was seen
to fit one type. Texts make no good keywords, and schemaless sources may have thousands of names.
"""

from __future__ import annotations

from index.errors import InputError
from index.search.fields.field_inference import OpenField

LONGEST_KEYWORD = 256  # characters; what is longer is a text to read
MOST_FIELDS = 1000
_DECLARATION = (":", ",")  # `--filterable NAME:TYPE,…` could not name such a field


class FieldTypes:
    """Shown the payload of every row; then `filterable` and `left` say what became of each field."""

    def __init__(self) -> None:
        self._open: dict[str, OpenField] = {}
        self._too_many = 0
        self.left: dict[str, str] = {}  # name → why it cannot be filtered by

    def take(self, payload: dict[str, object], where: str) -> None:
        for name, value in payload.items():
            if name in self.left or value is None or value == []:
                continue
            if name not in self._open:
                if len(self._open) + len(self.left) >= MOST_FIELDS:
                    continue
                self._open[name] = OpenField(name)
            if why := self._misfit(name, value, where):
                self.left[name] = why
                del self._open[name]

    def _misfit(self, name: str, value: object, where: str) -> str | None:
        if any(mark in name for mark in _DECLARATION):
            return "its name holds a colon or a comma"
        if isinstance(value, str) and len(value) > LONGEST_KEYWORD:
            return f"it holds texts of more than {LONGEST_KEYWORD} characters"
        if isinstance(value, dict):
            return "it holds objects"
        if isinstance(value, list) and not all(isinstance(item, str) for item in value):
            return "it holds lists of other things than strings"
        try:
            self._open[name].take(value, where)
        except InputError:
            return f"its values are not of one type (as in {where})"
        return None

    @property
    def filterable(self) -> dict[str, str]:
        """Name → type, of fields that have values."""
        return {name: field.type() for name, field in self._open.items() if field.values}
