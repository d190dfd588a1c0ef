"""The harness turned on itself: what does it say where the truth is known?

The short form runs in virtual time and takes seconds; it belongs to every test run. The full form adds proofs against
real processes and real clocks: a server with a planted capacity over HTTP, a stopped server, a starved generator, a
pair of equal runs. Those need a quiet machine, so they have a command of their own and are not part of the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from loadtest.errors import LoadTestError
from loadtest.selftest.proof import Proof
from loadtest.selftest.simulate import Queue
from loadtest.selftest.virtual import aa_proof, knee_proof, planted_proof, same_machine_proof


def run_selftest(
    full: bool, tell: Callable[[str], None], only: Sequence[str] = (), target: str = "perwatt"
) -> list[Proof]:
    """All proofs in order, each told as it ends; `only` picks some of those in real time by name, and `target` is what
    those in real time ask their server through."""
    proofs: list[Callable[[], list[Proof]]] = []
    if not only:
        proofs.append(lambda: [knee_proof("M/D/1", Queue(0.001), 0.020)])
        proofs.append(lambda: [knee_proof("M/M/1", Queue(0.001, 1, constant=False), 0.020)])
        proofs.append(lambda: [knee_proof("M/M/4", Queue(0.004, 4, constant=False), 0.030)])
        proofs.append(lambda: [aa_proof(), planted_proof(1.40), planted_proof(1.05), same_machine_proof()])
    if full or only:
        from loadtest.selftest import realtime

        unknown = sorted(set(only) - realtime.PROOFS.keys())
        if unknown:
            raise LoadTestError(f"no proof is called {', '.join(unknown)}; expected {', '.join(realtime.PROOFS)}")
        proofs += [partial(proof, target) for name, proof in realtime.PROOFS.items() if not only or name in only]
    results = []
    for proof in proofs:
        for result in proof():
            results.append(result)
            tell(f"{'passed' if result.passed else 'FAILED'}  {result.name}: {result.found}")
    return results
