"""What an index costs to make: documents embedded and vectors built, a joule and a dollar, from the runs' own records.

Nightly rebuilds are part of the bill. `embed.json` keeps what its run did and took, and a generation's `manifest.json`
what building took; both are read here, nothing is run again. Documents that were found in the cache were not embedded
and do not count as work.

Joules come from `perwatt loadtest metered FILE COMMAND…`, which reads the machine's sensor while the step runs; without
one, from the models, at the share of the CPU that the step says it used.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from embed.vectors.provenance import now_utc, own_version
from loadtest.errors import RecordError
from loadtest.machine import read_machine
from loadtest.power.metered import read_metered
from loadtest.prices.table import find_price, misplaced
from loadtest.record.objective import Objective
from loadtest.record.run_record import Indexing, Label, Record


def indexing_record(
    folders: Sequence[Path],
    *,
    arm: str = "this machine",
    instance: str | None = None,
    region: str | None = None,
    energy: Sequence[str] = (),
) -> Record:
    """A record of the steps that the folders are the results of (vectors folders and generations)."""
    machine = read_machine()
    name = instance or machine.instance_type
    steps = read_steps(folders, energy)
    price = find_price(name, region=region or machine.region) if name else None
    said = [_reused(folder) for folder in folders] + [misplaced(price, machine.architecture) if price else ""]
    return Record(
        notes=[note for note in said if note],
        kind="indexing",
        created_at=now_utc(),
        perwatt=own_version(),
        label=Label(arm),
        objective=Objective(),
        server=machine,
        price=price,
        indexing=steps,
    )


def read_steps(folders: Sequence[Path], energy: Sequence[str] = ()) -> list[Indexing]:
    """The steps of the folders in order; `energy` are STEP=FILE of what was metered while a step ran."""
    steps = [read_step(folder) for folder in folders]
    for text in energy:
        name, _, file = text.partition("=")
        matching = [step for step in steps if step.step == name]
        if len(matching) != 1 or not file:
            have = ", ".join(step.step for step in steps) or "none"
            raise RecordError(f"--energy {text!r}: expected STEP=FILE with one of the steps given ({have})")
        metered = read_metered(Path(file))
        step = matching[0]
        if metered.seconds < step.seconds * 0.99:
            raise RecordError(
                f"{file} covers {metered.seconds:.1f} s, but {name} took {step.seconds:.1f} s: it was metered during "
                "another run"
            )
        step.energy = metered.energy
    return steps


def read_step(folder: Path) -> Indexing:
    """The step that made `folder`: "embed" for a vectors folder, "build" for a generation.

    The folder of an index stands for the generation that it serves.
    """
    alias = folder / "current"
    if alias.is_file():
        folder = folder / str(_object(alias).get("generation"))
    vectors, generation = folder / "embed.json", folder / "manifest.json"
    if vectors.exists():
        return _embed(_object(vectors), vectors)
    if generation.exists():
        return _build(_object(generation), generation)
    raise RecordError(f"{folder} is neither a vectors folder (embed.json) nor a generation (manifest.json)")


def _reused(folder: Path) -> str:
    """Said when part of the documents was known before: the step's time then is not that of embedding them all."""
    if not (folder / "embed.json").exists():
        return ""
    run = _object(folder / "embed.json").get("run", {})
    count = run.get("reused", 0)
    return (
        f"embed: {count:,} of {run.get('documents', 0):,} documents were known before and not embedded" if count else ""
    )


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise RecordError(f"{path} is not a JSON object")
    return found


def _embed(found: dict[str, Any], path: Path) -> Indexing:
    run = found.get("run")
    if not isinstance(run, dict) or not run.get("seconds"):
        raise RecordError(f"{path} does not say what its run took (run.seconds)")
    items = run.get("embedded", run.get("documents", found.get("count", 0)))
    paid = run.get("encoder_price") or {}
    return Indexing(
        "embed",
        int(items),
        float(run["seconds"]),
        run.get("cpu_seconds"),
        path.name,
        run.get("tokens"),
        encoder_usd=paid.get("cost_usd"),
    )


def _build(found: dict[str, Any], path: Path) -> Indexing:
    build = found.get("build")
    seconds = build.get("seconds") if isinstance(build, dict) else None
    if not isinstance(build, dict) or not seconds:
        raise RecordError(f"{path} does not say what building took (build.seconds)")
    return Indexing("build", int(found.get("count", 0)), float(seconds), build.get("cpu_seconds"), path.name)
