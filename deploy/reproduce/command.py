"""`perwatt bench reproduce`: the published claims as tests, and what becomes of them here."""

from __future__ import annotations

import json
import platform
import shutil
import textwrap
from collections import Counter
from typing import Any

import click


@click.command("reproduce")
@click.argument("names", metavar="[ID]...", nargs=-1)
@click.option("--try/--no-try", "tried", default=True, help="Measure here what can be, some 20 seconds.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def bench_reproduce(names: tuple[str, ...], tried: bool, as_json: bool) -> None:
    """Hold published claims against this machine: confirmed, refuted, or not comparable and why.

    Most compare machines that are not this one, which is said with what differs. Where the ratio can be measured on one
    machine, it is, and it decides where the processor is the claim's own.
    """
    from deploy.reproduce.claim import read_claims
    from deploy.reproduce.trials import measured
    from deploy.reproduce.verdict import MachineAtHand, judged
    from loadtest.machine import read_machine

    claims = read_claims()
    unknown = sorted(set(names) - {claim.id for claim in claims})
    if unknown:
        raise click.UsageError(f"no claim is called {unknown[0]!r}; there are {', '.join(c.id for c in claims)}")
    machine = read_machine(ask_imds=False)
    here = MachineAtHand(machine.microarchitecture, platform.machine())
    verdicts = [judged(claim, here, measured if tried else None) for claim in claims if not names or claim.id in names]
    if as_json:
        click.echo(json.dumps({"here": here._asdict(), "claims": [_as_json(verdict) for verdict in verdicts]}))
        return
    click.echo(f"This machine: {machine.cpu}, {here.microarchitecture} ({here.architecture})\n")
    for line in table(verdicts):
        click.echo(line)
    counts = Counter(verdict.word for verdict in verdicts)
    click.echo("\n" + ", ".join(f"{number} {word}" for word, number in counts.most_common()))


def table(verdicts: Any, width: int | None = None) -> list[str]:
    """A row a claim, and under it what was said and why the verdict is what it is."""
    width = width or max(shutil.get_terminal_size().columns, 60)
    lines = [f"{'claim':22}  {'published':>9}  {'here':>18}  verdict"]
    for verdict in verdicts:
        claim = verdict.claim
        published = "–" if claim.ratio is None else f"{claim.ratio:.3g}"
        lines.append(f"{claim.id:22}  {published:>9}  {_here(verdict.here):>18}  {verdict.word}")
        said = f"{claim.who}, {claim.when}: {claim.says}"
        for text in (said, claim.source, f"Because {'; '.join(verdict.why)}."):
            lines += textwrap.wrap(
                text, width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False, break_long_words=False
            )
        lines.append("")
    return lines[:-1]


def _here(found: Any) -> str:
    return "–" if found is None else f"{found.estimate:.3g} [{found.low:.3g}, {found.high:.3g}]"


def _as_json(verdict: Any) -> dict[str, Any]:
    claim, here = verdict.claim, verdict.here
    measured = (
        None if here is None else {"ratio": here.estimate, "low": here.low, "high": here.high, "rounds": here.blocks}
    )
    return {
        "id": claim.id, "who": claim.who, "when": claim.when, "source": claim.source, "says": claim.says,
        "published": claim.ratio, "machines": claim.machines, "conditions": claim.conditions,
        "verdict": verdict.word, "here": measured, "why": verdict.why,
    }  # fmt: skip
