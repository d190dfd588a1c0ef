"""The arm64 units on a machine that is not one: cross-compiled, run under an emulator, looked into, and compared with
what this machine computes from the same files.

On arm64 itself test_index_kernels.py and the others do this natively, and this file has nothing to add.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import disassembly
import numpy as np
import pytest
from emulation import BUILT, OBJDUMP, PROCESSORS, emulate
from indexing import clustered, names
from instructions import INDEX_INSTRUCTIONS, WITHIN_INSTRUCTIONS, WITHIN_UNITS

from index import build_generation
from index.build.families import PROFILES

TESTS = Path(__file__).parent
COUNT, DIM = 2000, 48

# Run by `make test-arm64`, which installs the compiler and the emulator and makes what is run.
pytestmark = pytest.mark.arm64


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the check program prints on this machine."""
    build = tmp_path_factory.mktemp("native")
    configure = ["cmake", "-S", TESTS.parent / "native", "-B", build, "-DPERWATT_PYTHON=OFF"]
    for command in (
        configure,
        ["cmake", "--build", build, "-t", "kernels_check", "-j", "2"],
        [build / "index" / "kernels_check"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def fingerprint(output: str) -> str:
    """Of every graph's bytes and every walk's answers: the same on both architectures."""
    return re.findall(r"fingerprint (\w{16})", output)[0]


@pytest.mark.timeout(3600)  # some minutes; the emulator is ten to a hundred times slower than a machine
@pytest.mark.parametrize("processor", PROCESSORS)
def test_kernels_scans_and_walks_are_exact_and_only_those_run_that_the_processor_has(
    native: str, processor: str
) -> None:
    printed = emulate(processor, BUILT / "kernels" / "index" / "kernels_check")
    assert re.findall(r"(\w+): \d+ cases agree", printed) == PROCESSORS[processor]
    assert fingerprint(printed) == fingerprint(native)


@pytest.mark.parametrize("unit", INDEX_INSTRUCTIONS["aarch64"])
def test_units_hold_their_instructions(unit: str) -> None:
    (library,) = (BUILT / "kernels" / "index").glob("_native.*.so")
    disassembly.check(disassembly.instructions(library, "perwatt", OBJDUMP), unit, INDEX_INSTRUCTIONS["aarch64"])


def test_units_tell_who_is_near_by_many_at_once() -> None:
    (library,) = (BUILT / "kernels" / "index").glob("_native.*.so")
    found = disassembly.functions(library, "perwatt", OBJDUMP)
    for unit in WITHIN_UNITS["aarch64"]:
        assert disassembly.count(found, unit, "within", WITHIN_INSTRUCTIONS["aarch64"]) >= 2, unit


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("processor", PROCESSORS)
def test_the_kernels_own_tests_pass(processor: str) -> None:
    """Through Python's bindings, with the unit that PERWATT_ISA names among them."""
    # conftest.py is for the tests of every package, of which only this one is there.
    settings = ["--noconftest", "-c", TESTS.parent / "pyproject.toml", "-o", "timeout=3000"]
    command = [BUILT / "python", "-m", "pytest", "-q", *settings, TESTS / "test_index_kernels.py"]
    printed = emulate(processor, *command, "-k", "not instructions")
    assert re.search(r"^\d+ passed", printed.splitlines()[-1]), printed


@pytest.fixture(scope="module")
def generations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each family, profile and metric, built here; and what the best unit here finds in them."""
    folder = tmp_path_factory.mktemp("generations")
    vectors = clustered(COUNT, DIM)
    vectors[100:160] = vectors[100]
    np.save(folder / "queries.npy", clustered(40, DIM, seed=3))
    graphs = [("graph", metric, profile, "keep") for metric in ("cosine", "ip", "l2") for profile in PROFILES]
    dropped = [("graph", "cosine", "compact", "drop"), ("graph", "l2", "speed", "drop")]
    others = [("flat", "l2", "auto", "keep"), ("flat", "cosine", "auto", "keep"), ("ivf", "ip", "auto", "keep")]
    others += [("ivf", "cosine", "disk", "drop"), ("ivf", "l2", "disk", "drop")]
    for family, metric, profile, originals in [*graphs, *dropped, *others]:
        name = f"{family}-{metric}-{profile}-{originals}"
        how: dict[str, Any] = {"family": family, "metric": metric, "profile": profile, "originals": originals}
        build_generation(vectors, names(COUNT), root=folder, name=name, threads=2, **how)
    done = subprocess.run(
        [sys.executable, TESTS / "same_answers.py", folder, folder / "here.npz"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("processor", PROCESSORS)
def test_the_same_generation_gives_the_same_ids_and_the_same_faiss_file_the_same_sections(
    generations: Path, processor: str
) -> None:
    from same_answers import digests

    here = np.load(generations / "here.npz")
    out = generations / f"{processor}.npz"
    emulate(processor, BUILT / "python", TESTS / "same_answers.py", generations, out)
    there = np.load(out)
    best = next(iter(here)).split("|")[0]
    assert {name.split("|")[0] for name in there} == set(PROCESSORS[processor])
    assert len(there.files) == len(PROCESSORS[processor]) * sum(name.startswith(f"{best}|") for name in here)
    for name in there:
        unit, generation, what, kind = name.split("|")
        key = f"{generation}|{what}"
        if kind == "sha256":
            (folder,) = generations.glob(f"*/{generation}")
            assert there[name] == digests(folder)[what], name
        elif kind == "rows":
            wanted, found = (a[f"{u}|{key}|scores"] for a, u in ((here, best), (there, unit)))
            rows, expected = there[name], here[f"{best}|{key}|rows"]
            # float32 sums in another order: off by gamma(48) of what is summed, some 1e-5 of the largest score here.
            finite = np.isfinite(wanted)
            close = 2e-5 * float(np.abs(wanted[finite]).max())
            assert (finite == np.isfinite(found)).all(), name
            assert np.abs(found[finite] - wanted[finite]).max() <= close, name
            assert "-drop-" not in generation or np.array_equal(found, wanted), name  # codes are summed exactly
            for mine, theirs, scores in zip(rows, expected, wanted, strict=True):
                check_same_but_ties(mine.tolist(), theirs.tolist(), scores, close, name)


def check_same_but_ties(found: list[int], expected: list[int], scores: np.ndarray, close: float, name: str) -> None:
    """Another row stands at a place only where its score cannot be told from the one that should stand there, and one
    from beyond the last only where that can be said of the last."""
    score_of = dict(zip(expected, scores.tolist(), strict=True))
    for place, (row, wanted) in enumerate(zip(found, expected, strict=True)):
        if row != wanted:
            assert abs(score_of.get(row, scores[-1]) - scores[place]) <= close, (
                f"{name}: {row} and not {wanted} at {place}"
            )
