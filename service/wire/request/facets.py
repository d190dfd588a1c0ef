"""How many documents hold what: values and ranges of fields, for a filter or the best of a query."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from index.facets.ranges import Unit
from service.wire import limits
from service.wire.request.fields import NOTHING, Mode, Name, Seq, Text, TimeoutMs
from service.wire.request.search import Expect, SearchParams, SearchRequest


class FacetRange(Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """gt or gte, lt or lte, one or both, as in a filter."""

    gt: int | float | str | None = None
    gte: int | float | str | None = None
    lt: int | float | str | None = None
    lte: int | float | str | None = None


class Facet(Struct, forbid_unknown_fields=True, frozen=True):
    """What to count of one field: its most frequent values, or documents a range of numbers or dates.

    top: so many values. ranges: these. step: ranges of this width beside each other, those that have documents; a
    number, or for dates a unit. filter: instead of the request's; so the counts beside a field's own choices are not
    narrowed by what is chosen there."""

    field: Name
    top: Annotated[int, Meta(ge=1, le=limits.FACET_VALUES)] = 10
    ranges: Annotated[list[FacetRange], Meta(min_length=1, max_length=limits.FACET_RANGES)] | None = None
    step: Annotated[float, Meta(gt=0)] | Unit | None = None
    filter: Raw | UnsetType = UNSET


class FacetsRequest(Struct, forbid_unknown_fields=True):
    """Counts among the documents that a filter keeps (no filter: all); with at most one of text, vector and id, among
    the best k of those, ranked as in a search."""

    facets: Annotated[list[Facet], Meta(min_length=1, max_length=limits.FACETS)]
    filter: Raw = msgspec.field(default_factory=lambda: NOTHING)
    text: Text | None = None
    vector: list[float] | str | None = None
    id: Annotated[str, Meta(max_length=limits.ID_CHARACTERS)] | None = None
    k: Annotated[int, Meta(ge=1, le=limits.PAGED)] = 1000
    mode: Mode = "dense"
    params: SearchParams | None = None
    min_seq: Seq | None = None
    timeout_ms: TimeoutMs | None = None
    expect: Expect | None = None

    def ranked_by(self) -> SearchRequest | None:
        """The search whose best k are counted; None: whatever the filter keeps."""
        if self.text is None and self.vector is None and self.id is None:
            return None
        return SearchRequest(
            text=self.text, vector=self.vector, id=self.id, k=self.k, mode=self.mode, params=self.params
        )


FACETS = msgspec.json.Decoder(FacetsRequest)
