"""The benchmark of fusions: each way on rankings made by hand, and the collection that it makes of code."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from service.bench.judged.fusion import TwoRankings, by_agreement, by_ranks, by_scores, code_questions, worth

DENSE = {row: 1.0 - row / 100 for row in range(60)}
RARE = {59: 9.0} | {row: 1.0 - row / 1000 for row in range(100, 160)}  # one word that hardly any document has


def test_each_fusion_orders_rows_and_is_worth_what_it_finds() -> None:
    judged = [TwoRankings(DENSE, RARE, {59: 1})]
    assert worth(judged, lambda dense, _: list(dense)) == 0.0
    assert worth(judged, lambda _, words: list(words)) == 1.0
    assert by_scores()(DENSE, RARE)[0] == 59, "what stands out among the words comes first"
    assert by_scores(0.1)(DENSE, RARE)[0] == 0
    assert by_ranks(DENSE, RARE)[:2] == [59, 0]
    assert by_agreement(DENSE, DENSE)[:10] == list(range(10))
    assert by_agreement(DENSE, RARE)[0] == 0, "rankings that share nothing trust words less"
    assert worth([TwoRankings(DENSE, {}, {-1: 1, 0: 1})], by_scores()) < 1.0, (
        "a right document that is not there is missed"
    )


def test_code_is_found_by_what_its_docstring_said(tmp_path: Path) -> None:
    folder = code_questions(tmp_path / "code", Path(asyncio.__file__).parent)
    corpus = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    queries = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
    assert len(corpus) == len(queries) > 50
    for document, query in zip(corpus, queries, strict=True):
        assert document["text"].startswith(("def ", "async def ", "@"))
        assert query["text"] not in " ".join(document["text"].split())
    assert (folder / "qrels.tsv").read_text().splitlines()[1:3] == ["q0\tc0\t1", "q1\tc1\t1"]
