"""The run record: one JSON file with everything needed to make every report again. Reports read it; nothing else is
kept.

A record holds raw counts and encoded histograms, the machines, what was asked, what it cost and where each figure comes
from. It is written once, atomically, and checked strictly when read: an unknown field is a version that this code does
not know, and guessing at its meaning is how wrong numbers are made.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from embed.vectors.durable import write_atomically
from loadtest.errors import RecordError
from loadtest.machine import Machine
from loadtest.power.energy import Energy
from loadtest.prices.price import Price, check
from loadtest.record.objective import Objective
from loadtest.record.results import Calibration, Knee
from loadtest.record.trial import Trial

FORMAT = "perwatt-run/1"


class Label(msgspec.Struct, forbid_unknown_fields=True):
    """What the run is a sample of: an arm (a machine type with a configuration), in a block of an experiment."""

    arm: str = "this machine"
    block: int = 0
    experiment: str = ""
    simulated: bool = False


class ServiceFacts(msgspec.Struct, forbid_unknown_fields=True):
    """What the service said it serves (GET /v1/indexes/{index} and /version), as far as it said it."""

    url: str
    index: str
    generation: str | None = None
    model: str | None = None
    count: int | None = None
    dim: int | None = None
    metric: str | None = None
    recall: Any = None
    kernels: Any = None
    version: Any = None
    engine: str | None = None  # None in records from when perwatt was the only one
    settings: Any = None  # of the engine's index, as it tells them
    image: str | None = None  # the digest of the container that served, as the user tells it
    effort_name: str | None = None  # the engine's own name of what `Trial.effort` is a value of
    replicas: list[int] | None = None  # servers of each shard, where a router asks them; None: there is none

    @property
    def shards(self) -> int:
        """S."""
        return len(self.replicas or [0])

    @property
    def servers(self) -> int:
        """Behind the router; 0 where there is none."""
        return sum(self.replicas or [])


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """The workload: what makes two runs comparable. `fingerprint` is the sha256 of all request bodies."""

    queries: int
    kind: str
    fingerprint: str
    popularity: str
    filters: list[dict[str, Any]]
    k: int
    mode: str | None = None
    questions: str = ""  # sha256 of the queries and filters, however the engine is asked them; "": an older record
    truth: str = ""  # what answers were held against


class Indexing(msgspec.Struct, forbid_unknown_fields=True):
    """What embedding or building cost, from the record its own run left behind."""

    step: str  # "embed" or "build"
    items: int
    seconds: float
    cpu_seconds: float | None
    source: str
    tokens: int | None = None
    energy: Energy | None = None  # metered while the step ran
    encoder_usd: float | None = None  # paid for the tokens of a model that runs elsewhere, at the price the user gave


class EncoderElsewhere(msgspec.Struct, forbid_unknown_fields=True):
    """What a million tokens cost of a model that runs on another machine, as the user gave it; None: not given."""

    usd_per_million_tokens: float | None = None
    joules_per_million_tokens: float | None = None


class Record(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One run. `server` is the machine under test, None when it was not told; `shared` says that the generator ran on
    it.
    """

    format: str = FORMAT
    kind: str  # run, knee, curve, soak, indexing
    created_at: str
    perwatt: str
    label: Label
    objective: Objective
    served: ServiceFacts | None = None
    asked: Asked | None = None
    server: Machine | None = None
    generator: Machine | None = None
    shared: bool = False
    cores_served: int | None = None  # CPUs the service was confined to, if it was
    trials: list[Trial] = []
    calibration: Calibration | None = None
    knee: Knee | None = None
    price: Price | None = None
    encoder: EncoderElsewhere | None = None  # where the service's encoder runs elsewhere and its price is known
    power_notes: list[str] = []
    indexing: list[Indexing] = []
    textbook: list[Any] = []  # of older versions: a closed loop beside ours; nothing reads it
    notes: list[str] = []

    @property
    def id(self) -> str:
        """Of what its file says: a float that is still an int here (100, not 100.0) must not make it another run."""
        written = msgspec.json.decode(msgspec.json.encode(self), type=Record)
        return hashlib.sha256(msgspec.json.encode(written)).hexdigest()[:12]

    @property
    def invalid(self) -> list[str]:
        """Why the numbers of this run may not be shown; empty when they may."""
        from loadtest.record.validity_checks import reasons

        found = []
        for machine, whose in (
            (self.server, "service's machine"),
            (self.generator, "generator's machine"),
        ):
            if machine is not None and machine.emulated:
                found.append(f"the {whose} is emulated: {machine.emulated[0]}")
        switched = sorted({g for trial in self.trials if trial.server is not None for g in trial.server.generations})
        if len(switched) > 1:
            found.append(f"the index was switched while it was measured: answers came from {', '.join(switched)}")
        for trial in self.failed:
            found += [f"{trial.role} at {trial.offered_qps:,.4g} q/s: {reason}" for reason in reasons(trial)]
        return found

    @property
    def unseen(self) -> int:
        """Servers behind a router whose processes were not watched."""
        of = self.served.servers if self.served is not None else 0
        return of - min(max((trial.server.servers for trial in self.trials if trial.server is not None), default=0), of)

    @property
    def elsewhere(self) -> str:
        """Said where servers behind a router were not seen on the one machine that was watched and metered, and nobody
        said that they are all on it; else empty."""
        if self.served is None or not self.unseen or (self.price is not None and self.price.machines == 1):
            return ""
        return f"{self.unseen} of the {self.served.servers} servers behind the router run where nothing was watched"

    @property
    def failed(self) -> list[Trial]:
        """Trials that make the run invalid. A search may overload the service (sheds), and a run may not; nothing may
        spoil a trial."""
        counted = [trial for trial in self.trials if trial.role != "voided"]
        return [trial for trial in counted if (not trial.valid if self.kind == "run" else trial.spoiled)]


