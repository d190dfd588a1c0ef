"""The sample in the repository: a migration report of two simulated machines, as Markdown with its pictures.

`perwatt loadtest example --sample FOLDER` writes it, and a test holds what is committed to what this makes. A picture
in Markdown has no page around it to give it colours, so it carries its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from loadtest.analysis.compare import compare
from loadtest.analysis.decision import Plans
from loadtest.analysis.fleet import SHAPES, Demand
from loadtest.analysis.reading import Reading, readings
from loadtest.record.run_record import Record
from loadtest.report.compare_page import compare_page
from loadtest.report.html import STYLE
from loadtest.report.markdown import markdown
from loadtest.report.page import Chart, Page
from loadtest.selftest.example import BASELINE, CANDIDATE, REPLICA

DEMAND = Demand(peak_qps=20_000, shape=SHAPES["office"], headroom=0.3, pue=1.2, grid_kg_per_kwh=0.35)
PLANS = Plans(DEMAND, migration_usd=12_000)
ABOUT = """# What a migration report looks like

**Both machines below are simulated**: queues in virtual time with a planted speed. Nothing was measured; the instance
names only lend their prices. The figures say nothing about any processor. They show the shape of a report: the verdict
with its interval first, what it rests on, and what would turn it around. Made by `perwatt loadtest example`; the same
content as a page for a browser comes from `perwatt loadtest example --out runs` and `perwatt report runs --html …`.

"""


SAME = """# One machine against itself

Two names, one service, one machine, measured by turns: this is what a report says where there is nothing to find. Its
spread is the noise that a real difference has to rise above. Written by `make experiment`.

"""


def sample_files(records: Sequence[Record]) -> dict[str, str]:
    """Contents by file name: SAMPLE.md and the pictures it shows."""
    runs = readings(records)
    page = compare_page(compare(runs, BASELINE, CANDIDATE, replica=REPLICA), runs, PLANS)
    return _with_pictures(page, ABOUT, "SAMPLE.md", "sample")


def same_files(runs: Sequence[Reading], baseline: str, candidate: str) -> dict[str, str]:
    """Contents by file name: same.md and its pictures, of a real pair that is one machine twice."""
    return _with_pictures(compare_page(compare(runs, baseline, candidate), runs), SAME, "same.md", "same")


def _with_pictures(page: Page, about: str, file: str, prefix: str) -> dict[str, str]:
    text, files = about + markdown(page), {}
    charts = [part for section in page.sections for part in section.parts if isinstance(part, Chart)]
    for number, chart in enumerate(charts, 1):
        name = f"{prefix}-{number}.svg"
        files[name] = standalone(chart.wide)
        sentence = f"*{chart.says}.*"
        assert text.count(sentence) == 1, sentence
        text = text.replace(sentence, f"![{chart.says}]({name})")
    files[file] = text
    return files


def standalone(svg: str) -> str:
    """The chart with the light colours of the page's style sheet and a white ground inside it."""
    style = STYLE.read_text("utf-8")
    variables = re.search(r":root \{(.*?)\}", style, re.DOTALL)
    assert variables is not None
    rules = "".join(line + "\n" for line in style.splitlines() if line.startswith("svg "))
    rules = rules.replace("svg { display: block; max-width: 100%; height: auto; } svg.narrow { display: none; }\n", "")
    inside = f"<style>svg {{{variables[1].strip()}}}\n{rules}</style>"
    opened, rest = svg.split(">", 1)
    opened = opened.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return f'{opened}>{inside}<rect width="100%" height="100%" fill="#ffffff"/>{rest}\n'
