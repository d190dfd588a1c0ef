"""Other people's benchmarks of retrieval, run as they are published, on a judged collection in BEIR's shape.

BEIR's loader and evaluator and MTEB's task and evaluator read the collection, ask a retriever, and score what it found;
perwatt is asked through its adapters and BM25 (bm25s) is beside it, in MTEB as MTEB's own baseline.
They come with `make test-integrations`, into an environment of their own:

    .venv/integrations/bin/python -m service.judges.run COLLECTION OUT.json
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from service.cli.searcher.contract import MODES
from service.judges.beir import PerwattBeir
from service.judges.collection import LastIndex, Ranked
from service.judges.mteb import PerwattMteb

KS = (10, 100)
BASELINE = "mteb/baseline-bm25s"


class Bm25sBeir:
    """bm25s in the shape of a retriever of BEIR's, with English stop words and stems."""

    def search(
        self, corpus: Mapping[str, Mapping[str, str]], queries: Mapping[str, str], top_k: int, *_: Any, **__: Any
    ) -> Ranked:
        import bm25s
        import Stemmer

        def tokens(texts: list[str]) -> Any:
            return bm25s.tokenize(texts, stopwords="en", stemmer=Stemmer.Stemmer("english"), show_progress=False)

        ids, index = list(corpus), bm25s.BM25()
        texts = [f"{each.get('title') or ''} {each.get('text') or ''}" for each in corpus.values()]
        index.index(tokens(texts), show_progress=False)
        found, scores = index.retrieve(tokens(list(queries.values())), k=min(top_k, len(ids)), show_progress=False)
        return {
            query: {ids[row]: float(score) for row, score in zip(found[at], scores[at], strict=True)}
            for at, query in enumerate(queries)
        }


def by_beir(collection: Path, shared: LastIndex) -> dict[str, float]:
    """nDCG@10 by retriever, as BEIR reads and judges the collection."""
    from beir.datasets.data_loader import GenericDataLoader
    from beir.retrieval.evaluation import EvaluateRetrieval

    files = {
        name: str(collection / file)
        for name, file in (
            ("corpus_file", "corpus.jsonl"), ("query_file", "queries.jsonl"), ("qrels_file", "qrels.tsv"),
        )
    }  # fmt: skip
    corpus, queries, qrels = GenericDataLoader(**files).load_custom()
    queries = {query: text for query, text in queries.items() if query in qrels}
    retrievers = {"bm25s": Bm25sBeir(), **{f"perwatt, {mode}": PerwattBeir(mode, shared=shared) for mode in MODES}}
    figures = {}
    for name, retriever in retrievers.items():
        judge = EvaluateRetrieval(retriever, k_values=list(KS))
        ndcg, _map, _recall, _precision = judge.evaluate(qrels, judge.retrieve(corpus, queries), list(KS))
        figures[name] = float(ndcg["NDCG@10"])
    return figures


def by_mteb(collection: Path, shared: LastIndex) -> dict[str, float]:
    """nDCG@10 by model, as MTEB judges a retrieval task of the collection."""
    import mteb

    perwatt = {f"perwatt, {mode}": PerwattMteb(mode, shared=shared) for mode in MODES}
    models = {"bm25s": mteb.get_model(BASELINE), **perwatt}
    figures = {}
    for name, model in models.items():
        result = mteb.evaluate(model, task_of(collection), cache=None, show_progress_bar=False, co2_tracker=False)
        figures[name] = float(result.task_results[0].get_score())
    return figures


def task_of(collection: Path) -> Any:
    """The collection as a task of MTEB's, read from here and not from the hub."""
    from datasets import Dataset
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    class LocalCollection(AbsTaskRetrieval):  # type: ignore[misc]  # MTEB is not there when types are checked
        metadata = TaskMetadata(
            name=collection.name, description="A collection on this machine.", type="Retrieval", category="t2t",
            dataset={"path": str(collection), "revision": "here"}, eval_langs=["eng-Latn"], main_score="ndcg_at_10",
        )  # fmt: skip

        def load_data(self, *_: Any, **__: Any) -> None:
            corpus, queries = _lines(collection / "corpus.jsonl"), _lines(collection / "queries.jsonl")
            judged = _judgements(collection / "qrels.tsv")
            self.dataset = {
                "default": {
                    "test": {
                        "corpus": Dataset.from_list(
                            [{"id": one["_id"], "title": one.get("title", ""), "text": one["text"]} for one in corpus]
                        ),
                        "queries": Dataset.from_list(
                            [{"id": one["_id"], "text": one["text"]} for one in queries if one["_id"] in judged]
                        ),
                        "relevant_docs": judged,
                        "top_ranked": None,
                    }
                }
            }
            self.data_loaded = True

    return LocalCollection()


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _judgements(path: Path) -> dict[str, dict[str, int]]:
    judged: dict[str, dict[str, int]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for query, document, score in list(csv.reader(file, delimiter="\t"))[1:]:
            judged.setdefault(query, {})[document] = int(score)
    return judged


def measure(collection: Path) -> dict[str, Any]:
    """nDCG@10 by judge and retriever, with the judges' versions. The corpus is embedded once."""
    shared = LastIndex()
    try:
        return {
            "collection": collection.name,
            "versions": {name: version(name) for name in ("beir", "mteb", "bm25s")},
            "beir": by_beir(collection, shared),
            "mteb": by_mteb(collection, shared),
        }
    finally:
        shared.close()


if __name__ == "__main__":
    made = measure(Path(sys.argv[1]))
    Path(sys.argv[2]).write_text(json.dumps(made, indent=1) + "\n", "utf-8")
    print(json.dumps(made, indent=1))
