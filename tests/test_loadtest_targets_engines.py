"""Each engine that --target names: against its documentation where it does not run here, else against itself."""

from __future__ import annotations

import json

import pytest
from engine_exchanges import EXCHANGES, Exchange

from loadtest.errors import TargetError, WorkloadError
from loadtest.targets.contract import refuse
from loadtest.targets.named import FOLDER, described, names, target_of
from loadtest.targets.template import read_template
from loadtest.workload.plan import Plan
from loadtest.workload.queries import Query
from loadtest.workload.requests import Workload

RUN_HERE = {"chroma", "openai", "pgvector"}


def plan(target: str, **changes: object) -> Plan:
    return Plan(
        url="http://127.0.0.1:9", queries="q", rate_qps=1, duration_s=1, target=target, **{"index": "docs", **changes}
    )  # type: ignore[arg-type]


def planned(exchange: Exchange) -> Plan:
    asked = exchange.asked
    return plan(
        exchange.target, index=asked["index"], k=asked["k"], mode=asked.get("mode"), variables=asked.get("set", {})
    )


@pytest.mark.parametrize("exchange", EXCHANGES, ids=[f"{one.target}-{number}" for number, one in enumerate(EXCHANGES)])
def test_a_documented_request_is_sent_and_its_documented_answer_read(exchange: Exchange) -> None:
    target = target_of(planned(exchange))
    refuse(target, Workload(target.plan, [exchange.query], target))
    request = target.prepare(
        exchange.query,
        exchange.query.filter,
        effort=exchange.asked.get("effort"),
        exact=exchange.asked.get("exact", False),
    )
    method_and_path, body = exchange.request
    assert f"{request.method} {request.path}" == method_and_path
    assert json.loads(request.body) == body | exchange.added
    assert [hit.id for hit in target.read(json.dumps(exchange.answer).encode()).hits] == exchange.ids


def test_each_engine_runs_here_or_says_which_documentation_it_was_written_from() -> None:
    documented = {one.target for one in EXCHANGES}
    assert set(names()[2:]) == documented | RUN_HERE
    for name in names()[2:]:
        template = read_template(FOLDER / f"{name}.toml")
        assert bool(template.documented) == (name in documented), name
    listed = dict(described())
    assert "effort is hnsw_ef; exact mode; written from qdrant.tech" in listed["qdrant"]
    assert "needs --set field=…" in listed["opensearch"]


def test_an_error_that_comes_with_status_200_is_no_answer() -> None:
    milvus = target_of(plan("milvus"))
    with pytest.raises(TargetError, match="collection not found"):
        milvus.read(b'{"code": 100, "message": "collection not found[database=default][collection=docs]"}')
    weaviate = target_of(plan("weaviate"))
    with pytest.raises(TargetError, match="Cannot query field"):
        weaviate.read(b'{"data": {"Get": null}, "errors": [{"message": "Cannot query field \\"docs\\""}]}')


def test_a_text_within_a_query_language_is_quoted() -> None:
    weaviate = target_of(plan("weaviate", mode="lexical", k=2))
    query = json.loads(weaviate.prepare(Query(text='a "b" {vector}'), None, effort=None).body)["query"]
    assert 'bm25: {query: "a \\"b\\" {vector}"}' in query


def test_an_exact_search_without_a_filter_is_one_of_everything_and_a_fast_one_has_none() -> None:
    target = target_of(plan("opensearch", variables={"field": "v"}))
    exact = json.loads(target.prepare(Query(vector=[1.0]), None, effort=None, exact=True).body)
    assert exact["query"]["script_score"]["query"] == {"bool": {"filter": {"match_all": {}}}}
    fast = json.loads(target.prepare(Query(vector=[1.0]), None, effort=None).body)
    assert fast["query"] == {"knn": {"v": {"vector": [1.0], "k": 10}}}


def test_a_key_is_sent_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    target = target_of(plan("qdrant"))
    monkeypatch.delenv("QDRANT_API_KEY", raising=False)
    assert target.prepare(Query(vector=[1.0]), None, effort=None).headers == (("Content-Type", "application/json"),)
    monkeypatch.setenv("QDRANT_API_KEY", "k1")
    assert target.prepare(Query(vector=[1.0]), None, effort=None).headers[0] == ("api-key", "k1")


@pytest.mark.parametrize(
    ("target", "changes", "says"),
    [
        ("opensearch", {}, "opensearch needs a value: --set field="),
        ("opensearch", {"mode": "lexical", "variables": {"field": "v"}}, "--set text_field="),
        ("qdrant", {"mode": "lexical"}, r"no request for --mode lexical"),
        ("qdrant", {"index": ""}, "say which, with --index"),
        ("milvus", {"variables": {"vectors": "v"}}, "milvus.toml has no variable vectors; it has: field"),
    ],
)
def test_what_an_engine_needs_is_said(target: str, changes: dict[str, object], says: str) -> None:
    with pytest.raises(WorkloadError, match=says):
        target_of(plan(target, **changes))


def test_a_search_asks_for_no_less_effort_than_hits() -> None:
    assert target_of(plan("elasticsearch", k=30, variables={"field": "v"})).able.lowest_effort == 30
