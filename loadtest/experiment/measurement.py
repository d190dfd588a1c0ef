"""A measurement set up: the service started or found, asked what it serves, exact answers fetched, the generator ready.

What the commands share. `Bench` refuses an emulated machine before any load is made, and asks one query of each kind
before the first trial, so that a wrong address, index or key is an error and not a load test of error messages.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType

import click
import msgspec

from embed.vectors.provenance import now_utc, own_version
from embed.vectors.scratch import scratch_folder
from loadtest.errors import InvalidRun, LoadTestError, ServiceLost
from loadtest.experiment.bridged import bridged
from loadtest.experiment.config import CalibrationRun, CurveRun, ExperimentConfig, KneeRun, parse_variables
from loadtest.experiment.curve import load_curve
from loadtest.experiment.effort import asked_effort
from loadtest.experiment.hosted import Hosted, hosted, lost
from loadtest.experiment.indexing import read_steps
from loadtest.experiment.knee import Measure, find_knee, sound
from loadtest.experiment.planned import as_vectors, plan_of
from loadtest.experiment.quality import known_answers
from loadtest.experiment.server import encoder_elsewhere, facts_of, power_source, price_of
from loadtest.experiment.soak import drifts
from loadtest.generator.run import Generator, Interrupted, Live, idle_trial
from loadtest.generator.watch import busiest, listeners, on_this_machine
from loadtest.machine import Machine, read_machine
from loadtest.record.objective import Objective
from loadtest.record.results import Calibration, Knee
from loadtest.record.run_record import Asked, Label, Record, ServiceFacts, check_writable, write_record
from loadtest.record.trial import Trial
from loadtest.record.validity_checks import beyond_doubt
from loadtest.targets.contract import refuse
from loadtest.targets.named import target_of
from loadtest.targets.pgvector import is_database
from loadtest.targets.questions import try_each_kind
from loadtest.workload.plan import Plan
from loadtest.workload.queries import read_queries, write_queries
from loadtest.workload.requests import Address, Workload


class Bench:
    """Use as a context; `record` gathers everything at the end."""

    def __init__(self, kind: str, config: ExperimentConfig, live: Live, ask_service: bool) -> None:
        self.kind, self.config = kind, config
        self.out = config.out or Path(f"{kind}.json")
        if ask_service:
            check_writable(self.out)
        self.trials: list[Trial] = []
        self.knee: Knee | None = None
        self.notes: list[str] = []
        self.indexing = read_steps(config.indexing, config.energy)
        self.served_bytes = 0
        self.hosted: Hosted | None = None
        self.here = read_machine()
        if self.here.emulated:
            raise InvalidRun(
                f"this machine is emulated ({self.here.emulated[0]}): its timings say nothing about the CPU it "
                "emulates. Run on the real architecture"
            )
        self.facts = facts_of(config.server_facts)
        self.objective = Objective(
            p99_ms=config.slo_p99_ms,
            recall=config.recall_target,
            measure="judged recall" if config.qrels and config.measure == "recall" else config.measure,
        )
        self.truth_source = ""
        self.variables = parse_variables(config.variables)
        self._url = config.url
        self._behind: str | None = None
        with ExitStack() as opened:
            self._folder = opened.enter_context(scratch_folder())
            if config.target == "pgvector" and is_database(self._url):
                self._url, self._behind = opened.enter_context(bridged(config, self.variables))
            elif config.start:
                _tell(f"starting {config.start}")
                ready = target_of(self._plan()).ready_path
                self.hosted = opened.enter_context(hosted(config.start, config.start_cpus, ready=ready))
                self._url = self.hosted.url
            self.target = target_of(self._plan())
            opened.callback(lambda: self.target.close())  # of the target there is by then
            if ask_service and (resolved := self.target.resolved()):
                self.variables |= resolved
                self.target.close()
                self.target = target_of(self._plan())
            self._prepare(live, ask_service)
            self._opened = opened.pop_all()

    def _prepare(self, live: Live, ask_service: bool) -> None:
        config = self.config
        self.local = on_this_machine(Address.parse(self._url).host)
        self.price, notes = price_of(config, self._server(), _tell)
        self.notes += notes
        self.plan = self._plan()
        queries = read_queries(config.queries, field=config.field, limit=self.plan.queries_limit)
        if config.send != "text":
            queries = as_vectors(queries, 1.0 if config.send == "vector" else 0.5, self.target)
            file = self._folder / "queries.jsonl"
            write_queries(queries, file)
            self.plan = msgspec.structs.replace(self.plan, queries=str(file))
        self.workload = Workload(self.plan, queries, self.target)
        refuse(self.target, self.workload)
        self.served: ServiceFacts | None = None
        if ask_service:
            self._ask_service()
        self.generator = Generator(
            self.plan,
            source=power_source(config, self.local),
            live=live,
            tell=_tell,
            cpus=config.generator_cpus,
            first=config.first,
            allow_interference=config.allow_interference,
        )

    def _plan(self) -> Plan:
        return plan_of(self.config, self._url, self._behind, self.variables)

    def _ask_service(self) -> None:
        target = self.target
        self.served = target.served()
        if self.config.image is not None:
            self.served = msgspec.structs.replace(self.served, image=self.config.image)
        self.plan = msgspec.structs.replace(self.plan, routed=self.served.replicas is not None)
        self.served_bytes = try_each_kind(target, self.workload)
        known = known_answers(self.config, target, self.workload)
        if known is not None:
            self.truth_source = known.source
            file = self._folder / "truth.json"
            known.truth.save(file)
            self.plan = msgspec.structs.replace(self.plan, truth=str(file))
        if self.config.effort == "auto":
            effort = asked_effort(target, self.workload, known.truth if known else None, self.objective.recall, _tell)
            self.plan = msgspec.structs.replace(self.plan, effort=effort)
            self.workload = Workload(self.plan, self.workload.queries, target)

    def __enter__(self) -> Bench:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if isinstance(error, LoadTestError | KeyboardInterrupt) and self.trials:
                # Hours of a soak are worth keeping, and say themselves how they ended.
                self.notes.append(str(error) or "interrupted")
                write_record(self.record(), self.out)
                _tell(f"wrote {self.out} up to there")
        finally:
            self._opened.close()

    # ---- steps

    def measure(self, rate_qps: float, duration_s: float, role: str) -> Trial:
        trial = self._trial(rate_qps, duration_s, role)
        self.trials.append(trial)
        return trial

    def _trial(self, rate_qps: float, duration_s: float, role: str) -> Trial:
        """One trial; ServiceLost when the service is not there any more afterwards."""
        try:
            trial = self.generator.measure(rate_qps, duration_s, role)
        except Interrupted as error:
            self.trials.append(error.trial)
            raise
        for check in trial.gates:
            if check.ok is False and check.cause == "other programs":
                now = busiest(listeners(self.plan.url))
                _tell(
                    f"{check.name}: {check.found}, expected {check.limit}" + (f"; now: {now} of a CPU" if now else "")
                )
        if reason := lost(trial, self.target, self.hosted):
            self.trials.append(trial)
            raise ServiceLost(
                f"the service was lost during the {role} trial at {rate_qps:,.4g} q/s, after {trial.answered:,} "
                f"answers: {reason}"
            )
        return trial

    def find_knee(self, run: KneeRun) -> None:
        self.knee, _ = find_knee(
            self._trial,
            self.objective,
            start_qps=run.start_qps,
            limit_qps=run.limit_qps,
            search_s=run.search_s,
            confirm_s=run.confirm_s,
            tolerance=run.tolerance,
            tell=_tell,
            trials=self.trials,
        )

    def sustained_qps(self) -> float:
        assert self.knee is not None
        return self.knee.sustained_qps or self.knee.bracket_qps[0]

    def calibrate(self, rate_qps: float) -> Calibration:
        """Prove the generator at three times the rate, and of every trial that was not far beyond the service's reach.

        The checks of the trials made before are judged again.
        """
        slo_s = self.plan.slo_p99_ms / 1e3
        rate_qps = max(
            [rate_qps, *(t.offered_qps for t in self.trials if t.role != "voided" and not beyond_doubt(t, slo_s))]
        )
        found = self.generator.calibrate(
            3.0 * rate_qps, seconds=self.config.calibrate_s, answer_bytes=self.served_bytes
        )
        _tell(f"generator: {found.sustained_qps:,.4g} q/s against a null server, p99 {found.p99_ms:.3g} ms")
        for trial in self.trials:
            self.generator.judge(trial)
        return found

    def ceiling(self, run: CalibrationRun) -> Calibration:
        """What the generator alone can do, against a server that does nothing."""
        return self.generator.calibrate(run.start_qps, ceiling=True, seconds=self.config.calibrate_s)

    def curve(self, capacity_qps: float, run: CurveRun) -> None:
        def idle() -> Trial:
            return self._level(
                lambda _rate, seconds, _role: idle_trial(self.generator, seconds), 0.0, run.level_s, "idle"
            )

        load_curve(
            partial(self._level, self._trial), idle if self.local else None, capacity_qps,
            level_s=run.level_s, levels=run.levels, tell=_tell,
        )  # fmt: skip
        if run.levels and not any(trial.role == "curve" for trial in self.trials):
            self.trials[-1].role = "curve"
            raise InvalidRun("every level of the curve was spoiled")

    def _level(self, measure: Measure, rate_qps: float, duration_s: float, role: str) -> Trial:
        """One level of the curve. A level that cannot be had leaves a gap and a note; the knee stands without it."""
        try:
            return sound(measure, self.trials)(rate_qps, duration_s, role)
        except InvalidRun as error:
            self.trials[-1].role = "voided"
            self.notes.append(f"a level of the curve is missing: {error}")
            return self.trials[-1]

    # ---- the record

    def record(self) -> Record:
        config = self.config
        server, elsewhere = self._server(), {machine for trial in self.trials for machine in trial.generator.machines}
        drifted = drifts(self.trials[-1]) if self.kind == "soak" and self.trials else []
        return Record(
            kind=self.kind,
            created_at=now_utc(),
            perwatt=own_version(),
            label=Label(config.arm, config.block, config.experiment),
            objective=self.objective,
            served=self.served,
            asked=Asked(
                queries=len(self.workload.queries),
                kind=self.workload.kind(),
                fingerprint=self.workload.fingerprint(),
                popularity=self.plan.popularity,
                filters=[{"share": f.share, "filter": f.filter} for f in self.plan.filters],
                k=self.plan.k,
                mode=self.plan.mode,
                questions=self.workload.questions(),
                truth=self.truth_source,
            ),
            server=server,
            generator=self.here,
            shared=server is not None and server.identity in (elsewhere or {self.here.identity}),
            cores_served=config.cores_served or (len(self.config.start_cpus) if self.config.start_cpus else None),
            trials=self.trials,
            calibration=self.generator.calibration,
            knee=self.knee,
            price=self.price,
            encoder=encoder_elsewhere(config),
            power_notes=self.generator.power_notes,
            indexing=self.indexing,
            notes=[*self.notes, *(drift.stated() for drift in drifted)],
        )

    def _server(self) -> Machine | None:
        return self.facts if self.facts is not None else self.here if self.local else None


def _tell(line: str) -> None:
    click.echo(line, err=True)
