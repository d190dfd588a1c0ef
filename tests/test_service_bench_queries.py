"""The benchmark of fitted query encoders: from documents and judgements to its rows and its tables, with a real fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fitted_queries import made_documents

from deploy.figures.tables.rankings import queries
from service.bench.judged import query_encoders


@pytest.fixture(scope="module")
def row(tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., Path]) -> dict[str, Any]:
    """Of a collection whose queries are texts of its documents."""
    folder = tmp_path_factory.mktemp("judged")
    collection = folder / "made"
    collection.mkdir()
    documents = made_documents(300)
    lines = {
        "corpus.jsonl": documents,
        "queries.jsonl": [{"_id": each["_id"], "text": each["text"]} for each in documents[:20]],
    }
    for name, each in lines.items():
        (collection / name).write_text("".join(json.dumps(line) + "\n" for line in each))
    judged = "".join(f"{each['_id']}\t{each['_id']}\t1\n" for each in documents[:20])
    (collection / "qrels.tsv").write_text(f"query\tdocument\tscore\n{judged}")
    assert query_encoders.collections_in(folder) == [collection]
    model = make_model(hidden=64, heads=2, inner=128, max_length=128)
    return query_encoders.measured(collection, folder / "work", 0.02, 0, str(model))


def test_a_row_says_what_the_fitted_encoder_loses_saves_and_took(row: dict[str, Any]) -> None:
    assert row["query_encoder"]["kind"] == "student"
    assert row["ndcg_ratio"] == pytest.approx(row["ndcg_fitted"] / row["ndcg_model"]) == pytest.approx(1, abs=0.1)
    assert 0 <= row["sent"] < 1
    assert row["cpu"] > 0
    assert min(row["fit_cpu_s"], row["corpus_cpu_s"]) > 0


def test_the_front_goes_up_in_price_and_in_what_is_found(row: dict[str, Any]) -> None:
    costs, found = ([point[name] for point in row["front"]] for name in ("cpu_us", "ndcg"))
    assert costs == sorted(costs)
    assert found == sorted(set(found))
    assert sum(point["recommended"] for point in row["front"]) == 1
    assert (row["queries"], row["tried"] > len(row["front"])) == (20, True)


def test_the_tables_mark_what_misses_its_target_and_what_is_left_to_the_model(row: dict[str, Any]) -> None:
    missed = row | {"collection": "dear", "ndcg_ratio": 0.9, "cpu": 0.5, "fit_cpu_s": 2.0, "corpus_cpu_s": 4.0}
    left = row | {"collection": "left", "query_encoder": None, "cpu": 1.0}
    _, _, *said = queries.encoders([missed, left]).splitlines()
    assert said[0].startswith("| dear (20) |")
    assert said[0].count("**missed**") == 3
    assert "left to the model" in said[1]
    assert queries.front([row]).count("| **") == 1
