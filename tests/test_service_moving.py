"""Moving in: vectors that are kept and served as they were, documents that are embedded anew, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chroma_servers import chroma_on, fill
from click.testing import CliRunner, Result
from serving import ARTICLES

from deploy.command import perwatt
from embed.documents.document import DocumentError, Faults, FieldNames
from embed.vectors.manifest import read_manifest
from index import open_generation
from index.disk.root import Root
from index.disk.vectors_folder import VectorsFolder
from service.moving.rows import Collection, MovedRows, Moving, MovingError
from service.moving.vectors_folder import into_vectors


@pytest.fixture(scope="module")
def chroma_folder(fp32_encoder: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`articles` as Chroma's default function embeds them, without their titles; `claimed`, whose vectors are not what
    that function makes; `bare`, 1,203 vectors of no known model, without texts."""
    folder = tmp_path_factory.mktemp("chroma")
    texts = [text for _title, text, _url in ARTICLES]
    rng = np.random.default_rng(3)
    default = {"type": "known", "name": "default", "config": {}}
    with chroma_on(folder) as url:
        fill(
            url, "articles", "l2", default,
            ids=[f"a{row}" for row in range(len(texts))],
            embeddings=fp32_encoder.encode(texts, kind="document").tolist(),
            documents=texts,
            metadatas=[
                {"title": title, "id": f"own-{row}", "words": len(text.split()), "share": row / 7, "odd": row % 2 == 1,
                 "when": "2026-11-29", "mixed": "many" if row == 5 else row}
                for row, (title, text, _url) in enumerate(ARTICLES)
            ],
        )  # fmt: skip
        fill(
            url, "claimed", "cosine", default,
            ids=["a", "b", "c"], embeddings=rng.standard_normal((3, 384)).tolist(),
            documents=["Rye bread.", None, "An octopus."], metadatas=[None, {"lang": "en"}, None],
        )  # fmt: skip
        fill(
            url, "bare", "ip", None,
            ids=[f"n{row}" for row in range(1203)], embeddings=rng.standard_normal((1203, 8)).tolist(),
            metadatas=[{"row": row} for row in range(1203)],
        )  # fmt: skip
    return folder


def ran(*words: object, code: int = 0) -> Result:
    done = CliRunner().invoke(perwatt, [str(word) for word in words])
    assert done.exit_code == code, (done.output, done.exception)
    return done


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    batches = list(VectorsFolder(folder).batches())
    return {
        str(id_): json.loads(raw) for each in batches for id_, raw in zip(each.ids, each.payload or [], strict=True)
    }


def collection(records: list[dict[str, object]], vectors: list[Any], **more: Any) -> Collection:
    def read(wanted: bool) -> Iterator[MovedRows]:
        for start in range(0, len(records), 2):
            part = slice(start, start + 2)
            yield MovedRows(records[part], vectors[part] if wanted else None)

    return Collection("made:here", read, len(records), **more)


def kept(found: Collection, out: Path, faults: Faults | None = None, **more: Any) -> Any:
    return into_vectors(Moving(found, FieldNames(), faults or Faults("skip")), out, **more)


def test_a_collection_of_chromas_is_served_with_its_vectors_fields_and_model(
    chroma_folder: Path, tmp_path: Path, fp32_encoder: Any
) -> None:
    out, root = tmp_path / "vectors", tmp_path / "indexes"
    said = ran("import", f"chroma:{chroma_folder}", "--collection", "articles", "--into", out).stderr
    assert "20 rows of 384 dimensions" in said
    assert "all-MiniLM-L6-v2 made the vectors (16 of 16 texts agree): text queries are encoded by it, in fp32" in said
    assert "metric cosine, which ranks as its l2 does, since all vectors have length 1" in said
    assert "field id is called metadata_id here, because the name was taken" in said
    assert "not filterable: mixed, because its values are not of one type (as in row 6)" in said
    title, text, _url = ARTICLES[3]
    assert rows(out)["a3"] == {
        "text": text, "title": title, "metadata_id": "own-3", "words": len(text.split()), "share": 3 / 7, "odd": True,
        "when": "2026-11-29", "mixed": 3,
    }  # fmt: skip

    ran("build", out, "--index", "docs", "--root", root)
    with open_generation(Root(root).path("docs")) as generation:
        assert generation.manifest["metric"] == "cosine"
        assert generation.manifest["model"] == fp32_encoder.fingerprint.as_dict()
        assert generation.manifest["filterable"] == {
            "title": "keyword", "metadata_id": "keyword", "words": "int", "share": "float", "odd": "bool",
            "when": "date",
        }  # fmt: skip
        texts = [text for _title, text, _url in ARTICLES]
        vectors = fp32_encoder.encode(texts, kind="document")
        moved = [generation.vector(generation.row_of(f"a{row}") or 0) for row in range(len(texts))]
        assert np.allclose(np.array(moved), vectors, atol=1e-6)
    found = json.loads(ran("search", "docs", "how to bake sour bread", "--root", root, "--k", 1, "--json").stdout)
    assert found["hits"][0]["id"] == "a1"

    documents = tmp_path / "docs.jsonl"
    documents.write_text(json.dumps({"id": "x", "text": texts[0]}) + "\n")
    assert "0 embedded, 1 reused" in ran("embed", documents, "--out", out, "--precision", "fp32").stderr


