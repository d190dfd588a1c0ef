"""What each key has used: it adds up to the whole, outlives workers, and is shown to those it concerns."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from click.testing import CliRunner
from power_folders import lay, zone
from server_keys import bearer, make_key
from serving import Server
from worker_processes import children, workers

from deploy.command import perwatt
from service.access import keys
from service.access.keyring import Keyring
from service.access.ledger import FORMER, NO_KEY, Ledger, Used
from service.access.ledger import WIDTH as LEDGER_WIDTH
from service.access.quota import Quotas
from service.client import Client
from service.telemetry import spending as costs
from service.telemetry.slab import Slab
from service.telemetry.spending import Spending

pytest_plugins = ["serving_fixtures"]

SEARCH, USAGE = "/v1/indexes/docs/search", "/v1/usage"
PRICE = 0.36  # an hour of one CPU: a ten-thousandth of a dollar a second


class Billed(NamedTuple):
    server: Server
    of: dict[str, str]


@pytest.fixture(scope="module")
def billed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Billed]:
    """Two workers that two tenants have used, of which one has died since."""
    folder = tmp_path_factory.mktemp("billed")
    path = folder / "keys.json"
    of = {name: make_key(path, name, "search") for name in ("shop", "wiki")}
    of["writer"] = make_key(path, "writer", "write")
    of["shard"] = make_key(path, "shard", "admin", indexes=["docs"])
    of["boss"], of["prometheus"] = make_key(path, "boss", "admin"), make_key(path, "prometheus", "metrics")
    arguments = ("--keys", str(path), "--cpu-price", str(PRICE), "--cpu-watts", "1.5:4.5")
    with workers(root, folder, *arguments) as server:
        for number in range(4):  # connections go to the workers in turn
            use(server, of["shop"], texts=3)
            use(server, of["wiki"], texts=1)
            if number == 1:
                time.sleep(1.1)  # so that the worker has noted its processor time
                os.kill(children(server.process.pid)[0], signal.SIGKILL)
                server.wait_for_log("ended with signal SIGKILL")
        server.wait_for_log("is ready")
        yield Billed(server, of)


def use(server: Server, key: str, texts: int) -> None:
    """So many queries by text, three in a batch of which one fails, and a text embedded."""
    with server.client(headers=bearer(key)) as client:
        for number in range(texts):
            assert client.post(SEARCH, json={"text": f"espresso {number}"}).status_code == 200
        batch = {"queries": [{"id": "a01"}, {"id": "nobody"}, {"text": "chess"}]}
        assert client.post(f"{SEARCH}/batch", json=batch).status_code == 200
        assert client.post("/v1/embeddings", json={"input": "a text"}).status_code == 200


def told(billed: Billed, key: str) -> dict[str, Any]:
    with billed.server.client(headers=bearer(billed.of[key])) as client:
        answer = client.get(USAGE)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def lines(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {line["key"]: line for line in answer["keys"]}


def test_every_query_of_every_worker_is_counted_once_for_its_key(billed: Billed) -> None:
    of = lines(told(billed, "boss"))
    assert set(of) == {"shop", "wiki", "(service)"}
    assert (of["shop"]["queries"], of["wiki"]["queries"]) == (4 * 5, 4 * 3)
    assert of["shop"]["tokens"] > of["wiki"]["tokens"] > 0
    assert of["shop"]["vectors_scored"] > of["wiki"]["vectors_scored"] > 0


def test_the_keys_add_up_to_the_whole(billed: Billed) -> None:
    answer = told(billed, "boss")
    assert answer["energy"] in ("measured", "modelled")
    assert answer["usd_per_cpu_hour"] == PRICE
    whole = answer["whole"]
    for name in ("queries", "tokens", "vectors_scored"):
        assert sum(line[name] for line in answer["keys"]) == whole[name] > 0
    for name in ("cpu_s", "joules", "dollars"):
        assert sum(line[name] for line in answer["keys"]) == pytest.approx(whole[name], rel=0.02)
    assert sum(line.get("share", 0) for line in answer["keys"]) == pytest.approx(1, rel=0.02)
    assert whole["dollars"] == pytest.approx(whole["cpu_s"] * PRICE / 3600, rel=1e-3)
    # What the kernel says of the processes that live is in it, and what the dead one had spent.
    living_s = sum(costs.process_cpu_s(pid) or 0.0 for pid in children(billed.server.process.pid))
    assert whole["cpu_s"] > living_s * 0.98


@pytest.mark.parametrize("key", ["shop", "writer", "shard"])
def test_a_key_that_is_not_for_the_whole_service_sees_its_own(billed: Billed, key: str) -> None:
    answer = told(billed, key)
    assert set(lines(answer)) <= {key}
    assert "whole" not in answer
    assert all("share" not in line for line in answer["keys"])
    with billed.server.client(headers=bearer(billed.of[key])) as client:
        metrics = client.get("/metrics").text
    assert 'key="wiki"' not in metrics


@pytest.mark.parametrize("key", ["prometheus", "boss"])
def test_metrics_have_every_key_for_who_may_see_them(billed: Billed, key: str) -> None:
    with billed.server.client(headers=bearer(billed.of[key])) as client:
        metrics = client.get("/metrics").text
    assert 'perwatt_key_queries_total{key="shop"} 20.0' in metrics
    assert "perwatt_queries_total 32.0" in metrics
    [second] = re.findall(r"^perwatt_cpu_second_dollars (\S+)$", metrics, re.MULTILINE)
    assert float(second) == pytest.approx(PRICE / 3600)


def test_no_secret_is_told_and_a_key_is_needed(billed: Billed) -> None:
    with billed.server.client(headers=bearer(billed.of["boss"])) as client:
        text = client.get(USAGE).text + client.get("/metrics").text
    assert not any(part in text for token in billed.of.values() for part in token.split("_", 2)[1:])
    with billed.server.client() as stranger:
        assert stranger.get(USAGE).status_code == 401


def test_the_command_prints_a_table_and_the_client_has_a_method(billed: Billed) -> None:
    said = CliRunner().invoke(perwatt, ["usage", "--url", billed.server.url, "--key", billed.of["boss"]])
    assert said.exit_code == 0, said.output
    rows = {line.split("  ")[0]: line.split() for line in said.output.splitlines()}
    assert rows["key"] == ["key", "queries", "tokens", "distances", "CPU", "s", "share", "joules", "dollars"]
    assert rows["shop"][1] == "20"
    assert rows["(all)"][1] == "32"
    with Client(billed.server.url, key=billed.of["wiki"]) as client:
        [mine] = client.usage().keys
    assert (mine.key, mine.queries) == ("wiki", 12)


def test_without_keys_all_is_one_line_for_the_person_at_this_machine(client: httpx.Client) -> None:
    before = lines(client.get(USAGE).json()).get(NO_KEY, {"queries": 0})["queries"]
    assert client.post(SEARCH, json={"id": "a01"}).status_code == 200
    answer = client.get(USAGE).json()
    assert lines(answer)[NO_KEY]["queries"] == before + 1
    assert set(lines(answer)) == {NO_KEY, "(service)"}
    assert client.get(USAGE, headers={"x-forwarded-for": "192.0.2.1"}).status_code == 403


def test_a_slot_that_goes_to_another_key_takes_nothing_over(tmp_path: Path) -> None:
    path, slab = tmp_path / "keys.json", Slab(LEDGER_WIDTH, 2)
    ledgers = [Ledger(slab, worker) for worker in range(2)]
    token = make_key(path, "old", "search")
    rings = [Keyring(path, Quotas(), ledger) for ledger in ledgers]
    for ring in rings:
        account = ring.caller(token).account  # type: ignore[union-attr]
        assert account is not None
        account.add(1, 2, 3, 0.5)
    with keys.changing(path) as held:
        held.clear()
    new = make_key(path, "new", "search")
    rings[0].reload()  # the other worker is still to notice
    assert ledgers[1].used() == {FORMER: Used(1, 2, 3, 0.5), "old": Used(1, 2, 3, 0.5)}
    account = rings[0].caller(new).account  # type: ignore[union-attr]
    assert account is not None
    account.add(4, 0, 0, 0.25)
    Keyring(path, Quotas(), Ledger(slab, 1))  # a worker in the place of one that died
    assert ledgers[0].used() == {FORMER: Used(2, 4, 6, 1.0), "new": Used(4, 0, 0, 0.25)}


def test_measured_joules_follow_the_counter_over_its_end_and_past_a_death(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = {"s": 100.0}
    monkeypatch.setattr(costs, "_busy_s", lambda: busy["s"])
    powercap = lay(tmp_path, zone("intel-rapl:0", "package-0", 90_000_000, 100_000_000)) / "sys/class/powercap"
    counter, slab = powercap / "intel-rapl:0" / "energy_uj", Slab(costs.WIDTH, 2)
    Spending(slab, 0, powercap=powercap)
    counter.write_text("98000000")  # 8 J before the first worker died unseen
    spending = Spending(slab, 0, powercap=powercap)
    counter.write_text("12000000")  # it began again at 100 J
    spending.note()
    busy["s"] += 44_000.0  # of which the machine spent 22 J; longer than any process of tests has been at work
    other = Spending(slab, 1, cpu_watts=(1, 2), powercap=tmp_path)
    assert (other.evidence, other.service_cpu_s() < 44_000) == ("measured", True)
    assert other.joules(2_000.0) == pytest.approx((1.0, 1.0, 1.0))
    assert Spending(slab, 1, here=False).evidence == "unknown"  # a router's work is done on other machines


def test_joules_without_a_counter_are_modelled_or_unknown_and_say_so(tmp_path: Path) -> None:
    modelled = Spending(cpu_watts=(1.5, 4.5), powercap=tmp_path)
    assert (modelled.evidence, modelled.joules(2.0)) == ("modelled", (6.0, 3.0, 9.0))
    assert "1.5 to 4.5 W" in modelled.why()
    unknown = Spending(powercap=tmp_path)
    assert (unknown.evidence, unknown.joules(2.0), unknown.dollars(2.0)) == ("unknown", None, None)
    assert "--cpu-watts" in unknown.why()


@pytest.mark.parametrize("watts", ["0", "-1", "3:2", "x", "1:", "1:inf", "nan"])
def test_watts_that_are_none_are_refused(watts: str) -> None:
    said = CliRunner().invoke(perwatt, ["serve", "--cpu-watts", watts])
    assert said.exit_code == (1 if watts == "1:" else 2)
    assert ("expected watts" in said.output) == (watts != "1:")
