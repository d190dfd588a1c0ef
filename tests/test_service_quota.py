"""Token buckets: the burst, the rate, debts, and one bucket for all processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from patience import patient
from serving import serving

from service.access import keys
from service.access.quota import Quota, Quotas, table
from service.wire.problems import Problem

pytest_plugins = ["serving_fixtures"]


def takes(quota: Quota, times: int) -> int:
    """How many of `times` requests got through."""
    through = 0
    for _ in range(times):
        try:
            quota.take()
            through += 1
        except Problem:
            pass
    return through


def test_a_refusal_says_when_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.access.quota.time.monotonic", lambda: 50.0)
    quota = Quotas().of(3, 0.5, 1)
    quota.take()
    with pytest.raises(Problem) as caught:
        quota.take()
    assert (caught.value.code, caught.value.status, caught.value.headers["retry-after"]) == ("quota-exceeded", 429, "2")


def test_a_burst_is_let_through_and_no_more() -> None:
    assert takes(Quotas().of(3, rate_per_s=0.001, burst=7), 50) == 7


def test_without_a_burst_a_second_s_worth_is_one() -> None:
    assert takes(Quotas().of(0, 0.01, None), 5) == 1
    assert Quotas().of(0, 25.4, None).burst == 25


def test_time_gives_requests_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1000.0
    monkeypatch.setattr("service.access.quota.time.monotonic", lambda: now_s)
    quota = Quotas().of(1, rate_per_s=2, burst=3)
    assert takes(quota, 10) == 3
    now_s += 0.5
    assert takes(quota, 10) == 1
    now_s += 1.0
    assert takes(quota, 10) == 2
    now_s += 3600
    assert takes(quota, 10) == 3  # what was not used does not gather beyond the burst


def test_the_wait_that_is_told_is_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 50.0
    monkeypatch.setattr("service.access.quota.time.monotonic", lambda: now_s)
    quota = Quotas().of(1, rate_per_s=0.4, burst=1)
    quota.take()
    with pytest.raises(Problem) as caught:
        quota.take()
    assert caught.value.members["retry_after_s"] == 2.5
    assert caught.value.headers["retry-after"] == "3"
    now_s += 2.499
    assert takes(quota, 1) == 0
    now_s += 0.002
    assert takes(quota, 1) == 1


def test_a_batch_is_a_debt(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr("service.access.quota.time.monotonic", lambda: now_s)
    quota = Quotas().of(1, rate_per_s=10, burst=10)
    quota.take()
    quota.charge(29)
    assert takes(quota, 1) == 0
    now_s += 2.05  # thirty were taken, ten are allowed at once
    assert takes(quota, 3) == 0
    now_s += 0.1
    assert takes(quota, 3) == 1


def test_keys_do_not_share_a_bucket() -> None:
    quotas = Quotas()
    assert takes(quotas.of(1, 0.001, 5), 9) == 5
    assert takes(quotas.of(2, 0.001, 5), 9) == 5


def test_processes_share_a_bucket_and_lose_no_request() -> None:
    descriptor = table()
    program = (
        "from service.access.quota import Quotas\nfrom service.wire.problems import Problem\n"
        f"quota, through = Quotas({descriptor}).of(7, 0.001, 1500), 0\n"
        "for _ in range(1000):\n try: quota.take(); through += 1\n except Problem: pass\nprint(through)"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program], pass_fds=[descriptor], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert sum(int(process.communicate()[0]) for process in running) == 1500


@pytest.fixture
def limited(root: Path, tmp_path: Path) -> Any:
    """A server, and a client with a key for `docs` that may ask twice, and then hardly ever."""
    with keys.changing(tmp_path / "keys.json") as held:
        token = keys.add(held, keys.Key("few", 0, "search", [], ["docs"], rate_per_s=0.001, burst=2), None)
    with serving(root, tmp_path, "--keys", str(tmp_path / "keys.json")) as server:
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        with httpx.Client(base_url=server.url, headers=headers, timeout=patient(30)) as client:
            yield client


def test_a_refused_search_counts_once(limited: httpx.Client) -> None:
    """Or whoever may ask once a second is told to come back for ever, and never why it is refused."""
    asked = {"vector": [0.0] * 8}
    statuses = [limited.post("/v1/indexes/bare/search", json=asked).status_code for _ in range(3)]
    assert statuses == [403, 403, 429]


def test_many_queries_to_a_shard_cost_as_many(limited: httpx.Client) -> None:
    many = {"queries": 5, "vectors": "", "k": 10}
    assert limited.post("/v1/indexes/docs/part", json=many).status_code != 429  # what it costs is a debt
    assert limited.post("/v1/indexes/docs/part", json={"documents": ["a01"]}).status_code == 429


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        ({"queries": 256, "vectors": "", "k": 25_000}, "/k"),
        ({"queries": 256, "vectors": "", "k": 10, "payloads": 25_000}, "/payloads"),
        ({"documents": ["a01"] * 101, "words": "volcano", "highlight": {}}, "/documents"),
    ],
)
def test_one_request_to_a_shard_asks_for_so_much(client: httpx.Client, asked: dict[str, Any], pointer: str) -> None:
    answer = client.post("/v1/indexes/docs/part", json=asked)
    assert (answer.status_code, answer.json()["pointer"]) == (422, pointer)
