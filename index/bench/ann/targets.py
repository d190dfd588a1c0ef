"""What was aimed for, and what a run reached: ratios within the run, so that the machine's own speed drops out.

A ratio is of queries a second at the same target of recall, each engine with its cheapest setting for it; of build
seconds on the same cores; or of bytes. Where the best peer is meant, it is the best of all that reached the recall.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

SPEED, COMPACT, QUICK, AUTO = "perwatt", "perwatt-compact", "perwatt-quick", "perwatt-auto"
SYMQG = ("rabitqlib", "rabitqlib-8bit")
FAISS_GRAPHS = ("faiss-hnsw16", "faiss-hnsw32")
RECALLS = ("0.95", "0.99")
FEW = 128  # dimensions, that have targets of their own
BEST_PEER = {"0.90": 1.4, "0.95": 1.6, "0.99": 2.0}  # times the best peer's queries a second
AS_QUICK = 0.97  # of the better profile's queries a second
EQUAL = "0.95"  # the recall at which a graph that is built sooner must be searched as quickly


class Reached(NamedTuple):
    """One target and what it came to; `value` is None where the run did not measure what it is about."""

    name: str
    part: str  # of the target: "recall 0.95", …; empty where it has but one
    target: float
    at_least: bool  # else at most
    value: float | None
    against: str  # the engine it was compared with

    def met(self) -> bool | None:
        if self.value is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target


def reached(engines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every target of an engine that took part: {"name", "part", "target", "at_least", "value", "against", "met"}."""
    return [{**one._asdict(), "met": one.met()} for one in _all({each["name"]: each for each in engines})]


