"""`make experiment`: blocks in random order, trials made again, and what they come to in BENCHMARKS.md."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from loadtest_records import three_arms

from deploy.figures.store import BENCHMARKS, KEPT
from deploy.figures.tables import experiment
from loadtest.analysis.reading import Reading
from loadtest.bench.experiment import (
    AGAIN,
    ATTEMPTS,
    OURS,
    asked,
    figures,
    run_blocks,
    same_documents,
    undisturbed,
    write_reports,
)
from loadtest.errors import LoadTestError
from loadtest.record.objective import Objective
from loadtest.record.run_record import ServiceFacts, write_record
from loadtest.record.trial import Interference, RecallEstimate
from loadtest.report.sample import same_files

ARMS = {"x86": OURS, "x86 again": AGAIN, "arm": "pgvector"}


@pytest.fixture
def runs() -> list[Reading]:
    """Perwatt, perwatt again, and a pgvector that is planted 1.2 times as fast."""
    records = three_arms()
    for record in records:
        record.label.arm = ARMS[record.label.arm]
        foreign = record.label.arm == "pgvector"
        record.label.simulated, record.price = False, None
        record.served = (
            ServiceFacts("u", "docs", count=9, engine="PostgreSQL with pgvector", version="16", settings={"m": 16})
            if foreign
            else ServiceFacts("u", "docs", count=9, engine="perwatt", version={"perwatt": "0.1.0"})
        )
        record.objective = Objective(p99_ms=record.objective.p99_ms, recall=0.95)
        assert record.asked is not None
        record.asked = msgspec.structs.replace(record.asked, questions="sha256:same")
        for trial in record.trials:
            trial.recall, trial.effort = RecallEstimate(0.97, 0.96, 0.98, 300, 10), 40
    return [Reading(record) for record in records]


def test_every_block_has_every_arm_in_an_order_of_its_own(tmp_path: Path) -> None:
    made: list[tuple[str, int]] = []

    def trial(arm: str, block: int, path: Path) -> int:
        made.append((arm, block))
        path.write_text("{}")
        return 0

    files = run_blocks(6, ("a", "b again", "c"), trial, tmp_path, tell=lambda _line: None)
    assert [block for _, block in made] == [block for block in range(1, 7) for _ in range(3)]
    orders = {tuple(arm for arm, at in made if at == block) for block in range(1, 7)}
    assert all(sorted(order) == ["a", "b again", "c"] for order in orders)
    assert len(orders) > 1
    assert sorted(path.name for path in files)[:2] == ["01-a.json", "01-b-again.json"]
    again: list[tuple[str, int]] = []
    run_blocks(6, ("a", "b again", "c"), lambda a, b, _: again.append((a, b)) or 0, tmp_path, tell=lambda _: None)
    assert again == made


def test_a_trial_that_may_not_be_believed_is_made_again_and_not_forever(tmp_path: Path) -> None:
    statuses = iter([3, 0])
    assert len(run_blocks(1, ("a",), lambda *_: next(statuses), tmp_path, tell=lambda _line: None)) == 1
    asked_for: list[int] = []
    with pytest.raises(LoadTestError, match="block 1, a: no trial that may be believed"):
        run_blocks(1, ("a",), lambda *_: asked_for.append(1) or 3, tmp_path, tell=lambda _line: None)
    assert len(asked_for) == ATTEMPTS
    with pytest.raises(LoadTestError, match="exit status 1"):
        run_blocks(1, ("a",), lambda *_: 1, tmp_path, tell=lambda _line: None)


def test_whole_undisturbed_blocks_are_kept_and_of_the_others_every_trial_is_made_anew(
    tmp_path: Path, runs: list[Reading]
) -> None:
    arms, made = ("a", "b"), []

    def trial(arm: str, block: int, path: Path) -> int:
        made.append((block, arm))
        write_record(runs[0].record, path)
        return 0

    run_blocks(4, arms, trial, tmp_path, tell=lambda _: None)
    (tmp_path / "02-b.json").unlink()
    disturbed = msgspec.structs.replace(
        runs[0].record.trials[0], interference=[Interference("service", 1, others_cores=0.3, stolen_cores=0.0)]
    )
    write_record(msgspec.structs.replace(runs[0].record, trials=[disturbed]), tmp_path / "03-a.json")
    write_record(msgspec.structs.replace(runs[0].record, knee=None), tmp_path / "04-b.json")  # as of one cut short
    made.clear()
    files = run_blocks(4, arms, trial, tmp_path, tell=lambda _: None, kept=undisturbed)
    assert sorted(made) == [(block, arm) for block in (2, 3, 4) for arm in arms]
    assert sorted(path.name for path in files) == sorted(path.name for path in tmp_path.iterdir())


def test_the_verdict_with_its_interval_and_both_engines_go_into_the_page(runs: list[Reading]) -> None:
    found = json.loads(json.dumps(figures(runs, "pgvector")))
    text = experiment.verdict(found)
    assert text.startswith("**Better**: PostgreSQL with pgvector 16 answers 1.2")
    assert " 95 %) the queries a second of perwatt, at p99 ≤ 20 ms and recall ≥ 0.95, over 3" in text
    assert "perwatt against itself (A/A): " in text
    table = experiment.arms(found)
    assert "| perwatt again: perwatt 0.1.0 | " in table
    assert 'Settings of the other engine: `{"m":16}`.' in table
    alone = figures([run for run in runs if run.record.label.block == 0], "pgvector")
    assert "1 blocks say nothing" in experiment.verdict(alone)


def test_unlike_documents_are_noticed_after_the_first_trials_and_not_at_the_end(
    runs: list[Reading], tmp_path: Path
) -> None:
    for run in runs[:2]:
        write_record(run.record, tmp_path / f"{run.arm}.json")
    same_documents(tmp_path)
    other = runs[2].record
    assert other.served is not None
    other.served = msgspec.structs.replace(other.served, count=8)
    write_record(other, tmp_path / "other.json")
    with pytest.raises(LoadTestError, match=r"pgvector 8.*build the index anew"):
        same_documents(tmp_path)


def test_the_reports_name_the_engines_and_the_same_one_twice_is_a_page_too(runs: list[Reading], tmp_path: Path) -> None:
    write_reports(runs, "pgvector", tmp_path)
    assert (tmp_path / "report.md").read_text().startswith("## PostgreSQL with pgvector against perwatt")
    assert "<h1>perwatt again against perwatt</h1>" in (tmp_path / "same.html").read_text()
    files = same_files(runs, OURS, AGAIN)
    assert files["same.md"].startswith("# One machine against itself")
    assert set(files) == {"same.md", *(name for name in files if f"]({name})" in files["same.md"])}


def test_an_experiment_that_was_not_made_says_so_in_the_page() -> None:
    kept = (KEPT / "experiment.json").exists()
    assert (experiment.UNMEASURED in BENCHMARKS.read_text()) is not kept


def test_what_the_environment_asks_is_handed_on() -> None:
    assert asked({}) == {"options": []}
    found = asked({"BLOCKS": "3", "SERVER_CPUS": "0-1", "LOAD_CPUS": "", "KNEE_OPTIONS": "--no-curve --seed 2"})
    assert asked({"RESUME": "1"}) == {"options": [], "resume": True}
    assert found == {"blocks": 3, "server_cpus": "0-1", "options": ["--no-curve", "--seed", "2"]}
