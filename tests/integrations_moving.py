"""Moving in from what other engines' own packages wrote: LanceDB, Hugging Face's datasets, PostgreSQL with pgvector.

`make test-integrations` runs this file, which has those packages.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from postgres import programs

from deploy.command import perwatt
from embed.vectors.manifest import read_manifest
from index.disk.vectors_folder import VectorsFolder

ROWS, DIM = 1100, 8
VECTORS = np.random.default_rng(6).standard_normal((ROWS, DIM)).astype(np.float32)
IDS = [f"d{row}" for row in range(ROWS)]
TEXTS = [f"Text {row}." for row in range(ROWS)]


def ran(*words: object, code: int = 0) -> Result:
    done = CliRunner().invoke(perwatt, ["import", *(str(word) for word in words)])
    assert done.exit_code == code, (done.output, done.exception)
    return done


def moved(out: Path) -> tuple[dict[str, list[float]], dict[str, dict[str, Any]], dict[str, Any]]:
    """Vectors and payloads by id, and what a build takes for granted."""
    vectors, payloads = {}, {}
    for batch in VectorsFolder(out).batches():
        vectors |= {str(id_): vector.tolist() for id_, vector in zip(batch.ids, batch.vectors, strict=True)}
        payloads |= {str(id_): json.loads(raw) for id_, raw in zip(batch.ids, batch.payload or [], strict=True)}
    manifest = read_manifest(out)
    assert manifest is not None
    return vectors, payloads, manifest["defaults"]


EXPECTED = dict(zip(IDS, VECTORS.tolist(), strict=True))


def test_a_table_of_lancedb(tmp_path: Path) -> None:
    import lancedb
    from lancedb.index import IvfFlat

    database = lancedb.connect(tmp_path / "lance")
    flat = pa.FixedSizeListArray.from_arrays(pa.array(VECTORS.ravel()), DIM)
    rows = {"id": IDS, "text": TEXTS, "n": list(range(ROWS)), "tags": [["a", "b"]] * ROWS, "vector": flat}
    table = database.create_table("docs", pa.table(rows))
    table.delete("n = 3")
    table.create_index("vector", config=IvfFlat(distance_type="cosine", num_partitions=2))
    ran(f"lancedb:{tmp_path / 'lance'}", "--into", tmp_path / "out")
    vectors, payloads, defaults = moved(tmp_path / "out")
    assert vectors == {id_: vector for id_, vector in EXPECTED.items() if id_ != "d3"}
    assert payloads["d7"] == {"text": "Text 7.", "n": 7, "tags": ["a", "b"]}
    assert defaults == {"metric": "cosine", "filterable": {"n": "int", "tags": "keyword[]"}}
    database.create_table("bare", [{"id": "1", "text": "No vectors."}])
    assert "has no column of vectors" in str(
        ran(f"lancedb:{tmp_path / 'lance'}", "--collection", "bare", "--into", tmp_path / "bare", code=1).exception
    )
    ran(f"lancedb:{tmp_path / 'lance'}", "--collection", "bare", "--documents", tmp_path / "docs.jsonl")
    assert json.loads((tmp_path / "docs.jsonl").read_text()) == {"id": "1", "text": "No vectors."}


def test_a_data_set_of_hugging_faces(tmp_path: Path) -> None:
    import datasets

    kinds = {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b"]),
             "embeddings": datasets.Sequence(datasets.Value("float32"))}  # fmt: skip
    labels = [row % 2 for row in range(ROWS)]
    rows = {"text": TEXTS, "label": labels, "embeddings": VECTORS.tolist()}
    made = datasets.Dataset.from_dict(rows, features=datasets.Features(kinds))
    datasets.DatasetDict({"train": made, "few": made.select([9, 4])}).save_to_disk(
        tmp_path / "data", num_shards={"train": 3, "few": 1}
    )
    source = f"dataset:{tmp_path / 'data'}"
    ran(source, "--collection", "train", "--number-rows", "--into", tmp_path / "out")
    vectors, payloads, defaults = moved(tmp_path / "out")
    assert vectors == {str(row): vector for row, vector in enumerate(VECTORS.tolist())}
    assert payloads["7"] == {"text": "Text 7.", "label": 1}
    assert defaults == {"filterable": {"label": "int"}}
    ran(f"{source}/few", "--id-field", "text", "--into", tmp_path / "few")
    assert list(moved(tmp_path / "few")[0]) == ["Text 9.", "Text 4."]
    assert "there are: few, train" in str(ran(source, "--into", tmp_path / "none", code=1).exception)


@pytest.fixture
def database() -> Iterator[str]:
    from loadtest.bench.postgres import postgres

    folder = programs()
    if folder is None:
        pytest.skip("there is no pgserver for this machine")
    with postgres(folder, ["fsync=off"]) as dsn:
        yield dsn


def test_a_table_of_pgvectors(database: str, tmp_path: Path) -> None:
    import psycopg

    with psycopg.connect(database) as server:
        server.execute("CREATE EXTENSION vector")
        server.execute(
            f"CREATE TABLE docs (id bigint PRIMARY KEY, document text, at timestamptz, price numeric, cmetadata jsonb, "
            f"embedding vector({DIM}), small vector({DIM}))"
        )
        with server.cursor().copy("COPY docs FROM STDIN") as copy:
            for row in range(ROWS):
                vector = str(VECTORS[row].tolist())
                copy.write_row(
                    (
                        row,
                        TEXTS[row],
                        "2026-11-29T12:00:00Z",
                        "1.50",
                        json.dumps({"lang": "en", "n": row}),
                        vector,
                        vector,
                    )
                )
        server.execute("INSERT INTO docs VALUES (5000, 'No vector.')")
        server.execute("CREATE INDEX ON docs USING hnsw (embedding vector_ip_ops)")
    source = f"pgvector:{database}"
    assert "embedding, small: name one with --vector-field" in str(
        ran(source, "--into", tmp_path / "a", code=1).exception
    )
    said = ran(source, "--vector-field", "embedding", "--on-error", "skip", "--into", tmp_path / "out").stderr
    assert "row 1,101: there is no vector (id '5000')" in said or "row 1101: there is no vector (id '5000')" in said
    vectors, payloads, defaults = moved(tmp_path / "out")
    assert vectors == {str(row): vector for row, vector in enumerate(VECTORS.tolist())}
    payload = payloads["7"]
    assert payload.pop("at").startswith("2026-11-29T12:00:00")
    assert payload == {"text": "Text 7.", "price": "1.50", "lang": "en", "n": 7}
    assert defaults["metric"] == "ip"
    assert defaults["filterable"] == {
        "at": "date",
        "price": "keyword",
        "lang": "keyword",
        "n": "int",
    }
    manifest = (tmp_path / "out" / "embed.json").read_text()
    assert "pgvector:127.0.0.1/postgres, table docs" in manifest
    assert "postgresql://" not in manifest


def test_a_snapshot_of_qdrant_is_read_by_its_own_library(tmp_path: Path) -> None:
    """Of a shard that the same library wrote: no server of Qdrant runs here."""
    from qdrant_edge import Distance, EdgeConfig, EdgeShard, EdgeVectorParams, Point, UpdateOperation

    shape = EdgeVectorParams(size=DIM, distance=Distance.Euclid)
    shard = EdgeShard.create(str(tmp_path / "shard"), EdgeConfig(vectors={"a": shape, "b": shape}))
    uuid = "550e8400-e29b-41d4-a716-446655440000"
    points = [
        Point(row or uuid, {"a": VECTORS[row].tolist(), "b": [0.5] * DIM}, {"page_content": TEXTS[row], "n": row})
        for row in range(ROWS)
    ]
    shard.update(UpdateOperation.upsert_points(points))
    shard.update(UpdateOperation.delete_points([7]))
    shard.flush()
    shard.close()
    snapshot = tmp_path / "docs.snapshot"
    with tarfile.open(snapshot, "w") as archive:
        archive.add(tmp_path / "shard", arcname=".")
    refused = ran(f"qdrant:{snapshot}", "--into", tmp_path / "x", code=1)
    assert "a, b: name one with --vector-field" in str(refused.exception)
    ran(f"qdrant:{snapshot}", "--vector-field", "a", "--into", tmp_path / "out")
    vectors, payloads, defaults = moved(tmp_path / "out")
    assert vectors == {str(row or uuid): VECTORS[row].tolist() for row in range(ROWS) if row != 7}
    assert payloads[uuid] == {"text": TEXTS[0], "n": 0}
    assert defaults["metric"] == "l2"
    snapshot.write_bytes(b"nothing of the kind" * 100)
    refused = ran(f"qdrant:{snapshot}", "--into", tmp_path / "y", code=1)
    assert "the snapshot of a shard" in str(refused.exception)
