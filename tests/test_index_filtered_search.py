"""A search through a filter finds what brute force finds among the rows that the filter keeps, however few."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
import pytest
from examples import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from indexing import clustered

from index import Generation, build_generation, open_generation

COUNT, DIM = 6_000, 16
SHARES = (1.0, 0.5, 0.1, 0.02, 0.001, 0.0001)


# A walk goes its way by the metric; what scans, scores by it, as a walk does too.
@pytest.fixture(
    scope="module",
    params=["flat-ip", "graph-cosine", "graph-ip", "graph-l2", "ivf-cosine", "disk-cosine"],
)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Rows with a number of their own, the cluster that they are in, and a letter by chance."""
    family, metric = request.param.split("-")
    vectors = clustered(COUNT, DIM, seed=5)
    cluster = np.argmax(vectors @ clustered(12, DIM, seed=1, spread=0.0).T, axis=1)
    random = np.random.default_rng(2)
    payload = [
        {"n": row, "cluster": f"c{cluster[row]}", "u": float(random.random()), "odd": bool(row % 2)}
        for row in range(COUNT)
    ]
    path = build_generation(
        vectors, list(range(COUNT)), root=tmp_path_factory.mktemp("families"), name="test",
        family="auto" if family == "disk" else family, profile="disk" if family == "disk" else "auto", metric=metric,
        payload=payload, filterable=["n", "cluster", "u", "odd"], switch=False,
    )  # fmt: skip
    with open_generation(path) as generation:
        assert generation.manifest["filterable"] == {"n": "int", "cluster": "keyword", "u": "float", "odd": "bool"}
        yield generation


def recall_of(generation: Generation, queries: Any, asked: dict[str, Any], k: int = 10) -> float:
    """Recall@k through a filter; every answer holds min(k, survivors) different survivors, best first."""
    keep = generation.filter(asked)
    found = generation.search_rows(queries, k, keep=keep)
    exactly = generation.search_rows(queries, k, keep=keep, exact=True)
    reach = min(k, keep.count)
    survivors = set(keep.rows.tolist())
    hits = 0
    for rows, scores, best, best_scores in zip(found.rows, found.scores, exactly.rows, exactly.scores, strict=True):
        for answer in (rows, best):
            assert len(set(answer[:reach].tolist()) & survivors) == reach
            assert (answer[reach:] == -1).all()
        assert (np.diff(scores[:reach]) <= 0).all()
        hits += int((scores[:reach] >= best_scores[reach - 1]).sum()) if reach else 0
    return hits / (len(queries) * reach) if reach else 1.0


@pytest.mark.parametrize("share", SHARES)
def test_recall_holds_through_a_filter_of_any_selectivity(opened: Generation, share: float) -> None:
    queries = clustered(60, DIM, seed=11)
    found, exactly = (opened.search_rows(queries, 10, exact=exact).scores for exact in (False, True))
    enough = 0.97 * float((found >= exactly[:, -1:]).mean())  # of the same queries, without a filter
    assert recall_of(opened, queries, {"field": "u", "lt": share}) >= enough
    assert recall_of(opened, queries, {"field": "n", "lt": round(share * COUNT)}) >= enough


@pytest.mark.parametrize("kind", ["another", "all others", "half of the others"])
def test_recall_holds_where_the_survivors_lie_elsewhere_than_the_query(opened: Generation, kind: str) -> None:
    """Each query asks for its neighbours in clusters that are not its own."""
    queries = clustered(36, DIM, seed=12)
    own = np.argmax(queries @ clustered(12, DIM, seed=1, spread=0.0).T, axis=1)
    recalls = []
    for query, cluster in zip(queries, own.tolist(), strict=True):
        steps = {"another": [5], "all others": range(1, 12), "half of the others": range(3, 9)}[kind]
        asked = {"field": "cluster", "in": [f"c{(cluster + step) % 12}" for step in steps]}
        recalls.append(recall_of(opened, query[None], asked))
    # Lists are visited by how near they are, survivors in them or not; a walk goes on until it has enough of them.
    assert np.mean(recalls) >= {"flat": 1.0, "graph": 0.9, "ivf": 0.8}[opened.family]


