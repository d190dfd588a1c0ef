"""Builds the search structure of one family and measures it on the way.

What comes out is the FAISS index, the measured recall, the effort for the target with the whole curve, and a few
searches whose answers the finished files must give again.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.build import disk_lists, families, flat, graph, ivf, trials
from index.build import recall as measuring
from index.build.built import Sample, Structure
from index.build.drafts import drafting
from index.build.grown import DEARER, Before
from index.build.recall import HeldOutTruth, RecallPoint
from index.disk import codes
from index.disk.codes import Metric
from index.disk.layout import DEGREE, Layout, Originals, Profile
from index.disk.sections import FloatRows, give_back, map_codes
from index.progress import say
from index.search import disk_lists as searching
from index.search import lists, walk
from index.search.exact import TopK
from index.search.finding import NO_WALK, ComparedRows, LongWalks, ScannedRows, Searcher, find
from index.search.rescoring import rescore
from index.search.restored import RestoredRows
from index.search.untyped import FaissIndex

SAMPLE_QUERIES = 32
DEEP_K, DEEP_QUERIES = (100, 1000), 32

Search = Callable[[NDArray[np.float32], int, int], TopK]


class Builder:
    """The rows, their codes and the settings that every family needs."""

    def __init__(
        self,
        folder: Path,
        rows: FloatRows,
        sections: dict[str, Any],
        metric: Metric,
        target: float,
        threads: int,
        *,
        profile: Profile | None,
        profile_reason: str,
        show: bool,
        before: Before | None = None,
        graph_builder: graph.Builder = "own",
        originals: Originals = "keep",
        parts: Path | None = None,
    ) -> None:
        """profile: None where both are to be tried. before: a graph that a new one may go on from. originals: whether
        what is built holds the float32 rows. parts: a folder in which others may do some of a draft."""
        self._graph_builder, self._originals, self._parts = graph_builder, originals, parts
        self._folder, self._profile, self._before = folder, profile, before
        self._profile_record: dict[str, Any] = {"how": profile_reason}
        self._rows, self._codes = rows, map_codes(folder, sections)
        self._l2, self._metric, self._target = metric == "l2", metric, target
        self._threads, self._show = threads, show
        self._points: list[RecallPoint] = []
        self._truths: dict[bool, HeldOutTruth] = {}  # of the held-out rows, and midway between them
        self._deep: list[dict[str, Any]] = []  # what more hits cost
        self._least_effort = 0  # what points midway between rows need
        self._by_spokes = NO_WALK
        self._with_originals: float | None = None  # recall, where they are dropped

    def build(self, family: str) -> Structure:
        if self._parts is not None and (family != "graph" or self._before is not None):
            made = "goes on from the served graph" if family == "graph" else f"is of the family {family}"
            say(f"nothing is put into {self._parts}: what is built {made}", show=self._show)
        return {"flat": self._flat, "graph": self._graph, "ivf": self._ivf, families.DISK: self._disk}[family]()

    def _flat(self) -> Structure:
        index = flat.build(self._rows, self._metric, show=self._show)
        recall = {"recall": 1.0, "low": 1.0, "high": 1.0, "queries": 0, "method": "exact: every vector is scored"}
        point = RecallPoint(flat.DEFAULT_EFFORT, 1.0, 1.0, 1.0, float(len(self._rows.array)))
        self._points.append(point)
        return self._structure(index, None, flat.EFFORT_UNIT, recall, {}, 0)

    def _graph(self) -> Structure:
        before, self._before = self._before, None
        held_out = measuring.held_out_rows(len(self._rows.array))
        index, layout, sections = graph.build(
            self._folder,
            self._rows,
            self._metric,
            held_out,
            lambda dropped, kept: self._measure(dropped, held_out, walk.EFFORTS, midway=True, with_originals=kept),
            self._threads,
            profile=self._profile,
            try_both=lambda *how: self._try_profiles(held_out, *how),
            try_ways=lambda walked: self._try_ways(held_out, walked),
            show=self._show,
            before=before,
            builder=self._graph_builder,
            originals=self._originals,
            parts=self._parts,
        )
        if before is not None and self._is_worse(before, self._measured(held_out)):
            self._points.clear()
            self._deep.clear()
            self._least_effort = 0
            return self._graph()
        drafted = None if before else drafting.SETTINGS.get(self._graph_builder)
        parameters: dict[str, Any] = {
            "builder": self._graph_builder if drafted else "faiss",
            "degree": DEGREE,
            "profile": self._profile_record,
        }
        if drafted:
            parameters |= drafted
        else:
            parameters |= {"efConstruction": graph.BUILD_EFFORT, "passes": list(graph.PASSES)}
        if before is not None:
            parameters["grown_from"] = {
                "generation": before.generation,
                "rows": int((before.rows >= 0).sum()),
                "builder": self._graph_builder,  # of the next one from nothing
            }
        recall = self._with_loss(self._measured(held_out))
        rows: ComparedRows | None = None
        vectors: NDArray[np.float32] | None = self._rows.array
        if self._with_originals is not None:
            rows, vectors = RestoredRows(layout, self._metric, self._threads), None
        searcher = walk.Walk(layout, vectors, self._threads, by_spokes=self._by_spokes)
        structure = self._structure(index, searcher, walk.EFFORT_UNIT, recall, parameters, 0, rows)
        return replace(structure, sections=sections)

    def _is_worse(self, before: Before, measured: dict[str, Any]) -> bool:
        """Whether a graph from nothing should be built after all: the grown one is dearer to search."""
        if measured["low"] >= self._target and measured["effort"] <= DEARER * before.effort:
            return False
        say(
            f"the graph of {before.generation} with the changes needs effort {measured['effort']} for a recall of "
            f"{measured['recall']:.4f}, and {before.effort} was enough before: building one from nothing",
            show=self._show,
        )
        return True

    def _ivf(self) -> Structure:
        count = len(self._rows.array)
        held_out = measuring.held_out_rows(count)
        index = ivf.build(
            self._rows,
            self._metric,
            held_out,
            lambda searcher: self._measure(searcher, held_out, ivf.efforts(count), midway=False),
            self._threads,
            show=self._show,
        )
        parameters = {
            "lists": ivf.list_count(count),
            "codes": f"PQ{ivf.subspaces(self._rows.array.shape[1])}x4fs",
            "rescored": lists.RESCORED,
        }
        searcher = lists.IvfSearch(index, self._rows.array, self._threads)
        private = ivf.list_bytes(*self._rows.array.shape)
        return self._structure(index, searcher, lists.EFFORT_UNIT, self._measured(held_out), parameters, private)

    def _disk(self) -> Structure:
        held_out = measuring.held_out_rows(len(self._rows.array))
        efforts = ivf.efforts(len(self._rows.array))
        searcher, sections = disk_lists.build(
            self._folder,
            self._rows,
            self._metric,
            held_out,
            lambda partial: self._measure(partial, held_out, efforts, midway=False, restored=True),
            self._threads,
            show=self._show,
        )
        parameters = {"lists": efforts[-1], "codes": "1 bit a dimension, and 12 on the disk"}
        unit, recall = searching.EFFORT_UNIT, self._with_loss(self._measured(held_out))
        return replace(self._structure(None, searcher, unit, recall, parameters, 0, searcher), sections=sections)

    def _measure(
        self,
        searcher: Searcher,
        held_out: NDArray[np.int64],
        efforts: tuple[int, ...],
        *,
        midway: bool,
        with_originals: Searcher | None = None,
        restored: bool = False,
    ) -> None:
        """with_originals: the same but for float32 rows, which `searcher` is without. restored: it is without them,
        and there is none that has them."""

        def search(queries: NDArray[np.float32], k: int, effort: int) -> TopK:
            found = searcher.search(queries, k, effort)
            if with_originals is None and not restored:
                return found
            # What was found counts by its true score.
            return rescore(queries, self._rows.array, found.rows, found.scored, k, l2=self._l2)

        near = self._truth(held_out)
        self._points.extend(measuring.curve(search, near, efforts, self._target))
        # l2 is for vectors whose queries come from where they do; in lists, what other queries lack lies in every list.
        if midway and not self._l2 and self._target > 0:
            self._measure_between(search, near, self._truth(held_out, midway_between=True), efforts)
        if midway:
            self._measure_deep(search, near.queries[:DEEP_QUERIES], held_out)
        if with_originals is not None:
            effort = self._measured(held_out)["effort"]
            found = with_originals.search(near.queries, measuring.K, effort)
            self._with_originals = measuring.recall_of(found, near, effort).recall
        if restored:
            self._measure_restored(searcher, near, self._measured(held_out))

    def _measure_restored(self, searcher: Searcher, near: HeldOutTruth, measured: dict[str, Any]) -> None:
        """What scoring by originals would find: of twice as many hits its best, beside the first as they came."""
        found = searcher.search(near.queries, 2 * measuring.K, measured["effort"])
        recalls = []
        for rows in (found.rows, found.rows[:, : measuring.K]):
            best = rescore(near.queries, self._rows.array, rows, found.scored, measuring.K, l2=self._l2)
            recalls.append(measuring.recall_of(best, near, measured["effort"]).recall)
        self._with_originals = measured["recall"] + recalls[0] - recalls[1]

    def _with_loss(self, recall: dict[str, Any]) -> dict[str, Any]:
        """Where originals are dropped, with what that loses."""
        if self._with_originals is None:
            return recall
        return recall | {"with_originals": self._with_originals, "loss": self._with_originals - recall["recall"]}

    def _truth(self, held_out: NDArray[np.int64], *, midway_between: bool = False) -> HeldOutTruth:
        known = self._truths.get(midway_between)
        if known is None:
            among = (self._rows.array, self._codes, self._metric, self._threads)
            known = measuring.truth_without(held_out, *among, midway_between=midway_between)
            give_back(self._codes.codes)
            self._rows.drop()
            self._truths[midway_between] = known
        return known

    def _try_profiles(
        self,
        held_out: NDArray[np.int64],
        encode: Callable[[Profile], Layout],
        walked: trials.Walked,
        encoded_s: float | None,
    ) -> tuple[Profile, Layout]:
        tried = trials.try_profiles(encode, walked, self._truth(held_out), self._target, encoded_s=encoded_s)
        self._profile_record = tried.record
        return tried.profile, tried.layout

    def _try_ways(self, held_out: NDArray[np.int64], walked: Callable[[LongWalks], walk.Walk]) -> LongWalks:
        self._by_spokes = trials.try_ways(walked, self._truth(held_out).queries)
        return self._by_spokes

    def _measure_between(
        self, search: Search, near: HeldOutTruth, between: HeldOutTruth, efforts: tuple[int, ...]
    ) -> None:
        least = measuring.midway_target(self._target)
        self._least_effort = measuring.least_effort(search, between, efforts, least)
        if self._least_effort > max(self._points).effort:
            found = search(near.queries, measuring.K, self._least_effort)
            self._points.append(measuring.recall_of(found, near, self._least_effort))

    def _measure_deep(self, search: Search, queries: NDArray[np.float32], held_out: NDArray[np.int64]) -> None:
        """What more hits cost at the effort that will be the default: searches are planned by it."""
        effort = self._measured(held_out)["effort"]
        for k in (each for each in DEEP_K if each * 10 <= len(self._rows.array)):
            scored = float(search(queries, k, effort).scored.mean())
            self._deep.append({"k": k, "effort": effort, "scored": scored})

    def _measured(self, held_out: NDArray[np.int64]) -> dict[str, Any]:
        points = sorted(self._points)
        # What a lower effort has proven holds for a higher one, too, whose own interval may be wider: where no query
        # misses anything, only their number bounds what they would miss.
        proven = np.maximum.accumulate([point.low for point in points])
        good = [
            at for at, point in enumerate(points) if proven[at] >= self._target and point.effort >= self._least_effort
        ]
        at = min(good, default=len(points) - 1)
        point = points[at]
        return {
            "recall": point.recall,
            "low": min(float(proven[at]), point.recall),
            "high": point.high,
            "effort": point.effort,
            "queries": len(held_out),
            "method": "rows held out of the structure; Wilson interval over queries",
        }

    def _structure(
        self,
        index: FaissIndex | None,
        searcher: Searcher | None,
        unit: str,
        recall: dict[str, Any],
        parameters: dict[str, Any],
        private_bytes: int,
        everything: ComparedRows | None = None,
    ) -> Structure:
        """everything: the rows as they will be opened; by default float32."""
        curve = [point._asdict() for point in sorted(self._points)]
        default = recall.setdefault("effort", flat.DEFAULT_EFFORT)
        rows = np.unique(np.linspace(0, len(self._rows.array) - 1, SAMPLE_QUERIES).astype(np.int64))
        everything = everything or ScannedRows(self._rows.array, self._codes, self._metric, self._threads)
        queries = np.concatenate([everything.between(row, row + 1) for row in rows.tolist()])
        if self._metric == "cosine":
            queries = codes.unit_rows(queries)  # as a search will: scaling twice can move the last bit
        effort = {"unit": unit, "default": default, "curve": curve, **({"deep": self._deep} if self._deep else {})}
        if self._by_spokes != NO_WALK:
            effort["spokes_from"] = self._by_spokes.entry()
        found = find(everything, searcher, queries, min(measuring.K, len(self._rows.array)), default)
        return Structure(
            index,
            recall | {"k": measuring.K, "target": self._target},
            effort,
            parameters,
            Sample(rows, found),
            private_bytes,
        )