def test_the_metric_and_filters_of_a_moved_collection_give_way_to_what_is_asked_for(
    chroma_folder: Path, tmp_path: Path
) -> None:
    out, root = tmp_path / "vectors", tmp_path / "indexes"
    said = ran("import", f"chroma:{chroma_folder}", "--collection", "bare", "--into", out).stderr
    assert "1,203 rows of 8 dimensions" in said
    assert "no model is recorded, so the index will answer vectors and ids and refuse texts" in said
    for words, metric, fields in (
        ((), "ip", {"row": "int"}),
        (("--metric", "l2", "--filterable", "row:float"), "l2", {"row": "float"}),
    ):
        ran("build", out, "--index", "bare", "--root", root, *words)
        with open_generation(Root(root).path("bare")) as generation:
            assert (generation.manifest["metric"], generation.manifest["filterable"]) == (metric, fields)
            assert (generation.count, generation.manifest["model"]) == (1203, None)


def test_a_model_that_did_not_make_the_vectors_is_never_recorded(chroma_folder: Path, tmp_path: Path) -> None:
    source = ("import", f"chroma:{chroma_folder}", "--collection", "claimed", "--into", tmp_path / "out")
    said = ran(*source).stderr
    assert "no model is recorded (the source says all-MiniLM-L6-v2)" in said
    assert read_manifest(tmp_path / "out")["model"] is None  # type: ignore[index]
    assert rows(tmp_path / "out")["b"] == {"lang": "en"}
    refused = ran(*source, "--model", "all-MiniLM-L6-v2", code=1)
    assert isinstance(refused.exception, MovingError)
    assert "of 2 texts, 0 have the vector that it gives them" in str(refused.exception)
    wide = ran("import", f"chroma:{chroma_folder}", "--collection", "bare", "--into", tmp_path / "wide", "--model",
               "all-MiniLM-L6-v2", code=1)  # fmt: skip
    assert "384 dimensions" in str(wide.exception)
    assert not (tmp_path / "wide").exists()


def test_documents_are_left_without_their_vectors_for_another_model(chroma_folder: Path, tmp_path: Path) -> None:
    with chroma_on(chroma_folder) as url:
        out = tmp_path / "docs.jsonl"
        source = ("import", f"chroma:{url}", "--collection")
        assert "20 documents from" in ran(*source, "articles", "--documents", out).stderr
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        assert (lines[3]["id"], lines[3]["text"], lines[3]["title"]) == ("a3", ARTICLES[3][1], ARTICLES[3][0])
        assert "is there already" in str(ran(*source, "articles", "--documents", out, code=1).exception)
        failed = ran(*source, "claimed", "--documents", out, "--replace", code=1).exception
        assert isinstance(failed, DocumentError)
        assert "row 2: there is no text to embed (id 'b')" in str(failed)
        assert len(out.read_text().splitlines()) == 20
        assert not list(tmp_path.glob(".tmp-*"))
        said = ran(*source, "claimed", "--documents", out, "--replace", "--on-error", "skip").stderr
        assert "2 documents from" in said
        assert "skipped 1 records:" in said
        assert "there are: articles, bare, claimed" in str(ran(*source, "gone", "--documents", out, code=1).exception)


def test_a_place_that_is_not_chromas_is_left_as_it_is(tmp_path: Path) -> None:
    refused = ran("import", f"chroma:{tmp_path}", "--into", tmp_path / "out", code=1)
    assert "it holds no chroma.sqlite3" in str(refused.exception)
    assert list(tmp_path.iterdir()) == []
    closed = ran("import", "chroma:http://127.0.0.1:9", "--into", tmp_path / "out", code=1)
    assert "gave no answer" in str(closed.exception)