class Rows(NamedTuple):
    """All that is known of the rows without the code under test: payloads read as JSON, float64 vectors."""

    vectors: Any
    of: dict[str, Any]


@pytest.fixture(scope="module")
def rows(opened: Generation) -> Rows:
    payload = [json.loads(opened.payload(row)) for row in range(COUNT)]
    vectors = np.stack([opened.vector(row) for row in range(COUNT)]).astype(np.float64)
    return Rows(vectors, {name: np.array([each[name] for each in payload]) for name in ("n", "u", "cluster", "odd")})


def asked_and_kept(rows: Rows, kind: str, share: float, low: float, cluster: int) -> tuple[dict[str, Any], Any]:
    """A filter that keeps about `share` of the rows, and those that it keeps, row by row."""
    u, n = rows.of["u"], rows.of["n"]
    by_chance = {"field": "u", "gte": low, "lt": low + share}
    within = (u >= low) & (u < low + share)
    if kind == "a part":  # of the rows by chance
        return by_chance, within
    if kind == "a stretch":
        first, last = round(low * COUNT), round((low + share) * COUNT)
        return {"field": "n", "gte": first, "lt": last}, (n >= first) & (n < last)
    own = {"field": "cluster", "eq": f"c{cluster}"}
    inside = rows.of["cluster"] == f"c{cluster}"
    if kind == "in a cluster":
        return {"and": [own, by_chance]}, inside & within
    if kind == "not in a cluster":
        return {"and": [by_chance, {"not": own}]}, within & ~inside
    odd = {"and": [{"field": "odd", "eq": True}, {"field": "n", "lt": 3}]}
    return {"or": [by_chance, odd]}, within | (rows.of["odd"] & (n < 3))


@settings(max_examples=examples(60), suppress_health_check=list(HealthCheck))
@given(
    kind=st.sampled_from(["a part", "a stretch", "in a cluster", "not in a cluster", "or three more"]),
    share=st.sampled_from([1.0, 0.5, 0.1, 0.03, 0.01, 1e-3, 1e-4]),
    low=st.just(0.0) | st.floats(0, 1),
    cluster=st.integers(0, 11),
    k=st.integers(1, 50),
    effort=st.sampled_from([None, 1, 50]),
    seed=st.integers(0, 9),
)
def test_an_answer_through_a_filter_is_that_of_brute_force(
    opened: Generation, rows: Rows, kind: str, share: float, low: float, cluster: int, k: int, effort: Any, seed: int
) -> None:
    """Survivors and scores are the true ones however the search went, and so is the order where all was compared; an
    effort of 1 finds too little, and what it leaves is scanned for."""
    asked, kept = asked_and_kept(rows, kind, share, low, cluster)
    keep = opened.filter(asked)
    assert keep.rows.tolist() == np.flatnonzero(kept).tolist()
    queries = clustered(3, DIM, seed=seed)
    near = rows.vectors @ queries.astype(np.float64).T
    if opened.metric == "l2":
        near = -((rows.vectors[:, None, :] - queries[None].astype(np.float64)) ** 2).sum(axis=2)
    elif opened.metric == "cosine":
        near /= np.linalg.norm(queries, axis=1)
    reach = min(k, int(kept.sum()))
    for exactly in (False, True):
        found = opened.search_rows(queries, k, effort, keep=keep, exact=exactly)
        for at, (answer, scores) in enumerate(zip(found.rows, found.scores, strict=True)):
            assert len(set(answer[:reach].tolist())) == reach
            assert (answer[reach:] == -1).all()
            assert kept[answer[:reach]].all()
            close = 4e-5 if opened.profile == "disk" else 1e-5  # there, queries are rounded to 16 bits
            np.testing.assert_allclose(scores[:reach], near[answer[:reach], at], rtol=1e-5, atol=close)
            if exactly or opened.compares_all(k, effort, keep):
                best = np.sort(near[kept, at])[::-1][:reach]
                np.testing.assert_allclose(scores[:reach], best, rtol=1e-5, atol=close)
