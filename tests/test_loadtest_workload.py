"""Requests are what the plan says: bodies, popularity, filters, addresses; and query files are read or refused."""

from __future__ import annotations

import base64
import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from loadtest.errors import WorkloadError
from loadtest.targets.perwatt import PerwattTarget
from loadtest.workload.plan import FilterShare, Plan
from loadtest.workload.queries import Query, read_queries
from loadtest.workload.requests import Address, Workload, popularity


def plan(**changes: Any) -> Plan:
    base = Plan(url="http://127.0.0.1:9", index="docs", queries="q.jsonl", rate_qps=1, duration_s=1)
    return msgspec.structs.replace(base, **changes)


def asked(plan: Plan, queries: list[Query], api_key: str | None = None) -> Workload:
    return Workload(plan, queries, PerwattTarget(plan, api_key))


def test_a_request_is_complete_http_with_the_body_of_its_query() -> None:
    workload = asked(plan(effort=64, fields=["title"], mode="dense"), [Query(text="größe")], api_key="k1")
    head, _, body = workload.wire(0).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /v1/indexes/docs/search HTTP/1.1"
    assert "Host: 127.0.0.1:9" in lines
    assert "Authorization: Bearer k1" in lines
    assert f"Content-Length: {len(body)}" in lines
    expected = {"k": 10, "text": "größe", "params": {"effort": 64}, "mode": "dense", "fields": ["title"]}
    assert json.loads(body) == expected


@pytest.mark.parametrize(("given", "sent"), [("k1", True), ("", False)])
def test_a_key_of_the_environment_is_sent_and_an_empty_one_is_none(
    monkeypatch: pytest.MonkeyPatch, given: str, sent: bool
) -> None:
    monkeypatch.setenv("PERWATT_KEY", given)
    assert (b"authorization" in asked(plan(), [Query(text="a")]).wire(0).lower()) is sent


def test_vectors_go_as_base64_of_little_endian_float32_or_as_numbers() -> None:
    vector = [1.0, -0.5, 0.25]
    packed = json.loads(asked(plan(), [Query(vector=vector)]).body(0))["vector"]
    assert np.frombuffer(base64.b64decode(packed), "<f4").tolist() == vector
    plain = asked(plan(vector_encoding="json"), [Query(vector=vector)])
    assert json.loads(plain.body(0))["vector"] == vector


def test_filters_come_in_their_shares_and_a_query_keeps_its_own() -> None:
    mix = [FilterShare(0.25, {"field": "lang", "eq": "en"})]
    own = {"field": "tier", "eq": "x"}
    workload = asked(plan(filters=mix), [Query(text="a"), Query(text="b", filter=own)])
    picked = list(itertools.islice(workload.picks(), 20_000))
    filters = Counter(json.dumps(json.loads(workload.body(r)).get("filter")) for r in picked if r < 2)
    assert filters[json.dumps(mix[0].filter)] / filters.total() == pytest.approx(0.25, abs=0.02)
    assert {json.dumps(json.loads(workload.body(r))["filter"]) for r in picked if r >= 2} == {json.dumps(own)}


def test_zipf_follows_the_rank_and_uniform_does_not() -> None:
    queries = [Query(text=str(i)) for i in range(100)]
    counts = Counter(itertools.islice(asked(plan(popularity="zipf:1"), queries).picks(), 50_000))
    assert counts[0] / counts[9] == pytest.approx(10, rel=0.15)
    even = Counter(itertools.islice(asked(plan(), queries).picks(), 50_000))
    assert max(even.values()) / min(even.values()) < 1.5


def test_picks_are_repeatable_by_seed_and_stream() -> None:
    workload = asked(plan(), [Query(text=str(i)) for i in range(50)])

    def first(stream: tuple[int, ...]) -> list[int]:
        return list(itertools.islice(workload.picks(stream), 100))

    assert first((0, 1)) == first((0, 1))
    assert first((0, 1)) != first((0, 2))


