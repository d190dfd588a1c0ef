"""The page as HTML that stands alone: style and charts are inside, nothing is loaded, no script runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from loadtest.report.page import ENGINEER, Chart, Figure, Page, Section, Table

WIDEST = 3  # columns that fit beside each other on a phone
LONG_WORD = re.compile(r"\S{40}")
STYLE = Path(__file__).with_name("style.css")


def html(page: Page) -> str:
    """UTF-8 text; the same page gives the same text."""
    h = page.headline
    out = [
        "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n",
        '<meta name=viewport content="width=device-width, initial-scale=1">\n',
        f"<title>{escape(page.title)}</title>\n<style>\n{STYLE.read_text('utf-8')}</style>\n</head>\n<body>\n",
    ]
    if page.banner:
        out.append(f"<div class=banner>{escape(page.banner)}</div>\n")
    out.append(f"<main>\n<header>\n<h1>{escape(page.title)}</h1>\n<p>{escape(page.subtitle)}</p>\n</header>\n")
    out.append(
        f'<div class="verdict {h.tone}"><b>{escape(h.word)}</b><p>{escape(h.sentence)} '
        f"{_evidence(h.evidence)}</p></div>\n"
    )
    if page.signed is not None:
        out.append("<div class=signed>\n")
        out += [_figures(page.signed.figures), *(_section(section) for section in page.signed.sections)]
        out.append(f"</div>\n<div class=engineer>\n<h1>{ENGINEER}</h1>\n")
    out += [_figures(page.figures), *(_section(section) for section in page.sections)]
    out.append("<footer>\n" + "".join(f"<p>{escape(line)}</p>\n" for line in page.foot) + "</footer>\n")
    out.append(f"{'</div>' if page.signed else ''}</main>\n</body>\n</html>\n")
    return "".join(out)


def _figures(figures: Sequence[Figure]) -> str:
    return "<dl class=figures>\n" + "".join(_figure(figure) for figure in figures) + "</dl>\n" if figures else ""


def _evidence(evidence: str) -> str:
    return f'<span class="evidence {escape(evidence)}">{escape(evidence)}</span>'


def _figure(figure: Figure) -> str:
    return (
        f"<div class=figure><dt>{escape(figure.label)}{_evidence(figure.evidence)}</dt>"
        f"<dd class=value>{escape(figure.value)}</dd><dd class=detail>{escape(figure.detail)}</dd></div>\n"
    )


def _section(section: Section) -> str:
    out = [f"<section>\n<h2>{escape(section.title)}</h2>\n"]
    if section.lead:
        out.append(f"<p>{escape(section.lead)}</p>\n")
    for part in section.parts:
        if isinstance(part, Table):
            out.append(_table(part))
        elif isinstance(part, Chart):
            out.append(_chart(part))
        else:
            out.append(f"<p>{escape(part)}</p>\n")
    out.append("</section>\n")
    return "".join(out)


def _table(table: Table) -> str:
    head = "".join(f"<th scope=col>{escape(column)}</th>" for column in table.columns)
    cards = len(table.columns) > WIDEST or any(LONG_WORD.search(cell) for row in table.rows for cell in row)
    body = "".join(_row(table.columns if cards else [], row) for row in table.rows)
    header = f"<thead><tr>{head}</tr></thead>\n" if any(table.columns) else ""
    note = f"<p class=detail>{escape(table.note)}</p>\n" if table.note else ""
    whole = f"<table{' class=cards' if cards else ''}>\n{header}<tbody>\n{body}</tbody>\n</table>\n{note}"
    return f"<details><summary>{escape(table.folded)}</summary>\n{whole}</details>\n" if table.folded else whole


def _row(labels: Sequence[str], row: Sequence[str]) -> str:
    """With its columns' names on its cells, for screens on which a row is a card of its own."""
    named = [f' data-label="{escape(label)}"' if label else "" for label in labels] or [""] * len(row)
    return "<tr>" + "".join(f"<td{n}>{escape(cell)}</td>" for n, cell in zip(named, row, strict=True)) + "</tr>\n"


def _chart(chart: Chart) -> str:
    wide = chart.wide.replace("<svg ", "<svg class=wide ", 1)
    narrow = chart.narrow.replace("<svg ", "<svg class=narrow ", 1)
    return f"<figure>{wide}{narrow}</figure>\n"
