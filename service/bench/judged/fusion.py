"""What ways of fusing two rankings are worth on judged collections, and weights learnt from documents alone.

Every collection in $PERWATT_DATA in BEIR's shape, and one that is made here of code: the functions of the standard
library, without their docstrings, to be found by the first paragraphs of those. Words are worth little there, as they
are where people ask in other words than documents are written in. Vectors are int8's, searches exact.

Beside the default (`query/ranked/fusion.py`), at several depths, stand those that were tried against it:

    ranks      reciprocal rank fusion with k = 60
    spans      the default, words weighted by what was best on texts that were made of the collection's own documents
    agreement  the default, words weighted in each query by how many of the best of either ranking are in the other

and one thing that goes wrong: in every other query the words are those of another query.
"""

from __future__ import annotations

import ast
import json
import os
import sysconfig
import tempfile
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from service.bench.judged.quality import perwatt
from service.cli.evaluate import ndcg, read_qrels, read_queries
from service.query.ranked.fusion import DEPTH, RRF_K, fuse

K, DEEPEST = 10, 200
DEPTHS = (10, 20, 30, DEPTH, 100, DEEPEST)
WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0)
SPANS, SPAN_DOCUMENTS = 600, 1500
NEAR = 10  # best rows of a ranking that may be in the other
AGREEMENT = 0.5, 4.0  # weight of words where rankings share nothing, and what it gains where they share all
FUNCTIONS, QUESTIONS = 3000, 400
RANKED = 100  # rows of a ranking that a fusion by rank looks at
ANOTHER = 7  # queries further on, whose words are taken

Ranked = dict[int, float]  # row to score, best first
Fusion = Callable[[Ranked, Ranked], list[int]]


class TwoRankings(NamedTuple):
    """A query's two rankings, and what is right: row to grade, rows that are not there below 0."""

    dense: Ranked
    words: Ranked
    right: Mapping[int, int]


def measure() -> list[dict[str, Any]]:
    """One row a collection: nDCG@10 of both rankings and of every fusion."""
    given = os.environ.get("PERWATT_DATA")
    if not given:
        raise SystemExit("PERWATT_DATA is not set; expected a folder of collections in BEIR's shape, such as scifact/.")
    work = os.environ.get("PERWATT_FUSION")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(work or scratch)
        collections = [path.parent for path in sorted(Path(given).glob("*/qrels.tsv"))]
        return [row(each, folder) for each in [*collections, code_questions(folder / "stdlib-code")]]


def row(collection: Path, work: Path) -> dict[str, Any]:
    judged, spans = rankings(collection, work)
    learnt = max(WEIGHTS, key=lambda weight: worth(spans, by_scores(weight)))
    wrong = [
        each._replace(words=judged[(at + ANOTHER) % len(judged)].words) if at % 2 else each
        for at, each in enumerate(judged)
    ]
    return {
        "collection": collection.name,
        "queries": len(judged),
        "dense": worth(judged, lambda dense, _: list(dense)),
        "words": worth(judged, lambda _, words: list(words)),
        "ranks": worth(judged, by_ranks),
        "scores": {str(depth): worth(judged, by_scores(depth=depth)) for depth in DEPTHS},
        "spans": worth(judged, by_scores(learnt)),
        "spans_weight": learnt,
        "agreement": worth(judged, by_agreement),
        "wrong_words": worth(wrong, by_scores()),
        "wrong_words_ranks": worth(wrong, by_ranks),
    }


def worth(judged: Sequence[TwoRankings], fusion: Fusion) -> float:
    """Mean nDCG@10."""
    each = []
    for dense, words, right in judged:
        found = [str(row) for row in fusion(dense, words)[:K]]
        each.append(ndcg(found, {str(row): grade for row, grade in right.items()}, K))
    return round(float(np.mean(each)), 4)


def by_scores(weight: float = 1.0, depth: int = DEPTH) -> Fusion:
    return lambda dense, words: [
        row for row, _ in fuse(_best(dense, depth), _best(words, depth), (1.0, weight), depth=depth)
    ]


def by_ranks(dense: Ranked, words: Ranked) -> list[int]:
    return [row for row, _ in fuse(_best(dense, RANKED), _best(words, RANKED), rrf_k=RRF_K)]


