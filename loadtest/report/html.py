"""The page as HTML that stands alone: style and charts are inside, nothing is loaded, no script runs."""

from __future__ import annotations

from html import escape
from pathlib import Path

from loadtest.report.page import Chart, Figure, Page, Section, Table

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
    if page.figures:
        out.append("<dl class=figures>\n" + "".join(_figure(figure) for figure in page.figures) + "</dl>\n")
    out += [_section(section) for section in page.sections]
    out.append("<footer>\n" + "".join(f"<p>{escape(line)}</p>\n" for line in page.foot) + "</footer>\n")
    out.append("</main>\n</body>\n</html>\n")
    return "".join(out)


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
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in table.rows)
    header = f"<thead><tr>{head}</tr></thead>\n" if any(table.columns) else ""
    note = f"<p class=detail>{escape(table.note)}</p>\n" if table.note else ""
    whole = f"<div class=scroll><table>\n{header}<tbody>\n{body}</tbody>\n</table></div>\n{note}"
    return f"<details><summary>{escape(table.folded)}</summary>\n{whole}</details>\n" if table.folded else whole


def _chart(chart: Chart) -> str:
    wide = chart.wide.replace("<svg ", "<svg class=wide ", 1)
    narrow = chart.narrow.replace("<svg ", "<svg class=narrow ", 1)
    return f"<figure>{wide}{narrow}</figure>\n"
