"""The measures against values worked out by hand, and the files against lines that are wrong."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2
from pathlib import Path

import pytest

from service.cli import evaluate
from service.errors import JudgementsError

# Five judged documents of one query: gains 3, 2, 1, and two judged not relevant.
RELEVANCE = {"a": 3, "b": 2, "c": 1, "d": 0, "e": 0}


def test_ndcg_is_one_for_the_ideal_order_and_zero_for_strangers() -> None:
    assert evaluate.ndcg(["a", "b", "c", "x"], RELEVANCE, 10) == pytest.approx(1.0)
    assert evaluate.ndcg(["x", "y", "d"], RELEVANCE, 10) == 0.0


def test_ndcg_by_hand_with_linear_gain() -> None:
    # c first, a third: 1/log2(2) + 3/log2(4) = 1 + 1.5; ideal 3/1 + 2/log2(3) + 1/2
    assert evaluate.ndcg(["c", "d", "a"], RELEVANCE, 10) == pytest.approx(2.5 / (3 + 2 / log2(3) + 0.5))


def test_ndcg_cuts_the_ranking_and_the_ideal_alike() -> None:
    # at 2 the ideal is 3 + 2/log2(3); the third place counts for nothing
    assert evaluate.ndcg(["b", "x", "a"], RELEVANCE, 2) == pytest.approx(2 / (3 + 2 / log2(3)))


def test_ndcg_does_not_fall_below_zero_for_a_negative_judgement() -> None:
    assert evaluate.ndcg(["s", "a"], {"a": 1, "s": -2}, 10) == pytest.approx(1 / log2(3))


def test_mrr_counts_the_first_relevant_within_k() -> None:
    assert evaluate.mrr(["x", "d", "c", "a"], RELEVANCE, 10) == pytest.approx(1 / 3)
    assert evaluate.mrr(["x", "d", "c", "a"], RELEVANCE, 2) == 0.0


def test_recall_counts_relevant_documents_only() -> None:
    assert evaluate.recall(["a", "d", "x", "c"], RELEVANCE, 3) == pytest.approx(1 / 3)
    assert evaluate.recall(["a", "d", "x", "c"], RELEVANCE, 4) == pytest.approx(2 / 3)
    assert evaluate.recall(["a"], {"a": 0}, 4) == 0.0


def asks(rankings: dict[str, list[str]], asked: list[int] | None = None) -> evaluate.Search:
    def search(texts: Sequence[str], depth: int) -> list[list[str]]:
        if asked is not None:
            asked.append(depth)
        return [rankings[text][:depth] for text in texts]

    return search


def test_means_run_over_judged_queries_and_the_rest_is_counted() -> None:
    report = evaluate.evaluate(
        {"1": "one", "2": "two", "3": "three"},
        {"1": {"a": 1}, "2": {"b": 1}, "9": {"z": 1}},
        asks({"one": ["a", "b"], "two": ["a", "b"], "three": ["a", "b"]}),
    )
    assert (report.queries, report.without_judgements, report.without_query) == (2, 1, 1)
    assert report.figures() == {
        "ndcg@10": pytest.approx((1 + 1 / log2(3)) / 2),
        "mrr@10": pytest.approx(0.75),
        "recall@10": 1.0,
        "recall@100": 1.0,
    }


def test_a_query_judged_without_relevant_documents_scores_zero_and_stays_in() -> None:
    report = evaluate.evaluate(
        {"1": "one", "2": "two"},
        {"1": {"a": 1}, "2": {"a": 0}},
        asks({"one": ["a"], "two": ["a"]}),
    )
    assert report.queries == 2
    assert report.ndcg == pytest.approx(0.5)


@pytest.mark.parametrize(("judged", "figure"), [("q", 1.0), ("a", 0.0)])
def test_a_hit_with_the_id_of_its_query_counts_unless_it_is_to_be_dropped(judged: str, figure: float) -> None:
    search = asks({"text": ["q", "a"]})
    for drop, expected in ((False, figure), (True, 1 - figure)):
        report = evaluate.evaluate({"q": "text"}, {"q": {judged: 1}}, search, cutoffs=(1,), drop_same_id=drop)
        assert report.figures() == {"ndcg@1": expected, "mrr@1": expected, "recall@1": expected}
        assert (report.same_id, report.dropped) == (1, drop)


def test_the_relevant_documents_are_those_that_a_query_of_the_file_should_find() -> None:
    assert evaluate.relevant({"1": "a", "2": "b"}, {"1": {"x": 1, "y": 0}, "3": {"z": 1}}) == {"x"}


def test_chunks_are_folded_to_documents_and_asked_for_until_there_are_enough() -> None:
    asked: list[int] = []
    chunks = ["a"] * 30 + ["b"] * 5 + ["c"]
    report = evaluate.evaluate({"q": "text"}, {"q": {"c": 1}}, asks({"text": chunks}, asked), cutoffs=(3, 5))
    assert asked == [5, 20, 80]  # 80 exceeds what there is, so it ends there
    assert report.mrr == pytest.approx(1 / 3)
    assert report.recall == {3: 1.0, 5: 1.0}


def test_files_of_two_collections_are_refused() -> None:
    with pytest.raises(JudgementsError, match="one collection"):
        evaluate.evaluate({"1": "one"}, {"2": {"a": 1}}, asks({}))


def test_queries_and_qrels_are_read_as_beir_writes_them(tmp_path: Path) -> None:
    queries = tmp_path / "queries.jsonl"
    queries.write_text('{"_id": "1", "text": "0-dim", "metadata": {}}\n\n{"_id": "2", "text": "ü"}\n')
    qrels = tmp_path / "test.tsv"
    qrels.write_text("query-id\tcorpus-id\tscore\n1\t31715818\t1\n1\t4\t0\n2\t5\t2\n")
    assert evaluate.read_queries(queries) == {"1": "0-dim", "2": "ü"}
    assert evaluate.read_qrels(qrels) == {"1": {"31715818": 1, "4": 0}, "2": {"5": 2}}


def test_qrels_without_a_header_lose_no_line(tmp_path: Path) -> None:
    qrels = tmp_path / "test.tsv"
    qrels.write_text("1\ta\t1\r\n2\tb\t1\r\n")
    assert evaluate.read_qrels(qrels) == {"1": {"a": 1}, "2": {"b": 1}}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("1\ta", r"qrels\.tsv:2: has 2 tab-separated columns"),
        ("1 a 1", r"qrels\.tsv:2: has 1 tab-separated columns"),
        ("1\ta\thigh", r"qrels\.tsv:2: score 'high'"),
        ("1\ta\t0.5", r"qrels\.tsv:2: score '0.5'"),
        ("1\ta\t1\n1\ta\t2", r"qrels\.tsv:3: 'a' was judged 1 for query '1' before, now 2"),
    ],
)
def test_a_malformed_judgement_is_named_by_file_and_line(tmp_path: Path, line: str, complaint: str) -> None:
    qrels = tmp_path / "qrels.tsv"
    qrels.write_text(f"query-id\tcorpus-id\tscore\n{line}\n")
    with pytest.raises(JudgementsError, match=complaint):
        evaluate.read_qrels(qrels)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b'{"_id": "2"}', r"queries\.jsonl:2: .*missing required field"),
        (b'{"_id": 2, "text": "a"}', r"queries\.jsonl:2: .*Expected `str`"),
        (b'{"_id": "2", "text": " "}', r"queries\.jsonl:2: the text of query '2' is blank"),
        (b'{"_id": "2", "text"', r"queries\.jsonl:2: .*truncated"),
        (b'{"_id": "1", "text": "again"}', r"queries\.jsonl:2: query '1' was there before"),
        (b'{"_id": "2", "text": "\xff"}', r"queries\.jsonl: is not UTF-8"),
        (b"[" * 100_000, r"queries\.jsonl:2: not a query"),
    ],
)
def test_a_malformed_query_is_named_by_file_and_line(tmp_path: Path, line: bytes, complaint: str) -> None:
    queries = tmp_path / "queries.jsonl"
    queries.write_bytes(b'{"_id": "1", "text": "one"}\n' + line + b"\n")
    with pytest.raises(JudgementsError, match=complaint):
        evaluate.read_queries(queries)


@pytest.mark.parametrize("read", [evaluate.read_queries, evaluate.read_qrels])
def test_a_missing_or_empty_file_is_named(tmp_path: Path, read: object) -> None:
    assert callable(read)
    with pytest.raises(JudgementsError, match=r"gone: cannot be read \(No such file"):
        read(tmp_path / "gone")
    (tmp_path / "empty").write_text("")
    with pytest.raises(JudgementsError, match="empty: holds no"):
        read(tmp_path / "empty")
