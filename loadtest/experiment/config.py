"""What an experiment is asked to do: the service, the load, the objective, the machine, and each kind of run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from loadtest.errors import WorkloadError

Send = Literal["text", "vector", "both"]


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """What every command that loads a service is told.

    Args:
        target, template, variables: the engine by name, the file that says how "http" is asked, NAME=VALUE for it.
        truth, metric: files of the vectors and ids that the engine holds, for exact answers.
        qrels, measure: a file of judgements, and what of the answers is measured by them.
        queries: a file of queries or a folder of vectors, of which `field` of the payload is asked for.
        effort: of a search; "auto": the cheapest that proves `recall_target`; None: the service's own.
        filters, filters_file: SHARE:JSON texts, and a file of the same.
        slo_p99_ms, recall_target: the objective; a recall that must be proven, None: none.
        processes: generators.
        bind: host:port where those of other hosts come; None: they are processes of this one.
        recall_queries: whose exact answers are fetched before.
        instance, region, prices: what the machine costs, by name in a table; None: as the machine tells.
        server_facts: a file about the service's machine, where that is another one.
        image: digest of the container image that serves, as it is told.
        cores_served: CPUs that the service is confined to.
        encoder_price, encoder_joules: dollars and joules of a million tokens, of an encoder on another machine.
        power_source, redfish, shelly, sysfs_powercap: where joules are read; None: what is found here.
        start, start_cpus: a command that starts the service, and where.
        indexing, energy: folders whose making belongs to the bill, and STEP=FILE of its joules.
        first: run the generator before other programs where that is allowed.
        out: of the run record; None: a file named after the kind of run.
    """

    queries: Path
    index: str = ""
    target: str = "perwatt"
    template: Path | None = None
    variables: Sequence[str] = ()
    truth: tuple[Path, Path] | None = None
    metric: str = "cosine"
    qrels: Path | None = None
    measure: Literal["recall", "ndcg"] = "recall"
    url: str = "http://127.0.0.1:8000"
    field: str = "title"
    k: int = 10
    effort: int | Literal["auto"] | None = None
    mode: str | None = None
    popularity: str = "uniform"
    filters: Sequence[str] = ()
    filters_file: Path | None = None
    send: Send = "text"
    processes: int = 1
    bind: str | None = None
    max_in_flight: int = 1024
    timeout_s: float = 10.0
    warmup_s: float = 2.0
    seed: int = 1
    slo_p99_ms: float = 100.0
    recall_target: float | None = None
    recall_queries: int = 300
    arm: str = "this machine"
    block: int = 0
    experiment: str = ""
    image: str | None = None
    instance: str | None = None
    region: str | None = None
    prices: Path | None = None
    server_facts: Path | None = None
    cores_served: int | None = None
    encoder_price: float | None = None
    encoder_joules: float | None = None
    power_source: str | None = None
    redfish: str | None = None
    shelly: str | None = None
    sysfs_powercap: Path | None = None
    start: str | None = None
    start_cpus: list[int] | None = None
    indexing: Sequence[Path] = ()
    energy: Sequence[str] = ()
    first: bool = True
    allow_interference: bool = False
    calibrate_s: float = 5.0
    generator_cpus: list[int] | None = None
    out: Path | None = None


@dataclass(frozen=True, kw_only=True)
class TrialRun:
    """One trial at a rate; calibrate: prove the generator first."""

    rate_qps: float
    duration_s: float = 30.0
    calibrate: bool = False


@dataclass(frozen=True, kw_only=True)
class CurveRun:
    """Levels from idle to 100 % of a capacity."""

    level_s: float = 10.0
    levels: int = 10


@dataclass(frozen=True, kw_only=True)
class KneeRun:
    """A search between two rates.

    Args:
        tolerance: relative width of the final bracket.
        curve: recorded afterwards; None: it is not.
        calibrate: prove the generator at three times what was found.
    """

    start_qps: float = 50.0
    limit_qps: float = 100_000.0
    search_s: float = 10.0
    confirm_s: float = 30.0
    tolerance: float = 0.03
    curve: CurveRun | None = CurveRun()
    calibrate: bool = True


@dataclass(frozen=True, kw_only=True)
class SoakRun:
    """Hours at a constant rate."""

    rate_qps: float
    hours: float = 1.0

    @property
    def duration_s(self) -> int:
        return max(round(self.hours * 3600), 1)


@dataclass(frozen=True, kw_only=True)
class CalibrationRun:
    """The generator's own ceiling, without the service."""

    start_qps: float = 5000.0


Run = TrialRun | KneeRun | CurveRun | SoakRun | CalibrationRun


def parse_cpus(text: str | None, option: str = "--generator-cpus") -> list[int] | None:
    """ "0,2-3" → [0, 2, 3]. Raises WorkloadError for others than this process may use."""
    if text is None:
        return None
    found: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            found += range(int(first), int(last or first) + 1)
    except ValueError:
        found = []
    here = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(found)
    if not found or not set(found) <= here:
        raise WorkloadError(f"{option} {text!r}: expected some of the CPUs {sorted(here)}, such as 1 or 0,2-3")
    return found


def parse_place(text: str, option: str) -> tuple[str, int]:
    """ "10.0.0.7:5557" → ("10.0.0.7", 5557). Raises WorkloadError for anything else."""
    host, _, port = text.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 65535:
        raise WorkloadError(f"{option} {text!r}: expected a host and a port, such as 10.0.0.7:5557")
    return host, int(port)


def parse_variables(texts: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE texts. Raises WorkloadError for what is none."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise WorkloadError(f"{text!r}: expected NAME=VALUE, such as field=embedding")
        found[name] = value
    return found
