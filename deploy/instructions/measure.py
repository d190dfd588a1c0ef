"""What is counted: one short query through the encoder of a common model's size, and walks of a graph, on every unit.

The encoder's widths are all-MiniLM-L6's and bge-small's, its weights random: none of its branches reads a value. One
layer is counted, with the embeddings below it and the pooling above; every further one runs the same instructions as
another. The graph is of made vectors, built here, the same bytes whatever the machine; each count is the mean of a few
queries.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

from deploy.instructions import emulated, stepped

# Processors of arm64 as QEMU names them, and the encoder's and the walk's unit that each is asked for.
PROCESSORS = {
    "neoverse-n1": ("neondot", "neondot"),
    "neoverse-v1": ("i8mm", "sve256"),
    "neoverse-n2": ("i8mm", "i8mm"),
}
ARM64_PYTHON = Path(__file__).parents[2] / "build" / "arm64" / "python"
TOKENS = 8
ROWS, DIM, QUERIES, K = 20_000, 384, 4, 10
SEED = 20261129

Count = Callable[[list[str]], float]
Told = Callable[[str], None]


def measure(python: Path = ARM64_PYTHON, rows: int = ROWS, told: Told = click.echo) -> dict[str, Any]:
    """Counts of every unit that this processor has and, where there is an arm64 Python, of three emulated ones.

    Args:
        python: As `emulated.count` wants it; without it the emulated rows are left out.
        rows: Of the graph.
        told: Gets a line for each unit when it is counted.

    Returns:
        {"tokens", "graph": {"rows", "dim", "k", "effort", "queries"}, "counted": [{"processor", "how",
        "unit", "int8", "fp32", "walk"}]}, instructions a query; None where the unit does not do that.

    Raises:
        CountingError: The system does not let instructions be counted.
    """
    from embed.kernels import _native as encoder
    from index.kernels import _native as kernels

    with tempfile.TemporaryDirectory(prefix="perwatt-instructions-") as made:
        generation, effort = _graph(Path(made), rows)
        counted: list[dict[str, Any]] = []

        def add(processor: str, how: str, count: Count, encoding: str | None, walking: str | None) -> None:
            row: dict[str, Any] = {"processor": processor, "how": how, "unit": encoding or walking}
            row["int8"] = _encoded(count, encoding, "int8") if encoding else None
            row["fp32"] = _encoded(count, encoding, "fp32") if encoding else None
            row["walk"] = _walked(count, walking, generation, effort) if walking else None
            if encoding and walking and encoding != walking:
                row["unit"] = f"{encoding}, {walking}"
            counted.append(row)
            told(json.dumps(row))

        encoders = [name for name, runs in encoder.units() if runs and name != "scalar"]
        walkers = [name for name, runs in kernels.units() if runs and name != "scalar"]
        for unit in dict.fromkeys(encoders + walkers):
            pair = unit if unit in encoders else None, unit if unit in walkers else None
            add("this processor", "step by step", stepped.count, *pair)
        if python.exists():
            for processor, units in PROCESSORS.items():

                def count(arguments: list[str], processor: str = processor) -> float:
                    return emulated.count(python, processor, arguments)

                add(processor, "in emulation", count, *units)
    graph = {"rows": rows, "dim": DIM, "k": K, "effort": effort, "queries": QUERIES}
    return {"tokens": TOKENS, "graph": graph, "counted": counted}


def _encoded(count: Count, unit: str, precision: str) -> int:
    return round(count(["encode", unit, "--precision", precision, "--hidden", str(DIM), "--tokens", str(TOKENS)]))


def _walked(count: Count, unit: str, generation: Path, effort: int) -> int:
    return round(count(["walk", unit, "--generation", str(generation), "--effort", str(effort)]))


def _graph(folder: Path, rows: int) -> tuple[Path, int]:
    """A generation with queries.npy beside it, and the effort it was calibrated to."""
    from index import build_generation, open_generation

    random = np.random.default_rng(SEED)
    centres = random.standard_normal((max(rows // 50, 1), DIM), np.float32)

    def around(count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        noise = random.standard_normal((count, DIM), np.float32)
        return centres[random.integers(0, len(centres), count)] + np.float32(0.8) * noise

    path = build_generation(around(rows), np.arange(rows), root=folder, name="walked", family="graph", profile="speed")
    np.save(path.parent / "queries.npy", around(QUERIES))
    with open_generation(path) as generation:
        effort = generation.default_effort
    return path, effort


@click.command(name="instructions")
@click.option(
    "--arm64",
    "python",
    type=click.Path(dir_okay=False, path_type=Path),
    default=ARM64_PYTHON,
    show_default="build/arm64/python, which `make test-arm64` makes",
    help="An arm64 Python that starts itself under QEMU.",
)
@click.option("--rows", type=click.IntRange(min=1000), default=ROWS, show_default=True, help="Vectors of the graph.")
def bench_instructions(python: Path, rows: int) -> None:
    """Count the instructions of a query on each unit, of arm64 in emulation; not a time.

    Step by step or from an emulator's log, so it takes some ten minutes for fractions of a second of work. A line of
    JSON for each processor and unit, then all of it.
    """
    click.echo(json.dumps(measure(python, rows), indent=1))
