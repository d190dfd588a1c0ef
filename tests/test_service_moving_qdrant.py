"""Qdrant, as its REST reference writes the exchanges down (api.qdrant.tech, v1.19): no server of it runs here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from loadtest_servers import http_server

from deploy.command import perwatt
from embed.vectors.manifest import read_manifest
from index.disk.vectors_folder import VectorsFolder

UUID = "550e8400-e29b-41d4-a716-446655440000"
POINTS: list[dict[str, Any]] = [
    {
        "id": 1,
        "payload": {"page_content": "Rye bread.", "metadata": {"lang": "en", "year": 2020}},
        "vector": [3.0, 4.0],
    },
    {"id": 2, "payload": None, "vector": [1.0, 0.5]},
    {"id": UUID, "payload": {"city": ["Berlin", "Rome"], "id": 7}, "vector": [0.5, 0.25]},
]
SIZES = {"plain": {"size": 2, "distance": "Euclid"}, "named": {"image": {"size": 2, "distance": "Dot"},
         "text": {"size": 2, "distance": "Cosine", "on_disk": True}},
         "hybrid": {"": {"size": 2, "distance": "Euclid"}},
         "late": {"": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}}}  # fmt: skip


@pytest.fixture(scope="module")
def qdrant() -> Iterator[str]:
    """A server that knows the three calls, answers pages of two points at most, and wants a key."""

    def answers(method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        if headers.get("api-key") != "secret":
            return 401, "Must provide an API key or an Authorization bearer token"
        result: Any
        name = path.split("/")[2] if path.count("/") > 1 else ""
        if (method, path) == ("GET", "/collections"):
            result = {"collections": [{"name": name} for name in SIZES]}
        elif method == "GET":
            config = {"params": {"vectors": SIZES[name], "shard_number": 1}}
            result = {"status": "green", "points_count": 3, "config": config}
        else:
            assert (method, path) == ("POST", f"/collections/{name}/points/scroll")
            asked = json.loads(body)
            assert asked.keys() <= {"offset", "limit", "with_payload", "with_vector"}
            first = next((row for row, point in enumerate(POINTS) if point["id"] == asked.get("offset")), 0)
            some = [dict(point) for point in POINTS[first : first + 2]]
            for point in some:
                if not asked["with_vector"]:
                    del point["vector"]
                elif isinstance(asked["with_vector"], list):
                    point["vector"] = dict.fromkeys(asked["with_vector"], point["vector"])
                elif name == "hybrid" and point["id"] != 2:  # one that has a sparse vector too
                    point["vector"] = {"": point["vector"], "sparse": {"indices": [7], "values": [0.5]}}
            after = POINTS[first + 2]["id"] if first + 2 < len(POINTS) else None
            result = {"points": some, "next_page_offset": after}
        return 200, {"time": 0.002, "status": "ok", "result": result}

    with http_server(answers) as url:
        yield url


@pytest.fixture(autouse=True)
def keyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERWATT_SOURCE_KEY", "secret")


def ran(*words: object, code: int = 0) -> Result:
    done = CliRunner().invoke(perwatt, ["import", *(str(word) for word in words)])
    assert done.exit_code == code, (done.output, done.exception)
    return done


@pytest.mark.parametrize(
    ("name", "more", "metric"),
    [("plain", (), "l2"), ("hybrid", (), "l2"), ("named", ("--vector-field", "text"), "cosine")],
)
def test_a_collection_is_scrolled_to_its_end(
    qdrant: str, tmp_path: Path, name: str, more: tuple[str, ...], metric: str
) -> None:
    ran(f"qdrant:{qdrant}", "--collection", name, "--into", tmp_path / "out", *more)
    (batch,) = VectorsFolder(tmp_path / "out").batches()
    assert batch.ids == ["1", "2", UUID]
    assert batch.vectors.tolist() == [[3.0, 4.0], [1.0, 0.5], [0.5, 0.25]]
    assert [json.loads(raw) for raw in batch.payload or []] == [
        {"text": "Rye bread.", "lang": "en", "year": 2020}, {}, {"city": ["Berlin", "Rome"], "metadata_id": 7}
    ]  # fmt: skip
    manifest = read_manifest(tmp_path / "out")
    assert manifest is not None
    fields = {"lang": "keyword", "year": "int", "city": "keyword[]", "metadata_id": "int"}
    assert manifest["defaults"] == {"metric": metric, "filterable": fields}


def test_documents_are_taken_without_vectors_and_what_does_not_fit_is_said(
    qdrant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "docs.jsonl"
    said = ran(f"qdrant:{qdrant}", "--collection", "plain", "--documents", out, "--on-error", "skip").stderr
    assert json.loads(out.read_text()) == {"id": "1", "text": "Rye bread.", "lang": "en", "year": 2020}
    assert "skipped 2 records" in said
    for words, expected in (
        ((f"qdrant:{qdrant}", "--collection", "named"), "has the vectors image, text: name one with --vector-field"),
        ((f"qdrant:{qdrant}", "--collection", "late"), "keeps several vectors a point"),
        ((f"qdrant:{qdrant}",), "more than one collection; there are: hybrid, late, named, plain"),
        (("qdrant:collection.snapshot",), "is restored by a server and read from there"),
    ):
        assert expected in str(ran(*words, "--into", tmp_path / "none", code=1).exception)
    monkeypatch.delenv("PERWATT_SOURCE_KEY")
    assert "answered with 401" in str(ran(f"qdrant:{qdrant}", "--into", tmp_path / "none", code=1).exception)
