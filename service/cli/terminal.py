"""How hits, figures and a started server read in a terminal."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from service.cli.evaluate import Report
from service.wire.answer.search import Hit

if TYPE_CHECKING:
    from service.query.app_state import AppState

# The usual names of the fields that a person looks at first; a corpus without them shows its
# longest text.
TITLES = ("title", "name", "heading", "headline", "subject", "label")
TEXTS = ("text", "body", "content", "abstract", "description", "summary", "snippet")
SNIPPET_LINES = 3


def print_hits(hits: Iterable[Hit]) -> None:
    """Score, id and title on one line, a piece of the text below."""
    width = min(shutil.get_terminal_size().columns, 100)
    for hit in hits:
        title, text = title_and_text(hit.payload)
        head = "  ".join(part for part in (click.style(f"{hit.score:7.4f}", bold=True), hit.id, title) if part)
        click.echo(head)
        lines = textwrap.wrap(text, width - 9, max_lines=SNIPPET_LINES, placeholder=" …")
        for line in lines:
            click.echo(click.style("         " + line, dim=True))


def title_and_text(payload: dict[str, Any]) -> tuple[str, str]:
    """Title and text, each on one line and free of control characters; "" where it is missing."""
    texts = {name: value for name, value in payload.items() if isinstance(value, str)}
    title = next((texts[name] for name in TITLES if texts.get(name)), "")
    text = next((texts[name] for name in TEXTS if texts.get(name)), "")
    text = text or max((value for value in texts.values() if value != title), key=len, default="")
    return _clean(title), _clean(text)


def json_of_hits(generation: str, hits: Iterable[Hit]) -> str:
    return json.dumps(
        {
            "generation": generation,
            "hits": [{"id": hit.id, "score": hit.score, "payload": hit.payload} for hit in hits],
        },
        ensure_ascii=False,
    )


def print_reports(generation: str, reports: Mapping[str, Report], relevant: int, absent: Sequence[str]) -> None:
    """Prints one column per mode, and below what the figures do not show.

    Args:
        absent: of the `relevant` documents.
    """
    first = next(iter(reports.values()))
    click.echo(f"{generation}, {first.queries:,} judged queries")
    wide = max(9, *(len(mode) + 2 for mode in reports))
    click.echo("  " + " " * 11 + "".join(f"{mode:>{wide}}" for mode in reports))
    for name in first.figures():
        click.echo(f"  {name:<11}" + "".join(f"{report.figures()[name]:{wide}.5f}" for report in reports.values()))
    click.echo(f"  {'ms a query':<11}" + "".join(f"{report.query_ms:{wide}.2f}" for report in reports.values()))
    if first.without_judgements:
        click.echo(f"{first.without_judgements:,} queries have no judgement and were left out.")
    if first.without_query:
        click.echo(f"{first.without_query:,} judged queries are not in the queries file.")
    if absent:
        click.echo(
            f"{len(absent):,} of {relevant:,} relevant documents are not in the index and count as not found: "
            f"{some(absent)}."
        )
    same_id = max(report.same_id for report in reports.values())
    if first.dropped:
        click.echo(f"Hits with the id of their query were dropped: {same_id:,} queries had one.")
    elif same_id:
        click.echo(
            f"{same_id:,} queries found a document of their own id; it counts like any other. "
            "Where queries are documents of the corpus: --drop-same-id"
        )


def some(names: Sequence[str], most: int = 3) -> str:
    """The first few, quoted."""
    return ", ".join(map(repr, names[:most])) + (" …" if len(names) > most else "") if names else "nothing"


def json_of_reports(generation: str, reports: Mapping[str, Report], relevant: int, absent: Sequence[str]) -> str:
    """The figures of the first mode, and under `modes` those of each."""
    first = next(iter(reports.values()))
    return json.dumps(
        {
            "generation": generation,
            **first.figures(),
            "modes": {mode: report.figures() for mode, report in reports.items()},
            "query_ms": {mode: round(report.query_ms, 4) for mode, report in reports.items()},
            "queries": first.queries,
            "without_judgements": first.without_judgements,
            "without_query": first.without_query,
            "relevant_documents": relevant,
            "absent_documents": len(absent),
            "same_id": max(report.same_id for report in reports.values()),
            "dropped_same_id": first.dropped,
        }
    )


def print_started(state: AppState, address: str) -> None:
    """Says what is served; the address comes last, where it is seen first."""
    say_started(describe(state), address)


def say_started(what: str, address: str) -> None:
    click.echo(what)
    click.echo(f"\nperwatt is serving on {click.style(address, bold=True)}   (Ctrl-C ends it)")


def describe(state: AppState) -> str:
    """What is served, with which model, by which kernels."""
    from index import kernels

    lines: list[str] = []
    for name, loaded in state.registry.all().items():
        lines.append(f"  {name:<16} {loaded.count:>11,} × {loaded.dim}   {loaded.described}   {loaded.id}")
    if state.encoder is not None:
        fingerprint = state.encoder.fingerprint
        lines.append(f"  model            {fingerprint.name}, {fingerprint.precision}, run by {state.encoder.backend}")
    else:
        lines.append("  model            none: these indexes are searched by vector or id")
    if state.reranking is not None:
        lines.append(f"  reranker         {state.reranking.name}, run by {state.reranking.backend}")
    lines.append(f"  kernels          {kernels.info()['isa']}")
    if hidden := kernels.hidden():
        lines.append(f"  hidden           {', '.join(hidden)}, by PERWATT_HIDE_ISA, which is meant for tests")
    return "\n".join(lines)


def _clean(text: str) -> str:
    """Whitespace as single spaces, and nothing that could steer a terminal."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable()).strip()
