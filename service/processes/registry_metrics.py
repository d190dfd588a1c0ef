"""Prometheus metrics of what is loaded, read at each scrape so that no series of an old generation lingers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from index import kernels
from service.query.index_registry import IndexRegistry
from service.routing.indexes import RoutedIndexes

# When an index should be rebuilt: searches compare every document that was written since.
REBUILD_ROWS, REBUILD_SHARE = 50_000, 0.05


class RegistryCollector(Collector):
    """What is loaded at the moment of the scrape."""

    def __init__(self, registry: IndexRegistry, may_see: Callable[[str], bool]) -> None:
        self._registry = registry
        self._may_see = may_see

    def collect(self) -> Iterable[Metric]:
        info, vectors = _answering()
        recall = GaugeMetricFamily(
            "perwatt_recall",
            "Recall@k measured at build time; low and high end its 95 % interval.",
            labels=["index", "k", "bound"],
        )
        refused = GaugeMetricFamily(
            "perwatt_reload_refused",
            "1 when the last reload of an index was refused and the old generation still answers.",
            labels=["index"],
        )
        seq = GaugeMetricFamily("perwatt_changes_seq", "The last write that searches see.", labels=["index"])
        rows = GaugeMetricFamily(
            "perwatt_changes_rows",
            "Documents written since the generation was built; every search compares them all.",
            labels=["index"],
        )
        unweighed = GaugeMetricFamily(
            "perwatt_changes_unweighed",
            "Documents written since the generation was built that have no sparse weights, where the index has them.",
            labels=["index"],
        )
        due = GaugeMetricFamily(
            "perwatt_rebuild_due",
            f"1 when {REBUILD_ROWS:,} documents or {REBUILD_SHARE:.0%} of the index were written since the generation.",
            labels=["index"],
        )
        behind = GaugeMetricFamily(
            "perwatt_changes_unreadable", "1 when later writes cannot be read and are not searched.", labels=["index"]
        )
        created = GaugeMetricFamily(
            "perwatt_generation_created_seconds",
            "When the generation that answers was built, in seconds since 1970.",
            labels=["index"],
        )
        disk = GaugeMetricFamily(
            "perwatt_disk_bytes", "Of the file system that the indexes lie on: size, and what is free.", labels=["part"]
        )
        kernel = GaugeMetricFamily("perwatt_kernel_info", "1 for the SIMD unit in use.", labels=["arch", "isa"])
        for name, loaded in self._registry.all().items():
            if not self._may_see(name):
                continue
            info.add_metric([name, loaded.id, loaded.model or ""], 1)
            vectors.add_metric([name], loaded.count)
            created_at = datetime.fromisoformat(loaded.generation.manifest["created_at"])
            created.add_metric([name], created_at.timestamp())
            measured = loaded.recall
            if measured is not None:
                for bound in ("value", "low", "high"):
                    value = getattr(measured, bound)
                    recall.add_metric([name, str(measured.k), bound], value)
            refused.add_metric([name], name in self._registry.failures)
            follower = loaded.follower
            written = follower.delta.count if follower.delta is not None else 0
            seq.add_metric([name], follower.seq)
            rows.add_metric([name], written)
            unweighed.add_metric([name], loaded.unweighed)
            due.add_metric([name], written >= min(REBUILD_ROWS, max(1, REBUILD_SHARE * loaded.generation.count)))
            behind.add_metric([name], follower.failure is not None)
        volume = os.statvfs(self._registry.root.folder)
        disk.add_metric(["size"], volume.f_blocks * volume.f_frsize)
        disk.add_metric(["free"], volume.f_bavail * volume.f_frsize)
        machine = kernels.info()
        kernel.add_metric([str(machine["arch"]), str(machine["isa"])], 1)
        return (info, vectors, recall, refused, seq, rows, unweighed, due, behind, created, disk, kernel)


class RoutedCollector(Collector):
    """What a router knows of its shards at the moment of the scrape."""

    def __init__(self, indexes: RoutedIndexes, may_see: Callable[[str], bool]) -> None:
        self._indexes = indexes
        self._may_see = may_see

    def collect(self) -> Iterable[Metric]:
        info, vectors = _answering()
        replicas = GaugeMetricFamily(
            "perwatt_shard_replicas", "Replicas of a shard that serve what answers.", labels=["index", "shard"]
        )
        for name, index in self._indexes.all().items():
            if not self._may_see(name):
                continue
            info.add_metric([name, index.id, index.model or ""], 1)
            vectors.add_metric([name], index.count)
            for number, shard in enumerate(index.shards):
                replicas.add_metric([name, str(number)], len(shard.serving(name, index.id)))
        return (info, vectors, replicas)


def _answering() -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
    """What an index is answered from, and how many vectors that has."""
    info = GaugeMetricFamily(
        "perwatt_generation_info",
        "1 for the generation that answers for an index.",
        labels=["index", "generation", "model"],
    )
    return info, GaugeMetricFamily("perwatt_vectors", "Vectors of an index.", labels=["index"])
