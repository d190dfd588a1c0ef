"""What plainer processors of this architecture run: the ladder of units cut at each rung, and the suite on every cut.

    python tests/rungs.py [arguments of pytest …]        # `make test-units`

A cut leaves of this processor what its rung needs (native/cpu.cpp) and hides the rest in PERWATT_HIDE_ISA, so each is
some real processor's: Zen 4 has AVX-512 and VNNI without AMX, Skylake AVX-512 without VNNI, Alder Lake VNNI without
AVX-512, Haswell neither. A rung that this processor does not have cannot be tried on it, and is named.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from index.kernels import _native

VARIABLE = "PERWATT_HIDE_ISA"

# The libraries that tests hold ours beside know nothing of that variable and have their own (ONNX Runtime has none).
LIBRARIES = (
    "FAISS_SIMD_LEVEL",
    "OPENBLAS_CORETYPE",
    "ATEN_CPU_CAPABILITY",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_MAX_CPU_ISA",
)
# The scalar unit is the oracle, and takes ten times as long for a text as any other: tests wait longer and weigh less.
SLOW, PATIENCE, TEST_S = "scalar", 5, 400
PLAINER = {
    "scalar": ("NONE", "Nehalem", "default", "SSE4_2", "SSE41"),
    "avx2": ("AVX2", "Haswell", "avx2", "AVX2", "AVX2"),
    "avx2vnni": ("AVX2", "Haswell", "avx2", "AVX2", "AVX2_VNNI"),
}


def cuts() -> dict[str, str]:
    """Of each rung that can run here, plainest first, the words that hide what it does not need."""
    ladder = dict(_native.ladder())
    known = {feature: None for needs in ladder.values() for feature in needs}  # in their order
    able = set(_native.features())
    return {
        rung: ",".join(feature for feature in known if feature not in needs)
        for rung, needs in ladder.items()
        if able.issuperset(needs)
    }


def environment(rung: str) -> dict[str, str]:
    """What a process is started with to take this machine for one that ends at the rung."""
    libraries = {}
    if "avx2" in dict(_native.ladder()):
        libraries = dict(zip(LIBRARIES, PLAINER.get(rung, ()), strict=False))
    slow = {"PERWATT_TEST_PATIENCE": str(PATIENCE)} if rung == SLOW else {}
    return os.environ | libraries | slow | {VARIABLE: cuts()[rung]}


def main(arguments: list[str]) -> int:
    *plainer, whole = cuts()
    if absent := [rung for rung, _ in _native.ladder() if rung not in (*plainer, whole)]:
        print(f"This processor cannot run {', '.join(absent)}: try them on another.")
    print(f"{whole} is what `make test` runs; below it: {', '.join(plainer) or 'nothing'}.", flush=True)
    ends = []
    for rung in reversed(plainer):
        print(f"\n=== {rung}: {VARIABLE}={cuts()[rung]}", flush=True)
        started = time.monotonic()
        command = [sys.executable, "-m", "pytest", "--numprocesses", "auto", "--dist", "worksteal"]
        command += ["--timeout", str(TEST_S * (PATIENCE if rung == SLOW else 1)), *arguments]
        code = subprocess.run(command, env=environment(rung), check=False).returncode
        ends.append((rung, code, (time.monotonic() - started) / 60))
    print()
    for rung, code, minutes in ends:
        print(f"{rung:<12} {'passed' if code == 0 else f'FAILED (pytest ended with {code})'} in {minutes:.0f} minutes")
    return int(any(code for _, code, _ in ends))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
