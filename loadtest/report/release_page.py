"""The report of a release against the last one: the verdict, what changed, and which stage became slower."""

from __future__ import annotations

import math
from collections.abc import Sequence

from loadtest import units
from loadtest.analysis.reading import Reading
from loadtest.analysis.release import Quantity, Release
from loadtest.analysis.verdict import Verdict
from loadtest.report.compare_page import TONES, WORDS
from loadtest.report.machines import machine_section
from loadtest.report.page import Chart, Headline, Page, Section, Table
from loadtest.report.run_page import SIMULATED, foot


def release_page(release: Release, new: Sequence[Reading], old: Sequence[Reading]) -> Page:
    simulated = new[0].record.label.simulated
    sections = [_steps_section(release), _changes_section(release), machine_section([new[0]])]
    return Page(
        title=f"{release.arm}: this build against the last release",
        subtitle=f"{release.route} · {release.runs[0]} runs against {release.runs[1]} · margin {release.margin:.0%}",
        banner=SIMULATED if simulated else "",
        headline=_headline(release, simulated),
        figures=[],
        sections=sections,
        foot=foot([*new, *old]),
    )


def _headline(release: Release, simulated: bool) -> Headline:
    found = release.verdict
    if found.verdict is Verdict.INVALID:
        return Headline("Invalid", f"The runs cannot be compared: {found.why}.", "none", "void")
    known = math.isfinite(found.high)
    ends = f" ({units.interval(found.low, found.high)}, 95 %)" if known else ""
    sentence = f"The rate at the objective is {units.ratio(found.ratio)}{ends} that of the last release"
    sentence += "." if known else f": {found.why}."
    slower = [step.what for step in release.steps[1:] if step.word == "slower"]
    if slower:
        sentence += f" Slower: {', '.join(slower)}."
    evidence = "simulated" if simulated else "measured"
    return Headline(f"{WORDS[found.verdict]}: {units.ratio(found.ratio)}", sentence, evidence, TONES[found.verdict])


def _steps_section(release: Release) -> Section:
    rows = [
        [step.what, _shown(step, step.before), _shown(step, step.after), _ratio(step), step.word]
        for step in release.steps
    ]
    lead = (
        f"Of the route {release.route}: geometric means over runs, each at the rate that it confirmed; the interval is "
        "Welch's, of the noise between runs. Stages are what the service says of itself."
    )
    if not any(step.what.startswith("stage") for step in release.steps):
        lead += " No stage is known: the records are from before they were kept, or the service names none."
    parts: list[Table | Chart | str] = [Table(["", "Last release", "This build", "Ratio", ""], rows)] if rows else []
    return Section("What became slower", lead, parts)


def _shown(step: Quantity, value: float) -> str:
    return units.rate(value) if step.unit == "q/s" else units.seconds(value)


def _ratio(step: Quantity) -> str:
    ends = f" ({units.interval(step.low, step.high)})" if math.isfinite(step.high) else ""
    return f"{units.ratio(step.ratio)}{ends}"


def _changes_section(release: Release) -> Section:
    if not release.changes:
        return Section(
            "What changed", "Nothing that the records tell of: image, packages, kernels, effort, machine.", []
        )
    rows = [[change.what, change.before, change.after] for change in release.changes]
    return Section("What changed", "", [Table(["", "Last release", "This build"], rows)])