def test_the_fingerprint_tells_different_questions_apart() -> None:
    one = asked(plan(), [Query(text="a")])
    assert one.fingerprint() == asked(plan(seed=99, rate_qps=7), [Query(text="a")]).fingerprint()
    assert one.fingerprint() != asked(plan(k=5), [Query(text="a")]).fingerprint()


@pytest.mark.parametrize("name", ["normal", "zipf:-1", "zipf:x", "zipf:nan", "zipf:inf"])
def test_an_unknown_popularity_is_refused(name: str) -> None:
    with pytest.raises(WorkloadError, match="popularity"):
        popularity(name, 10)


def test_shares_above_one_are_refused() -> None:
    with pytest.raises(WorkloadError, match="sum ≤ 1"):
        asked(plan(filters=[FilterShare(0.6, {}), FilterShare(0.6, {})]), [Query(text="a")])


def test_tls_is_refused_with_the_reason() -> None:
    with pytest.raises(WorkloadError, match="behind the TLS terminator"):
        Address.parse("https://example.org")
    assert Address.parse("http://[::1]:81/x/") == Address("::1", 81, "/x")


def test_query_files_of_every_kind_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one", "truth": ["7"]}\n\n{"vector": [1, 2]}\n')
    assert read_queries(tmp_path / "a.jsonl") == [Query(text="one", truth=["7"]), Query(vector=[1.0, 2.0])]
    (tmp_path / "b.txt").write_text("one\n\n two \n")
    assert read_queries(tmp_path / "b.txt") == [Query(text="one"), Query(text="two")]
    np.save(tmp_path / "c.npy", np.array([[1, 2], [3, 4], [5, 6]], np.float16))
    assert read_queries(tmp_path / "c.npy")[1].vector == [3.0, 4.0]
    assert len(read_queries(tmp_path / "c.npy", limit=2)) == 2


def test_a_vectors_folder_gives_the_titles_of_its_documents(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    payloads = [json.dumps({"title": t}).encode() for t in ("keys", "roles", "keys")] + [b"{}"]
    parquet.write_table(pa.table({"payload": pa.array(payloads, pa.binary())}), tmp_path / "p.parquet")
    (tmp_path / "embed.json").write_text(json.dumps({"format": 1, "fragments": [{"file": "p.parquet"}]}))
    assert [q.text for q in read_queries(tmp_path)] == ["keys", "roles"]
    with pytest.raises(WorkloadError, match=r"no document .* 'name'"):
        read_queries(tmp_path, field="name")


@pytest.mark.parametrize(
    ("line", "why"), [("{", "line 2"), ('{"text": "a", "id": "b"}', "exactly one"), ('{"txt": "a"}', "unknown field")]
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, why: str) -> None:
    (tmp_path / "q.jsonl").write_text('{"text": "fine"}\n' + line)
    with pytest.raises(WorkloadError, match=why):
        read_queries(tmp_path / "q.jsonl")


def test_a_sample_is_seeded_and_keeps_the_order(tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("\n".join(str(i) for i in range(1000)))
    some = [int(q.text or "") for q in read_queries(tmp_path / "q.txt", limit=50, seed=3)]
    assert len(some) == 50
    assert some == sorted(some)
    assert some == [int(q.text or "") for q in read_queries(tmp_path / "q.txt", limit=50, seed=3)]
    assert some != [int(q.text or "") for q in read_queries(tmp_path / "q.txt", limit=50, seed=4)]


def test_a_damaged_query_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("größe".encode("latin-1"))
    (tmp_path / "vectors").mkdir()
    (tmp_path / "vectors" / "embed.json").write_text('{"format": 1, "fragments": [{"file": "part-0.parquet"}]}')
    (tmp_path / "vectors" / "part-0.parquet").write_bytes(b"PAR1 and no more")
    for name, says in (
        ("latin.txt", "cannot be read as UTF-8"),
        ("vectors", "is damaged: .*make it anew with perwatt embed"),
    ):
        with pytest.raises(WorkloadError, match=says):
            read_queries(tmp_path / name)


def test_a_key_that_cannot_be_sent_is_refused_before_the_load() -> None:
    with pytest.raises(WorkloadError, match="characters that no key has"):
        asked(plan(), [Query(text="x")], api_key="schlüssel")
