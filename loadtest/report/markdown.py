"""The page as Markdown for a CI summary: verdict first, tables as tables, charts as the sentence they illustrate."""

from __future__ import annotations

from loadtest.report.page import Chart, Page, Table


def markdown(page: Page) -> str:
    h = page.headline
    out = [f"## {page.title}", ""]
    if page.banner:
        out += [f"> **{page.banner}**", ""]
    out += [f"**{h.word}** ({h.evidence}). {h.sentence}", "", page.subtitle, ""]
    if page.figures:
        rows = [[f.label, f.value, f.evidence, f.detail] for f in page.figures]
        out += _table(Table(["", "Value", "Evidence", "Detail"], rows))
    for section in page.sections:
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
    out += ["---", "", *(f"{line}  " for line in page.foot)]
    return "\n".join(out) + "\n"


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
