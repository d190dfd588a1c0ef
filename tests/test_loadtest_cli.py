"""The commands that load a service, end to end against real servers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from load_commands import arguments, service
from loadtest_servers import http_server

from loadtest.cli.load import loadtest
from loadtest.errors import TargetError
from loadtest.experiment.planned import plan_of
from loadtest.generator.watch import listeners
from loadtest.record.run_record import EncoderElsewhere, read_record
from loadtest.targets.perwatt import PerwattTarget
from loadtest.targets.questions import exact_answers, recall_at
from loadtest.workload.plan import Plan

pytest_plugins = ["load_commands_fixtures"]
pytestmark = pytest.mark.usefixtures("warm_locust")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERWATT_NO_IMDS", "1")


def test_run_writes_a_record_with_everything(questions: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.json"
    with http_server(service) as url:
        more = ["--encoder-price", "0.02", "--encoder-joules", "50",
                "--rate", "40", "--duration", "2", "--recall", "0.8", "--effort", "auto", "--instance", "c8g.xlarge",
                "--arm", "ours", "--block", "3", "--filter", '0.5:{"field": "kind", "eq": "x"}', "--watch"]  # fmt: skip
        done = CliRunner().invoke(loadtest, ["run", *arguments(url, questions, out, *more)], catch_exceptions=False)
    record = read_record(out)
    trial = record.trials[0]
    assert done.exit_code in (0, 3), done.output  # a crowded machine may void it, which is also an answer
    assert trial.answered == trial.planned - trial.missed
    assert (record.label.arm, record.label.block, record.kind) == ("ours", 3, "run")
    assert record.served is not None
    assert (record.served.generation, record.served.count, record.served.model) == ("docs-1", 50, "sha256:0")
    assert record.asked is not None
    assert (record.asked.queries, record.asked.kind, record.asked.k) == (40, "text", 5)
    assert record.asked.filters[0]["share"] == 0.5
    assert record.shared
    assert record.price is not None
    assert record.encoder == EncoderElsewhere(0.02, 50)
    mine = record.server is not None and record.server.architecture == "aarch64"
    *notes, watched = record.notes
    assert notes == ([] if mine else ["priced as c8g.xlarge, which is arm64, but what ran was x86_64"])
    assert watched.startswith("Watched live: the page took ")
    assert "watch it on http://127.0.0.1:" in done.output
    assert trial.effort is not None
    assert trial.recall is not None
    assert trial.recall.mean >= 0.8


def test_knee_finds_a_capacity_and_writes_its_curve(
    questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def patient_plan(*words: Any, **more: Any) -> Plan:  # whatever else runs here makes no request too late to be sent
        return msgspec.structs.replace(plan_of(*words, **more), max_lag_s=30.0)

    monkeypatch.setattr("loadtest.experiment.measurement.plan_of", patient_plan)
    out = tmp_path / "knee.json"
    with http_server(service) as url:
        # A confirmation of eight seconds is the shortest whose p99 has an interval.
        more = ["--start-rate", "20", "--limit-rate", "20", "--search-s", "1", "--confirm-s", "8", "--levels", "1",
                "--level-s", "1", "--calibrate-s", "1", "--send", "vector", "--recall-queries", "10",
                "--slo-p99-ms", "200000"]  # fmt: skip
        done = CliRunner().invoke(loadtest, ["knee", *arguments(url, questions, out, *more)], catch_exceptions=False)
    record = read_record(out)
    assert done.exit_code in (0, 3), done.output
    assert record.knee is not None
    assert record.knee.reached_limit
    assert [t.role for t in record.trials if t.role != "voided"] == ["search", "confirm", "idle", "curve"]
    assert record.calibration is not None
    assert record.calibration.tried[0][0] >= 3 * 20
    assert record.asked is not None
    assert record.asked.kind == "vector"


def test_exact_answers_and_recall_come_through_the_api(questions: Path) -> None:
    from loadtest.workload.queries import read_queries
    from loadtest.workload.requests import Workload

    with http_server(service) as url:
        plan = Plan(url=url, index="docs", queries=str(questions), rate_qps=1, duration_s=1, k=4)
        target = PerwattTarget(plan)
        workload = Workload(plan, read_queries(questions), target)
        truth = exact_answers(target, workload, 20)
        assert len(truth) == 20
        assert recall_at(target, workload, truth, 64).mean == 1
        low = recall_at(target, workload, truth, 8)
        odd = sum(request % 2 for request in truth.requests())
        assert low.mean == pytest.approx(1 - odd / 20 / 4)
        assert low.low < low.mean
        target.close()
        other = PerwattTarget(msgspec.structs.replace(plan, index="other"))
        with pytest.raises(TargetError, match="answered a search with 404"):
            exact_answers(other, Workload(other.plan, workload.queries, other), 1)
        other.close()


def test_questions_are_sent_as_text_and_as_vectors_by_turns(questions: Path, tmp_path: Path) -> None:
    out = tmp_path / "both.json"
    more = ["--rate", "30", "--duration", "4", "--recall-queries", "10", "--send", "both"]
    with http_server(service) as url:
        CliRunner().invoke(loadtest, ["run", *arguments(url, questions, out, *more)], catch_exceptions=False)
    record = read_record(out)
    assert record.asked is not None
    assert record.asked.kind == "text+vector"
    assert record.trials[0].answered > 0
    assert record.trials[0].errors == {}


def test_the_short_selftest_passes() -> None:
    done = CliRunner().invoke(loadtest, ["selftest"])
    assert done.exit_code == 0, done.output
    assert "7 of 7 proofs passed" in done.output


def test_machine_facts_are_printed_for_another_machines_record() -> None:
    done = CliRunner().invoke(loadtest, ["machine", "--json"])
    assert json.loads(done.output)["threads"] >= 1
    assert "physical core" in CliRunner().invoke(loadtest, ["machine"]).output


def test_listeners_are_found_by_port_on_this_machine_alone() -> None:
    with http_server(service) as url:
        assert os.getpid() in [process.pid for process in listeners(url)]
        assert listeners(url.replace("127.0.0.1", "192.0.2.1")) == []
