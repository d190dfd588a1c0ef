"""A fitted query encoder, from the command that builds it to its answers: said, counted, checked, turned off."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fitted_queries import made_documents
from serving import NotStarted, serving
from warm import shared

from embed.encoders.fitted.section import FILE
from index import Root
from index.disk.manifest import QUERY_ENCODER, read_manifest

SEARCH = "/v1/indexes/made/search"


def perwatt(*arguments: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    ran = shared().run(*map(str, arguments))
    assert ran.returncode == status, ran.stderr
    return ran


def embed(documents: Path, vectors: Path, model: Path) -> None:
    how = ("--model", model, "--precision", "fp32", "--quiet", "--threads", 1)
    perwatt("embed", documents, "--out", vectors, *how)


class Made:
    """Indexes of the same documents: `made` with a fitted query encoder, `plain` without."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.root, self.model, self.vectors = folder / "root", model, folder / "vectors"
        documents = folder / "documents.jsonl"
        documents.write_text("".join(json.dumps(each) + "\n" for each in made_documents(300)))
        embed(documents, self.vectors, model)
        self.said = self.build("made", "--query-encoder", "fitted", "--query-steps", 0).stdout
        self.build("plain")

    def build(self, name: str, *options: object) -> subprocess.CompletedProcess[str]:
        where = ("--index", name, "--root", self.root, "--threads", 1, "--model", self.model)
        return perwatt("build", self.vectors, *where, *options)

    def manifest(self, name: str) -> dict[str, Any]:
        return read_manifest(Root(self.root).path(name))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., Path]) -> Made:
    model = make_model(hidden=64, heads=2, inner=128, max_length=128)
    return Made(tmp_path_factory.mktemp("fitted"), model)


def asked(client: httpx.Client, text: str, path: str = SEARCH, **more: Any) -> dict[str, Any]:
    answer = client.post(path, json={"text": text, **more})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def counted(client: httpx.Client) -> dict[str, float]:
    lines = [
        line for line in client.get("/metrics").text.splitlines() if line.startswith("perwatt_texts_encoded_total")
    ]
    return {line.split('"')[1]: float(line.split()[-1]) for line in lines}


def test_a_build_measures_what_it_fitted_and_says_it(made: Made) -> None:
    entry = made.manifest("made")[QUERY_ENCODER]
    assert "fitted, 2 layers: loses" in made.said
    assert (entry["loss_asked"], entry["layers"], entry["kind"]) == (0.02, 2, "student")
    assert entry["measured"]["loss"] <= 0.02
    assert entry["measured"]["queries"] > 100
    assert entry["cpu_of_model"] > 0
    files = made.manifest("made")["files"]
    assert files[FILE]["bytes"] == (Root(made.root).path("made") / FILE).stat().st_size


def test_a_generation_without_one_is_as_it_always_was(made: Made) -> None:
    plain, fitted = made.manifest("plain"), made.manifest("made")
    assert fitted.keys() - plain.keys() == {QUERY_ENCODER}
    # But for words, whose files tantivy names at random.
    before, after = (
        {name: entry for name, entry in each["files"].items() if not name.startswith("lexical/")}
        for each in (plain, fitted)
    )
    assert after.pop(FILE)["bytes"] > 0
    assert before == after


def test_answers_say_what_encoded_their_text_and_metrics_count_it(made: Made, tmp_path: Path) -> None:
    title = made_documents(300)[7]["title"]
    long = " ".join(each["title"] for each in made_documents(300)[:60])
    with serving(made.root, tmp_path, "--model", str(made.model)) as server, server.client() as client:
        by_fitted = asked(client, title)
        assert by_fitted["usage"]["encoder"] == "fitted"
        assert by_fitted["usage"]["tokens"] > 2
        assert asked(client, long)["usage"]["encoder"] == "model", "no query that long was measured"
        assert asked(client, title, mode="hybrid")["usage"]["encoder"] == "fitted"
        assert "encoder" not in asked(client, title, mode="lexical")["usage"]
        assert asked(client, title, "/v1/indexes/plain/search")["usage"]["encoder"] == "model"
        by_vector = client.post(SEARCH, json={"id": "d001"}).json()
        assert "encoder" not in by_vector["usage"]
        batch = client.post(f"{SEARCH}/batch", json={"queries": [{"text": title}, {"text": long}]}).json()
        assert [each["usage"]["encoder"] for each in batch["results"]] == ["fitted", "model"]
        assert "encoder" not in batch["usage"]
        assert counted(client) == {"fitted": 3.0, "model": 3.0}

    with (
        serving(made.root, tmp_path, "--model", str(made.model), "--query-encoder", "model") as server,
        server.client() as client,
    ):
        by_model = asked(client, title)
        assert by_model["usage"]["encoder"] == "model"
        assert counted(client) == {"fitted": 0.0, "model": 1.0}
    assert [hit["id"] for hit in by_model["hits"][:5]] == [hit["id"] for hit in by_fitted["hits"][:5]]


def test_what_was_seen_before_is_told_apart_by_what_encoded_it(made: Made, tmp_path: Path) -> None:
    title = made_documents(300)[7]["title"]
    plain = "/v1/indexes/plain/search"
    with serving(made.root, tmp_path, "--model", str(made.model)) as server, server.client() as client:
        answers = [asked(client, title, path) for path in (SEARCH, SEARCH, plain, plain, SEARCH)]
        assert [answer["usage"]["cached"] for answer in answers] == [0, 1, 0, 1, 1]
        fitted, plain_hits = (answers[at]["hits"] for at in (0, 2))
        assert answers[1]["hits"] == answers[4]["hits"] == fitted
        assert answers[3]["hits"] == plain_hits
        assert [hit["score"] for hit in fitted] != [hit["score"] for hit in plain_hits]
        assert "perwatt_query_cache_hits_total 3.0" in client.get("/metrics").text


