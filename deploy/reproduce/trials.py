"""Ratios of two things on one machine, measured by turns: a round is one look at both, and its ratio is what counts.

What is compared is vectors a second of one thread, in a set that the claim's own setting had or that a core's cache
holds. Random vectors serve: the time of an exact distance does not depend on what is in it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from deploy.errors import DeployError
from deploy.reproduce.claim import Claim
from index import kernels
from index.bench.memory import cache_bytes, threads_of_libraries, timed
from index.kernels import _native
from loadtest.analysis.ratio import Mean, geometric_mean

ROUNDS = 9
K = 10

Call = Callable[[], object]


def measured(claim: Claim, rounds: int = ROUNDS) -> Mean:
    """The ratio of a claim on this machine. DeployError: it cannot be measured here."""
    trial = TRIALS.get(claim.trial)
    if trial is None:
        raise DeployError(f"claim {claim.id} has the trial {claim.trial!r}; there are {', '.join(TRIALS)}")
    with threads_of_libraries():
        subject, baseline = trial(**claim.given)
        return by_turns(subject, baseline, rounds)


def by_turns(subject: Call, baseline: Call, rounds: int) -> Mean:
    """How many times as fast the subject is as the baseline, with the interval over rounds."""
    subject(), baseline()
    ratios = []
    for number in range(rounds):
        first, second = (subject, baseline) if number % 2 else (baseline, subject)
        seconds = {first: timed(first), second: timed(second)}
        ratios.append(seconds[baseline] / seconds[subject])
    return geometric_mean(ratios)


def faiss_codes(subject: str, baseline: str, rows: int, dim: int) -> tuple[Call, Call]:
    """Exact searches of FAISS, one query at a time, over float32 ("Flat") and its scalar codes ("QT_8bit", …)."""
    faiss: Any = importlib.import_module("faiss")
    vectors = np.random.default_rng(5).standard_normal((rows, dim), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def search(name: str) -> Call:
        ip = faiss.METRIC_INNER_PRODUCT
        flat = name == "Flat"
        index = (
            faiss.IndexFlatIP(dim)
            if flat
            else faiss.IndexScalarQuantizer(dim, getattr(faiss.ScalarQuantizer, name), ip)
        )
        index.train(vectors[: min(rows, 10_000)])
        index.add(vectors)
        return partial(index.search, vectors[:1], K)

    return search(subject), search(baseline)


def our_units(type: str, dim: int, subject: str, baseline: str) -> tuple[Call, Call]:
    """Our own kernels with one SIMD unit and another, over a set of a core's own cache."""
    there = kernels.units()
    for unit in (subject, baseline):
        if unit not in there:
            raise DeployError(f"this machine has no {unit}; it has {', '.join(there)}")
    return _ours(type, dim, subject), _ours(type, dim, baseline)


def against_faiss(type: str, dim: int) -> tuple[Call, Call]:
    """Our best unit, and FAISS."""
    faiss: Any = importlib.import_module("faiss")
    rows = _rows(type, dim)
    if type == "float32":
        out = np.empty(len(rows), np.float32)
        pointers = [faiss.swig_ptr(each) for each in (out, rows[0].copy(), rows)]
        return _ours(type, dim, None), lambda: (faiss.fvec_inner_products_ny(*pointers, dim, len(rows)), out)
    index = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT)
    index.is_trained = True
    index.add(rows.astype(np.float32))
    return _ours(type, dim, None), partial(index.search, rows[:1].astype(np.float32), 1)


TRIALS: dict[str, Callable[..., tuple[Call, Call]]] = {
    "faiss_codes": faiss_codes,
    "our_units": our_units,
    "against_faiss": against_faiss,
}


def _rows(type: str, dim: int) -> Any:
    size = (cache_bytes(2) or 1 << 20) // 2 // (dim * (1 if type == "int8" else 4))
    random = np.random.default_rng(5)
    if type == "int8":
        return random.integers(-127, 128, (size, dim), np.int8)
    return random.standard_normal((size, dim), np.float32)


def _ours(type: str, dim: int, unit: str | None) -> Call:
    rows = _rows(type, dim)
    product, kind = (_native.dot_i8, np.int32) if type == "int8" else (_native.dot_f32, np.float32)
    more: dict[str, Any] = {} if unit is None else {"unit": unit}
    return partial(product, rows[0].copy(), rows, np.empty(len(rows), kind), **more)
