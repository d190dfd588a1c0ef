"""BEIR, MTEB and VectorDBBench judge perwatt through its adapters; `make test-integrations` brings them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from serving import ARTICLES

from deploy.judges.servers import by_vectordb_bench
from deploy.judges.vectors import JudgedVectors, nearest
from service.judges.ann_benchmarks.module import PerwattAnn
from service.judges.collection import LastIndex
from service.judges.mteb import PerwattMteb
from service.judges.run import by_beir, by_mteb

QUERIES = {"q1": ("how to bake sour bread", 1), "q2": ("moon in front of the sun", 2), "q3": ("cut an apple tree", 3)}


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The articles in BEIR's shape, with an article that nobody can find: it holds no text."""
    folder = tmp_path_factory.mktemp("articles")
    corpus = [{"_id": f"a{row}", "title": title, "text": text} for row, (title, text, _url) in enumerate(ARTICLES)]
    corpus.append({"_id": "empty", "title": "", "text": ""})
    (folder / "corpus.jsonl").write_text("".join(json.dumps(one) + "\n" for one in corpus))
    queries = [{"_id": query, "text": text} for query, (text, _row) in QUERIES.items()]
    (folder / "queries.jsonl").write_text("".join(json.dumps(one) + "\n" for one in queries))
    lines = [f"{query}\ta{row}\t1\n" for query, (_text, row) in QUERIES.items()]
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    return folder


@pytest.fixture(scope="module")
def shared() -> Iterator[LastIndex]:
    last = LastIndex()
    yield last
    last.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # BEIR leaves its corpus file open
@pytest.mark.parametrize("judge", [by_beir, by_mteb])
def test_a_judge_scores_every_way_of_searching(
    collection: Path, shared: LastIndex, judge: Callable[[Path, LastIndex], dict[str, float]]
) -> None:
    before = shared.now()
    figures = judge(collection, shared)
    assert figures.keys() == {"bm25s", "perwatt, dense", "perwatt, lexical", "perwatt, hybrid"}
    assert figures["perwatt, dense"] == 1
    assert all(0.5 < figure <= 1 for figure in figures.values()), figures
    assert before in (None, shared.now())  # embedded once, for both judges and all three ways


def test_reranking_keeps_to_the_documents_that_a_query_may_find() -> None:
    model = PerwattMteb(precision="fp32")
    corpus = [{"id": f"a{row}", "title": title, "text": text} for row, (title, text, _url) in enumerate(ARTICLES)]
    model.index(corpus, task_metadata=None)
    allowed = {"q1": ["a4", "a1"]}
    found = model.search([{"id": "q1", "text": QUERIES["q1"][0]}], top_k=1, top_ranked=allowed)
    model.close()
    assert list(found["q1"]) == ["a1", "a4"]
    assert model.mteb_model_meta.name == "perwatt/all-MiniLM-L6-v2-dense"


@pytest.mark.parametrize(("metric", "family"), [("angular", "auto"), ("euclidean", "graph")])
def test_the_module_of_ann_benchmarks_finds_the_nearest(metric: str, family: str) -> None:
    vectors = np.random.default_rng(8).standard_normal((600, 12))
    module = PerwattAnn(metric, family)
    module.fit(vectors)
    module.set_query_arguments(80)
    assert module.query(vectors[7], 10)[0] == 7
    module.batch_query(vectors[:30], 5)
    assert (module.get_batch_results()[:, 0] == np.arange(30)).mean() > 0.9
    assert module.get_memory_usage() > 1000
    assert "effort=80" in str(module)
    module.done()


@pytest.mark.timeout(1200)  # five runs of it, each of which begins several processes
def test_vectordb_bench_loads_searches_and_reports(tmp_path: Path) -> None:
    """By its own command; 300 rows are searched exactly."""
    rows = np.random.default_rng(9).standard_normal((310, 12)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    vectors = JudgedVectors("made", rows[:300], rows[300:], *nearest(rows[:300], rows[300:]))
    found = by_vectordb_bench(vectors, tmp_path)
    assert {(row["engine"], row["label"]) for row in found} == {("perwatt", ":)"), ("LanceDB", ":)")}
    assert [row["recall"] for row in found if row["engine"] == "perwatt"] == [1.0] * 3
