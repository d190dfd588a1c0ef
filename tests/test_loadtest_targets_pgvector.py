"""PostgreSQL with pgvector as a target: filled, loaded through the bridge, and its recall found by its own knob.

The package that brings the database has wheels for x86_64 and Python below 3.13 alone; what the bridge makes of a
request is tried everywhere.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from http_target import write_corpus
from postgres import programs

from loadtest.bench.postgres import postgres
from loadtest.cli.load import loadtest
from loadtest.errors import LoadTestError
from loadtest.generator.ports import free_port
from loadtest.record.run_record import Record, read_record
from loadtest.targets.pgvector import place_of, table_of
from loadtest.targets.sql_bridge import BridgeQuery, SqlTable

pytest_plugins = ["load_commands_fixtures"]
pytestmark = pytest.mark.usefixtures("warm_locust")

ROWS = 3000
LOAD = ["--rate", "30", "--duration", "2", "--warmup", "0.5", "--slo-p99-ms", "20000", "--timeout", "30",
        "--allow-interference", "--target", "pgvector"]  # fmt: skip
has_postgres = pytest.mark.skipif(programs() is None, reason="there is no pgserver for this machine")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, ROWS)
    np.save(folder / "queries.npy", np.random.default_rng(5).standard_normal((80, 8)).astype(np.float32))
    return folder


@pytest.fixture(scope="module")
def database(corpus: Path) -> Iterator[str]:
    """The corpus in the table `docs` of a running PostgreSQL; its connection string."""
    folder = programs()
    assert folder is not None
    with postgres(folder, ["fsync=off"]) as dsn:
        done = CliRunner().invoke(loadtest, [
            "load", "--target", "pgvector", "--url", dsn, "--index", "docs", "--set", "m=4", "--set",
            "ef_construction=8", "--ids", str(corpus / "ids.txt"), str(corpus / "vectors.npy"),
        ], catch_exceptions=False)  # fmt: skip
        assert done.output == "3,000 vectors in docs of pgvector\n"
        yield dsn


@pytest.fixture(autouse=True)
def no_metadata_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERWATT_NO_IMDS", "1")


def run(url: str, corpus: Path, out: Path, *more: str) -> Record:
    arguments = ["run", *LOAD, "--url", url, "--index", "docs", "--queries", str(corpus / "queries.npy")]
    done = CliRunner().invoke(loadtest, [*arguments, "--out", str(out), *more], catch_exceptions=False)
    assert done.exit_code in (0, 3), done.output  # a crowded machine may void it
    return read_record(out)


@has_postgres
def test_the_recall_is_proven_by_the_smallest_ef_search_and_the_database_is_watched(
    database: str, corpus: Path, tmp_path: Path
) -> None:
    record = run(database, corpus, tmp_path / "run.json", "--effort", "auto", "--recall", "0.9", "--filter",
                 "0.3:\"id LIKE 'doc/%1'\"", "--recall-queries", "60")  # fmt: skip
    trial, served = record.trials[0], record.served
    assert trial.errors == {}
    assert trial.answered + trial.missed == trial.planned > 30
    assert trial.effort is not None
    assert 1 < trial.effort <= 1000
    assert trial.recall is not None
    assert trial.recall.mean > 0.8
    assert trial.server is not None
    assert int(trial.server.watched.split()[0]) > 8, "the bridge, the database and a process a connection"
    assert trial.server.cores_used is not None
    assert served is not None
    assert (served.engine, served.effort_name, served.count) == ("PostgreSQL with pgvector", "hnsw.ef_search", ROWS)
    assert set(served.version) == {"postgresql", "pgvector"}
    assert any("USING hnsw (embedding vector_cosine_ops) WITH (m='4'" in each for each in served.settings["indexes"])
    assert record.asked is not None
    assert record.asked.truth == "the exact mode of pgvector"


@has_postgres
def test_less_effort_finds_less_and_the_users_own_vectors_say_so_too(
    database: str, corpus: Path, tmp_path: Path
) -> None:
    truth = ["--truth", str(corpus / "vectors.npy"), str(corpus / "ids.txt")]
    found = [run(database, corpus, tmp_path / "run.json", "--effort", effort, *truth).trials[0].recall
             for effort in ("10", "400")]  # fmt: skip
    assert found[0] is not None
    assert found[1] is not None
    assert found[0].mean < found[1].mean
    assert found[1].mean > 0.95


@has_postgres
def test_the_bridge_stands_alone_for_a_generator_of_another_machine(
    database: str, corpus: Path, tmp_path: Path
) -> None:
    port = free_port()
    command = [sys.executable, "-m", "deploy.command", "loadtest", "bridge", database, "--index", "docs", "--port",
               str(port)]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as bridge:
        try:
            assert bridge.stdout is not None
            assert int(bridge.stdout.readline()) == port
            record = run(f"http://127.0.0.1:{port}", corpus, tmp_path / "run.json", "--effort", "100")
            body = {"vector": [0.0] * 7, "k": 3}
            wrong = httpx.post(f"http://127.0.0.1:{port}/search", json=body)
        finally:
            bridge.terminate()
    assert record.trials[0].errors == {}
    assert record.trials[0].recall is not None
    assert wrong.status_code == 400
    assert "different vector dimensions" in wrong.json()["error"]


@has_postgres
@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--index", "none"], "answers /count with 400"),
        (["--set", "operator=~"], "operator is '~' and knob"),
        (["--set", "column=vec"], "answers one of the queries with 400"),
        (["--effort", "5000"], "5000 is outside the valid range"),
        (["--url", "postgresql://postgres@192.0.2.1/postgres"], "192.0.2.1:5432 is another machine"),
        (["--start", "postgres -p {port}"], "start PostgreSQL before"),
    ],
)
def test_what_the_database_refuses_is_said_before_any_load(
    database: str, corpus: Path, tmp_path: Path, more: list[str], says: str
) -> None:
    arguments = ["run", *LOAD, "--url", database, "--index", "docs", "--queries", str(corpus / "queries.npy")]
    done = CliRunner().invoke(loadtest, [*arguments, "--out", str(tmp_path / "run.json"), *more])
    assert isinstance(done.exception, LoadTestError), done.output
    assert says in str(done.exception)
    assert not (tmp_path / "run.json").exists()


def test_a_bridge_without_its_database_is_an_error_with_the_reason(corpus: Path, tmp_path: Path) -> None:
    url = f"postgresql://postgres@127.0.0.1:{free_port()}/postgres"
    arguments = ["loadtest", "run", *LOAD, "--url", url, "--index", "docs", "--queries", str(corpus / "queries.npy")]
    done = subprocess.run(
        [sys.executable, "-m", "deploy.command", *arguments, "--out", str(tmp_path / "run.json")],
        capture_output=True, text=True, env={**os.environ, "PERWATT_NO_IMDS": "1"},
    )  # fmt: skip
    assert done.returncode == 1
    assert "PostgreSQL: connection failed" in done.stderr
    assert "the reason stands above" in done.stderr


def test_a_request_becomes_one_statement_with_its_names_quoted() -> None:
    asked = msgspec.json.decode(b'{"vector": [1, 0.5], "k": 7, "filter": "lang LIKE \'e%\'"}', type=BridgeQuery)
    table = SqlTable('shop.my "docs"', "key", "v", "<#>")
    assert table.query(asked).as_string() == (
        'SELECT "key"::text, "v" <#> %s::vector AS distance FROM "shop"."my ""docs""" '
        "WHERE (lang LIKE 'e%%') ORDER BY distance LIMIT 7"
    )
    assert json.loads(bytes(asked.vector)) == [1, 0.5]
    assert table_of("docs", {"operator": "<->", "knob": "ivfflat.probes"}).knob == "ivfflat.probes"


@pytest.mark.parametrize(
    ("dsn", "place"),
    [
        ("postgresql://u:p@db:6543/x", "http://db:6543"),
        ("postgres://db/x", "http://db:5432"),
        ("postgresql:///x?host=/run/postgresql", "http://localhost:5432"),
    ],
)
def test_where_a_database_listens_is_read_from_its_connection_string(dsn: str, place: str) -> None:
    assert place_of(dsn) == place
