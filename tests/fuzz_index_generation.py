"""Opens damaged generations, one after the other: each must be refused or survived, and none may end the process.

    python tests/fuzz_index_generation.py --seconds 600       `make fuzz`
    python tests/fuzz_index_generation.py --first 17 --cases 1   one case again, by its number

A case is a function of its number. Two kinds take turns:

broken  bytes of any file are changed, files are cut, grown, removed, exchanged. Hashes cannot hold: opening must raise.
lying   sections or fields of the manifest are changed and everything is hashed and sealed anew, so what reads them
        sees the damage. Opening may raise an error of this package and nothing else; if it opens, every way to search
        and look up is tried. Rows must lie in the generation; wrong answers and Python errors are fine. FAISS's own
        file is left alone here: its reader is not ours, and only a file with the right hash ever reaches it.

Cases run in a child process, so that one that dies is named by its number.
"""

from __future__ import annotations

import argparse
import copy
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from index import IndexingError, build_generation, open_generation
from index.disk.manifest import MANIFEST_FILE, describe_files, read_manifest
from index.disk.sealed import SEAL, write_sealed
from index.search.structure import INDEX_FILE

COUNT, DIM = 420, 24
ODD: tuple[Any, ...] = (
    0,
    -1,
    1,
    7,
    2**31,
    2**63,
    2**70,
    0.5,
    -1e300,
    "",
    "x",
    "O",
    "l2",
    None,
    True,
    [],
    {},
    [1, 2, 3],
)
CASES_PER_CHILD = 200


def prepared(folder: Path) -> list[Path]:
    """One generation of each family and profile, with payload and filterable fields."""
    made = []
    values = np.random.default_rng(0).normal(size=(COUNT, DIM)).astype(np.float32)
    rows = [{"n": row, "word": f"w{row % 5}", "words": [f"x{row % 3}"], "x": row / 7} for row in range(COUNT)]
    for family, profile, metric, originals, ids in (
        ("flat", "auto", "cosine", "keep", [f"doc {row}" for row in range(COUNT)]),
        ("graph", "speed", "l2", "keep", range(COUNT)),
        ("graph", "compact", "cosine", "keep", [f"doc {row}" for row in range(COUNT)]),
        ("graph", "compact", "l2", "drop", range(COUNT)),
        ("ivf", "auto", "ip", "keep", range(COUNT)),
        ("ivf", "disk", "cosine", "drop", [f"doc {row}" for row in range(COUNT)]),
    ):
        made.append(
            build_generation(
                values,
                list(ids),
                root=folder,
                name=f"{family}-{profile}-{originals}",
                family=family,
                profile=profile,
                originals=originals,
                metric=metric,  # type: ignore[arg-type]
                recall_target=0.1,
                payload=rows,
                filterable=["n:int", "word:keyword", "words:keyword[]", "x:float"],
                threads=1,
            )
        )
    return made


def break_bytes(path: Path, dice: random.Random) -> None:
    raw = bytearray(path.read_bytes())
    kind = dice.randrange(5)
    if kind == 0 or not raw:
        raw += bytes(dice.randrange(1, 100))
    elif kind == 1:
        del raw[dice.randrange(len(raw)) :]
    else:
        # Headers and what follows the data are a small part of the bytes and most of what there is to break.
        places = dice.choice([range(len(raw)), range(min(512, len(raw))), range(max(0, len(raw) - 1024), len(raw))])
        for _ in range(dice.choice([1, 1, 8, 200])):
            raw[dice.choice(places)] = dice.choice([0, 1, 127, 128, 255, dice.randrange(256)])
    path.write_bytes(raw)


