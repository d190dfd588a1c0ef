"""`perwatt info`: what this machine offers, and what a model would run on here.

The facts of the machine are those of `perwatt loadtest machine` and of the reports, in the same words. What a build and
a server go by are `index.machine`'s cores and memory, which must agree with them.
"""

from __future__ import annotations

import sys
from typing import Any

import click
import msgspec

from embed import kernels as encoding
from embed.encoders.native import unsuited
from embed.encoders.precision import choose
from embed.models.folder import find_model
from embed.vectors.provenance import installed
from index import kernels as searching
from index import machine
from index.kernels._native import has_ring
from index.printing import print_json, print_pairs
from loadtest import units
from loadtest.machine import in_words, read_machine

PACKAGES = ("perwatt", "faiss-cpu", "numpy", "pyarrow", "onnxruntime")


@click.command()
@click.option("--model", metavar="NAME|DIR", help="Tell also what this model runs on here, and in which precision.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def info(model: str | None, as_json: bool) -> None:
    """Show this machine as perwatt may use it: cores, memory, SIMD units, versions."""
    here = read_machine()
    facts: dict[str, Any] = {
        "machine": msgspec.to_builtins(here),
        "cores": machine.cores(),
        "memory_bytes": machine.memory_limit_bytes(),
        "memory_available_bytes": machine.memory_available_bytes(),
        "kernels": searching.info(),
        "encoder": encoding.info(),
        "disk_reader": "io_uring" if has_ring() else "threads",
        "versions": {
            "python": sys.version.split()[0],
            **{package: installed(package) or "not installed" for package in PACKAGES},
        },
    }
    if model:
        facts["model"] = about(model)
    if as_json:
        print_json(facts)
        return
    pairs = [
        *in_words(here),
        ("Free memory", units.size_bytes(facts["memory_available_bytes"])),
        ("Search kernels", ladder(facts["kernels"])),
        ("Encoder kernels", ladder(facts["encoder"])),
        ("Profile disk", f"would read by {facts['disk_reader']}"),
        ("Versions", ", ".join(f"{name} {number}" for name, number in facts["versions"].items())),
    ]
    if model:
        told = facts["model"]
        pairs.append(
            ("Model", f"{told['name']} runs on {told['backend']}{'' if told['native'] else ': ' + told['why']}")
        )
        pairs.append(("Precision", f"{told['precision']} unless told otherwise: {told['precision_why']}"))
    print_pairs(pairs)


def about(model: str) -> dict[str, Any]:
    """What runs the model here by default and why; a model that is new to this machine is prepared and measured."""
    folder = find_model(model)
    why, choice = unsuited(folder), choose(folder)
    return {
        "name": folder.name,
        "backend": "perwatt's own kernels" if why is None else f"ONNX Runtime {installed('onnxruntime')}",
        "native": why is None,
        "why": why,
        "precision": choice.precision,
        "precision_why": choice.reason,
        "int8_mean_cosine": choice.int8_mean_cosine,
    }


def ladder(facts: dict[str, Any]) -> str:
    return f"{facts['isa']} in use; this machine can run {', '.join(facts['units'])}"