def by_agreement(dense: Ranked, words: Ranked) -> list[int]:
    near = [list(_best(each, NEAR)) for each in (dense, words)]
    far = _best(words, DEPTH), _best(dense, DEPTH)
    shared = sum(row in other for rows, other in zip(near, far, strict=True) for row in rows) / (2 * NEAR)
    return by_scores(AGREEMENT[0] + AGREEMENT[1] * shared)(dense, words)


def _best(ranked: Ranked, rows: int) -> Ranked:
    return dict(islice(ranked.items(), rows))


def rankings(collection: Path, work: Path) -> tuple[list[TwoRankings], list[TwoRankings]]:
    """Of the judged queries, and of texts made of documents, of which each has one that is right."""
    from embed import load_encoder
    from embed.encoders.fitted.texts import HELD_OUT, queries_from
    from index import Root, open_generation
    from index.search.lexical.text import texts_of

    name, root = collection.name.replace("_", "-"), work / "indexes"
    vectors = work / "vectors" / collection.name
    perwatt("embed", collection / "corpus.jsonl", "--out", vectors, "--precision", "int8", "--quiet")
    perwatt("build", vectors, "--index", name, "--root", root, "--family", "flat")
    queries, qrels = read_queries(collection / "queries.jsonl"), read_qrels(collection / "qrels.tsv")
    encoder = load_encoder(precision="int8", threads=1)
    with open_generation(Root(root).path(name)) as opened:

        def both(texts: list[str]) -> list[tuple[Ranked, Ranked]]:
            found = opened.search_rows(encoder.encode(texts, "query"), min(DEEPEST, opened.count), exact=True)
            matched = [opened.search_words(text, DEEPEST) for text in texts]
            dense = zip(found.rows.tolist(), found.scores.tolist(), strict=True)
            words = ((each.rows.tolist(), each.scores.tolist()) for each in matched)
            ranked = ([dict(zip(*each, strict=True)) for each in ranking] for ranking in (dense, words))
            return list(zip(*ranked, strict=True))

        asked = [query for query in queries if query in qrels]
        judged = []
        for (dense, words), query in zip(both([queries[each] for each in asked]), asked, strict=True):
            rows = {document: opened.row_of(document) for document in qrels[query]}
            right = {-1 - at if (row := rows[document]) is None else row: grade
                     for at, (document, grade) in enumerate(qrels[query].items())}  # fmt: skip
            judged.append(TwoRankings(dense, words, right))
        drawn = np.random.default_rng(11).permutation(opened.count)[:SPAN_DOCUMENTS].tolist()
        spans, of = queries_from([texts_of(opened.payload(each)) for each in drawn], SPANS, HELD_OUT, 1)
        made = [TwoRankings(*each, {drawn[number]: 1}) for each, number in zip(both(spans), of, strict=True)]
    encoder.close()
    return judged, made


def code_questions(folder: Path, library: Path | None = None) -> Path:
    """A collection in BEIR's shape of the functions of a library, by default this Python's standard one."""
    library, found = library or Path(sysconfig.get_paths()["stdlib"]), dict[str, str]()
    for file in sorted(library.rglob("*.py")):
        if {"test", "tests", "site-packages", "idlelib", "lib2to3"} & set(file.relative_to(library).parts):
            continue
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (said := ast.get_docstring(node)):
                question = " ".join(said.split("\n\n")[0].split())
                node.body = node.body[1:]
                if len(node.body) > 2 and 30 <= len(question) <= 200:
                    found.setdefault(question, ast.unparse(node)[:1500])
    drawn = np.random.default_rng(1).permutation(sorted(found))[:FUNCTIONS].tolist()
    folder.mkdir(parents=True, exist_ok=True)
    lines = {
        "corpus.jsonl": [json.dumps({"_id": f"c{at}", "text": found[each]}) for at, each in enumerate(drawn)],
        "queries.jsonl": [json.dumps({"_id": f"q{at}", "text": each}) for at, each in enumerate(drawn[:QUESTIONS])],
        "qrels.tsv": ["query-id\tcorpus-id\tscore", *(f"q{at}\tc{at}\t1" for at in range(len(drawn[:QUESTIONS])))],
    }
    for name, content in lines.items():
        (folder / name).write_text("\n".join(content) + "\n", encoding="utf-8")
    return folder
