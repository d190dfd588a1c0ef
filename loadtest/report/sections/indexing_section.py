"""What making the index cost, a row a step."""

from __future__ import annotations

from loadtest import units
from loadtest.analysis.costs.indexing_cost import items_per_joule
from loadtest.analysis.reading import Reading
from loadtest.report.page import Section, Table


def indexing_section(reading: Reading) -> Section | None:
    if not reading.record.indexing:
        return None
    lead = "What making the index cost, from the records its steps left behind. Nightly rebuilds are on the bill too."
    return Section("Indexing", lead, [indexing_table(reading)])


def indexing_table(reading: Reading) -> Table:
    rows, missing, price = [], [], reading.record.price
    for step in reading.record.indexing:
        per_dollar = units.digits(step.items / (step.seconds / 3600 * price.usd_per_hour)) if price else "–"
        cpu = units.digits(step.items / step.cpu_seconds) if step.cpu_seconds else "–"
        joule = items_per_joule(reading, step)
        if joule.evidence == "none":
            missing.append(f"No joules of {step.step}: {joule.how}.")
        if step.encoder_usd is not None:
            missing.append(
                f"{step.step}: {units.dollars(step.encoder_usd)} more for the tokens of a model elsewhere, at the "
                "price the user gave."
            )
        per_joule = {
            "measured": f"{units.digits(joule.mid)} ({joule.domain}, measured)",
            "modelled": f"{units.digits(joule.low)} to {units.digits(joule.high)} (modelled)",
            "none": "–",
        }[joule.evidence]
        rows.append(
            [step.step, units.count(step.items), units.seconds(step.seconds), units.digits(step.items / step.seconds),
             cpu, per_dollar, per_joule]
        )  # fmt: skip
    columns = ["Step", "Items", "Took", "Items a second", "Items a CPU second", "Items a dollar", "Items a joule"]
    return Table(columns, rows, note=" ".join(dict.fromkeys(missing)))
