"""`perwatt bench disk`; deploy/command.py mounts it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from index import kernels


@click.command("disk")
@click.option(
    "--vectors",
    "source",
    type=click.Path(path_type=Path, exists=True),
    help="An .npy file (n, dim), a folder of vectors, or a generation.  [default: WordNet's, in $PERWATT_DATA]",
)
@click.option("--rows", type=click.IntRange(min=1000), default=1_000_000, show_default=True, help="Of each index.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="The quickest counts.")
@click.option("--contender", "names", multiple=True, help="Only this one; repeat.  [default: all]")
@click.option("--limit-mib", type=click.IntRange(min=1), help="Of memory.  [default: 4 GiB for ten million rows]")
@click.option("--threads", type=click.IntRange(min=1), help="Of a build.  [default: every core]")
@click.option("--work", type=click.Path(path_type=Path), help="Keep what was built here, for the next time.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def bench_disk(as_json: bool, limit_mib: int | None, **options: Any) -> None:
    """Time lists on the disk beside FAISS's and DiskANN, within an enforced limit of memory."""
    from index.bench.disk.run import measure

    figures = measure(limit_bytes=limit_mib and limit_mib << 20, show=not as_json, **options)
    click.echo(json.dumps(figures, indent=1) if as_json else lines(figures))


def lines(figures: dict[str, Any]) -> str:
    said = [
        f"{figures['vectors']} to {figures['rows']:,} × {figures['dim']}, k = {figures['k']}, recall "
        f"{figures['target']:g}, one thread, {figures['limit_bytes'] / 2**20:,.0f} MiB ({figures['limit_kind']}), "
        f"{kernels.info()['isa']}",
        f"{'':<44}{'recall':>7}{'queries/s':>11}{'CPU µs':>9}{'reads':>7}{'faults':>8}{'KiB':>8}{'others':>8}",
    ]
    for each in figures["contenders"]:
        for name in ("cold", "warm"):
            one = each[name]
            said.append(
                f"{each['label'] + ', ' + name:<44}{each['recall']:>7.4f}{one['queries_per_s']:>11,.1f}"
                f"{one['cpu_us']:>9,.0f}{one['reads']:>7.1f}{one['faults']:>8.1f}{one['read_kib']:>8,.0f}"
                f"{one['others']:>8.0%}"
            )
    said += [f"{each['label']}: left out, {each['reason']}" for each in figures["failed"]]
    return "\n".join(said)
