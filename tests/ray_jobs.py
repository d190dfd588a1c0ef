"""A job on a real Ray cluster, of whose nodes one is killed: `make test-ray`."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from encoder_server import encoder_server
from running_jobs import documents, made, planned, ran_here

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before a node starts

from ray.cluster_utils import Cluster

from deploy.errors import BadInputError
from deploy.jobs.ray_cluster import RayWorkers
from deploy.jobs.run import run
from deploy.jobs.tally import JobDisplay, Tally

OPTIONS = ("--shards", 3, "--filterable", "year:int", "--fragment-mb", 0.004)
STORE_BYTES = 80 << 20


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that does no work, and three nodes of one core each."""
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    running = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(3):
        running.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    running.wait_for_nodes()
    yield running
    running.shutdown()


class KillingDisplay(JobDisplay):
    """Kills a node once a task is done and all three nodes are at work."""

    def __init__(self, cluster: Any) -> None:
        super().__init__(io.StringIO())
        self._cluster = cluster
        self.killed_at: Tally | None = None
        self.retried = 0

    def show(self, tally: Tally) -> None:
        super().show(tally)
        self.retried = max(self.retried, tally.retried)
        if self.killed_at is None and tally.done and tally.running == 3 and len(tally.left) > 3:
            self.killed_at = tally
            self._cluster.remove_node(self._cluster.list_all_nodes()[-1], allow_graceful=False)


def test_a_node_that_is_killed_costs_what_it_was_working_on(cluster: Any, tmp_path: Path) -> None:
    docs = documents(tmp_path / "docs.jsonl")
    with encoder_server() as server:
        undisturbed = planned(docs, tmp_path / "undisturbed", server.url, *OPTIONS)
        ran_here(undisturbed)
        server.slow_s = 1.0  # so that every node is at work when one is killed
        job = planned(docs, tmp_path / "job", server.url, *OPTIONS)
        display = KillingDisplay(cluster)
        workers = RayWorkers(job, 1, cluster.address)
        assert workers.at_once == 3
        try:
            run(job, workers, display=display, usd_per_core_hour=0.04)
            assert workers.at_once == 2
        finally:
            workers.close()
    assert display.killed_at is not None
    assert display.killed_at.retried == 1
    assert made(tmp_path / "job") == made(tmp_path / "undisturbed")
    assert len(made(tmp_path / "job")) == 3
    assert job.index.alias().generation == job.plan.generation


def test_a_poisoned_input_is_not_tried_again_on_ray_either(cluster: Any, tmp_path: Path) -> None:
    docs = documents(tmp_path / "docs.jsonl")
    docs.write_text(docs.read_text() + '{"id": "poison"}\n')
    with encoder_server() as server:
        job = planned(docs, tmp_path, server.url, *OPTIONS)
        display = KillingDisplay(cluster)
        display.killed_at = Tally("embed", {})  # none is killed
        workers = RayWorkers(job, 1, cluster.address)
        try:
            with pytest.raises(BadInputError, match=rf"{docs}:241: there is no field 'text'"):
                run(job, workers, display=display, most_failed=10)
        finally:
            workers.close()
    assert display.retried == 0
