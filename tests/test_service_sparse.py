"""Searches by sparse weights over HTTP: alone and as a third ranking, filtered, after writes, behind a router."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from indexing import write_vectors_folder
from routed import CheapEncoder, Rig, in_process
from sparse_models import CountingModel, many_words

from embed.sparse import encoder
from service.query.ranked.fusion import explained, fuse

ROWS = 300
TEXTS = many_words(ROWS, 5)
QUERY = " ".join(f"w{word}" for word in range(0, 200, 7))
MODEL = CountingModel()


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("rig")
    vectors = _folder(folder, ROWS)
    with in_process(vectors, folder, 2, filterable=["part:int"], sparse=MODEL) as made:
        yield made


def _folder(folder: Path, rows: int) -> Path:
    encoder = CheapEncoder()
    payload = [{"text": text, "part": row % 10} for row, text in enumerate(TEXTS[:rows])]
    ids = [f"d{row:03}" for row in range(rows)]
    vectors = encoder.encode(TEXTS[:rows])
    model = encoder.fingerprint.as_dict()
    return write_vectors_folder(folder / "v", ids, vectors, payload, model=model, canaries=[])


def _places(answer: dict[str, Any]) -> list[tuple[str, float]]:
    return [(hit["id"], hit["score"]) for hit in answer["hits"]]


def test_hits_are_the_best_there_are_and_the_same_from_shards(rig: Rig) -> None:
    scores = MODEL.scores(QUERY, TEXTS)
    best = [row for row in np.lexsort((np.arange(ROWS), -scores)) if scores[row] > 0]
    for app in (rig.one, rig.many):
        assert app("GET", "/v1/indexes/docs").json()["modes"] == ["dense", "lexical", "sparse", "hybrid"]
        for more, rows in (
            ({"k": 7}, best[:7]),
            ({"k": 200}, best),
            ({"k": 200, "filter": {"field": "part", "in": [1, 3]}}, [row for row in best if row % 10 in (1, 3)]),
        ):
            answer = app.post("search", {"text": QUERY, "mode": "sparse", **more})
            assert _places(answer) == [(f"d{row:03}", scores[row]) for row in rows]
            assert (answer["usage"]["tokens"], answer["usage"]["vectors_scored"]) == (0, 0)
        grouped = app.post("search", {"text": QUERY, "mode": "sparse", "group_by": "part", "explain": True, "k": 10})
        first = {row % 10: row for row in reversed(best)}
        assert len(first) > 5
        assert {hit["id"] for hit in grouped["hits"]} == {f"d{row:03}" for row in first.values()}
        assert grouped["hits"][0]["explain"] == {"sparse": {"rank": 1, "score": scores[best[0]]}}
        timing = app("POST", "/v1/indexes/docs/search", json={"text": QUERY, "mode": "sparse"}).headers["server-timing"]
        assert "sparse;dur=" in timing


def test_a_third_ranking_counts_where_it_has_a_weight(rig: Rig) -> None:
    answers = []
    for app in (rig.one, rig.many):
        alone = [
            {hit["id"]: hit["score"] for hit in app.post("search", {"text": QUERY, "mode": mode, "k": 200})["hits"]}
            for mode in ("dense", "lexical", "sparse")
        ]
        usual = app.post("search", {"text": QUERY, "mode": "hybrid", "k": 5})
        unsaid = fuse(*({int(id_[1:]): score for id_, score in rows.items()} for rows in alone[:2]))
        assert [hit["id"] for hit in usual["hits"]] == [f"d{row:03}" for row, _ in unsaid[:5]]
        assert all("sparse" not in hit["scores"] for hit in usual["hits"])
        body = {"text": QUERY, "mode": "hybrid", "k": 5, "explain": True, "params": {"weights": {"sparse": 0.7}}}
        third = app.post("search", body)
        dense, lexical, sparse = ({int(id_[1:]): score for id_, score in rows.items()} for rows in alone)
        fused = fuse(dense, lexical, (1.0, 1.0, 0.7), None, int, 50, sparse)
        assert [hit["id"] for hit in third["hits"]] == [f"d{row:03}" for row, _ in fused[:5]]
        for hit in third["hits"]:
            said = hit["explain"]
            assert hit["scores"].get("sparse", alone[2].get(hit["id"])) == alone[2].get(hit["id"])
            assert sum(place["adds"] for place in said.values() if isinstance(place, dict)) == pytest.approx(
                hit["score"]
            )
        assert any("sparse" in hit["scores"] for hit in third["hits"])
        answers.append(_places(third))
    assert answers[0] == answers[1]
    said = explained(fused, dense, lexical, (1.0, 1.0, 0.7), None, 50, sparse)
    assert any(each.sparse is not None for each in said[:5])


def test_what_is_written_is_weighed_and_ranked_as_if_it_had_been_built_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "sparse_again", lambda _model, _id, _threads: CountingModel())
    documents = {f"d{row:03}": text for row, text in enumerate(TEXTS[:60])}
    with in_process(_folder(tmp_path, 60), tmp_path, 2, filterable=["part:int"], sparse=MODEL) as rig:
        new = {"d007": TEXTS[80], "new": TEXTS[7], "newer": TEXTS[7], "d059": "", "d020": TEXTS[7]}
        given = [{"id": id_, "text": "x", "payload": {"text": text, "part": 3}} for id_, text in new.items()]
        again = [{"id": "newer", "payload": {"text": TEXTS[81], "part": 3}}]
        documents |= new | {"newer": TEXTS[81]}
        for gone in ("d008", "new"):
            del documents[gone]
        texts, parts = list(documents.values()), [3 if id_ in new else int(id_[1:]) % 10 for id_ in documents]
        for query in (QUERY, TEXTS[7], TEXTS[80]):
            scores = MODEL.scores(query, texts)
            ids = list(documents)
            best = [row for row in sorted(range(len(ids)), key=lambda row: (-scores[row], ids[row])) if scores[row] > 0]
            answers = []
            for app in (rig.one, rig.many):
                for body in (given, again):
                    put = app("PUT", "/v1/indexes/docs/documents", json={"documents": body}).json()
                    assert (put["written"], put.get("unweighed")) == (len(body), None)
                for id_ in ("d008", "new"):
                    app("DELETE", f"/v1/indexes/docs/documents/{id_}")
                ask = {"text": query, "mode": "sparse", "min_seq": 1}
                for more, rows in (
                    ({"k": 5}, best[:5]),
                    ({"k": 60}, best),
                    ({"k": 60, "filter": {"field": "part", "eq": 3}}, [row for row in best if parts[row] == 3]),
                ):
                    answer = app.post("search", ask | more)
                    assert _places(answer) == [(ids[row], scores[row]) for row in rows]
                    assert "unweighed" not in answer["coverage"]
                third = {"text": query, "mode": "hybrid", "k": 9, "params": {"weights": {"sparse": 0.7}}, "min_seq": 1}
                answers.append(_places(app.post("search", third)))
            assert answers[0] == answers[1]


def test_without_the_model_documents_are_written_all_the_same_and_it_is_said_that_they_lack_weights(
    tmp_path: Path,
) -> None:
    with in_process(_folder(tmp_path, 60), tmp_path, 2, sparse=MODEL) as rig:
        for app in (rig.one, rig.many):
            ask = {"text": TEXTS[7], "mode": "sparse", "k": 60}
            before = app.post("search", ask)
            assert "unweighed" not in before["coverage"]
            changed = [{"id": "d007", "payload": {"text": TEXTS[7]}}, {"id": "new", "payload": {"text": TEXTS[7]}}]
            put = app("PUT", "/v1/indexes/docs/documents", json={"documents": changed}).json()
            assert (put["written"], put["unweighed"]) == (2, 2)
            app("DELETE", "/v1/indexes/docs/documents/d008")
            after = app.post("search", ask | {"min_seq": 1})
            kept = [place for place in _places(before) if place[0] not in ("d007", "d008")]
            assert (_places(after), after["coverage"]["unweighed"]) == (kept, 2)
            assert "unweighed" not in app.post("search", ask | {"mode": "lexical"})["coverage"]
        for apps in ([rig.one], rig.shards):
            said = [app("GET", "/v1/indexes/docs").json() for app in apps]
            assert [sum(info[name] for info in said) for name in ("written_since", "unweighed")] == [2, 2]
        assert 'perwatt_changes_unweighed{index="docs"} 2.0' in rig.one("GET", "/metrics").text


def test_an_index_without_weights_refuses_and_says_what_to_do(tmp_path: Path) -> None:
    with in_process(_folder(tmp_path, 40), tmp_path, 2) as rig:
        for app in (rig.one, rig.many):
            for body in ({"mode": "sparse"}, {"mode": "hybrid", "params": {"weights": {"sparse": 1}}}):
                answer = app("POST", "/v1/indexes/docs/search", json={"text": "w1", **body})
                assert (answer.status_code, answer.json()["pointer"]) == (422, "/mode")
                assert "perwatt build --sparse MODEL" in answer.json()["detail"]
            hybrid = app.post("search", {"text": QUERY, "mode": "hybrid"})
            assert all(hit["scores"].keys() <= {"dense", "lexical"} for hit in hybrid["hits"])
            nothing = {"text": "w1", "mode": "hybrid", "params": {"weights": {"dense": 0, "lexical": 0}}}
            refused = app("POST", "/v1/indexes/docs/search", json=nothing)
            assert (refused.status_code, "has to be more than 0" in refused.json()["detail"]) == (422, True)
            assert app.post("search", {"text": QUERY, "mode": "hybrid", "params": {"weights": {"lexical": 0.5}}})[
                "hits"
            ]
        assert (
            rig.one("POST", "/v1/indexes/docs/search", json={"vector": [0.5] * 24, "mode": "sparse"}).status_code == 422
        )
