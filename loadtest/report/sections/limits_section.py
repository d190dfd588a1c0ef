"""What one run cannot say, from how it was made. A number without its limits is quoted without them."""

from __future__ import annotations

from statistics import mean

from loadtest import units
from loadtest.analysis.reading import Reading
from loadtest.report.page import Section, Table

SENSORS = "perwatt power says which sensors there are, and why not the others."
QUIET = 0.01  # of the CPUs: what a machine's own housekeeping takes


def _neighbours(reading: Reading) -> list[list[str]]:
    """A row when somebody else used the CPUs meanwhile: other programs, or the hypervisor's other guests."""
    others = [each.share for each in reading.interference]
    stolen = [each.stolen_cores / each.cpus for each in reading.interference]
    if max([*others, *stolen], default=0.0) <= QUIET:
        return []
    why = (
        f"Other programs took {units.percent(mean(others), 2)} of the CPUs on average and "
        f"{units.percent(max(others), 2)} in the worst trial"
    )
    why += f"; the hypervisor gave {units.percent(mean(stolen), 2)} to other guests" if max(stolen) > QUIET else ""
    return [["What the service does on a quiet machine", f"{why}.", "End them, or measure where nothing else runs."]]


def limits_section(reading: Reading) -> Section:
    """Rows of (what, why, what would help), only those that hold for this run."""
    record, joule = reading.record, reading.per_joule
    rows = [
        [
            "Whether another run would give the same",
            "This is one run. Its interval covers the noise inside it, not the noise between runs or machines.",
            "Several blocks with a replica of the baseline, then perwatt compare.",
        ]
    ]
    server = record.server
    if server is not None and server.virtualisation.startswith("virtual"):
        rows.append([
            "What the processor can do",
            f"The machine is {server.virtualisation}: its neighbours take cache, memory bandwidth and time.",
            "A metal or dedicated machine, or enough blocks to average its luck.",
        ])  # fmt: skip
    rows += _neighbours(reading)
    seen = {each.whose for trial in record.trials for each in trial.interference}
    if record.trials and not any("service" in whose for whose in seen):
        rows.append([
            "Whether the service was left in peace",
            "Other programs beside it cannot be seen from where the load came from.",
            "Look at its machine's CPUs meanwhile, or let --start start it where the load comes from.",
        ])  # fmt: skip
    if reading.unconfirmed:
        rows.append([
            "Which rate can be promised",
            "The longer trials contradicted the search: times at one and the same rate differed too much.",
            "A quieter machine, or a longer --search-s and --confirm-s.",
        ])  # fmt: skip
    if record.shared:
        cores = f"{record.cores_served} of {server.threads} CPUs" if server and record.cores_served else "the same CPUs"
        rows.append([
            "What the whole machine can do",
            f"The load was generated on the machine under test; the service had {cores}. They share its memory.",
            "A generator on a machine of its own (--url, --server-facts).",
        ])  # fmt: skip
    if joule.evidence == "modelled":
        why = f"Not measured: {reading.no_joules}. The joules are an interval of models that disagree with one another."
        rows.append(["What a query draws", why, SENSORS])
    elif joule.evidence == "none":
        rows.append(["What a query draws", f"There are no joules at all: {joule.how}.", SENSORS])
    if reading.price is None or record.price is None:
        rows.append([
            "What a query costs in dollars",
            f"No price: {reading.no_price}.",
            "perwatt prices list shows what the built-in table holds.",
        ])  # fmt: skip
    elif stale := record.price.stale_on(record.created_at):
        rows.append(["What a query costs today", f"When it ran {stale.partition(' (')[0]}.", "perwatt prices refresh"])
    if record.objective.recall is None:
        rows.append([
            "Whether the answers were right",
            "No recall was asked for, and a fast wrong answer is not a fast answer.",
            "--recall 0.95",
        ])  # fmt: skip
    return Section("What this run cannot say", "", [Table(["Open", "Because", "What would answer it"], rows)])
