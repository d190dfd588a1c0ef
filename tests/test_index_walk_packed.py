"""The compact layout in its fewest bytes: the same walks, links and scores as in those of older generations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from indexing import clustered
from numpy.typing import NDArray
from walks import encoded

from index import build_generation, open_generation
from index.disk import layout
from index.disk.layout import BLOCKS_FILE, DEGREE, SPOKES_FILE, Layout, Originals
from index.kernels import _native
from index.search.walk import Walk

COUNT, EFFORT = 700, 100


def near(vectors: NDArray[np.float32]) -> NDArray[np.int32]:
    """The nearest DEGREE rows of each, and for every seventh row only the half of them."""
    links = np.argsort(((vectors[:, None] - vectors[None]) ** 2).sum(2), 1)[:, 1 : DEGREE + 1].astype(np.int32)
    links[::7, DEGREE // 2 :] = -1
    return links


def refined(made: Layout, links: NDArray[np.int32]) -> NDArray[np.int32]:
    out = np.empty_like(links)
    made.graph().refine(links, None, 20, 60, 1, out)
    return out


@pytest.mark.parametrize("dim", [48, 96, 128, 192, 256, 384])
@pytest.mark.parametrize("l2", [False, True])
@pytest.mark.parametrize("originals", ["keep", "drop"])
def test_a_packed_graph_is_the_wide_one_in_fewer_bytes(dim: int, l2: bool, originals: Originals) -> None:
    vectors, queries = clustered(COUNT, dim, seed=dim), clustered(40, dim, seed=1)
    links = near(vectors)
    packed, wide = (encoded(vectors, links, l2, originals=originals, packed=each) for each in (True, False))
    assert len(packed.blocks) < len(wide.blocks)
    assert packed.spokes is not None
    assert wide.spokes is not None
    assert len(packed.spokes) <= len(wide.spokes)
    rows = vectors if originals == "keep" else None
    found, expected = (Walk(made, rows, 1).search(queries, 10, EFFORT) for made in (packed, wide))
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_array_equal(refined(packed, links), refined(wide, links))


@pytest.mark.parametrize("packed", [True, False])
def test_a_graph_that_is_given_other_links_is_the_one_made_with_them(packed: bool) -> None:
    vectors = clustered(COUNT, 128)
    links = near(vectors)
    made = encoded(vectors, np.full_like(links, -1), l2=True, packed=packed)
    layout.relink(made, links)
    np.testing.assert_array_equal(made.blocks, encoded(vectors, links, l2=True, packed=packed).blocks)


@pytest.mark.parametrize(
    ("dim", "packed", "wide"), [(64, 208, 288), (128, 280, 384), (256, 456, 576), (384, 640, 704), (768, 1096, 1216)]
)
def test_bytes_of_a_row(dim: int, packed: int, wide: int) -> None:
    assert sum(layout.row_bytes(dim, "compact").values()) == packed
    assert sum(layout.row_sizes(layout.MOST_PACKED, dim, "compact").values()) == packed * layout.MOST_PACKED
    more = layout.MOST_PACKED + 1
    assert sum(layout.row_sizes(more, dim, "compact").values()) == wide * more


def test_more_rows_than_three_bytes_tell_apart_are_not_packed() -> None:
    made, count = encoded(clustered(40, 8), np.full((40, DEGREE), -1, np.int32), l2=True), layout.MOST_PACKED + 1
    assert made.packed
    with pytest.raises(ValueError, match="a packed graph has at most"):
        made._replace(count=count).graph()
    with pytest.raises(ValueError, match="too short"):
        made._replace(count=count, packed=False).graph()
    with pytest.raises(ValueError, match="only a compact graph is packed"):
        made._replace(edges=True).graph()
    with pytest.raises(ValueError, match="a graph without codes of edges has spokes"):
        made._replace(spokes=None).graph()


def test_a_generation_that_is_not_packed_is_opened_with_the_same_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, queries = clustered(1500, 128), clustered(30, 128, seed=3)
    how: dict[str, Any] = {"root": tmp_path, "family": "graph", "profile": "compact", "threads": 1}
    now = build_generation(vectors, range(len(vectors)), name="now", **how)
    with monkeypatch.context() as older:
        older.setattr(layout, "MOST_PACKED", 0)
        then = build_generation(vectors, range(len(vectors)), name="then", **how)
    with open_generation(now) as packed, open_generation(then) as wide:
        strides = [
            [g.manifest["sections"][name]["stride_bytes"] for name in (BLOCKS_FILE, SPOKES_FILE)]
            for g in (packed, wide)
        ]
        assert strides == [[240, 40], [320, 64]]
        found, expected = packed.search_rows(queries, 10), wide.search_rows(queries, 10)
        np.testing.assert_array_equal(found.rows, expected.rows)
        np.testing.assert_array_equal(found.scores, expected.scores)


def test_the_kernels_refuse_links_for_blocks_that_are_too_short() -> None:
    with pytest.raises(ValueError, match="too short"):
        _native.relink(np.zeros(240 * 10 - 1, np.uint8), np.full((10, DEGREE), -1, np.int32), 128, True)