def break_manifest(manifest: dict[str, Any], dice: random.Random) -> None:
    """Changes one value somewhere in it, or takes one out."""
    place: Any = manifest
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = dice.choice(keys)
        inner = place[key]
        if isinstance(inner, dict | list) and inner and dice.random() < 0.85:
            place = inner
            continue
        break
    if dice.random() < 0.1 and isinstance(place, dict):
        del place[key]
    elif isinstance(inner, int | float) and not isinstance(inner, bool) and dice.random() < 0.6:
        place[key] = dice.choice([inner + 1, inner - 1, inner * 2, -inner, inner // 2, inner * 1000])
    else:
        place[key] = copy.deepcopy(dice.choice(ODD))


def broken(folder: Path, dice: random.Random) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    while {path.name: path.read_bytes() for path in folder.iterdir()} == before:
        path = dice.choice(sorted(folder.iterdir()))
        kind = dice.randrange(8)
        if kind == 0:
            path.unlink()
        elif kind == 1:
            shutil.copy(dice.choice(sorted(folder.iterdir())), folder / path.name) if len(
                before
            ) == 1 else path.write_bytes(before[dice.choice(sorted(before))])
        elif kind == 2:
            (folder / f"extra-{path.name}").write_bytes(b"")
        else:
            break_bytes(path, dice)
    try:
        open_generation(folder).close()
    except IndexingError:
        return
    raise AssertionError("a broken generation was opened")


def lying(folder: Path, dice: random.Random) -> None:
    manifest = read_manifest(folder)
    del manifest[SEAL]
    if dice.random() < 0.5:
        sections = sorted(path for path in folder.iterdir() if path.name not in (INDEX_FILE, MANIFEST_FILE))
        for _ in range(dice.choice([1, 1, 3])):
            break_bytes(dice.choice(sections), dice)
        manifest["files"] = describe_files(folder, 1)
    else:
        for _ in range(dice.choice([1, 1, 2])):
            break_manifest(manifest, dice)
    try:
        write_sealed(folder / MANIFEST_FILE, manifest)
    except (ValueError, TypeError, OverflowError):
        return  # not JSON any more
    try:
        generation = open_generation(folder)
    except IndexingError:
        return
    use(generation, dice)


def use(generation: Any, dice: random.Random) -> None:
    queries = np.random.default_rng(dice.randrange(1000)).normal(size=(3, DIM)).astype(np.float32)
    keep = np.arange(COUNT) % 2 == 0
    for how in ({}, {"exact": True}, {"keep": keep}, {"keep": keep, "exact": True}, {"effort": 900}):
        for k in (1, 10, COUNT + 1):
            try:
                found = generation.search_rows(queries, k, **how)
            except Exception:
                continue
            if not ((found.rows >= -1) & (found.rows < COUNT)).all():
                raise AssertionError(f"rows out of the generation: {found.rows}")
    for attempt in (
        lambda: generation.search(queries, 10),
        lambda: generation.payload(dice.randrange(COUNT)),
        lambda: generation.external_id(dice.randrange(COUNT)),
        lambda: generation.row_of("doc 17"),
        lambda: generation.row_of("17"),
        lambda: generation.vector(dice.randrange(COUNT)),
        lambda: generation.effort_for(0.5),
        lambda: generation.close(),
    ):
        try:
            attempt()
        except Exception:
            continue


def run_case(number: int, generations: list[Path], scratch: Path) -> None:
    dice = random.Random(number)
    original = generations[dice.randrange(len(generations))]
    folder = scratch / str(number) / original.name
    shutil.copytree(original, folder)
    try:
        (broken, lying)[number % 2](folder, dice)
    finally:
        shutil.rmtree(folder.parent, ignore_errors=True)


def run_child(first: int, cases: int, folder: Path) -> None:
    generations = sorted(path for index in sorted(folder.iterdir()) for path in index.iterdir() if path.is_dir())
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(first, first + cases):
            print(number, flush=True)
            run_case(number, generations, Path(scratch))


def fuzz(first: int, cases: int, seconds: float) -> int:
    """Runs cases from `first` on until there were `cases` or the time is over. Returns how many ran; raises
    AssertionError that names the first that failed."""
    end, done = time.monotonic() + seconds, 0
    with tempfile.TemporaryDirectory() as folder:
        prepared(Path(folder))
        while done < cases and time.monotonic() < end:
            some = min(CASES_PER_CHILD, cases - done)
            command = [sys.executable, __file__, "--child", folder, "--first", str(first + done), "--cases", str(some)]
            child = subprocess.run(command, capture_output=True, text=True, check=False)
            if child.returncode:
                number = (child.stdout.split() or ["?"])[-1]
                raise AssertionError(f"case {number} ended with {child.returncode}:\n{child.stderr[-3000:]}")
            done += some
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--cases", type=int, default=10**9)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--child", type=Path)
    given = parser.parse_args()
    if given.child:
        run_child(given.first, given.cases, given.child)
    else:
        print(f"{fuzz(given.first, given.cases, given.seconds):,} cases survived")


if __name__ == "__main__":
    main()
