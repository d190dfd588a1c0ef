"""Text to vector: perwatt beside ONNX Runtime, OpenVINO and sentence-transformers, on the same texts and cores.

Every contender gets text and gives vectors, tokenising included, by its own best way in: ONNX Runtime through this
package's encoder (batches by length) with the graph that its own tools fuse, in fp32 and in int8 by its own dynamic
quantisation, weights by channel; OpenVINO with the precision it prefers on this processor (bfloat16 where there is
hardware for it); sentence-transformers as its own `encode`, in float32 and bfloat16. A peer that is not installed or
fails is named under "absent", and the rest is measured.

Contenders take turns within each round, so that a machine that slows down slows all of them. The fastest round of
each counts and the median stands beside it; ratios are of the fastest. Texts are docstrings of the standard library
cut to the wanted number of tokens, special tokens included, so that anyone can repeat the measurement.

The share of the peak compares the multiply-adds that a model needs a second with what the unit's own integer product
does when everything lies in the first-level cache, measured in the same rounds.

Two more questions are answered on the way. What each unit of this processor gives, one core (`units`); and how long a
fresh process takes until it holds the vector of a first query, when models are prepared (`cold_start`).
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from loky import cpu_count

from embed.bench.contenders import ORT_GRAPHS, Encode, contenders
from embed.bench.texts import cut_texts
from embed.encoders.load import load_encoder
from embed.encoders.native import NativeEncoder
from embed.encoders.tokens import Tokens
from embed.kernels import ENVIRONMENT_VARIABLE, _native, unit_in_use, units
from embed.models.folder import ModelFolder, find_model

ROUNDS = 7
# A contender that is slow enough runs each case once a round; a fast one is repeated until this much time has passed.
LEAST_SECONDS = 0.05


class EncodeCase(NamedTuple):
    name: str
    texts: int  # in one call
    tokens: int  # of each text, special tokens included
    cores: int  # 0: all this process may use
    unit: str  # what one text is called


CASES = (
    EncodeCase("query1", 1, 8, 1, "queries"),
    EncodeCase("query8", 32, 8, 1, "queries"),
    EncodeCase("texts32", 64, 32, 0, "documents"),
    EncodeCase("documents", 16, 256, 0, "documents"),
)
WHAT = {
    "query1": "one 8-token query, one core",
    "query8": "32 queries of 8 tokens, one core",
    "texts32": "64 texts of 32 tokens, all cores",
    "documents": "16 documents of 256 tokens, all cores",
}

LABELS = {
    "perwatt_int8": "perwatt, int8",
    "perwatt_fp32": "perwatt, fp32",
    "ort_int8_per_token": "ONNX Runtime, int8 a token",  # in the published figures; no longer measured
    "ort_int8_dynamic": "ONNX Runtime, int8 dynamic",
    "ort_fp32": "ONNX Runtime, fp32",
    "openvino": "OpenVINO, its own choice",
    "sentence_transformers_fp32": "sentence-transformers, fp32",
    "sentence_transformers_bf16": "sentence-transformers, bf16",
}

# ratio: (case, contender)
RATIOS = {
    "query1_vs_ort_int8": ("query1", "ort_int8_dynamic"),
    "query1_vs_ort_fp32": ("query1", "ort_fp32"),
    "query1_vs_openvino": ("query1", "openvino"),
    "query8_vs_ort_int8": ("query8", "ort_int8_dynamic"),
    "documents_vs_ort_int8": ("documents", "ort_int8_dynamic"),
    "documents_vs_openvino": ("documents", "openvino"),
    "documents_vs_sentence_transformers": ("documents", "sentence_transformers_fp32"),
}

UNIT_CASES = {"query1": (1, 8), "query8": (32, 8), "document": (1, 256)}  # texts, tokens
PEERS = ("onnxruntime", "openvino", "torch", "sentence-transformers", "tokenizers")


def measure(model: str | Path | None = None, rounds: int = ROUNDS) -> dict[str, Any]:
    """Every figure with its unit in its name: "cases" {case: {contender: {…}}}, "units", "cold_start", "ratios", …"""
    with tempfile.TemporaryDirectory() as made:
        return _measure(model, rounds, Path(made))


def _measure(model: str | Path | None, rounds: int, made: Path) -> dict[str, Any]:
    folder = find_model(model)
    tokens = Tokens(folder)
    cores = cpu_count()
    figures: dict[str, Any] = {
        "unit": unit_in_use(),
        "cores": cores,
        "model": folder.name,
        "rounds": rounds,
        "versions": {name: version(name) for name in PEERS if find_spec(name.replace("-", "_"))},
        "cases": {},
        "absent": {},
    }
    cases = [case._replace(tokens=min(case.tokens, folder.max_length)) for case in CASES]
    per_text = {case.name: multiply_adds(folder, case.tokens) for case in cases}
    reference: Any = None
    cosines: dict[str, float] = {}
    for case in cases:
        threads = case.cores or cores
        texts = cut_texts(tokens, case.texts, case.tokens)
        with contenders(folder, model, threads, made) as (running, absent):
            figures["absent"] |= absent
            seconds, peak = race(running, texts, rounds)
            vectors = {name: np.asarray(encode(texts), np.float32) for name, encode in running.items()}
        reference = vectors["perwatt_fp32"]
        for name, each in vectors.items():
            near = (each * reference).sum(1) / np.linalg.norm(each, axis=1) / np.linalg.norm(reference, axis=1)
            cosines[name] = min(cosines.get(name, 1.0), float(near.mean()))
        figures["cases"][case.name] = {
            name: {
                "ms_per_call": round(1e3 * min(times), 3),
                "ms_per_call_median": round(1e3 * statistics.median(times), 3),
                f"{case.unit}_per_s": round(case.texts / min(times), 1),
                "share_of_int8_peak": round(per_text[case.name] * case.texts / min(times) / (peak * threads), 3),
            }
            for name, times in seconds.items()
        }
        figures["int8_peak_gmacs_per_core"] = round(peak / 1e9, 1)
    figures["mean_cosine_to_fp32"] = {name: round(value, 5) for name, value in cosines.items()}
    figures["units"] = by_unit(folder, tokens, rounds)
    figures["cold_start"] = cold_start(folder, rounds, made)
    figures["ratios"] = ratios(figures["cases"])
    return figures


def ratios(cases: dict[str, dict[str, dict[str, float]]]) -> dict[str, float]:
    """How many times as fast as the others ours is; those that did not take part are left out."""
    return {
        name: round(cases[case][other]["ms_per_call"] / cases[case]["perwatt_int8"]["ms_per_call"], 2)
        for name, (case, other) in RATIOS.items()
        if other in cases[case]
    }


def race(running: dict[str, Encode], texts: list[str], rounds: int) -> tuple[dict[str, list[float]], float]:
    """Seconds a call of each contender, one figure a round, and the multiply-adds a second of the bare product."""
    seconds: dict[str, list[float]] = {name: [] for name in running}
    peak = 0.0
    for encode in running.values():
        encode(texts)
    for _ in range(rounds):
        for name, encode in running.items():
            best, begun = float("inf"), time.perf_counter()
            while True:
                started = time.perf_counter()
                encode(texts)
                ended = time.perf_counter()
                best = min(best, ended - started)
                if ended - begun > LEAST_SECONDS:
                    break
            seconds[name].append(best)
        started = time.perf_counter()
        done = _native.spin(unit_in_use(), 2000 if unit_in_use() != "scalar" else 5)
        peak = max(peak, done / (time.perf_counter() - started))
    return seconds, peak


def by_unit(folder: ModelFolder, tokens: Tokens, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds a call of each unit on one core, without tokenising: {unit: {"query1_int8_ms": …, …}}."""
    texts = {
        case: cut_texts(tokens, count, min(length, folder.max_length)) for case, (count, length) in UNIT_CASES.items()
    }
    ids = {case: tokens.ids(each) for case, each in texts.items()}
    lengths = {case: np.array([len(each) for each in every], np.int32) for case, every in ids.items()}
    found: dict[str, dict[str, float]] = {}
    asked_for = os.environ.get(ENVIRONMENT_VARIABLE)
    try:
        for unit in [name for name in units() if name != "scalar"]:
            os.environ[ENVIRONMENT_VARIABLE] = unit
            found[unit] = {}
            for precision in ("int8", "fp32"):
                encoder = load_encoder(folder.path, precision=precision, backend="native", threads=1)
                assert isinstance(encoder, NativeEncoder)
                for case in UNIT_CASES:
                    best = float("inf")
                    for _ in range(5 * rounds if case == "query1" else rounds):
                        started = time.perf_counter()
                        encoder.encode_ids(ids[case], lengths[case])
                        best = min(best, time.perf_counter() - started)
                    found[unit][f"{case}_{precision}_ms"] = round(1e3 * best, 3)
    finally:
        os.environ.pop(ENVIRONMENT_VARIABLE)
        if asked_for is not None:
            os.environ[ENVIRONMENT_VARIABLE] = asked_for
    return found


