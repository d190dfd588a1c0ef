"""The page as Markdown for a CI summary: verdict first, tables as tables, charts as the sentence they illustrate."""

from __future__ import annotations

from collections.abc import Sequence

from loadtest.report.page import ENGINEER, Chart, Figure, Page, Section, Table


def markdown(page: Page) -> str:
    h = page.headline
    out = [f"## {page.title}", ""]
    if page.banner:
        out += [f"> **{page.banner}**", ""]
    out += [f"**{h.word}** ({h.evidence}). {h.sentence}", "", page.subtitle, ""]
    if page.signed is not None:
        out += [*_content(page.signed.figures, page.signed.sections), "---", "", f"## {ENGINEER}", ""]
    out += [*_content(page.figures, page.sections), "---", "", *(f"{line}  " for line in page.foot)]
    return "\n".join(out) + "\n"


def _content(figures: Sequence[Figure], sections: Sequence[Section]) -> list[str]:
    out = []
    if figures:
        rows = [[f.label, f.value, f.evidence, f.detail] for f in figures]
        out += _table(Table(["", "Value", "Evidence", "Detail"], rows))
    for section in sections:
        out += [f"### {section.title}", ""]
        if section.lead:
            out += [section.lead, ""]
        for part in section.parts:
            if isinstance(part, Table):
                out += _table(part)
            elif isinstance(part, Chart):
                out += [f"*{part.says}.*", ""]
            else:
                out += [part, ""]
    return out


def _table(table: Table) -> list[str]:
    def row(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return [
        row(table.columns),
        "|" + " --- |" * len(table.columns),
        *(row(cells) for cells in table.rows),
        "",
        *([table.note, ""] if table.note else []),
    ]
