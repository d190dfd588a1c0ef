"""A measurement set up: the service asked what it serves, exact answers fetched, the generator ready, facts collected.

What the commands share. `Bench` refuses an emulated machine before any load is made.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import click
import msgspec

from loadtest.calibration import Calibration
from loadtest.cli import parse_filters
from loadtest.curve import load_curve
from loadtest.effort import cheapest_effort
from loadtest.errors import InvalidRun, PriceError, WorkloadError
from loadtest.health import gates
from loadtest.knee import Knee, find_knee, sound
from loadtest.machine import Machine, read_machine
from loadtest.objective import Objective
from loadtest.plan import Plan
from loadtest.power.probe import choose, probe
from loadtest.prices.table import Price, find_price, price_table
from loadtest.queries import read_queries
from loadtest.record import Asked, Label, Record, Served, now_utc, version
from loadtest.run import Generator, Live, idle_trial
from loadtest.target import Target
from loadtest.trial import Trial
from loadtest.workload import Address, Workload


def parse_cpus(text: str | None) -> list[int] | None:
    """ "0,2-3" → [0, 2, 3]."""
    if text is None:
        return None
    found: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            found += range(int(first), int(last or first) + 1)
    except ValueError:
        raise WorkloadError(f"--generator-cpus {text!r}: expected numbers such as 1 or 0,2-3") from None
    return found


class Bench:
    """Use as a context; `record` gathers everything at the end."""

    def __init__(self, kind: str, given: dict[str, Any], live: Live, ask_service: bool) -> None:
        self.kind = kind
        self.given = given
        self.out: Path = given["out"] or Path(f"{kind}.json")
        self.trials: list[Trial] = []
        self.knee: Knee | None = None
        self.notes: list[str] = []
        self._folder = Path(tempfile.mkdtemp(prefix="perwatt-bench-"))
        self.here = read_machine()
        if self.here.emulated:
            raise InvalidRun(
                f"this machine is emulated ({self.here.emulated[0]}): its timings say nothing about the CPU it "
                "emulates. "
                "Run on the real architecture"
            )
        self.objective = Objective(p99_ms=given["slo_p99_ms"], recall=given["recall_target"])
        self.local = Address.parse(given["url"]).host in ("127.0.0.1", "localhost", "::1")
        self.plan = self._plan()
        queries = read_queries(given["queries"], field=given["field_"], limit=self.plan.queries_limit)
        self.workload = Workload(self.plan, queries)
        self.served: Served | None = None
        if ask_service:
            self._ask_service()
        sources = probe(powercap=given["sysfs_powercap"], redfish=given["redfish"], shelly=given["shelly"])
        own = self.local or given["redfish"] or given["shelly"]
        source = choose(sources, given["power_source"]) if own else None
        self.generator = Generator(self.plan, source=source, live=live, cpus=parse_cpus(given["generator_cpus"]))

    def _plan(self) -> Plan:
        given = self.given
        effort = given["effort"]
        if effort not in (None, "auto") and not str(effort).isdigit():
            raise WorkloadError(f"--effort {effort!r}: expected a number or 'auto'")
        return Plan(
            url=given["url"],
            index=given["index"],
            queries=str(Path(given["queries"]).resolve()),
            queries_field=given["field_"],
            rate_qps=1.0,
            duration_s=1.0,
            warmup_s=given["warmup_s"],
            processes=given["processes"],
            k=given["k"],
            effort=int(effort) if effort not in (None, "auto") else None,
            mode=given["mode"],
            popularity=given["popularity"],
            filters=parse_filters(given["filters"]),
            seed=given["seed"],
            max_in_flight=given["max_in_flight"],
            timeout_s=given["timeout_s"],
            slo_p99_ms=given["slo_p99_ms"],
            recall_target=given["recall_target"],
        )

    def _ask_service(self) -> None:
        target = Target(self.plan.url, self.plan.index)
        try:
            self.served = target.served()
            if self.given["recall_queries"] and self.plan.mode in (None, "dense"):
                truth = target.exact_answers(self.workload, self.given["recall_queries"])
                file = self._folder / "truth.json"
                truth.save(file)
                self.plan = msgspec.structs.replace(self.plan, truth=str(file))
                if self.given["effort"] == "auto":
                    if self.objective.recall is None:
                        raise WorkloadError("--effort auto needs --recall: it is the cheapest effort that proves it")
                    effort, _ = cheapest_effort(
                        lambda e: target.recall(self.workload, truth, e),
                        self.objective.recall,
                        _tell,
                    )
                    self.plan = msgspec.structs.replace(self.plan, effort=effort)
                    self.workload = Workload(self.plan, self.workload.queries)
        finally:
            target.close()

    def __enter__(self) -> Bench:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    # ---- steps

    def measure(self, rate_qps: float, duration_s: float, role: str) -> Trial:
        trial = self.generator.measure(rate_qps, duration_s, role)
        self.trials.append(trial)
        return trial

    def find_knee(
        self,
        start_qps: float,
        limit_qps: float,
        search_s: float,
        confirm_s: float,
        tolerance: float,
    ) -> None:
        self.knee, _ = find_knee(
            self.generator.measure,
            self.objective,
            start_qps=start_qps,
            limit_qps=limit_qps,
            search_s=search_s,
            confirm_s=confirm_s,
            tolerance=tolerance,
            tell=_tell,
            trials=self.trials,
        )

    def sustained_qps(self) -> float:
        assert self.knee is not None
        return self.knee.sustained_qps or self.knee.bracket_qps[0]

    def calibrate(self, rate_qps: float) -> Calibration:
        """Prove the generator at three times the rate; the gates of the trials made before are judged again."""
        found = self.generator.calibrate(3.0 * rate_qps)
        _tell(f"generator: {found.sustained_qps:,.4g} q/s against a null server, p99 {found.p99_ms:.3g} ms")
        for trial in self.trials:
            trial.gates = gates(trial, self.plan.slo_p99_ms, found)
        return found

    def curve(self, capacity_qps: float, level_s: float, levels: int) -> None:
        idle = (lambda: idle_trial(self.generator, level_s)) if self.local else None
        if idle is not None:
            self.trials.append(idle())
        load_curve(
            sound(self.generator.measure, self.trials), None, capacity_qps, level_s=level_s, levels=levels, tell=_tell
        )

    # ---- the record

    def record(self) -> Record:
        given = self.given
        server = self._server()
        return Record(
            kind=self.kind,
            created_at=now_utc(),
            perwatt=version(),
            label=Label(given["arm"], given["block"], given["experiment"]),
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
            ),
            server=server,
            generator=self.here,
            shared=server is not None and server.identity == self.here.identity,
            cores_served=given["cores_served"],
            trials=self.trials,
            calibration=self.generator.calibration,
            knee=self.knee,
            price=self._price(server),
            power_notes=self.generator.power_notes,
            notes=self.notes,
        )

    def _server(self) -> Machine | None:
        if self.given["server_facts"] is not None:
            return msgspec.json.decode(self.given["server_facts"].read_bytes(), type=Machine)
        return self.here if self.local else None

    def _price(self, server: Machine | None) -> Price | None:
        instance = self.given["instance"] or (server.instance_type if server else None)
        if instance is None:
            return None
        table = price_table(self.given["prices"]) if self.given["prices"] else None
        region = self.given["region"] or (server.region if server else None)
        try:
            return find_price(instance, table, region)
        except PriceError as error:
            if self.given["instance"]:
                raise
            self.notes.append(f"no price: {error}")
            return None


def _tell(line: str) -> None:
    click.echo(line, err=True)
