"""`make report TARGET=…` from documents to a report, with the engine's own server."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from click.testing import CliRunner

from deploy.command import perwatt
from loadtest.analysis.reading import Reading
from loadtest.bench.engines import main, running
from loadtest.bench.postgres import PROGRAMS
from loadtest.errors import LoadTestError, TargetError
from loadtest.generator.run import Generator
from loadtest.record.run_record import read_record
from loadtest.report.markdown import markdown
from loadtest.report.run_page import run_page
from loadtest.selftest.apart import plan_for, reference_server

pytest_plugins = ["serving_fixtures", "load_commands_fixtures"]


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    """A vectors folder of 120 short documents."""
    from embed.cli import embed

    (tmp_path / "docs.jsonl").write_text(
        "".join(
            msgspec.json.encode({"id": f"d{n}", "title": f"note {n}", "text": f"note {n} of {n % 7}"}).decode() + "\n"
            for n in range(120)
        )
    )
    done = CliRunner().invoke(embed, [str(tmp_path / "docs.jsonl"), "--out", str(tmp_path / "vectors")])
    assert done.exit_code == 0, done.output
    return tmp_path / "vectors"


def in_this_process(command: Sequence[str]) -> SimpleNamespace:
    """What `subprocess.run` does with a command of ours, and gives of it."""
    assert command[:3] == [sys.executable, "-m", "deploy.command"]
    return SimpleNamespace(returncode=CliRunner().invoke(perwatt, command[3:]).exit_code)


@pytest.mark.usefixtures("warm_locust")
def test_chroma_ends_in_a_report_like_ours(
    vectors: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERWATT_NO_IMDS", "1")
    monkeypatch.setattr("loadtest.bench.engines.subprocess", SimpleNamespace(run=in_this_process))
    chroma = tmp_path / "peers" / "chroma" / "bin" / "chroma"
    chroma.parent.mkdir(parents=True)
    code = "import sys, chromadb_rust_bindings as c; c.cli(['chroma', *sys.argv[1:]])"
    chroma.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(code)} "$@"\n')
    chroma.chmod(0o755)
    out = tmp_path / "run.json"
    status = main([
        "chroma", str(vectors), str(root), "docs", str(tmp_path / "peers"), str(out), "0", "0", "--slo-p99-ms", "20000",
        "--recall", "0.5", "--start-rate", "10", "--limit-rate", "10", "--search-s", "1", "--confirm-s", "8",
        "--no-curve", "--no-calibrate", "--warmup", "0.5", "--allow-interference", "--timeout", "30",
    ])  # fmt: skip
    assert status in (0, 3)  # a crowded machine may void it
    record = read_record(out)
    assert record.label.arm == "chroma"
    assert record.served is not None
    assert (record.served.engine, record.served.count) == ("Chroma", 120)
    assert record.asked is not None
    assert (record.asked.kind, record.asked.truth) == ("vector", "exact search of vectors.npy (cosine)")
    assert any(trial.recall is not None for trial in record.trials)
    if status == 0:
        assert "| Engine | Chroma" in markdown(run_page(Reading(record)))


def test_an_engine_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="make setup-servers"), running("pgvector", tmp_path, tmp_path, None):
        pass
    with pytest.raises(LoadTestError, match="chroma cannot be started"), running("chroma", tmp_path, tmp_path, None):
        pass
    assert PROGRAMS.endswith("bin")


@pytest.mark.usefixtures("warm_locust")
def test_the_selftests_server_is_asked_through_a_template_as_well() -> None:
    """What the proofs in real time are made of: `perwatt loadtest selftest --full --target http`."""
    with (
        reference_server("--mean-ms", "1", "--constant") as (url, _),
        plan_for(url, "http", slo_p99_ms=20_000.0, timeout_s=30.0, max_lag_s=30.0) as plan,
    ):
        trial = Generator(plan, allow_interference=True).measure(40.0, 2.0, "run")
    assert plan.target == "http"
    assert trial.errors == {}
    assert trial.answered == trial.planned > 40
    assert trial.server is not None
    assert trial.server.sampled > 0
