"""Retrieval quality against relevance judgements, in the shape and by the definitions BEIR uses.

Files: `queries.jsonl` with `_id` and `text`; `qrels.tsv` with query-id, corpus-id and score,
tab-separated under a header.

Definitions, for one query with judged relevances rel(d) and a ranking d1, d2, … (trec_eval's
`ndcg_cut`, `recall`; BEIR's `mrr`; all three average over queries):

    nDCG@k    Σ rel(d_i) / log2(i + 1) over i ≤ k, divided by the same sum over the best possible order
              of the judged documents
    MRR@k     1 / i of the first relevant (rel > 0) d_i with i ≤ k, else 0
    recall@k  relevant documents among the first k / all relevant documents of the query

What decides the third digit: a hit with the id of its query is a hit like any other, unless it is
to be dropped (`drop_same_id`: BEIR does for ArguAna and Quora, whose queries are documents of the
corpus; where both are merely numbered from 1 it would drop documents that were found). As in BEIR,
a query without any judgement is left out and counted; a query whose judgements are all 0 stays in
and scores 0. A chunked corpus is
judged by documents, so hits are folded to `doc_id`, best chunk first. Ties are kept in the index's
order (by id), where trec_eval reverses ids; only equal scores are touched by it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from service.errors import JudgementsError

Ranking = list[str]  # document ids, best first, without repetition
Qrels = dict[str, dict[str, int]]  # query id → document id → relevance
# (texts, number of hits) → for each text the ids of its hits, best first, chunks already named by
# their document
Search = Callable[[Sequence[str], int], list[Ranking]]


class _Query(msgspec.Struct):
    id: str = msgspec.field(name="_id")
    text: str = msgspec.field(name="text")


class Report(NamedTuple):
    """Means over `queries` judged queries.

    Args:
        recall: cut-off → mean.
        same_id: queries that found, within the largest cut-off, a document of their own id; `dropped` says whether it
            was dropped.
    """

    k: int
    ndcg: float
    mrr: float
    recall: dict[int, float]
    queries: int
    without_judgements: int  # in the queries file and left out
    without_query: int  # judged, but their text is not in the queries file
    same_id: int
    dropped: bool
    query_ms: float = 0.0  # wall-clock of a search, encoding included; the mean

    def figures(self) -> dict[str, float]:
        return {
            f"ndcg@{self.k}": self.ndcg,
            f"mrr@{self.k}": self.mrr,
            **{f"recall@{k}": value for k, value in self.recall.items()},
        }


def read_queries(path: Path) -> dict[str, str]:
    """Query id → text, in the order of the file; raises JudgementsError with file and line."""
    decoder = msgspec.json.Decoder(_Query)
    queries: dict[str, str] = {}
    for number, line in _lines(path):
        try:
            query = decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise JudgementsError(
                f"{path}:{number}: not a query ({error}); expected a JSON object with strings _id and text."
            ) from None
        if query.id in queries:
            raise JudgementsError(f"{path}:{number}: query {query.id!r} was there before.")
        if not query.text.strip():
            raise JudgementsError(
                f"{path}:{number}: the text of query {query.id!r} is blank; expected one to search for."
            )
        queries[query.id] = query.text
    if not queries:
        raise JudgementsError(f"{path}: holds no query.")
    return queries


def read_qrels(path: Path) -> Qrels:
    """Judgements by query; the first line is a header when its third column is not a number.

    Raises JudgementsError with file and line for anything but three columns and a whole-number
    score, and for a pair that is judged twice differently.
    """
    qrels: Qrels = {}
    for number, line in _lines(path):
        columns = line.split("\t")
        if len(columns) != 3:
            raise JudgementsError(
                f"{path}:{number}: has {len(columns)} tab-separated columns; expected query-id, corpus-id and score."
            )
        query, document, score = (column.strip() for column in columns)
        try:
            relevance = int(score)
        except ValueError:
            if number == 1:
                continue
            raise JudgementsError(f"{path}:{number}: score {score!r} is not a whole number.") from None
        if qrels.setdefault(query, {}).setdefault(document, relevance) != relevance:
            raise JudgementsError(
                f"{path}:{number}: {document!r} was judged {qrels[query][document]} for query {query!r} before, "
                f"now {relevance}."
            )
    if not qrels:
        raise JudgementsError(f"{path}: holds no judgement.")
    return qrels


def ndcg(ranking: Sequence[str], relevance: Mapping[str, int], k: int) -> float:
    gains = (max(0, relevance.get(document, 0)) for document in ranking[:k])
    ideal = sorted((max(0, value) for value in relevance.values()), reverse=True)[:k]
    best = _discounted(ideal)
    return _discounted(gains) / best if best else 0.0


def mrr(ranking: Sequence[str], relevance: Mapping[str, int], k: int) -> float:
    for place, document in enumerate(ranking[:k], start=1):
        if relevance.get(document, 0) > 0:
            return 1.0 / place
    return 0.0


def recall(ranking: Sequence[str], relevance: Mapping[str, int], k: int) -> float:
    relevant = {document for document, value in relevance.items() if value > 0}
    return len(relevant.intersection(ranking[:k])) / len(relevant) if relevant else 0.0


def fold(documents: Iterable[str]) -> Ranking:
    """A ranking of chunks, each named by its document, as a ranking of documents: the best chunk
    counts."""
    return list(dict.fromkeys(documents))


def relevant(queries: Mapping[str, str], qrels: Qrels) -> set[str]:
    """The documents that a judged query should find."""
    return {document for query in queries for document, value in qrels.get(query, {}).items() if value > 0}


def evaluate(
    queries: Mapping[str, str],
    qrels: Qrels,
    search: Search,
    cutoffs: Sequence[int] = (10, 100),
    *,
    drop_same_id: bool = False,
) -> Report:
    """Search every judged query and average. The first cut-off is that of nDCG and MRR; recall is taken at each.

    Chunked corpora need more hits than documents, so a query that comes up short is asked again for four times as many,
    until it has enough documents or the index has no more hits to give.

    Args:
        drop_same_id: leave out a hit that has the id of its query.
    """
    judged = [query for query in queries if query in qrels]
    if not judged:
        raise JudgementsError("No query of the queries file is judged in the qrels file; are they of one collection?")
    wanted = max(cutoffs)
    rankings: dict[str, Ranking] = {}
    same_id: set[str] = set()
    asking, depth = judged, wanted + drop_same_id
    spent_s, searches = 0.0, 0
    while asking:
        short = []
        start_s = time.perf_counter()
        found = search([queries[q] for q in asking], depth)
        spent_s, searches = spent_s + time.perf_counter() - start_s, searches + len(asking)
        for query, hits in zip(asking, found, strict=True):
            ranking = fold(hits)
            if query in ranking[: wanted + drop_same_id]:
                same_id.add(query)
            if drop_same_id and query in ranking:
                ranking.remove(query)
            rankings[query] = ranking
            if len(ranking) < wanted and len(hits) == depth:
                short.append(query)  # with fewer hits than asked for there are no more to be had
        asking = short
        depth *= 4

    k = cutoffs[0]
    return Report(
        k=k,
        ndcg=_mean(ndcg(rankings[query], qrels[query], k) for query in judged),
        mrr=_mean(mrr(rankings[query], qrels[query], k) for query in judged),
        recall={cut: _mean(recall(rankings[query], qrels[query], cut) for query in judged) for cut in cutoffs},
        queries=len(judged),
        without_judgements=len(queries) - len(judged),
        without_query=sum(query not in queries for query in qrels),
        same_id=len(same_id),
        dropped=drop_same_id,
        query_ms=spent_s / searches * 1e3,
    )


def _discounted(gains: Iterable[int]) -> float:
    return sum(gain / math.log2(place + 1) for place, gain in enumerate(gains, start=1))


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return math.fsum(numbers) / len(numbers)


def _lines(path: Path) -> Iterable[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except OSError as error:
        raise JudgementsError(f"{path}: cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError as error:
        raise JudgementsError(f"{path}: is not UTF-8 ({error}).") from None
