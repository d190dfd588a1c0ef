"""What a report says, before it is HTML, Markdown or JSON: plain values, in reading order.

The first thing on a page is its verdict, with interval and evidence class, because that is what will be quoted. A
figure carries its evidence class with it (measured, modelled, none), so no renderer can lose it.
"""

from __future__ import annotations

import msgspec

ENGINEER = "For the engineer"


class Headline(msgspec.Struct, frozen=True):
    """The verdict. `tone` is good, bad, open or void and only colours it."""

    word: str
    sentence: str
    evidence: str
    tone: str


class Figure(msgspec.Struct, frozen=True):
    """One number of the first screen."""

    label: str
    value: str
    detail: str
    evidence: str


class Table(msgspec.Struct, frozen=True):
    """`columns[0]` heads the row names. Numbers are already formatted."""

    columns: list[str]
    rows: list[list[str]]
    note: str = ""
    folded: str = ""  # the words that unfold it, for what few will read


class Chart(msgspec.Struct, frozen=True):
    """An inline SVG twice, for wide and for narrow screens; `says` is the same in words."""

    wide: str
    narrow: str
    says: str


class Section(msgspec.Struct, frozen=True):
    title: str
    lead: str
    parts: list[Table | Chart | str]


class Signed(msgspec.Struct, frozen=True):
    """The first page, for who decides; the engineer's follows it."""

    figures: list[Figure]
    sections: list[Section]


class Page(msgspec.Struct, frozen=True):
    title: str
    subtitle: str
    banner: str  # across the top: simulated, or invalid; empty otherwise
    headline: Headline
    figures: list[Figure]
    sections: list[Section]
    foot: list[str]
    signed: Signed | None = None
