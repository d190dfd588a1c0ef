"""Types of fields that several requests have."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Raw

from service.wire import limits
from service.wire.problems import NOT_BLANK

NOTHING, EMPTY = Raw(b"null"), Raw(b"{}")

Text = Annotated[str, Meta(max_length=limits.TEXT_CHARACTERS, pattern=NOT_BLANK)]
Name = Annotated[str, Meta(max_length=limits.NAME_CHARACTERS)]
Fields = Annotated[list[str], Meta(max_length=limits.FIELDS)]
Likes = Annotated[
    list[Annotated[str, Meta(max_length=limits.ID_CHARACTERS)]], Meta(min_length=1, max_length=limits.LIKES)
]
Mode = Literal["dense", "lexical", "sparse", "hybrid"]
Weight = Annotated[float, Meta(ge=0, le=1000)]
Seq = Annotated[int, Meta(ge=0, le=limits.SEQ)]
TimeoutMs = Annotated[int, Meta(ge=1, le=limits.TIMEOUT_MS)]