def test_each_row_that_cannot_be_used_is_named_and_counted_and_costs_only_itself(tmp_path: Path) -> None:
    faults = Faults("skip")
    good = np.array([3, 4], np.float32)
    records: list[dict[str, object]] = [{"id": f"r{row}", "n": row} for row in range(6)]
    found = collection(
        [*records, {"id": "r0"}, {"n": 1}, {"id": 7, "metadata": {"n": 8, "id": 9}, "when": {"a": 1}}],
        [good, None, [1, 2, 3], [np.nan, 1], [0, 0], ["x", 1], good, good, good],
        metric="cosine",
    )
    moved = kept(found, tmp_path / "out", faults)
    assert rows(tmp_path / "out") == {"r0": {"n": 0}, "7": {"n": 8, "metadata_id": 9, "when": {"a": 1}}}
    assert (moved.rows, faults.skipped) == (2, 7)
    assert (faults.SHOWN, len(faults.first)) == (5, 5)
    for row, (wanted, vector) in enumerate([
        ("there is no vector", None), ("3 dimensions, and those before it 2", [1, 2, 3]), ("NaN", [np.nan, 1]),
        ("zero", [0, 0]), ("not one of numbers", ["x", 1]), ("the shape", [[1]]),
    ]):  # fmt: skip
        with pytest.raises(DocumentError, match=f"made:here, row 2: .*{wanted}.*--on-error skip"):
            kept(collection(records[:2], [good, vector]), tmp_path / f"out{row}", Faults())
    assert moved.fields.filterable == {"n": "int", "metadata_id": "int"}
    assert moved.fields.left == {"when": "it holds objects"}


def test_a_run_that_breaks_off_leaves_what_was_there_and_can_be_given_again(tmp_path: Path) -> None:
    out, records = tmp_path / "out", [{"id": str(row)} for row in range(5)]
    vectors = list(np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32))
    kept(collection(records[:2], vectors), out)
    before = (out / "embed.json").read_bytes()

    def broken(wanted: bool) -> Iterator[MovedRows]:
        yield MovedRows(records, vectors)
        raise MovingError("the source is gone")

    with pytest.raises(MovingError, match="gone"):
        kept(Collection("made:here", broken), out)
    assert (out / "embed.json").read_bytes() == before
    VectorsFolder(out).check(1)
    with pytest.raises(MovingError, match=r"holds 2 vectors of made:here"):
        kept(Collection("made:there", broken), out)
    kept(collection(records, vectors), out)
    assert len(rows(out)) == 5
    with pytest.raises(MovingError, match="nothing to move in made:here: it is empty"):
        kept(collection([], []), tmp_path / "empty")
    assert not (tmp_path / "empty").exists()


def test_lengths_count_where_the_metric_says_so(tmp_path: Path, fp32_encoder: Any) -> None:
    texts = [text for _title, text, _url in ARTICLES]
    vectors = list(2 * fp32_encoder.encode(texts, kind="document"))
    found = collection([{"id": text, "text": text} for text in texts], vectors, metric="ip")
    with pytest.raises(MovingError, match="vectors of other lengths"):
        kept(found, tmp_path / "ip", encoder=fp32_encoder)
    assert kept(found, tmp_path / "cosine", encoder=fp32_encoder, metric="cosine").model["name"] == "all-MiniLM-L6-v2"


def test_embedding_into_a_moved_folder_of_no_known_model_is_refused(tmp_path: Path) -> None:
    kept(collection([{"id": "a"}], [[1.0, 2.0]]), tmp_path / "out")
    documents = tmp_path / "docs.jsonl"
    documents.write_text('{"id": "x", "text": "Rye bread."}\n')
    refused = ran("embed", documents, "--out", tmp_path / "out", "--precision", "fp32", code=1)
    assert "holds 1 vectors whose model nobody named" in str(refused.exception)


def test_where_to_is_said_once(tmp_path: Path) -> None:
    assert "one of the three" in ran("import", "chroma:x", code=2).stderr
    assert "one of the three" in ran("import", "chroma:x", "--into", tmp_path / "a", "--url", "http://x", code=2).stderr
    file = tmp_path / "docs.jsonl"
    file.touch()
    assert "perwatt embed" in ran("import", file, "--into", tmp_path / "a", code=2).stderr
    assert "there are: chroma:PATH" in str(ran("import", "files:x", "--into", tmp_path / "a", code=1).exception)
