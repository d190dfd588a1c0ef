"""Limits native libraries to a stated number of threads, by environment variables that they read at import.

Each request thread that calls into OpenMP gets a pool of its own, and each library brings another. A server that leaves
them at their defaults runs several times as many threads as it has cores, all spinning. This module imports nothing
that could start them, and `pin` must run before anything does.
"""

from __future__ import annotations

import os

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")


def pin(threads: int = 1) -> None:
    """What the operator has set already is left alone."""
    for variable in VARIABLES:
        os.environ.setdefault(variable, str(threads))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waiting threads sleep instead of spinning
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def environment(threads: int) -> dict[str, str]:
    """Of a process that is to have so many, whatever this one has."""
    return {**os.environ, **dict.fromkeys(VARIABLES, str(threads))}