def few_dimensions(engines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The targets of sets of FEW dimensions, as `reached` has them; of auto where it took part, else of compact."""
    known = {each["name"]: each for each in engines}
    compact, hnsw = known.get(COMPACT), known.get(FAISS_GRAPHS[0])
    mine, peers = known.get(AUTO, compact), [each for each in engines if not each["ours"]]
    found = list(_times("queries/s × best peer's", dict.fromkeys(RECALLS, 1.5), mine, peers, "k10_t1"))
    found.append(_share("compact: memory, of float32 HNSW's", "codes and graph", 0.45, compact, hnsw, _read))
    return [{**one._asdict(), "met": one.met()} for one in found]


def qps(engine: dict[str, Any] | None, case: str, recall: str) -> float | None:
    found = (engine or {}).get("cases", {}).get(case, {}).get("at", {}).get(recall)
    return None if found is None else float(found["qps"])


def says(case: str) -> str:
    k, threads = parts(case)
    return f"k = {k}, {threads} thread{'s' * (threads != 1)}"


def parts(case: str) -> tuple[int, int]:
    """k and threads."""
    k, threads = case.split("_t")
    return int(k[1:]), int(threads)


def _all(known: dict[str, dict[str, Any]]) -> Iterable[Reached]:
    ours, compact = known.get(SPEED), known.get(COMPACT)
    peers = [each for each in known.values() if not each["ours"]]
    cases = sorted({case for each in known.values() for case in each["cases"]}, key=parts)
    for case in cases:
        yield from _times(f"speed, {says(case)}: queries/s × best peer's", BEST_PEER, ours, peers, case)
    profiles = [each for each in (ours, compact) if each is not None]
    if AUTO in known and profiles:
        for case in cases:
            name = f"auto, {says(case)}: queries/s × the better profile's"
            yield from _times(name, dict.fromkeys(BEST_PEER, AS_QUICK), known[AUTO], profiles, case)
    for case in cases[:1]:
        for names, label in ((FAISS_GRAPHS, "faiss HNSW's"), (("hnswlib",), "hnswlib's")):
            others = [known[name] for name in names if name in known]
            yield from _times(
                f"speed, {says(case)}: queries/s × {label}", dict.fromkeys(RECALLS, 5.0), ours, others, case
            )
    yield from _scaling(ours, cases)
    yield from _memory(known, ours, compact)
    if compact is not None:
        hnsw = [known[name] for name in FAISS_GRAPHS if name in known]
        for case in cases:
            name = f"compact, {says(case)}: queries/s × faiss HNSW's"
            yield from _times(name, dict.fromkeys(RECALLS, 2.5), compact, hnsw, case)
    yield from _build(known, cases[:1])


def _times(
    name: str, targets: dict[str, float], ours: dict[str, Any] | None, others: list[dict[str, Any]], case: str
) -> Iterable[Reached]:
    for recall, target in targets.items():
        mine = qps(ours, case, recall)
        best = max(others, key=lambda each: qps(each, case, recall) or 0.0, default=None)
        theirs = qps(best, case, recall)
        value = round(mine / theirs, 2) if mine and theirs else None
        against = best["label"] if best and theirs else "none that reached it"
        yield Reached(name, f"recall {recall}", target, True, value, against)


def _scaling(ours: dict[str, Any] | None, cases: list[str]) -> Iterable[Reached]:
    for case in cases:
        k, threads = parts(case)
        if threads == 1:
            continue
        for recall in RECALLS:
            many, one = qps(ours, case, recall), qps(ours, f"k{k}_t1", recall)
            value = round(many / one, 2) if many and one else None
            name = f"speed, k = {k}: queries/s on {threads} threads × on one"
            yield Reached(name, f"recall {recall}", 0.95 * threads, True, value, "perwatt, speed")


def _memory(
    known: dict[str, dict[str, Any]], ours: dict[str, Any] | None, compact: dict[str, Any] | None
) -> Iterable[Reached]:
    symqg, hnsw = known.get(SYMQG[0]), known.get(FAISS_GRAPHS[0])
    name = "speed: memory, of SymphonyQG's"
    yield _share(name, "codes and graph", 0.75, ours, symqg, _read)
    yield _share(name, "all that is resident", 0.75, ours, symqg, _resident)
    if compact is not None:
        name = "compact: memory, of float32 HNSW's"
        yield _share(name, "codes and graph", 0.45, compact, hnsw, _read)
        yield _share(name, "all that is resident", 0.45, compact, hnsw, _resident)


def _read(engine: dict[str, Any]) -> float:
    sizes = engine["bytes_per_vector"]
    return float(sizes.get("read_by_searches", sizes["private"] + sizes["mapped"]))


def _resident(engine: dict[str, Any]) -> float:
    sizes = engine["bytes_per_vector"]
    return float(sizes["private"] + sizes["mapped"])


def _share(
    name: str,
    part: str,
    target: float,
    ours: dict[str, Any] | None,
    other: dict[str, Any] | None,
    size: Callable[[dict[str, Any]], float],
) -> Reached:
    value = round(size(ours) / _resident(other), 2) if ours and other and _resident(other) else None
    return Reached(name, part, target, False, value, other["label"] if other else "nothing, it was not measured")


def _build(known: dict[str, dict[str, Any]], cases: list[str]) -> Iterable[Reached]:
    """How many times as long a peer builds, where ours is searched as quickly."""
    for mine in (COMPACT, QUICK):
        for names, label, target in ((("hnswlib",), "hnswlib's", 4.0), (SYMQG[:1], "SymphonyQG's", 3.0)):
            ours, theirs = known.get(mine), next((known[name] for name in names if name in known), None)
            if ours is None:
                continue
            value, against = None, theirs["label"] if theirs else "nothing, it was not measured"
            if theirs and cases:
                as_quick = (qps(ours, cases[0], EQUAL) or 0.0) >= (qps(theirs, cases[0], EQUAL) or 0.0)
                value = round(theirs["build"]["seconds"] / ours["build"]["seconds"], 2) if as_quick else None
            by = "quick" if mine == QUICK else "own"
            yield Reached(f"build by {by}: {label} seconds, times ours", "", target, True, value, against)
