"""Filter mixes come from options and files, a bad one is named by its place, and the real service answers them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from serving import serving

from index import build_generation
from loadtest.cli.load import loadtest
from loadtest.errors import TargetError, WorkloadError
from loadtest.record.run_record import read_record
from loadtest.targets.perwatt import PerwattTarget
from loadtest.targets.questions import exact_answers
from loadtest.workload.filters import parse_filters, read_filters
from loadtest.workload.plan import FilterShare, Plan
from loadtest.workload.queries import read_queries
from loadtest.workload.requests import Workload

CLASSES = {"field": "kind", "eq": "class"}


def test_options_and_files_say_the_same(tmp_path: Path) -> None:
    file = tmp_path / "filters.jsonl"
    file.write_text(
        '{"share": 0.25, "filter": {"field": "kind", "eq": "class"}}\n\n{"share": 0.5, "filter": {"not": {}}}'
    )
    assert read_filters(file) == [FilterShare(0.25, CLASSES), FilterShare(0.5, {"not": {}})]
    assert parse_filters(('0.25:{"field": "kind", "eq": "class"}',)) == [FilterShare(0.25, CLASSES)]
    assert read_filters(None) == []


@pytest.mark.parametrize("text", ["0.5", "half:{}", "0.5:[1]", "0.5:{"])
def test_an_option_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(WorkloadError, match="expected SHARE:JSON"):
        parse_filters((text,))


@pytest.mark.parametrize(
    ("line", "why"), [("{", "line 2"), ('{"share": 1}', "filter"), ('{"share": "a", "filter": {}}', "share")]
)
def test_a_line_that_is_none_is_named(tmp_path: Path, line: str, why: str) -> None:
    file = tmp_path / "filters.jsonl"
    file.write_text('{"share": 0.1, "filter": {}}\n' + line)
    with pytest.raises(WorkloadError, match=why):
        read_filters(file)


def test_an_empty_file_is_no_mix(tmp_path: Path) -> None:
    file = tmp_path / "filters.jsonl"
    file.write_text("\n")
    with pytest.raises(WorkloadError, match="holds no filter"):
        read_filters(file)


# ---- against the real service

COUNT, DIM = 400, 16
LANGS = ("de", "en", "fr")
MIX = [{"share": 0.3, "filter": {"field": "lang", "eq": "en"}}, {"share": 0.2, "filter": {"field": "year", "lt": 2000}}]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The real service over an index with declared fields: its URL, and the vectors."""
    vectors = np.random.default_rng(3).standard_normal((COUNT, DIM), np.float32)
    payload = [{"lang": LANGS[row % 3], "year": 1990 + row % 30, "secret": "x"} for row in range(COUNT)]
    root = tmp_path_factory.mktemp("filtered")
    build_generation(
        vectors, list(range(COUNT)), root=root, name="filtered", family="graph", payload=payload,
        filterable=["lang:keyword,year"],
    )  # fmt: skip
    with serving(root, tmp_path_factory.mktemp("server")) as running:
        yield running.url, vectors


def arguments(url: str, folder: Path, queries: NDArray[np.float32], mix: list[dict[str, Any]]) -> list[str]:
    np.save(folder / "queries.npy", queries)
    (folder / "mix.jsonl").write_text("\n".join(json.dumps(line) for line in mix))
    return ["run", "--url", url, "--index", "filtered", "--queries", str(folder / "queries.npy"), "--filters",
            str(folder / "mix.jsonl"), "--rate", "60", "--duration", "4", "--warmup", "0", "--slo-p99-ms", "20000",
            "--timeout", "30", "--recall-queries", "30", "--recall", "0.9",
            "--out", str(folder / "run.json")]  # fmt: skip


def test_a_mix_is_answered_by_the_real_service_and_its_recall_is_among_the_survivors(
    service: tuple[str, NDArray[np.float32]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERWATT_NO_IMDS", "1")
    url, vectors = service
    done = CliRunner().invoke(loadtest, arguments(url, tmp_path, vectors[:20], MIX), catch_exceptions=False)
    assert done.exit_code in (0, 3), done.output  # a crowded machine may void it
    record = read_record(tmp_path / "run.json")
    trial = record.trials[0]
    assert record.asked is not None
    assert record.asked.filters == MIX
    assert trial.errors == {}
    assert trial.answered > 0
    assert trial.recall is not None
    assert trial.recall.mean >= 0.9  # exact answers are asked with the same filters, so survivors meet survivors


def test_the_exact_answers_of_a_filtered_request_survive_its_filter(
    service: tuple[str, NDArray[np.float32]], tmp_path: Path
) -> None:
    url, vectors = service
    arguments(url, tmp_path, vectors[:10], MIX)
    plan = Plan(
        url=url, index="filtered", queries=str(tmp_path / "queries.npy"), rate_qps=1, duration_s=1,
        filters=read_filters(tmp_path / "mix.jsonl"),
    )  # fmt: skip
    target = PerwattTarget(plan)
    workload = Workload(plan, read_queries(tmp_path / "queries.npy"), target)
    truth = exact_answers(target, workload, 30)
    target.close()
    keeps = (lambda row: True, lambda row: LANGS[row % 3] == "en", lambda row: 1990 + row % 30 < 2000)
    assert truth.requests() == list(range(30))
    for request in truth.requests():
        query, variant = divmod(request, 3)
        scores = vectors @ (vectors[query] / np.linalg.norm(vectors[query])) / np.linalg.norm(vectors, axis=1)
        best = [row for row in np.argsort(-scores).tolist() if keeps[variant](row)][:10]
        assert truth.recall(request, [(str(row), -np.inf) for row in best]) == 1


def test_a_field_that_was_not_declared_is_refused_before_any_load(
    service: tuple[str, NDArray[np.float32]], tmp_path: Path
) -> None:
    url, vectors = service
    undeclared = [{"share": 0.5, "filter": {"field": "secret", "eq": "x"}}]
    done = CliRunner().invoke(loadtest, arguments(url, tmp_path, vectors[:5], undeclared))
    assert isinstance(done.exception, TargetError), done.output
    assert "answers one of the queries with 4" in str(done.exception)
    assert "secret" in str(done.exception)
    assert not (tmp_path / "run.json").exists()