COLD_START = """
import sys, time
from embed import load_encoder
if sys.argv[2:]:
    from pathlib import Path
    from embed.encoders.onnx import OnnxEncoder
    from embed.models.fingerprint import fingerprint_of
    from embed.models.folder import find_model
imported = time.perf_counter()
if sys.argv[2:]:
    folder = find_model(sys.argv[1])
    encoder = OnnxEncoder(folder, fingerprint_of(folder, "fp32"), 1, Path(sys.argv[2]))
else:
    encoder = load_encoder(sys.argv[1], threads=1)
encoder.encode(["gzip"], "query")
print(time.perf_counter() - imported)
"""


def cold_start(folder: ModelFolder, rounds: int, made: Path) -> dict[str, dict[str, float]]:
    """Seconds from the start of a process to the vector of its first query, everything prepared and in the page cache:
    {"perwatt": {"process_s", "load_and_query_s"}, "ort_int8": {…}}; the latter part is without Python and its imports.
    The peer takes part where its graph is in the folder `made`.
    """
    runs: dict[str, list[str]] = {"perwatt": []}
    graph = made / ORT_GRAPHS["ort_int8_dynamic"]
    if graph.exists():
        runs["ort_int8"] = [str(graph)]
    found = {name: {"process_s": float("inf"), "load_and_query_s": float("inf")} for name in runs}
    for _ in range(rounds + 1):  # the first of them prepares what is not prepared
        for name, more in runs.items():
            command = [sys.executable, "-c", COLD_START, str(folder.path), *more]
            started = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds = time.perf_counter() - started
            found[name]["process_s"] = min(found[name]["process_s"], seconds)
            found[name]["load_and_query_s"] = min(found[name]["load_and_query_s"], float(done.stdout))
    return {name: {part: round(value, 3) for part, value in each.items()} for name, each in found.items()}


