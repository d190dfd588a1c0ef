"""The pipeline over a real folder: what is written, and what is embedded again."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hashing_encoder import HashingEncoder
from patience import patient
from pipeline_runs import SMALL, SOURCE, broken, documents, run, run_warnings
from vectors_folders import files_of, manifest_of, named_in, table_of

from embed.documents.chunks import Chunker
from embed.documents.document import Document, DocumentError
from embed.pipeline import EmbedSettings, embed_documents
from embed.vectors.folder import FolderError


def vectors_of(out: Path) -> dict[str, bytes]:
    table = table_of(out)
    vectors = np.array(table["vector"].to_pylist(), dtype=np.float32)
    return {key: vector.tobytes() for key, vector in zip(table["id"].to_pylist(), vectors, strict=True)}


def test_the_folder_is_what_its_manifest_says(tmp_path: Path) -> None:
    given = documents(range(200), tags=["a", {"b": None}])
    record, encoder = run(tmp_path, given)
    manifest = manifest_of(tmp_path)
    assert manifest["format"] == 1
    assert manifest["model"] == encoder.fingerprint.as_dict()
    assert (manifest["dim"], manifest["count"]) == (24, 200)
    assert [entry["rows"] for entry in manifest["fragments"]] == [64, 64, 64, 8]
    assert files_of(tmp_path) == named_in(tmp_path)
    assert all(entry["file"].startswith(f"part-{n:05d}-") for n, entry in enumerate(manifest["fragments"]))
    table = table_of(tmp_path)
    assert table["id"].to_pylist() == [document.id for document in given]
    assert [json.loads(payload) for payload in table["payload"].to_pylist()] == [d.payload for d in given]
    digest = hashlib.blake2b(given[5].text.strip().encode(), digest_size=16).digest()
    assert table["text_hash"][5].as_py() == digest
    exact = HashingEncoder(batch_trace=0).encode([document.text for document in given])
    vectors = np.array(table["vector"].to_pylist(), dtype=np.float32)
    assert (np.sum(vectors * exact, axis=1) > 0.999).all()
    assert (record.documents, record.rows, record.embedded, record.reused) == (200, 200, 200, 0)


def test_the_run_record_says_what_it_cost(tmp_path: Path) -> None:
    run(tmp_path, documents(range(30)))
    cost = manifest_of(tmp_path)["run"]
    assert cost["documents"] == cost["rows"] == cost["embedded"] == 30
    assert cost["tokens"] == sum(HashingEncoder().encode_counted([d.text for d in documents(range(30))])[1])
    assert cost["cut"] == sum(len(d.text.split()) > 62 for d in documents(range(30)))
    assert cost["seconds"] >= cost["embedding_seconds"] > 0
    assert cost["cpu_seconds"] > 0
    assert cost["peak_rss_bytes"] > 10 << 20
    assert cost["started_at"].endswith("Z")
    assert cost["machine"]


def test_canaries_are_texts_of_the_corpus_with_their_vectors(tmp_path: Path) -> None:
    given = documents(range(100)) + documents([500], text="x y " * 400)
    _, encoder = run(tmp_path / "a", given)
    canaries = manifest_of(tmp_path / "a")["canaries"]
    assert len(canaries) == 16
    texts = [canary["text"] for canary in canaries]
    assert len(set(texts)) == 16
    assert set(texts) <= {document.text.strip()[:512].strip() for document in given}
    vectors = np.array([canary["vector"] for canary in canaries], dtype=np.float32)
    assert np.array_equal(vectors, encoder.encode(texts))
    run(tmp_path / "b", given[::-1], window_rows=10)
    assert manifest_of(tmp_path / "b")["canaries"] == canaries


def test_a_second_run_embeds_nothing_and_changes_nothing(tmp_path: Path) -> None:
    run(tmp_path, documents(range(200)))
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    record, encoder = run(tmp_path, documents(range(200)))
    assert encoder.embedded == []
    assert (record.embedded, record.reused, record.changed) == (0, 200, False)
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()} == before


def test_changed_added_and_removed_documents(tmp_path: Path) -> None:
    run(tmp_path, documents(range(200)))
    before = vectors_of(tmp_path)
    new = [d for d in documents(range(210)) if d.id not in ("d3", "d100")]
    new[50].text += " changed"
    new[50].payload["text"] = new[50].text
    new[60].payload["note"] = "only the payload changed"
    record, encoder = run(tmp_path, new)
    assert record.embedded == 11
    canaries = {canary["text"] for canary in manifest_of(tmp_path)["canaries"]}
    assert set(encoder.embedded) - canaries <= {new[50].text, *(d.text.strip() for d in documents(range(200, 210)))}
    after = vectors_of(tmp_path)
    assert list(after) == [d.id for d in new]
    same = set(after) - {new[50].id, *(f"d{n}" for n in range(200, 210))}
    assert all(after[key] == before[key] for key in same)
    assert after[new[50].id] != before[new[50].id]
    assert json.loads(table_of(tmp_path)["payload"][60].as_py())["note"] == "only the payload changed"
    assert files_of(tmp_path) == named_in(tmp_path)


def test_appending_keeps_the_full_fragments_as_they_are(tmp_path: Path) -> None:
    run(tmp_path, documents(range(130)))
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in files_of(tmp_path)}
    run(tmp_path, documents(range(140)))
    kept = {name for name in files_of(tmp_path) if before.get(name) == (tmp_path / name).stat().st_mtime_ns}
    assert len(kept) == 2


def test_a_text_is_embedded_once_however_often_it_comes(tmp_path: Path) -> None:
    given = [Document(f"r{n}", "", f"text {n % 7}", {"n": n}, SOURCE, n) for n in range(300)]
    record, encoder = run(tmp_path, given)
    assert record.embedded == 7
    assert record.reused == 293
    assert sorted(encoder.embedded[:7]) == [f"text {n}" for n in range(7)]
    vectors = vectors_of(tmp_path)
    assert len(vectors) == 300
    assert len({vectors[f"r{n}"] for n in range(0, 300, 7)}) == 1


def test_vectors_are_taken_from_other_folders_of_the_same_model(tmp_path: Path) -> None:
    run(tmp_path / "a", documents(range(100)))
    run(tmp_path / "b", documents(range(100, 150)))
    others = [tmp_path / "a", tmp_path / "b"]
    record, _ = run(tmp_path / "c", documents(range(40, 170)), embedded_from=others)
    assert (record.reused, record.embedded) == (110, 20)
    assert vectors_of(tmp_path / "c")["d99"] == vectors_of(tmp_path / "a")["d99"]
    assert run_warnings == []


def test_vectors_of_another_model_are_never_mixed_in(tmp_path: Path) -> None:
    run(tmp_path / "a", documents(range(20)))
    other = HashingEncoder(name="another")
    record, _ = run(tmp_path / "b", documents(range(20)), other, embedded_from=[tmp_path / "a"])
    assert record.embedded == 20
    assert any("no vectors of this model" in warning for warning in run_warnings)
    before = manifest_of(tmp_path / "a")
    with pytest.raises(FolderError, match=r"20 vectors of hashing in fp32.* another in fp32\..*--out.*--replace-model"):
        run(tmp_path / "a", documents(range(20)), other)
    assert manifest_of(tmp_path / "a") == before
    record, _ = run(tmp_path / "a", documents(range(20)), other, replace_model=True)
    assert record.embedded == 20
    assert manifest_of(tmp_path / "a")["model"]["name"] == "another"
    assert files_of(tmp_path / "a") == named_in(tmp_path / "a")
    assert vectors_of(tmp_path / "a") == vectors_of(tmp_path / "b")


def test_vectors_that_an_unfinished_run_of_another_model_left_are_kept_too(tmp_path: Path) -> None:
    with pytest.raises(DocumentError):
        embed_documents(broken(documents(range(100))), HashingEncoder(), tmp_path, EmbedSettings(**SMALL))
    left = files_of(tmp_path)
    with pytest.raises(FolderError, match=r"64 vectors of another model, from an unfinished run"):
        run(tmp_path, documents(range(100)), HashingEncoder(name="another"))
    assert files_of(tmp_path) == left
    record, _ = run(tmp_path, documents(range(100)))
    assert record.reused == 64


@pytest.mark.parametrize("slices_at_once", [2, 5])
def test_the_bytes_do_not_depend_on_how_many_slices_are_in_the_works(slices_at_once: int, tmp_path: Path) -> None:
    given = documents([number % 150 for number in range(400)])  # texts come again, in the next window and later
    for name, more in (("one", 1), ("more", slices_at_once)):
        record, _ = run(tmp_path / name, given, slices_at_once=more)
        assert (record.embedded, record.reused) == (150, 250)
    assert named_in(tmp_path / "one") == named_in(tmp_path / "more")
    assert table_of(tmp_path / "one").equals(table_of(tmp_path / "more"))


def test_slices_are_in_the_works_together_and_documents_are_read_meanwhile(tmp_path: Path) -> None:
    """No thread of an encoder waits for the end of a slice, nor for the next window to be read."""
    met, read, first = threading.Barrier(2), threading.Event(), iter(range(2))

    class Meeting(HashingEncoder):
        def encode_counted(self, texts: Sequence[str], kind: str = "document") -> Any:
            if next(first, None) is not None:
                met.wait(patient(30))
                assert read.wait(patient(30))
            return super().encode_counted(texts, kind)

    def given() -> Iterator[Document]:
        yield from documents(range(127))
        read.set()  # the second window fills while the first one is embedded
        yield from documents([127])

    record = embed_documents(given(), Meeting(), tmp_path, EmbedSettings(**SMALL))
    assert record.embedded == 128


def test_the_next_window_is_embedded_while_a_fragment_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = threading.Event()
    sync = os.fsync

    def slow(handle: int) -> None:
        if threading.current_thread().name.startswith("write"):
            assert second.wait(patient(30))
        sync(handle)

    class Telling(HashingEncoder):
        def encode_counted(self, texts: Sequence[str], kind: str = "document") -> Any:
            if any("document number 100 " in text for text in texts):
                second.set()
            return super().encode_counted(texts, kind)

    monkeypatch.setattr(os, "fsync", slow)
    # Its texts are known although their fragment is not there yet.
    given = documents([*range(64), *range(32), *range(96, 128)])
    record = embed_documents(given, Telling(), tmp_path, EmbedSettings(**SMALL))
    assert (record.embedded, record.reused) == (96, 32)
    table_of(tmp_path)


def test_omit_text_leaves_only_the_text_out(tmp_path: Path) -> None:
    given = documents(range(3), title="T")
    run(tmp_path, given, omit_text=True)
    assert json.loads(table_of(tmp_path)["payload"][0].as_py()) == {"title": "T"}
    record, _ = run(tmp_path, given)
    assert record.embedded == 0


def test_chunks_have_numbered_ids_and_say_whose_they_are(tmp_path: Path) -> None:
    encoder = HashingEncoder()
    text = "One sentence of six words here. " * 10
    given = [
        Document("a#1", "Title", text, {"title": "Title", "body": text, "year": 3}, SOURCE, 1, "body"),
        Document("b", "", "short", {"body": "short"}, SOURCE, 2, "body"),
    ]
    chunker = Chunker(encoder.token_offsets, 24, 0, 64)
    record, _ = run(tmp_path, given, encoder, chunker=chunker)
    table = table_of(tmp_path)
    ids = table["id"].to_pylist()
    assert ids == [f"a#1#{n}" for n in range(len(ids) - 1)] + ["b#0"]
    assert len(ids) > 4
    assert (record.documents, record.rows) == (2, len(ids))
    payloads = [json.loads(each) for each in table["payload"].to_pylist()]
    assert {(p["doc_id"], p["chunk"], p["year"]) for p in payloads[:-1]} == {("a#1", n, 3) for n in range(len(ids) - 1)}
    assert " ".join(p["body"] for p in payloads[:-1]).split() == text.split()
    assert "Title " + payloads[0]["body"] in encoder.embedded
    run(tmp_path, given, chunker=chunker, omit_text=True)
    assert json.loads(table_of(tmp_path)["payload"][0].as_py()) == {
        "title": "Title",
        "year": 3,
        "doc_id": "a#1",
        "chunk": 0,
    }


@pytest.mark.parametrize("field", ["doc_id", "chunk"])
def test_a_field_of_a_document_is_not_overwritten_by_what_a_chunk_says(tmp_path: Path, field: str) -> None:
    encoder = HashingEncoder()
    given = [Document("a", "", "short", {"text": "short", field: "mine"}, SOURCE, 1)]
    with pytest.raises(DocumentError, match=f"the field '{field}'.*would be overwritten.*Rename the field"):
        run(tmp_path, given, encoder, chunker=Chunker(encoder.token_offsets, 24, 0, 64))
    run(tmp_path, given, encoder)
    assert json.loads(table_of(tmp_path)["payload"][0].as_py())[field] == "mine"


def test_windows_are_bounded_in_bytes_too(tmp_path: Path) -> None:
    run(tmp_path, documents(range(40), text="w " * 500), window_bytes=20_000)
    rows = [entry["rows"] for entry in manifest_of(tmp_path)["fragments"]]
    assert sum(rows) == 40
    assert max(rows) <= 10
