"""The builds that do the arithmetic: a library compiled for another instruction set is another machine.

Versions alone do not say it. FAISS picks one of several builds of itself when it is loaded, OpenBLAS one of several
sets of kernels, and each copy of OpenBLAS in the process (numpy and FAISS bring one each) picks for itself and has
threads of its own. So they are loaded and asked, as whoever searches would find them.
"""

from __future__ import annotations

from typing import Any

from embed.vectors.provenance import installed


def libraries() -> dict[str, str]:
    """{"numpy", "FAISS", "BLAS of numpy", …} → version and build, of this Python environment; what is missing is not
    there.
    """
    found: dict[str, str] = {}
    try:
        import numpy as np

        config: Any = np.show_config(mode="dicts")
        found["numpy"] = f"{np.__version__}, SIMD {', '.join(config['SIMD Extensions'].get('found', [])) or 'baseline'}"
        blas = config["Build Dependencies"]["blas"]
        found["BLAS of numpy, as built"] = blas.get("openblas configuration") or f"{blas['name']} {blas['version']}"
    except (ImportError, KeyError):
        pass
    try:
        import faiss

        found["FAISS"] = f"{installed('faiss-cpu') or faiss.__version__}, {faiss.get_compile_options().strip()}"
    except ImportError:
        pass
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return found
    for pool in sorted(threadpool_info(), key=_name):  # the order they were loaded in says nothing
        found[_name(pool)] = ", ".join(_build(pool))
    return found


def _name(pool: dict[str, Any]) -> str:
    """ "BLAS of numpy": whose copy it is stands in its path (numpy.libs, faiss_cpu.libs)."""
    kind = "BLAS" if pool["user_api"] == "blas" else "OpenMP"
    owner = next((part.removesuffix(".libs") for part in pool["filepath"].split("/") if part.endswith(".libs")), None)
    return f"{kind} of {owner.removesuffix('_cpu')}" if owner else f"{kind} of the system"


def _build(pool: dict[str, Any]) -> list[str]:
    parts = [" ".join(filter(None, (pool["internal_api"], pool["version"])))]
    if pool.get("architecture"):
        parts.append(f"kernels {pool['architecture']}")
    if pool.get("threading_layer"):
        parts.append(pool["threading_layer"])
    return [*parts, f"{pool['num_threads']} threads"]
