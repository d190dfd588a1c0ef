"""Any search over HTTP is loaded and judged through a request template, and what it cannot do is refused before."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import click
import http_target
import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result
from http_target import EXACT, TEMPLATE, corpus, write_corpus

from loadtest.cli.load import loadtest
from loadtest.errors import LoadTestError, TargetError, WorkloadError
from loadtest.record.run_record import Record, read_record
from loadtest.targets.contract import refuse
from loadtest.targets.http import HttpTarget
from loadtest.targets.named import names, target_of
from loadtest.targets.selector import parse, select
from loadtest.targets.template import read_template
from loadtest.workload.plan import FilterShare, Plan
from loadtest.workload.queries import Query
from loadtest.workload.requests import Workload

pytest_plugins = ["load_commands_fixtures"]
pytestmark = pytest.mark.usefixtures("warm_locust")

ROWS = 400


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus, queries with vectors, and the template of the search that holds it."""
    monkeypatch.setenv("PERWATT_NO_IMDS", "1")
    monkeypatch.setenv("SOMEBODYS_KEY", "sesame")
    write_corpus(tmp_path, ROWS)
    np.save(tmp_path / "queries.npy", np.random.default_rng(5).standard_normal((60, 8)).astype(np.float32))
    (tmp_path / "search.toml").write_text(TEMPLATE)
    return tmp_path


def load(folder: Path, *more: str) -> Result:
    """`perwatt loadtest run` of the search, which it starts itself."""
    start = f"{shlex.quote(sys.executable)} {shlex.quote(http_target.__file__)} {shlex.quote(str(folder))} {{port}}"
    return CliRunner().invoke(loadtest, [
        "run", "--target", "http", "--template", str(folder / "search.toml"), "--index", "docs", "--start", start,
        "--queries", str(folder / "queries.npy"), "--rate", "40", "--duration", "2", "--warmup", "0.5", "-k", "5",
        "--slo-p99-ms", "20000", "--timeout", "30", "--allow-interference", "--out", str(folder / "run.json"), *more,
    ])  # fmt: skip


def recorded(folder: Path, done: Result) -> Record:
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code in (0, 3), done.output  # a crowded machine may void it, which is also an answer
    return read_record(folder / "run.json")


def test_a_plain_fastapi_app_is_loaded_and_its_recall_known_from_the_users_own_vectors(folder: Path) -> None:
    truth = ["--truth", str(folder / "vectors.npy"), str(folder / "ids.txt")]
    low = recorded(folder, load(folder, "--effort", "32", *truth))
    full = recorded(folder, load(folder, "--effort", "64", *truth))
    for record in (low, full):
        trial = record.trials[0]
        assert trial.errors == {}
        assert trial.answered + trial.missed == trial.planned > 40
        assert trial.server is not None
        assert trial.server.sampled > 0
        assert trial.server.short_answers == 0
        assert trial.recall is not None
        assert trial.recall.queries > 10
    assert full.trials[0].recall is not None
    assert full.trials[0].recall.mean == 1
    assert low.trials[0].recall is not None
    assert 0.3 < low.trials[0].recall.mean < 0.7  # it looks at half of the rows
    served, asked = full.served, full.asked
    assert served is not None
    assert asked is not None
    assert (served.engine, served.version, served.effort_name) == ("A search of somebody's", "3.1", "beam")
    assert (served.count, served.settings) == (ROWS, {"rows": ROWS, "graph_degree": 16})
    assert asked.truth == "exact search of vectors.npy (cosine)"
    assert low.asked is not None
    assert low.asked.fingerprint != asked.fingerprint
    assert low.asked.questions == asked.questions


def test_the_cheapest_effort_that_proves_the_recall_is_found_by_the_name_that_the_engine_gives_it(folder: Path) -> None:
    (folder / "search.toml").write_text(TEMPLATE + EXACT)  # the engine's own exact mode, filters included
    more = ["--effort", "auto", "--recall", "0.7", "--filter", '0.5:{"eq": 1}', "--recall-queries", "100"]
    record = recorded(folder, load(folder, *more))
    trial = record.trials[0]
    assert record.asked is not None
    assert record.asked.truth == "the exact mode of http"
    assert trial.effort is not None
    assert 45 <= trial.effort < 64  # what it looks at is what it finds: 0.7 of 64, and a little for the bound
    assert trial.recall is not None
    assert 0.65 < trial.recall.mean < 0.95