def test_a_changed_section_is_refused_by_its_name(made: Made, tmp_path: Path) -> None:
    root = Path(shutil.copytree(made.root, tmp_path / "root"))
    file = Root(root).path("made") / FILE
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 4
    file.chmod(0o644)
    file.write_bytes(raw)
    with pytest.raises(NotStarted, match=rf"{FILE}.* is damaged"), serving(root, tmp_path, "--model", str(made.model)):
        pass


def test_what_cannot_be_fitted_is_refused_or_left_to_the_model(made: Made, tmp_path: Path) -> None:
    few = tmp_path / "few.jsonl"
    few.write_text('{"_id": "a", "text": "a single short text"}\n')
    vectors = tmp_path / "vectors"
    embed(few, vectors, made.model)
    arguments = ("build", vectors, "--index", "few", "--root", tmp_path / "root", "--threads", 1, "--model", made.model)
    refused = perwatt(*arguments, "--query-encoder", "fitted", status=1)
    assert "No query encoder was fitted: to measure a loss takes" in refused.stderr
    assert not list((tmp_path / "root").glob("*/*/manifest.json")), "what is refused is not built"
    left = perwatt(*arguments, "--query-encoder", "auto")
    assert "queries go through the whole model: to measure a loss takes" in left.stderr
    assert QUERY_ENCODER not in read_manifest(Root(tmp_path / "root").path("few"))


def test_evaluation_goes_the_way_that_a_server_goes_or_is_told_not_to(made: Made, tmp_path: Path) -> None:
    queries, qrels = tmp_path / "queries.jsonl", tmp_path / "qrels.tsv"
    documents = made_documents(300)[:40]
    queries.write_text("".join(json.dumps({"_id": each["_id"], "text": each["text"]}) + "\n" for each in documents))
    qrels.write_text("query\tdocument\tscore\n" + "".join(f"{each['_id']}\t{each['_id']}\t1\n" for each in documents))
    arguments = ("eval", "made", "--root", made.root, "--model", made.model, "--queries", queries, "--qrels", qrels)
    figures = [
        json.loads(perwatt(*arguments, "--mode", "dense", "--json", "--query-encoder", encoder).stdout)
        for encoder in ("auto", "model")
    ]
    [by_fitted, by_model] = [each["modes"]["dense"]["ndcg@10"] for each in figures]
    assert by_fitted == pytest.approx(by_model, abs=0.02)
    tuned = json.loads(perwatt("tune", *arguments[1:], "--mode", "dense", "--effort", "default", "--json").stdout)
    tried = {each["query_encoder"]: each for each in tuned["corners"]}
    assert {encoder: each["ndcg"]["mean"] for encoder, each in tried.items()} == {
        "auto": pytest.approx(by_fitted),
        "model": pytest.approx(by_model),
    }


def test_a_rebuild_of_the_service_keeps_the_encoder_and_measures_it_again(made: Made, tmp_path: Path) -> None:
    root = Path(shutil.copytree(made.root, tmp_path / "root"))
    served = Root(root).alias("made").generation
    with serving(root, tmp_path, "--model", str(made.model)) as server, server.client() as client:
        put = client.put("/v1/indexes/made/documents", json={"documents": [{"id": "new", "text": "kalomi tredol"}]})
        assert put.status_code == 200, put.text
        perwatt("rebuild", "made", "--url", server.url)
        assert asked(client, "kalomi")["usage"]["encoder"] == "fitted"
    manifest, before = read_manifest(Root(root).path("made")), made.manifest("made")
    assert manifest["generation"] != served
    assert manifest["count"] == before["count"] + 1
    assert manifest[QUERY_ENCODER]["layers"] == 2
    assert manifest["files"][FILE] == before["files"][FILE]
    assert manifest[QUERY_ENCODER]["measured"]["loss"] <= 0.02


def test_a_build_from_vectors_keeps_the_encoder_where_it_is_of_their_model(
    made: Made, tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    root = Path(shutil.copytree(made.root, tmp_path / "root"))
    arguments = ("--index", "made", "--root", root, "--threads", 1)
    perwatt("build", made.vectors, *arguments, "--model", made.model)
    assert read_manifest(Root(root).path("made"))["files"][FILE] == made.manifest("made")["files"][FILE]
    perwatt("build", made.vectors, *arguments, "--query-encoder", "model")
    assert QUERY_ENCODER not in read_manifest(Root(root).path("made"))
    perwatt("rollback", "made", "--root", root)
    other = make_model(hidden=128, heads=2, inner=128, max_length=128)
    documents = tmp_path / "documents.jsonl"
    documents.write_text("".join(json.dumps(each) + "\n" for each in made_documents(300)))
    embed(documents, tmp_path / "vectors", other)
    left = perwatt("build", tmp_path / "vectors", *arguments, "--model", other)
    assert "queries go through the whole model: made-" in left.stderr
    assert "for a model of another shape" in left.stderr
    assert QUERY_ENCODER not in read_manifest(Root(root).path("made"))
