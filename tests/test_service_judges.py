"""What benchmarks of servers fill and search, and the files that name perwatt to benchmarks. The benchmarks themselves
run in `make test-integrations` and `make judges`."""

from __future__ import annotations

import importlib
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from deploy.judges.libraries import OURS
from deploy.judges.vectors import JudgedVectors, K, nearest, write_filtered
from loadtest.experiment.hosted import hosted
from service.judges.served import ServedIndex

DIM = 8
ROWS = np.random.default_rng(5).standard_normal((300, DIM)).astype(np.float32)
ROWS /= np.linalg.norm(ROWS, axis=1, keepdims=True)
QUERIES = ROWS[::30] + 0.01


@pytest.fixture(scope="module")
def index() -> Iterator[ServedIndex]:
    words = [sys.executable, "-m", "service.judges.served", str(DIM), "cosine", "id:int"]
    with hosted(f"{shlex.join(words)} --port {{port}}") as server:
        opened = ServedIndex(server.url)
        yield opened
        opened.close()


def test_a_benchmark_fills_settles_filters_and_begins_again(index: ServedIndex) -> None:
    truth, _ = nearest(ROWS, QUERIES / np.linalg.norm(QUERIES, axis=1, keepdims=True))
    for _ in range(2):  # of the time before nothing is left
        index.begin(DIM, "cosine", ["id:int"])
        assert index.search(QUERIES[0], 10) == []
        index.put(range(299, -1, -1), ROWS[::-1].tolist(), [{"id": row} for row in range(299, -1, -1)])
        index.settle()
        assert [[id_ for id_, _ in index.search(query, 10)] for query in QUERIES] == truth[:, :10].tolist()
    kept = index.search(QUERIES[0], 10, filter={"field": "id", "gte": 295})
    assert sorted(id_ for id_, _ in kept) == [295, 296, 297, 298, 299]
    assert index.search(QUERIES[0].tolist(), 1, effort=50)[0][0] == truth[0, 0]


def test_data_that_the_index_is_not_for_is_told_which_server_to_start(index: ServedIndex) -> None:
    with pytest.raises(ValueError, match=r"is for 8 dimensions and cosine.*start: python -m \S+ 384 l2$"):
        index.begin(384, "l2")
    with pytest.raises(ValueError, match=r"fields \['id:int'\].*8 cosine year:int$"):
        index.begin(DIM, "cosine", ["year:int"])


def test_the_algorithm_that_ann_benchmarks_and_vibe_find_is_there() -> None:
    [file] = OURS.glob("*/config.yml")
    [algorithm] = yaml.safe_load(file.read_text())["float"]["any"]
    module = importlib.import_module(f"{algorithm['module']}.module")
    made = getattr(module, algorithm["constructor"])("normalized", *algorithm["run_groups"]["graph"]["args"][0])
    assert (made.metric, made.family) == ("ip", "graph")
    assert {"docker_tag", "singularity_image"} <= algorithm.keys()


def test_the_filtered_sets_neighbours_are_the_nearest_that_its_conditions_keep(tmp_path: Path) -> None:
    many = np.random.default_rng(6).standard_normal((3000, DIM)).astype(np.float32)
    many /= np.linalg.norm(many, axis=1, keepdims=True)
    exact = many.astype(np.float64)
    vectors = JudgedVectors("made", many, many[:5], *nearest(many, many[:5]))
    assert write_filtered(tmp_path, vectors) == {"kind": "keyword", "year": "int"}
    payloads = [json.loads(line) for line in (tmp_path / "payloads.jsonl").read_text().splitlines()]
    for row, line in enumerate((tmp_path / "tests.jsonl").read_text().splitlines()):
        test = json.loads(line)
        kind, year = (next(iter(each.values())) for each in test["conditions"]["and"])
        keeps = [
            payload["kind"] == kind["match"]["value"] and year["range"]["gte"] <= payload["year"] < year["range"]["lt"]
            for payload in payloads
        ]
        distances = np.where(keeps, 1 - exact @ exact[row], np.inf)
        assert test["closest_ids"] == np.argsort(distances, kind="stable")[:K].tolist()