def test_judgements_are_a_gate_as_well(folder: Path) -> None:
    vectors = corpus(ROWS)
    rows = [{"vector": vectors[row].tolist(), "_id": f"q{row}", "metadata": {}} for row in range(30)]
    (folder / "queries.npy").rename(folder / "unused.npy")
    (folder / "queries.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    # The document that a query is the vector of was judged best, and one that nobody finds almost as good.
    (folder / "qrels.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"q{row}\tdoc/{row}\t2\nq{row}\tnowhere\t1\n" for row in range(30))
    )
    more = ["--queries", str(folder / "queries.jsonl"), "--effort", "64", "--qrels", str(folder / "qrels.tsv")]
    half = recorded(folder, load(folder, *more)).trials[0].recall
    gain = recorded(folder, load(folder, *more, "--measure", "ndcg", "--recall", "0.9"))
    assert half is not None
    assert (half.mean, half.measure) == (0.5, "judged recall")
    found = gain.trials[0].recall
    assert found is not None
    assert (found.measure, found.k) == ("ndcg", 5)
    assert found.mean == pytest.approx(2 / (2 + 1 / np.log2(3)))
    assert gain.objective.misses(gain.trials[0], strict=True)[-1].startswith("lower bound of ndcg is 0.7")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--effort", "auto"], "nothing is known that answers could be held against"),
        (["--recall", "0.9"], "has no exact mode here. Give --truth VECTORS.npy IDS.txt"),
        (["--mode", "hybrid"], r"its template has no \[hybrid\]"),
        (["--set", "field=x"], "search.toml has no variable field"),
        (["--measure", "ndcg"], "needs --qrels"),
        (["--send", "vector"], "makes no vectors of texts"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_any_load(folder: Path, more: list[str], says: str) -> None:
    if "--send" in more:
        (folder / "queries.txt").write_text("one text\n")
        more = [*more, "--queries", str(folder / "queries.txt")]
    done = load(folder, *more)
    assert isinstance(done.exception, LoadTestError | click.ClickException), done.output
    assert done.exit_code == 1
    with pytest.raises(LoadTestError, match=says):
        raise done.exception
    assert not (folder / "run.json").exists()


def plan(folder: Path, **changes: object) -> Plan:
    base = Plan(
        url="http://127.0.0.1:9", index="docs", queries="q", rate_qps=1, duration_s=1, k=3, target="http",
        template=str(folder / "search.toml"),
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def test_a_request_is_what_the_template_says_and_what_has_no_value_is_left_out(folder: Path) -> None:
    target = target_of(plan(folder))
    wire = Workload(plan(folder), [Query(vector=[1.0, 0.5])], target).wire(0)
    head, _, body = wire.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /collections/docs/query HTTP/1.1"
    assert {"X-Key: sesame", "Content-Type: application/json", f"Content-Length: {len(body)}"} < set(lines)
    assert json.loads(body) == {"vector": [1.0, 0.5], "top": 3}
    full = target.prepare(Query(text="ä"), {"eq": 1}, effort=12)
    assert json.loads(full.body) == {"text": "ä", "top": 3, "where": {"parity": {"eq": 1}}, "beam": 12}


def test_a_get_request_carries_its_query_in_the_path(folder: Path) -> None:
    (folder / "search.toml").write_text(
        'engine = "Words"\n[search]\nmethod = "GET"\npath = "/s?q={text}&n={k}&in={field}"\nids = "[*]"\n'
        '[variables]\nfield = "title"\n'
    )
    target = target_of(plan(folder, variables={"field": "a b"}))
    prepared = target.prepare(Query(text="größe & ü/1"), None, effort=None)
    assert (prepared.path, prepared.body) == ("/s?q=gr%C3%B6%C3%9Fe%20%26%20%C3%BC%2F1&n=3&in=a%20b", b"")
    assert b"Content-Length" not in Workload(plan(folder), [Query(text="a")], target).wire(0)
    assert [hit.id for hit in target.read(b'["x", 7]').hits] == ["x", "7"]
    assert target.read(b"[]").hits == []
    with pytest.raises(WorkloadError, match="takes no filter"):
        refuse(target, Workload(plan(folder, filters=[FilterShare(0.5, {})]), [Query(text="a")], target))
    with pytest.raises(WorkloadError, match="has no effort to set"):
        refuse(target, Workload(plan(folder, effort=8), [Query(text="a")], target))
    with pytest.raises(WorkloadError, match=r"cannot be asked by vector \(query 2\): it is asked by text"):
        refuse(target, Workload(plan(folder), [Query(text="a"), Query(vector=[1.0])], target))


def test_an_answer_is_read_where_the_template_says(folder: Path) -> None:
    target = target_of(plan(folder))
    answer = target.read(b'{"found": [{"doc": 1, "similarity": 0.25}, {"doc": "b", "similarity": 0.5}], "ms": 3}')
    assert [(hit.id, hit.score) for hit in answer.hits] == [("1", 0.25), ("b", 0.5)]
    assert answer.took_ms == 3
    for body, says in ((b"<html>", "not JSON"), (b'{"error": "no such field"}', r"has no ids at .*no such field")):
        with pytest.raises(TargetError, match=says):
            target.read(body)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a.b[*].id", [1, 2]),
        ("$.a.b[0].id", [1]),
        ("a.b[-1].id", [2]),
        ("a['x y'][*][*]", [3, 4, 5]),
        ("a.none[*].id", []),
        ("a.b.id", []),
    ],
)
def test_a_selector_finds_what_stands_there(path: str, found: list[int]) -> None:
    answer = {"a": {"b": [{"id": 1}, {"id": 2}], "x y": [[3, 4], [5]]}}
    assert select(answer, parse(path)) == found


@pytest.mark.parametrize("path", ["", "a[", "a[x]", "a[*", "a..", "a b"])
def test_what_is_no_selector_is_refused(path: str) -> None:
    with pytest.raises(WorkloadError, match="says no place in an answer"):
        parse(path)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[search]", "[search", "cannot be read"),
        ('engine = "A search of somebody\'s"', "", "missing required field `engine`"),
        ('path = "/collections/{index}/query"', 'path = "collections"', "starts with a slash"),
        ('"{k}"', "{k}", "places stand in quotes"),
        ('"{k}"', '"{top}"', r"\{top\} is no place"),
        ('ids = "found[*].doc"', "", "ids is missing"),
        ('ids = "found[*].doc"', 'ids = "found[*"', "says no place"),
        ('"text": "{text}", "vector": "{vector}", ', "", "the query is nowhere in it"),
        ("took_ms", "took_s", "unknown field `took_s`"),
    ],
)
def test_a_template_with_a_mistake_is_refused_with_the_place(folder: Path, old: str, new: str, says: str) -> None:
    assert old in TEMPLATE
    (folder / "search.toml").write_text(TEMPLATE.replace(old, new))
    with pytest.raises(WorkloadError, match=says):
        read_template(folder / "search.toml", {})


def test_a_key_that_is_not_set_and_a_target_that_there_is_not_are_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOMEBODYS_KEY")
    target = target_of(plan(folder))
    assert isinstance(target, HttpTarget)
    alone = target.prepare(Query(vector=[1.0]), None, effort=None)
    assert alone.headers == (("Content-Type", "application/json"),), (
        "a key that stands alone is one that may be missing"
    )
    (folder / "search.toml").write_text(TEMPLATE.replace("{env.", "Bearer {env."))
    target = target_of(plan(folder))
    with pytest.raises(WorkloadError, match="takes SOMEBODYS_KEY from the environment"):
        target.prepare(Query(vector=[1.0]), None, effort=None)
    with pytest.raises(WorkloadError, match="no target is called 'lucene'; there are: perwatt, http"):
        target_of(plan(folder, target="lucene"))
    with pytest.raises(WorkloadError, match="belong together"):
        target_of(plan(folder, template=None))
    assert names()[:2] == ["perwatt", "http"]
