"""The whole data path by the commands of the README: embed, build, serve, search, and again after a change."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from patience import patient
from warm import shared

PACKAGES = ("gzip", "bz2", "lzma", "encodings", "csv", "argparse", "json", "tempfile", "shutil", "decimal")


def perwatt(*arguments: object, folder: Path) -> str:
    """What the command printed for its user: the summary of `embed` goes to stderr, all else to stdout."""
    with contextlib.chdir(folder):
        ran = shared().run(*map(str, arguments))
    assert ran.returncode == 0, ran.stderr
    return ran.stderr if arguments[0] == "embed" else ran.stdout


def environment() -> dict[str, str]:
    top = str(Path(__file__).parents[1])
    return {**os.environ, "PYTHONPATH": top}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a user has embedded some of the standard library and built an index of it."""
    folder = tmp_path_factory.mktemp("user")
    perwatt("embed", *(f"python:{name}" for name in PACKAGES), "--out", "vectors/library", folder=folder)
    perwatt("build", "vectors/library", "--index", "library", "--filterable", "kind,module:keyword,line", folder=folder)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.command", "serve", "--port", "0"],
        cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout
    said = []
    for line in process.stdout:
        said.append(line)
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            break
    else:
        pytest.fail("".join(said))
    yield found.group()
    process.send_signal(signal.SIGTERM)
    assert process.wait(patient(60)) == 0
    process.stdout.close()


def post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=patient(60)) as answer:
        content: dict[str, Any] = json.load(answer)
    return content


def test_what_was_asked_for_is_found_over_http(server: str) -> None:
    answer = post(f"{server}/v1/indexes/library/search", {"text": "compress bytes in memory", "k": 10})
    ids = [hit["id"] for hit in answer["hits"]]
    assert any("gzip" in each for each in ids)
    assert any("zlib" in each for each in ids)
    payload = answer["hits"][0]["payload"]
    assert {"module", "name", "kind", "signature", "file", "line", "python", "title", "text"} == set(payload)


def test_a_filter_keeps_what_it_says_by_meaning_and_by_words(server: str) -> None:
    wanted = {"and": [{"field": "kind", "eq": "function"}, {"not": {"field": "module", "in": ["gzip"]}}]}
    for mode in ("dense", "lexical", "hybrid"):
        query = {"text": "compress data", "mode": mode, "filter": wanted}
        hits = post(f"{server}/v1/indexes/library/search", query)["hits"]
        assert hits
        assert all(hit["payload"]["kind"] == "function" and hit["payload"]["module"] != "gzip" for hit in hits), mode
    one_each = post(f"{server}/v1/indexes/library/search", {"text": "compress", "group_by": "module", "k": 5})["hits"]
    assert len({hit["payload"]["module"] for hit in one_each}) == 5


def test_the_command_line_finds_the_same_with_and_without_a_server(server: str, folder: Path) -> None:
    asked = ("search", "library", "parse a json document", "--json")
    here = json.loads(perwatt(*asked, folder=folder))
    there = json.loads(perwatt(*asked, "--url", server, folder=folder))
    assert [hit["id"] for hit in here["hits"]] == [hit["id"] for hit in there["hits"]]
    assert any(hit["id"].startswith("json") for hit in here["hits"][:3])


def test_a_second_embedding_embeds_nothing_and_a_rebuild_can_be_taken_back(folder: Path) -> None:
    before = json.loads((folder / "vectors/library/embed.json").read_text())
    said = perwatt("embed", *(f"python:{name}" for name in PACKAGES), "--out", "vectors/library", folder=folder)
    after = json.loads((folder / "vectors/library/embed.json").read_text())
    assert re.search(r"\b0 embedded", said), said
    assert [each["sha256"] for each in before["fragments"]] == [each["sha256"] for each in after["fragments"]]

    perwatt("build", "vectors/library", "--index", "library", folder=folder)
    listed = perwatt("generations", "library", folder=folder)
    assert len(re.findall(r"^library-\d{8}T", listed, re.MULTILINE)) == 2
    perwatt("rollback", "library", folder=folder)
    perwatt("verify", "library", folder=folder)


def test_judgements_are_scored(folder: Path, tmp_path: Path) -> None:
    questions = {"q1": "compress data with gzip in one shot", "q2": "remove a whole directory tree"}
    (tmp_path / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": key, "text": text}) + "\n" for key, text in questions.items())
    )
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tgzip.compress\t1\nq2\tshutil.rmtree\t1\n")
    judged = json.loads(
        perwatt(
            "eval", "library", "--queries", tmp_path / "queries.jsonl", "--qrels", tmp_path / "qrels.tsv", "--json",
            folder=folder,
        )
    )  # fmt: skip
    assert judged["queries"] == 2
    assert judged["recall@10"] == 1.0
