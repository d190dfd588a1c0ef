"""A filter as a tree of tantivy queries that scores nothing."""

from typing import Any

from tantivy import FieldType, Occur, Query, Schema

from index.search.fields.conditions import Words
from index.search.filtering import And, Between, Exists, Filters, Node, Not, OneOf

PRESENT_FIELD = "present"


class FilterQueries:
    def __init__(self, schema: Schema, filters: Filters) -> None:
        self._schema, self._filters = schema, filters
        self._places = {name: place for place, name in enumerate(filters.columns)}

    def of(self, node: Node) -> Any:
        if isinstance(node, OneOf):
            return self._one_of(node)
        if isinstance(node, Between):
            column, low, high, above, below = self._filters.bounds(node)
            kind = FieldType.Float if column.type == "float" else FieldType.Integer
            low, high = (None if bound is None else bound + 0.0 if kind is FieldType.Float else bound
                         for bound in (low, high))  # fmt: skip
            name = f"f{self._places[column.name]}"
            return Query.range_query(self._schema, name, kind, low, high, not above, not below)
        if isinstance(node, Exists):
            column_ = self._filters.column(node.field, f"{node.at}/field")
            there = Query.term_query(self._schema, PRESENT_FIELD, self._places[column_.name])
            return there if node.wanted else _not(there)
        if isinstance(node, Not):
            return _not(self.of(node.part))
        occur = Occur.Must if isinstance(node, And) else Occur.Should
        return Query.boolean_query([(occur, self.of(part)) for part in node.parts])

    def _one_of(self, node: OneOf) -> Any:
        column, values = self._filters.values(node)
        name = f"f{self._places[column.name]}"
        if isinstance(column, Words):
            values = column.numbers_of(values)
        if not values:
            return Query.empty_query()
        if column.type == "float":  # a term of floats is its bits, and −0.0 is written as 0.0
            return Query.term_set_query(self._schema, name, [value + 0.0 for value in values])
        return Query.term_set_query(self._schema, name, [int(value) for value in values])


def _not(query: Any) -> Any:
    return Query.boolean_query([(Occur.Must, Query.all_query()), (Occur.MustNot, query)])
