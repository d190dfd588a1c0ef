"""The benchmark of texts beside vectors: from documents to its rows and its table, with real servers and a real fit."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fitted_queries import made_documents

from deploy.figures.tables.rankings import text
from embed.kernels import unit_in_use
from service.bench.texts import corpus, price


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., Path]) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("text")
    model = make_model(hidden=64, heads=2, inner=128, max_length=128)
    documents, queries = folder / "documents.jsonl", folder / "queries.jsonl"
    made = made_documents(150)
    documents.write_text("".join(json.dumps(each) + "\n" for each in made))
    queries.write_text("".join(json.dumps({"_id": each["_id"], "text": each["title"]}) + "\n" for each in made[:20]))
    build = ("--query-encoder", "fitted", "--query-steps", "0", "--threads", "1")
    return price.measure(
        documents, queries, 150, rounds=1, seconds=0.1, build=build, model=str(model), work=folder / "work"
    )


def test_each_way_is_asked_and_its_share_of_hits_is_beside_it(figures: dict[str, Any]) -> None:
    [unit] = figures["units"]
    assert (unit["unit"], figures["rows"], figures["queries"]) == (unit_in_use(), 150, 20)
    assert set(unit["us"]) == {"vector", "base64", "model", "auto", "fitted", "repeated"}
    assert min(unit["us"].values()) > 0
    assert unit["times"]["vector"] == 1
    assert 0 < unit["fitted_share"] <= 1
    assert 0 < unit["hit_share"] < 1  # the first request for a text is never a hit


def test_texts_that_repeat_are_drawn_by_their_rank_and_anew_in_each_round() -> None:
    documents = [json.dumps({"text": f"one{number} two three"}) for number in range(1000)]
    asked = corpus.Corpus("made", documents, [])
    first, again, second = (price.drawn(asked, seed) for seed in (1, 1, 2))
    assert first == again != second
    (_, often), (_, half), *_ = Counter(first).most_common()
    assert often / len(first) == pytest.approx(1 / sum(1 / rank for rank in range(1, 1001)), rel=0.1)
    assert half / often == pytest.approx(0.5, rel=0.15)


def test_a_unit_that_is_none_of_this_processor_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(price.click.ClickException, match="mmx: this processor has"):
        price.measure(units_asked=["mmx"], work=tmp_path)


def test_the_table_marks_what_misses_its_target_and_leaves_out_what_was_not_fitted(figures: dict[str, Any]) -> None:
    [unit] = figures["units"]
    dear = unit | {"times": unit["times"] | {"model": 4.1, "auto": 1.9, "fitted": 1.3}}
    left = unit | {"us": {name: us for name, us in unit["us"].items() if name != "fitted"}}
    _, _, said, without = text.prices([figures | {"units": [dear, left]}]).splitlines()
    assert said.count("**missed**") == 2
    assert "4.10 ×" in said
    assert without.split("|")[5].strip() == "–"
    assert text.remarks([figures]).startswith("20 queries of ")
