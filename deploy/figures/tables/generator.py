"""What one core of the load generator can ask, beside what one core of the service answers."""

from __future__ import annotations

from deploy.figures.markdown import conditions, table
from deploy.figures.store import kept


def block() -> str:
    measured = kept("generator")
    figures = measured["figures"]
    ceiling = figures["ceiling"]
    served = figures["service_queries_per_s"]
    size = f"{figures['answer_bytes'] / 1000:.1f} kB"
    rows: list[list[object]] = [
        [f"the load generator, against a server that does nothing but answer {size}", f"{ceiling['queries_per_s']:,}"],
        [f"the service, by text, answers of {size}", f"{served['text']:,}"],
        [f"the service, by vector, answers of {size}", f"{served['vector']:,}"],
    ]
    ratio = ceiling["queries_per_s"] / max(served.values())
    return (
        table(["one core of …", "queries/s"], rows)
        + f"\n\nOne core of the load generator keeps {ratio:.0f} cores of the service busy (6,040 × 384, k = 10), with "
        f"p99 at {ceiling['p99_ms']:.1f} ms. {conditions(measured)}"
    )
