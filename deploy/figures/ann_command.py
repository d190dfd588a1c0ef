"""`perwatt bench ann`; deploy/command.py mounts it."""

from __future__ import annotations

from pathlib import Path

import click

from embed.vectors.provenance import installed


@click.command("ann")
@click.option(
    "--vectors",
    "source",
    type=click.Path(path_type=Path, exists=True),
    help="An .npy file (n, dim), a folder of vectors, or a generation.  [default: docstrings at hand, embedded]",
)
@click.option("--index", metavar="NAME", help="Take the vectors of this index's served generation.")
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("indexes"),
    show_default=True,
    help="Folder of the indexes.",
)
@click.option(
    "--queries",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="An .npy file (q, dim).  [default: rows held out of the vectors]",
)
@click.option("--metric", type=click.Choice(["cosine", "ip", "l2"]), help="[default: the index's, else cosine]")
@click.option("--k", "ks", type=click.IntRange(1), multiple=True, help="Hits asked for; repeat.  [default: 10 and 100]")
@click.option("--threads", type=click.IntRange(1), multiple=True, help="Repeat for more.  [default: 1 and every core]")
@click.option("--peers", metavar="NAMES", multiple=True, help="Only these, separated by commas; see --list.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Rounds; the fastest counts.")
@click.option("--limit", type=click.IntRange(1000), help="Use at most this many rows.")
@click.option("--json", "path", type=click.Path(path_type=Path, dir_okay=False), help="Write every figure here.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw queries a second over recall, SVG.")
@click.option("--list", "listed", is_flag=True, help="List the engines and which of them are installed.")
def bench_ann(
    source: Path | None,
    index: str | None,
    root: Path,
    queries: Path | None,
    metric: str | None,
    ks: tuple[int, ...],
    threads: tuple[int, ...],
    peers: tuple[str, ...],
    rounds: int,
    limit: int | None,
    path: Path | None,
    plot: Path | None,
    listed: bool,
) -> None:
    """Race our engine against every installable peer.

    All search the same vectors with the same queries and are judged by the same exact answers, in one run. Peers come
    with `make setup-peers`; one that is missing or fails is named with its reason, and the rest goes on.
    """
    import json
    import signal
    import sys

    from deploy.figures.ann_picture import picture
    from index.bench.ann.engines import ENGINES, chosen
    from index.bench.ann.run import measure
    from index.bench.ann.table import table
    from index.bench.ann.vectors import workload

    if listed:
        for entry in ENGINES:
            number = installed(entry.package) or "not installed"
            click.echo(f"{entry.name:<20} {entry.package:<12} {number:<14} {entry.settings}")
        return
    entries = chosen(peers)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was built lies on disk, and goes with the run
    for place in (path, plot):
        if place and not place.absolute().parent.is_dir():
            raise click.UsageError(f"the folder of {place} does not exist")
    load = workload(source, index=index, root=root, queries=queries, metric=metric, limit=limit)  # type: ignore[arg-type]
    figures = measure(load, entries, ks=ks or (10, 100), threads=threads, rounds=rounds, show=True)
    if path:
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if plot:
        plot.write_text(picture(figures), encoding="utf-8")
    click.echo(table(figures))
