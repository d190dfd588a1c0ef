"""What the pipeline survives: damage, full disks, documents and vectors that are none, and what each leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hashing_encoder import HashingEncoder
from pipeline_runs import SMALL, broken, documents, run, run_warnings
from vectors_folders import files_of, manifest_of, named_in, table_of

from embed.documents.chunks import Chunker
from embed.documents.document import DocumentError, Faults
from embed.pipeline import EmbedSettings, embed_documents
from embed.vectors.durable import NoSpaceError
from embed.vectors.folder import FolderError, VectorsWriter
from embed.vectors.manifest import ManifestError
from embed.window import VectorError


def test_a_first_run_that_fails_leaves_no_folder_unless_there_is_something_to_keep(tmp_path: Path) -> None:
    for made in (tmp_path / "new", tmp_path / "a" / "b" / "c"):
        with pytest.raises(DocumentError):
            embed_documents(broken(documents(range(10))), HashingEncoder(), made, EmbedSettings(**SMALL))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DocumentError):
        embed_documents(broken(documents(range(70))), HashingEncoder(), tmp_path / "new", EmbedSettings(**SMALL))
    record, _ = run(tmp_path / "new", documents(range(70)))
    assert record.reused == 64
    (tmp_path / "own").mkdir()
    with pytest.raises(DocumentError):
        embed_documents(broken(documents(range(10))), HashingEncoder(), tmp_path / "own", EmbedSettings(**SMALL))
    assert (tmp_path / "own").is_dir()


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_fragment_is_told_and_embedded_again(damage: str, tmp_path: Path) -> None:
    run(tmp_path, documents(range(200)))
    before = {key: value for key, value in manifest_of(tmp_path).items() if key not in ("run", "created_at")}
    victim = tmp_path / manifest_of(tmp_path)["fragments"][1]["file"]
    data = bytearray(victim.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
        victim.write_bytes(data)
    elif damage == "truncate":
        victim.write_bytes(data[:-50])
    else:
        victim.unlink()
    record, _ = run(tmp_path, documents(range(200)))
    assert record.embedded == 64
    assert [warning for warning in run_warnings if victim.name in warning]
    after = {key: value for key, value in manifest_of(tmp_path).items() if key not in ("run", "created_at")}
    assert after == before
    table_of(tmp_path)


def test_a_damaged_leftover_is_ignored_with_a_warning_and_cleared_away(tmp_path: Path) -> None:
    run(tmp_path, documents(range(100)))
    (tmp_path / ("part-00007-" + "0" * 16 + ".parquet")).write_bytes(b"PAR1 cut off")
    (tmp_path / ".tmp-part-00008.parquet").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("not ours")
    record, _ = run(tmp_path, documents(range(100)))
    assert record.embedded == 0
    assert any("part-00007" in warning and "ignored" in warning for warning in run_warnings)
    assert files_of(tmp_path) == named_in(tmp_path) | {"notes.txt"}


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 2}'])
def test_a_manifest_that_is_not_understood_stops_the_run(content: str, tmp_path: Path) -> None:
    (tmp_path / "embed.json").write_text(content)
    with pytest.raises(ManifestError, match=r"embed\.json"):
        run(tmp_path, documents(range(3)))
    assert (tmp_path / "embed.json").read_text() == content


def test_a_second_run_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    with VectorsWriter(tmp_path) as first:
        first.open()
        with pytest.raises(FolderError, match="being written by another run"):
            run(tmp_path, documents(range(3)))
    run(tmp_path, documents(range(3)))


def test_an_out_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(FolderError, match="cannot be written to"):
        run(tmp_path / "file", documents(range(3)))


class Failing(HashingEncoder):
    """Gives a bad vector for one text, as a model with damaged weights would."""

    def __init__(self, text: str, value: float) -> None:
        super().__init__()
        self.text, self.value = text, value

    def encode_counted(self, texts: Sequence[str], kind: str = "document") -> Any:
        vectors, tokens = super().encode_counted(texts, kind)
        for number, text in enumerate(texts):
            if text == self.text:
                vectors[number] = self.value
        return vectors, tokens


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_a_vector_that_is_none_names_its_document_and_loses_nothing(value: float, tmp_path: Path) -> None:
    given = documents(range(200))
    with pytest.raises(VectorError, match="document 'd170'"):
        run(tmp_path, given, Failing(given[170].text.strip(), value), spool_every_s=1e9)
    assert not (tmp_path / "embed.json").exists()
    record, _ = run(tmp_path, given)
    assert record.embedded < 200 - 128
    assert files_of(tmp_path) == named_in(tmp_path)


def test_a_refused_document_leaves_the_old_state_and_the_work_done(tmp_path: Path) -> None:
    run(tmp_path, documents(range(100)))
    before = manifest_of(tmp_path)
    with pytest.raises(DocumentError, match="no"):
        embed_documents(broken(documents(range(300, 450))), HashingEncoder(), tmp_path, EmbedSettings(**SMALL))
    assert manifest_of(tmp_path) == before
    table_of(tmp_path)
    record, _ = run(tmp_path, documents(range(300, 450)))
    assert record.reused == 128


def test_a_payload_without_json_form_is_a_fault_of_its_document(tmp_path: Path) -> None:
    given = documents(range(10))
    given[4].payload["x"] = float("nan")
    faults = Faults("skip")
    record = embed_documents(given, HashingEncoder(), tmp_path, faults=faults)
    assert (record.rows, record.skipped) == (9, 1)
    assert "test.jsonl:5" in faults.first[0]


def test_no_space_keeps_what_was_done_and_the_old_state(
    tmp_path: Path, file_size_limit: Callable[[int], AbstractContextManager[None]]
) -> None:
    run(tmp_path, documents(range(64)))
    before = manifest_of(tmp_path)
    large = documents(range(64, 192))
    for number, document in enumerate(large[64:]):
        document.payload["noise"] = np.random.default_rng(number).bytes(1000).hex()  # what zstd cannot make small
    with file_size_limit(40_000), pytest.raises(NoSpaceError, match=r"no space for .*same command again"):
        run(tmp_path, large)
    assert manifest_of(tmp_path) == before
    assert not [name for name in files_of(tmp_path) if name.startswith(".tmp")]
    record, _ = run(tmp_path, large)
    assert record.embedded == 0
    assert files_of(tmp_path) == named_in(tmp_path)


def test_spool_files_last_no_longer_than_their_window(tmp_path: Path) -> None:
    counts = []

    class Watching(HashingEncoder):
        def encode_counted(self, texts: Sequence[str], kind: str = "document") -> Any:
            counts.append(len(list(tmp_path.glob("spool-*"))))
            return super().encode_counted(texts, kind)

    run(tmp_path, documents(range(256)), Watching(), slices_at_once=1)
    assert len(counts) == 33
    assert 7 <= max(counts) <= 7 + 8, "those of the window in the works, and of the one that is being written"
    assert counts[-1] == 0
    assert not list(tmp_path.glob("spool-*"))


def test_an_id_that_its_chunk_number_makes_too_long_is_a_fault_of_its_document(tmp_path: Path) -> None:
    encoder = HashingEncoder()
    given = documents(range(2), text="document {} " * 20)
    given[1].id = "x" * 1023
    faults = Faults("skip")
    settings = EmbedSettings(chunker=Chunker(encoder.token_offsets, 24, 0, 64))
    record = embed_documents(given, encoder, tmp_path, settings, faults=faults)
    assert (record.documents, record.skipped) == (2, 1)
    assert "test.jsonl:2: the id" in faults.first[0]
