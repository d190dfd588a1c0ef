"""Two engines on this machine, as `make experiment` found them: the verdict in a sentence, and each arm in a row."""

from __future__ import annotations

import math
from statistics import geometric_mean
from typing import Any

from deploy.figures.markdown import conditions, table
from deploy.figures.store import KEPT, kept
from loadtest.bench.experiment import AGAIN, OURS

UNMEASURED = "Not measured on this machine yet: `make experiment` does it, and writes its verdict here."


def block() -> str:
    if not (KEPT / "experiment.json").exists():
        return UNMEASURED
    measured = kept("experiment")
    figures = measured["figures"]
    same = "What a report says of one machine twice: [same.md](same.md)."
    return "\n\n".join([verdict(figures), arms(figures), f"{same} {conditions(measured)}"])


def verdict(figures: dict[str, Any]) -> str:
    """With its interval, the noise floor, and why it is no verdict where it is none."""
    ratio, replica = figures["ratio"], figures["replica"]
    target = next(name for name in figures["arms"] if name not in (OURS, AGAIN))
    other = figures["arms"][target]["engine"]
    if ratio is None:
        return f"**{figures['verdict'].capitalize()}**: {'; '.join(figures['why'])}."
    objective = figures["objective"]
    text = (
        f"**{figures['verdict'].capitalize()}**: {other} answers {_interval(ratio, 95)} the queries a second of "
        f"perwatt, at p99 ≤ {objective['p99_ms']:g} ms and recall ≥ {objective['recall']:g}, over {ratio['blocks']} "
        "blocks."
    )
    if target == "pgvector":
        text += f" {other} is asked through a bridge that speaks HTTP for it, whose processor time counts as its own."
    if replica is not None:
        text += f" perwatt against itself (A/A): {_interval(replica, 99)}."
    return text + "".join(f" {why[0].upper()}{why[1:]}." for why in figures["why"])


def _interval(ratio: dict[str, Any], level: int) -> str:
    known = math.isfinite(ratio["high"])
    return f"{ratio['estimate']:.2f} ×" + (f" ({ratio['low']:.2f} to {ratio['high']:.2f}, {level} %)" if known else "")


def arms(figures: dict[str, Any]) -> str:
    rows: list[list[object]] = []
    for name, arm in figures["arms"].items():
        recall = f"{arm['recall'][0]:.3f} (≥ {arm['recall'][1]:.3f})" if arm["recall"] else "–"
        rates = arm["qps"]
        rows.append([
            f"{name}: {arm['engine']}", f"{geometric_mean(rates):,.0f}" if rates else "–",
            f"{min(rates):,.0f} to {max(rates):,.0f}" if rates else "–", recall, ", ".join(arm["efforts"]),
        ])  # fmt: skip
    settings = next(arm["settings"] for name, arm in figures["arms"].items() if name not in (OURS, AGAIN))
    shown = table(["engine", "queries/s at the objective", "lowest to highest block", "recall@10", "effort"], rows)
    return f"{shown}\n\nSettings of the other engine: `{settings}`."
