"""What a graph loses without its originals: both are measured, and the table says what is missed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from indexing import clustered

from deploy.figures.tables.sizes import originals as tables
from index.bench import originals


def test_both_are_measured_and_what_misses_its_target_says_so(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", clustered(1500 + originals.QUERIES, 32))
    graph = originals.measure_file(tmp_path / "rows.npy")
    assert (graph["rows"], graph["dim"], graph["vectors"]) == (1500, 32, "rows.npy")
    assert [each["k"] for each in graph["walks"]] == [10, 100, 10, 100]
    for each in graph["walks"]:
        assert each["recall_keep"] > 0.9
        assert each["loss"] < 0.01
        assert min(each["us_keep"], each["us_drop"]) > 0
    assert 0 < graph["resident_bytes_a_vector_drop"] < graph["resident_bytes_a_vector_keep"]
    judged = [{"collection": "some", "ndcg_10_keep": 0.7, "ndcg_10_drop": 0.69}]
    shown = tables.targets(graph | {"resident_bytes_a_vector_drop": 1001.0}, judged)
    assert "| nDCG@10 lost, some | ≤ 0.002 | **missed** 0.01000 | 0.70000 |" in shown
    assert "**missed** 1,001" in shown
    assert "| originals dropped | " in tables.walks(graph)
    assert "1,500 rows" in tables.remarks(graph)