def multiply_adds(folder: ModelFolder, tokens: int) -> int:
    """What one text costs: the linear layers, and attention's scores and weighted sums."""
    config = folder.config
    hidden, inner = int(config["hidden_size"]), int(config["intermediate_size"])
    a_token = 4 * hidden * hidden + 2 * hidden * inner
    return int(config["num_hidden_layers"]) * (tokens * a_token + 2 * tokens * tokens * hidden)


def table(figures: dict[str, Any]) -> str:
    """The figures as lines of text, one block a case."""
    peak = figures["int8_peak_gmacs_per_core"]
    lines = [f"{figures['model']}, {figures['cores']} cores, unit {figures['unit']}, {peak:,.0f} GMAC/s a core at best"]
    for case in CASES:
        measured = figures["cases"][case.name]
        lines.append(f"\n{WHAT[case.name]}")
        ours = measured["perwatt_int8"]["ms_per_call"]
        for name, each in sorted(measured.items(), key=lambda item: item[1]["ms_per_call"]):
            lines.append(
                f"  {LABELS[name]:<28} {each['ms_per_call']:>9.2f} ms"
                f"  {each[f'{case.unit}_per_s']:>9,.0f} {case.unit}/s"
                f"  {each['ms_per_call'] / ours:>6.2f} ×  {each['share_of_int8_peak']:>6.1%} of peak"
                f"  cosine {figures['mean_cosine_to_fp32'][name]:.4f}"
            )
    lines.append("\none core by unit, ms (int8 / fp32): an 8-token query, 32 of them, a document")
    for unit, each in figures["units"].items():
        pairs = (f"{each[f'{case}_int8_ms']:>9.2f} / {each[f'{case}_fp32_ms']:<9.2f}" for case in UNIT_CASES)
        lines.append(f"  {unit:<12}" + "".join(pairs))
    lines.append("\nfrom the start of a process to the first query's vector")
    for name, each in figures["cold_start"].items():
        lines.append(
            f"  {name:<12} {each['process_s']:.3f} s, of it {each['load_and_query_s']:.3f} s after the imports"
        )
    lines.extend(f"\n{name} did not take part: {why}" for name, why in figures["absent"].items())
    lines.append("")
    lines.extend(_pairs(figures["ratios"].items()))
    return "\n".join(lines)


def _pairs(items: Iterable[tuple[str, float]]) -> list[str]:
    return [f"{name:<38} {value:.2f}" for name, value in items]
