"""`make experiment`: perwatt against another engine on this machine, in blocks, from documents to a verdict.

Every block holds perwatt, perwatt once more (A/A) and the other engine, in random order; each is started for its trial,
the other engine also filled anew, so that the luck of a build is in the noise and not in the verdict. All are asked the
same vectors, prove the same recall against the same exact neighbours with the cheapest effort that does, and have the
same CPUs. Trials that may not be believed are made again, a few times. An experiment that was cut short, or that other
programs disturbed, goes on where it was (RESUME=1): whole blocks are kept, the others are made anew, since what is
compared within a block is to be of one time.
"""

from __future__ import annotations

import random
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from loadtest.analysis.arm import by_arm
from loadtest.analysis.compare import Comparison, compare
from loadtest.analysis.engines import effort_in_words, engine_in_words, settings_in_words
from loadtest.analysis.reading import Reading, readings
from loadtest.bench.engines import find_knee, kit
from loadtest.errors import LoadTestError
from loadtest.record.run_record import read_record
from loadtest.report.compare_page import compare_page
from loadtest.report.html import html
from loadtest.report.markdown import markdown
from loadtest.report.sample import same_files

OURS, AGAIN = "perwatt", "perwatt again"
KNEE = (
    "--slo-p99-ms", "50", "--recall", "0.95", "--start-rate", "250", "--search-s", "4", "--confirm-s", "15",
    "--level-s", "4", "--warmup", "1",
)  # fmt: skip
ATTEMPTS = 3


def run_blocks(
    blocks: int,
    arms: Sequence[str],
    trial: Callable[[str, int, Path], int],
    out: Path,
    seed: int = 1,
    tell: Callable[[str], None] = print,
    kept: Callable[[Path], bool] = lambda _: False,
) -> list[Path]:
    """A record of every arm in every block, in an order drawn from `seed`; LoadTestError when one cannot be had.

    trial: arm, block and where its record is to be; gives an exit status, 3: it may not be believed.
    kept: whether the record at a path is there and good; a block is left as it is when all of its records are.
    """
    order = random.Random(seed)
    files: list[Path] = []
    for block in range(1, blocks + 1):
        paths = {arm: out / f"{block:02}-{arm.replace(' ', '-')}.json" for arm in order.sample(arms, len(arms))}
        files += paths.values()
        if all(map(kept, paths.values())):
            tell(f"block {block} of {blocks}: kept")
            continue
        for arm, path in paths.items():
            for attempt in range(1, ATTEMPTS + 1):
                tell(f"block {block} of {blocks}: {arm}{'' if attempt == 1 else f', attempt {attempt}'}")
                status = trial(arm, block, path)
                if status != 3:
                    break
            if status != 0:
                raise LoadTestError(f"block {block}, {arm}: no trial that may be believed (exit status {status})")
    return files


def measure(
    target: str, vectors: Path, root: Path, index: str, peers: Path, out: Path,
    server_cpus: str = "0", load_cpus: str = "1", blocks: int = 8, options: Sequence[str] = (),
    sample: Path | None = None, resume: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """The records and reports into `out`, a page of perwatt against itself into `sample`, and what it comes to.

    resume: blocks that are whole and undisturbed in `out` are kept. RecordError at a record that cannot be read.
    """
    if not resume:
        shutil.rmtree(out, ignore_errors=True)
    with kit(vectors, root, index, peers, server_cpus, load_cpus) as made:

        def trial(arm: str, block: int, path: Path) -> int:
            labels = ["--arm", arm, "--block", str(block), "--experiment", f"{target} and perwatt"]
            status = find_knee(made, target if arm == target else OURS, path, [*KNEE, *labels, *options])
            if status == 0:
                same_documents(out)
            return status

        files = run_blocks(blocks, (OURS, AGAIN, target), trial, out, kept=undisturbed)
    runs = readings(read_record(path) for path in files)
    write_reports(runs, target, out)
    if sample is not None:
        for name, text in same_files(runs, OURS, AGAIN).items():
            (sample / name).write_text(text, "utf-8")
    return figures(runs, target)


def undisturbed(path: Path) -> bool:
    """Whether the record is there with its knee (one that was cut short has none), and its trials may be believed."""
    if not path.is_file():
        return False
    [run] = readings([read_record(path)])
    return run.record.knee is not None and not run.invalid and not run.disturbance


def same_documents(out: Path) -> None:
    """LoadTestError when the records so far are of unlike numbers of documents: nothing could be divided at the end."""
    served = {(r.label.arm, r.served.count) for r in map(read_record, sorted(out.glob("*.json"))) if r.served}
    if len({count for _, count in served}) > 1:
        held = ", ".join(f"{arm} {count:,}" for arm, count in sorted(served))
        raise LoadTestError(f"the engines hold unlike documents ({held}): build the index anew from its vectors folder")


def write_reports(runs: Sequence[Reading], target: str, out: Path) -> None:
    """The verdict as report.html and report.md; perwatt against itself as same.html."""
    page = compare_page(compare(runs, OURS, target, replica=AGAIN), runs)
    (out / "report.html").write_text(html(page), "utf-8")
    (out / "report.md").write_text(markdown(page), "utf-8")
    (out / "same.html").write_text(html(compare_page(compare(runs, OURS, AGAIN), runs)), "utf-8")


def asked(environment: Mapping[str, str]) -> dict[str, Any]:
    """BLOCKS, RESUME, SERVER_CPUS, LOAD_CPUS and KNEE_OPTIONS as `measure` takes them."""
    found: dict[str, Any] = {
        name.lower(): environment[name] for name in ("SERVER_CPUS", "LOAD_CPUS") if environment.get(name)
    }
    if environment.get("BLOCKS"):
        found["blocks"] = int(environment["BLOCKS"])
    if environment.get("RESUME"):
        found["resume"] = True
    return found | {"options": shlex.split(environment.get("KNEE_OPTIONS", ""))}


def figures(runs: Sequence[Reading], target: str) -> dict[str, Any]:
    """The verdict with its interval, the noise floor, and each arm: engine, settings, effort, recall, rates."""
    found = compare(runs, OURS, target, replica=AGAIN)
    return {
        "verdict": found.verdict.value,
        "why": [*found.problems, *found.reasons],
        "ratio": _ratio(found),
        "replica": msgspec.to_builtins(found.replica, str_keys=True) if found.replica else None,
        "objective": msgspec.to_builtins(runs[0].record.objective),
        "documents": next((run.record.served.count for run in runs if run.record.served), None),
        "arms": {name: _arm(arm) for name, arm in by_arm(runs).items()},
    }


def _ratio(found: Comparison) -> dict[str, Any] | None:
    if found.per_second is None:
        return None
    whole: dict[str, Any] = msgspec.to_builtins(found.per_second, str_keys=True)
    return whole


def _arm(arm: Sequence[Reading]) -> dict[str, Any]:
    first, served = arm[0], arm[0].record.served
    trials = [run.trial for run in arm if run.trial is not None]
    recalls = [trial.recall for trial in trials if trial.recall is not None]
    return {
        "engine": engine_in_words(served) if served else "not told",
        "settings": settings_in_words(served.settings) if served else "not told",
        "efforts": sorted({effort_in_words(first.record, trial) for trial in trials}),
        "qps": [run.capacity.qps for run in arm if run.capacity],
        "confirmed_qps": [run.capacity.sustained_qps for run in arm if run.capacity],
        "p99_ms": [trial.response_s(0.99) * 1e3 for trial in trials],
        "recall": [sum(r.mean for r in recalls) / len(recalls), min(r.low for r in recalls)] if recalls else None,
    }
