"""The walk's own sections: a function of the graph, and survived or refused when damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from indexing import clustered
from numpy.typing import NDArray
from walks import COUNT, encoded

from index import InputError, build_generation, open_generation
from index.disk import layout
from index.disk.layout import DEGREE
from index.search.untyped import faiss
from index.search.walk import Walk

pytest_plugins = ["walks_fixtures"]


def test_damaged_blocks_are_survived(built: Path, queries: NDArray[np.float32]) -> None:
    """Hashes refuse them; but who skips the hashes must at worst get wrong rows."""
    with open_generation(built) as generation:
        intact = layout.load(built, generation.manifest)
        vectors = np.stack([generation.vector(row) for row in range(COUNT)])
    random = np.random.default_rng(8)
    for share in (1e-6, 1e-4, 1e-2, 1.0):
        blocks, root = np.array(intact.blocks), np.array(intact.root)
        spokes = None if intact.spokes is None else np.array(intact.spokes)
        for array in (blocks, root) if spokes is None else (blocks, root, spokes):
            places = random.integers(0, len(array), max(1, int(share * len(array))))
            array[places] = random.integers(0, 256, len(places))
        damaged = intact._replace(blocks=blocks, root=root, spokes=spokes)
        found = Walk(damaged, vectors, 1).search(queries[:50], 10, 200)
        assert ((found.rows >= -1) & (found.rows < COUNT)).all()


@pytest.mark.parametrize(
    "change",
    [
        {"blocks": np.zeros(1000, np.uint8)},
        {"root": np.zeros(100, np.uint8)},
        {"count": COUNT + 3000},
        {"count": 0},
        {"dim": 0},
        {"dim": 5000},
        {"dim": 1 << 45},
    ],
)
def test_a_layout_that_is_too_short_is_refused(built: Path, change: dict[str, Any]) -> None:
    with open_generation(built) as generation:
        intact = layout.load(built, generation.manifest)
    with pytest.raises(ValueError, match=r"graph has|too short"):
        intact._replace(**change).graph()


def test_links_that_lead_out_of_the_graph_are_refused() -> None:
    vectors = clustered(50, 8)
    for link in (-2, 50):
        links = np.full((50, DEGREE), link, np.int32)
        with pytest.raises(ValueError, match="leads out of the graph"):
            encoded(vectors, links, True)


def test_sections_are_a_function_of_the_file_that_faiss_wrote(built: Path) -> None:
    """So that two machines that hold the same index.faiss hold the same sections."""
    stored = faiss.read_index(str(built / "index.faiss"))
    starts = faiss.vector_to_array(stored.hnsw.offsets).astype(np.int64)[:-1]
    links = faiss.vector_to_array(stored.hnsw.neighbors)[starts[:, None] + np.arange(DEGREE)]
    with open_generation(built) as generation:
        vectors = np.stack([generation.vector(row) for row in range(COUNT)])
        l2, profile = generation.metric == "l2", generation.profile
        assert profile is not None
        made = encoded(vectors, np.ascontiguousarray(links), l2, threads=2, profile=profile)
        written = layout.load(built, generation.manifest)
    assert made.spokes is not None
    assert written.spokes is not None
    np.testing.assert_array_equal(made.spokes, written.spokes[: len(made.spokes)])
    np.testing.assert_array_equal(made.blocks, written.blocks[: len(made.blocks)])
    np.testing.assert_array_equal(made.root, written.root)
    lengths = [(each.gain, each.edge_rms, each.spoke_rms) for each in (made, written)]
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-7)


def test_wide_vectors_get_lists_and_no_graph(tmp_path: Path) -> None:
    vectors = clustered(300, layout.MAX_DIM + 1)
    with pytest.raises(InputError, match="a graph has at most 4,096 dimensions"):
        build_generation(vectors, range(300), root=tmp_path, name="wide", family="graph")
    assert list(tmp_path.iterdir()) == []