def check_writable(path: Path) -> None:
    """RecordError when no record could be written at `path`; asked before an hour of load, and not after it."""
    try:
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise RecordError(f"{path} cannot be written ({error}); name another file with --out") from error


def write_record(record: Record, path: Path) -> Path:
    """Write atomically: a record is there whole or not at all."""
    check_writable(path)
    write_atomically(path, msgspec.json.format(msgspec.json.encode(record), indent=1))
    return path


def read_record(path: Path) -> Record:
    try:
        raw = path.read_bytes()
        kind = msgspec.json.decode(raw, type=_Format).format
    except (OSError, msgspec.MsgspecError) as error:
        raise RecordError(f"{path} is not a run record: {error}") from error
    if kind != FORMAT:
        raise RecordError(f"{path} has format {kind!r}; this version reads {FORMAT!r}")
    try:
        record = msgspec.json.decode(raw, type=Record)
    except msgspec.MsgspecError as error:
        raise RecordError(f"{path} is damaged or of another version: {error}") from error
    if problem := _unsound(record):
        raise RecordError(f"{path} cannot be used: {problem}")
    return record


def _unsound(record: Record) -> str | None:
    """What no run of ours could have written: reports would divide by it or draw it."""
    if record.price is not None and (problem := check(record.price)):
        return f"the price of {record.price.instance}: {problem}"
    for trial in record.trials:
        counts = (trial.planned, trial.sent, trial.shed, trial.missed, trial.answered, trial.planned - trial.answered)
        if not (trial.window_s > 0 and trial.slice_s > 0 and trial.offered_qps >= 0 and min(counts) >= 0):
            return f"the {trial.role} trial of {trial.started_at} has a window or counts that cannot be"
    knee = record.knee
    if knee is not None and not (0 < knee.knee_low_qps <= knee.knee_qps <= knee.knee_high_qps):
        return f"the knee {knee.knee_qps} lies outside its interval {knee.knee_low_qps} to {knee.knee_high_qps}"
    return None


class _Format(msgspec.Struct):
    format: str
