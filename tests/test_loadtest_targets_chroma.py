"""Chroma's own server and perwatt's embeddings as targets, filled and loaded by the commands that people type."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from http_target import write_corpus
from serving import Server

from loadtest.cli.load import loadtest
from loadtest.experiment.hosted import hosted
from loadtest.record.run_record import Record, read_record

pytest_plugins = ["serving_fixtures", "load_commands_fixtures"]
pytestmark = pytest.mark.usefixtures("warm_locust")

ROWS = 1500
LOAD = ["--rate", "30", "--duration", "2", "--warmup", "0.5", "--slo-p99-ms", "20000", "--timeout", "30",
        "--allow-interference"]  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, ROWS)
    np.save(folder / "queries.npy", np.random.default_rng(5).standard_normal((80, 8)).astype(np.float32))
    return folder


@pytest.fixture(scope="module")
def chroma(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Chroma's server with the corpus in its collection `docs`; its URL."""
    place = tmp_path_factory.mktemp("chroma")
    run = (
        f"import chromadb_rust_bindings as c; c.cli(['chroma', 'run', '--path', {str(place)!r}, '--port', '{{port}}'])"
    )
    with hosted(f"{shlex.quote(sys.executable)} -c {shlex.quote(run)}", ready="/api/v2/heartbeat") as running:
        done = CliRunner().invoke(loadtest, [
            "load", "--target", "chroma", "--url", running.url, "--index", "docs", "--set", "ef_search=10",
            "--ids", str(corpus / "ids.txt"), str(corpus / "vectors.npy"),
        ], catch_exceptions=False)  # fmt: skip
        assert done.output == "1,500 vectors in docs of chroma\n"
        yield running.url


def run(out: Path, *more: str) -> Record:
    done = CliRunner().invoke(loadtest, ["run", *LOAD, "--out", str(out), *more], catch_exceptions=False)
    assert done.exit_code in (0, 3), done.output  # a crowded machine may void it
    return read_record(out)


@pytest.fixture(autouse=True)
def no_metadata_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERWATT_NO_IMDS", "1")


def test_chroma_is_loaded_by_its_collections_name_and_its_recall_is_that_of_its_graph(
    chroma: str, corpus: Path, tmp_path: Path
) -> None:
    record = run(
        tmp_path / "run.json", "--target", "chroma", "--url", chroma, "--index", "docs", "-k", "10",
        "--queries", str(corpus / "queries.npy"), "--truth", str(corpus / "vectors.npy"), str(corpus / "ids.txt"),
    )  # fmt: skip
    trial, served = record.trials[0], record.served
    assert trial.errors == {}
    assert trial.answered + trial.missed == trial.planned > 30
    assert trial.server is not None
    assert (trial.server.short_answers, trial.server.sampled > 0) == (0, True)
    assert trial.recall is not None
    assert 0.5 < trial.recall.mean <= 1
    assert served is not None
    assert (served.engine, served.count, served.effort_name) == ("Chroma", ROWS, None)
    assert served.settings["hnsw"]["ef_search"] == 10
    assert served.version == httpx.get(f"{chroma}/api/v2/version").json()


def test_a_filter_of_chromas_own_language_goes_with_its_share(chroma: str, corpus: Path, tmp_path: Path) -> None:
    record = run(
        tmp_path / "run.json", "--target", "chroma", "--url", chroma, "--index", "docs", "--filter",
        '0.5:{"parity": {"$eq": 1}}', "--queries", str(corpus / "queries.npy"),
    )  # fmt: skip
    assert record.trials[0].errors == {}
    assert record.asked is not None
    assert record.asked.filters == [{"share": 0.5, "filter": {"parity": {"$eq": 1}}}]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--index", "none"], r"answers /api/v2/tenants/.* with 404: .*does not exist"),
        (["--index", "docs", "--effort", "64"], "has no effort to set"),
    ],
)
def test_what_chroma_cannot_is_refused(chroma: str, corpus: Path, tmp_path: Path, more: list[str], says: str) -> None:
    arguments = ["--target", "chroma", "--url", chroma, "--queries", str(corpus / "queries.npy"), *more]
    done = CliRunner().invoke(loadtest, ["run", *LOAD, "--out", str(tmp_path / "run.json"), *arguments])
    assert done.exception is not None
    with pytest.raises(Exception, match=says):
        raise done.exception


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--target", "chroma", "--set", "ef=3"], "Chroma has no setting ef; there are: ef_construction"),
        (["--target", "qdrant"], "qdrant is filled with its own tools"),
        (["--target", "chroma"], r"answers .*/collections with 409"),
    ],
)
def test_what_cannot_be_filled_is_said(chroma: str, corpus: Path, more: list[str], says: str) -> None:
    arguments = ["load", "--url", chroma, "--index", "docs", "--ids", str(corpus / "ids.txt"), *more]
    done = CliRunner().invoke(loadtest, [*arguments, str(corpus / "vectors.npy")])
    assert done.exception is not None
    with pytest.raises(Exception, match=says):
        raise done.exception


def test_a_server_of_openais_embeddings_is_loaded_with_texts(server: Server, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("".join(f"text number {number}\n" for number in range(20)))
    model = httpx.get(f"{server.url}/v1/models").json()["data"][0]["id"]
    record = run(
        tmp_path / "run.json", "--target", "openai", "--url", server.url, "--set", f"model={model}", "-k", "1",
        "--queries", str(tmp_path / "texts.txt"),
    )  # fmt: skip
    trial = record.trials[0]
    assert trial.errors == {}
    assert trial.answered + trial.missed == trial.planned > 30
    assert trial.server is not None
    assert trial.server.short_answers == 0
    assert record.served is not None
    assert record.served.engine == "OpenAI-shaped embeddings"
