"""The published figures: measured here, kept as JSON, written into BENCHMARKS.md, and a few into the README, by this
script, and checked by the tests.

    python -m deploy.figures measure [NAME …]     run the benchmarks, all by default: encode, quality, queries, fusion,
                                                  hybrid, text, index, kernels, ann, ann-others, originals,
                                                  filtered, disk, growth, generator, http, http-workers,
                                                  open, changes, writes, router, experiment, instructions,
                                                  judges; by name jobs, which `make bench-jobs` gives what it
                                                  needs, and growth-alone and disk-alone, ten million rows
    python -m deploy.figures render               write the tables from the kept JSON
    python -m deploy.figures pictures [RUN]       photograph the page and a report (screenshots.py)
    python -m deploy.figures check                exit 1 if a document says anything else

Ratios are shown where absolute figures would only describe the machine; rows in which perwatt loses stay.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deploy.figures import encode_picture, growth_picture
from deploy.figures.store import BENCHMARKS, KEPT, README, TOP, kept, kept_by_make, make_of
from deploy.figures.tables import (
    ann,
    changes,
    encode,
    exact,
    experiment,
    filtered,
    generator,
    http,
    instructions,
    judges,
    kernels,
    readme,
    router,
    writes,
)
from deploy.figures.tables.rankings import hybrid, quality, queries, text
from deploy.figures.tables.sizes import disk, growth, originals

DOCUMENTS: dict[Path, dict[str, Callable[[], str]]] = {
    README: {"short": readme.block},
    BENCHMARKS: {
        "encode": encode.block,
        "quality": quality.block,
        "queries": queries.block,
        "fusion": quality.fusion_block,
        "hybrid": hybrid.block,
        "text": text.block,
        "index": exact.block,
        "ann": ann.block,
        "originals": originals.block,
        "filtered": filtered.block,
        "disk": disk.block,
        "growth": growth.block,
        "kernels": kernels.block,
        "changes": changes.block,
        "writes": writes.block,
        "router": router.block,
        "jobs": router.job_block,
        "generator": generator.block,
        "http": http.block,
        "experiment": experiment.block,
        "instructions": instructions.block,
        "judges": judges.block,
    },
}
BLOCKS = DOCUMENTS[BENCHMARKS]


def rendered(path: Path, text: str) -> str:
    """The text of a document with what stands between each pair of markers replaced by what the kept figures say."""
    for name, block in DOCUMENTS[path].items():
        start, end = f"<!-- figures: {name} -->", f"<!-- end: {name} -->"
        if text.count(start) != 1 or text.count(end) != 1:
            raise SystemExit(f"{path.name} has not exactly one pair of {start} and {end}.")
        before, rest = text.split(start)
        after = rest.split(end)[1]
        text = f"{before}{start}\n{block()}\n{end}{after}"
    return text


def pictures() -> dict[Path, str]:
    """The drawings that BENCHMARKS.md shows, by their path: each says what the kept figures say."""
    return {
        KEPT / "encode.svg": encode_picture.picture(kept("encode")),
        **{
            KEPT / f"growth.{make_of(each['machine'])}.svg": growth_picture.picture(growth.with_alone(each))
            for each in kept_by_make("growth")
        },
    }


def main(arguments: list[str]) -> None:
    step, names = (arguments[0], arguments[1:]) if arguments else ("", [])
    if step == "measure":
        from deploy.figures.measurements import MEASUREMENTS, measure

        for name in names or MEASUREMENTS:
            measure(name)
    elif step == "render":
        for path in DOCUMENTS:
            path.write_text(rendered(path, path.read_text()))
        for path, text in pictures().items():
            path.write_text(text)
    elif step == "pictures":
        from deploy.figures import screenshots

        data = TOP / ".perwatt"
        run = Path(names[0]) if names else data / "report" / "run.json"
        screenshots.take(data / "indexes", "python-stdlib", run, KEPT)
    elif step == "check":
        stale = [path.name for path, text in pictures().items() if not path.is_file() or path.read_text() != text]
        stale = [path.name for path in DOCUMENTS if rendered(path, path.read_text()) != path.read_text()] + stale
        if stale:
            raise SystemExit(
                f"{' and '.join(stale)} differ from deploy/figures/*.json. Run: python -m deploy.figures render"
            )
    else:
        raise SystemExit(__doc__)
