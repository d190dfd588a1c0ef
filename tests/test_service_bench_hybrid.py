"""The benchmark of hybrid searches: its queries are of texts that are not there, its peer finds what we find."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from indexing import clustered

from deploy.figures.tables.rankings.hybrid import costs
from index import build_generation, open_generation
from index.search.fields.columns import Field
from index.search.filtering import parse
from service.bench.texts import hybrid
from service.bench.texts.corpus import QUERIES, WORDS, Corpus, read

ROWS = 400
SAID = "the quick brown fox jumps over a lazy dog while seven wizards box quietly in moonlit northern gardens"


def text(number: int) -> str:
    words = SAID.split(" ")
    return " ".join(words[(number * step) % len(words)] for step in range(1, 9)) + f" number{number}"


def corpus(folder: Path) -> Corpus:
    texts = folder / "texts.jsonl"
    lines = [json.dumps({"id": f"t{number}", "text": text(number)}) for number in range(ROWS + QUERIES)]
    texts.write_text("\n".join(lines), encoding="utf-8")
    return read(texts, ROWS)


def test_queries_are_the_first_words_of_texts_that_are_held_out(tmp_path: Path) -> None:
    found = corpus(tmp_path)
    held = {json.loads(document)["text"] for document in found.documents}
    assert (len(found.documents), len(found.queries)) == (ROWS, QUERIES)
    others = {text(number) for number in range(ROWS + QUERIES)} - held
    assert {" ".join(other.split()[:WORDS]) for other in others} == set(found.queries)


@pytest.mark.parametrize("share", [1.0, 0.2])
def test_bare_tantivy_finds_the_scores_that_words_have_here(tmp_path: Path, share: float) -> None:
    found = corpus(tmp_path)
    rows = [json.loads(document) for document in found.documents]
    path = build_generation(
        clustered(ROWS, 8),
        [row["id"] for row in rows],
        root=tmp_path,
        name="bench",
        payload=rows,
        filterable=[Field("part", "int")],
    )
    bare = hybrid.BareTantivy(found, tmp_path)
    asked = hybrid.kept_by(share)
    with open_generation(path) as opened:
        for query in found.queries[:20]:
            ours = opened.search_words(query, hybrid.K, None if asked is None else parse(asked))
            assert ours.scores.tolist() == pytest.approx([score for score, _ in bare.search(query, share)])
            assert len(ours.rows)


def test_what_misses_its_target_is_marked() -> None:
    spent = {"dense_us": 200.0, "lexical_us": 100.0, "hybrid_us": 420.0, "words_us": 55.0, "tantivy_us": 50.0}
    shown = costs({"shares": [spent | {"share": 0.2, "hybrid": 1.4, "words": 1.1}]})
    assert "| 20% of the rows survive | 200 | 100 | 420 | **missed** 1.40 × | 55 | 1.10 × |" in shown
