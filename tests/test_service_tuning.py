"""Which search is worth its price: the front, the loss, the recommendation, and the command on a real index."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import numpy as np
import pytest
from patience import patient
from serving import ARTICLES, build_docs, serving
from warm import shared

from service.cli.judging import Allowed, Corner, Measured, Tuned, judge
from service.cli.searcher.contract import SearchOptions
from service.cli.tuning import corners
from service.errors import JudgementsError

pytest_plugins = ["serving_fixtures"]


def judged(
    gained: list[float], spent_us: list[float], loss: float = 0.01, spread: float = 0.0, slo_ms: float | None = None
) -> Tuned:
    """Corners of these means over 200 queries that differ by `spread`, the same for every corner; each takes as many
    milliseconds as microseconds of processor time, and three times that in 1 of 50."""
    random = np.random.default_rng(0)
    hard = random.normal(0, spread, 200) if spread else np.zeros(200)
    tried = [Corner(SearchOptions(10, effort), "model") for effort in range(1, len(gained) + 1)]
    table = np.array(gained)[:, None] + hard - hard.mean()
    spent = np.array(spent_us, float)[:, None] * np.ones(200)
    took = spent.copy()
    took[:, ::50] *= 3
    return judge(tried, Measured(table, spent, took), Allowed(loss, slo_ms), random)


def effort(point: Any) -> int | None:
    return point.corner.how.effort  # type: ignore[no-any-return]


def test_the_front_is_what_nothing_beats_and_the_cheapest_good_enough_is_recommended() -> None:
    tuned = judged([0.5, 0.61, 0.6, 0.615, 0.4, 0.615], [100, 300, 200, 900, 150, 1000])
    assert [effort(point) for point in tuned.points] == [1, 5, 3, 2, 4, 6], "by price"
    assert [effort(point) for point in tuned.points if point.front] == [1, 3, 2, 4]
    assert effort(tuned.best) == 4, "of two as good the cheaper one"
    assert effort(tuned.recommended) == 2
    assert [effort(judged([0.5, 0.6], [1, 2], loss).recommended) for loss in (0.0, 0.09, 0.1, 1.0)] == [2, 2, 1, 1]


def test_what_is_lost_is_known_better_than_what_is_had_because_it_is_paired() -> None:
    for point in judged([0.5, 0.55], [1, 2], spread=0.2).points:
        assert point.ndcg.low < point.ndcg.mean < point.ndcg.high
        assert 0.02 < point.ndcg.high - point.ndcg.low < 0.1, "1.96 · 0.2 / √200 to either side"
        assert point.loss.high - point.loss.low < 1e-9
        assert point.loss.mean == pytest.approx(0.55 - point.ndcg.mean)


def test_what_is_recommended_is_quick_enough_or_nothing_is() -> None:
    gained, spent_us = [0.5, 0.6, 0.7], [1.0, 2.0, 4.0]
    assert effort(judged(gained, spent_us, slo_ms=12).recommended) == 3, "three times 4 ms in 1 of 50"
    slow = judged(gained, spent_us, slo_ms=11.9)
    assert [point.quick for point in slow.points] == [True, True, False]
    assert effort(slow.best) == 3
    assert effort(slow.recommended) == 2, "none that is quick is good enough: the best of those"
    assert effort(judged(gained, spent_us, 0.2, slo_ms=11.9).recommended) == 1
    assert slow.points[0].p99_ms.low <= slow.points[0].p99_ms.mean == pytest.approx(3) == slow.points[0].p99_ms.high
    with pytest.raises(JudgementsError, match=r"keeps a p99 of 2\.9 ms: .* effort 1, whole model, takes 3\.00 ms"):
        judged(gained, spent_us, slo_ms=2.9)


def test_corners_are_all_that_differ() -> None:
    names = [
        corner.name
        for corner in corners(("dense", "lexical", "hybrid"), ("auto", "model"), [None, 8], [20], [1.0, 2.0], True, 10)
    ]
    assert len(names) == len(set(names)) == 2 * 3 + 1 + 2 * 3 * 4
    assert {"dense", "dense, exact", "dense, effort 8, whole model", "lexical", "hybrid, ranks, k 60"} <= set(names)
    reranked = corners(("dense", "lexical"), ("auto", "model"), [None], [], [], False, 5, [5, 20])[3:]
    assert [each.name for each in reranked] == [
        "dense, rerank 5",
        "dense, rerank 20",
        "lexical, rerank 5",
        "lexical, rerank 20",
    ]
    assert reranked[1].request() == {"mode": "dense", "rerank": {"top": 20}}
    assert corners(("lexical",), ("auto", "model"), [None, 8], [20], [1.0], True, 10) == [
        Corner(SearchOptions(10, mode="lexical"), "")
    ]


def test_sparse_weights_are_tried_alone_and_as_a_third_ranking_where_there_are_any() -> None:
    found = corners(("dense", "lexical", "sparse", "hybrid"), ("auto",), [None], [], [0.5, 2.0], False, 10)
    requests = {corner.name: corner.request() for corner in found}
    assert (requests["sparse"], found[2].encoder) == ({"mode": "sparse"}, "")
    third = {name: asked["params"]["weights"] for name, asked in requests.items() if "sparse ×" in name}
    assert third == {
        f"hybrid, words × 1, sparse × {weight:g}": {"dense": 1.0, "lexical": 1.0, "sparse": weight}
        for weight in (0.5, 2.0)
    }


def judgements(folder: Path) -> list[str]:
    """Queries for the first ten articles, by their text, as options."""
    queries, qrels = folder / "queries.jsonl", folder / "qrels.tsv"
    texts = [text for _, text, _ in ARTICLES[:10]]
    queries.write_text("".join(json.dumps({"_id": f"q{n}", "text": text}) + "\n" for n, text in enumerate(texts)))
    qrels.write_text("query\tdocument\tscore\n" + "".join(f"q{n}\ta{n:02}\t1\n" for n in range(10)))
    return ["--queries", str(queries), "--qrels", str(qrels)]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return shared().run(*arguments)


def test_the_command_measures_draws_and_recommends_what_a_server_can_be_asked(
    root: Path, client: httpx.Client, tmp_path: Path
) -> None:
    given, picture = judgements(tmp_path), tmp_path / "front.svg"
    options = ("--json", "--plot", str(picture), "--cpu-watts", "1.5:2.5", "--slo-p99-ms", "10000")
    done = run("tune", "docs", "--root", str(root), *given, *options)
    assert done.returncode == 0, done.stderr
    tuned = json.loads(done.stdout)
    assert tuned["queries"] == 10
    points = {point["name"]: point for point in tuned["corners"]}
    assert {"dense", "lexical", "hybrid, words × 2", "hybrid, words × 1, depth 100"} <= set(points)
    whole = json.loads(run("eval", "docs", "--root", str(root), *given, "--json").stdout)
    for mode, name in (("dense", "dense"), ("lexical", "lexical"), ("hybrid", "hybrid, words × 1")):
        assert points[name]["ndcg"]["mean"] == pytest.approx(whole["modes"][mode]["ndcg@10"])
    price = tuned["joules_of_cpu_s"]
    assert price["low"] <= 2.0 <= price["high"] or tuned["joules_are"].startswith("measured")
    for point in points.values():
        assert point["joules"]["mean"] == pytest.approx(point["cpu_us"]["mean"] / 1e6 * price["mean"])
        assert 0 < point["p99_ms"]["low"] <= point["p99_ms"]["high"]
        assert 0 < point["cpu_us"]["low"] <= point["cpu_us"]["mean"] <= point["cpu_us"]["high"]
        assert client.post("/v1/indexes/docs/search", json={"text": "a", **point["request"]}).status_code == 200
    assert tuned["recommended"]["loss"]["mean"] <= 0.01
    drawn = ElementTree.fromstring(picture.read_text())
    said = [element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert tuned["recommended"]["name"] in said
    dots = list(drawn.iter("{http://www.w3.org/2000/svg}circle"))
    assert len(dots) == len(points)

    shown = run("tune", "docs", "--root", str(root), *given, "--mode", "lexical", "--mode", "dense")
    assert shown.returncode == 0, shown.stderr
    assert "hybrid" not in shown.stdout
    assert '{"mode": "' in shown.stdout.splitlines()[-1]


def test_another_index_is_tried_beside_it_and_may_be_what_is_recommended(
    root: Path, fp32_encoder: Any, tmp_path: Path
) -> None:
    """Of the same documents, in fp32; what is recommended is kept for the index that it is a search of."""
    own = Path(shutil.copytree(root, tmp_path / "root"))
    build_docs(own, fp32_encoder, "wordless", lexical=False)
    given = judgements(tmp_path)
    how = (*given, "--root", str(own), "--beside", "docs", "--json", "--write")
    done = run("tune", "wordless", *how, "--mode", "dense")
    assert done.returncode == 0, done.stderr
    tuned = json.loads(done.stdout)
    ndcg = {point["name"]: point["ndcg"]["mean"] for point in tuned["corners"]}
    assert ndcg["docs: dense"] == pytest.approx(ndcg["dense"], abs=0.1)
    assert {point["index"] for point in tuned["corners"]} == {None, "docs"}
    for name in ("docs", "wordless"):
        (own / name / "search.json").unlink(missing_ok=True)
    done = run("tune", "wordless", *how, "--mode", "lexical")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["recommended"]["name"] == "docs: lexical"
    assert {name: (own / name / "search.json").exists() for name in ("docs", "wordless")} == {
        "docs": True,
        "wordless": False,
    }
    missing = run("tune", "docs", "--root", str(own), *given, "--beside", "none")
    assert missing.returncode == 1
    assert "none" in missing.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [(("--effort", "high"), "expected a whole number"), (("--mode", "rare"), "rare"), (("--loss", "2"), "2")],
)
def test_what_cannot_be_tried_is_wrong_usage(root: Path, tmp_path: Path, options: tuple[str, str], says: str) -> None:
    done = run("tune", "docs", "--root", str(root), *judgements(tmp_path), *options)
    assert (done.returncode, says in done.stderr) == (2, True), done.stderr


def test_an_index_without_the_mode_or_queries_without_judgements_are_told(root: Path, tmp_path: Path) -> None:
    given = judgements(tmp_path)
    done = run("tune", "bare", "--root", str(root), *given, "--mode", "lexical")
    assert (done.returncode, "the index has dense" in done.stderr) == (2, True), done.stderr
    (tmp_path / "qrels.tsv").write_text("other\ta01\t1\n")
    done = run("tune", "docs", "--root", str(root), *given)
    assert (done.returncode, "is judged in the qrels file" in done.stderr) == (1, True), done.stderr


def test_what_is_written_is_the_index_s_default_search(own_root: Path, tmp_path: Path) -> None:
    given = judgements(tmp_path)
    done = run("tune", "docs", "--root", str(own_root), *given, "--mode", "hybrid", "--loss", "1", "--json", "--write")
    assert done.returncode == 0, done.stderr
    chosen = json.loads(done.stdout)["recommended"]["request"]
    assert (own_root / "docs" / "search.json").exists()
    with serving(own_root, tmp_path) as server, server.client() as client:

        def search(**asked: Any) -> Any:
            answer = client.post("/v1/indexes/docs/search", json={"k": 5, **asked})
            assert answer.status_code == 200, answer.text
            return answer.json()["hits"]

        text = "how does a star become dark"
        by_default, dense = search(text=text), search(text=text, mode="dense")
        assert by_default == search(text=text, **chosen)
        assert all("scores" in hit for hit in by_default), "it is a hybrid search"
        assert not any("scores" in hit for hit in dense), "what names its mode is asked as it stands"
        assert not any("scores" in hit for hit in search(id="a01")), "a document has no words to search by"
        batch = client.post("/v1/indexes/docs/search/batch", json={"queries": [{"text": text, "k": 5}]}).json()
        assert batch["results"][0]["hits"] == by_default
        told = client.get("/v1/indexes/docs").json()["search"]
        assert (told["mode"], told["queries"], told["k"]) == ("hybrid", 10, 10)
        (own_root / "docs" / "search.json").write_text("{}")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log("searches of docs have no default")
        limit_s = time.monotonic() + patient(30)
        while client.get("/v1/indexes/docs").json().get("search") is not None:  # what is logged happens a moment later
            assert time.monotonic() < limit_s
            time.sleep(0.02)
        assert search(text=text) == dense
