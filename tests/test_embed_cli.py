"""`perwatt embed` as a person runs it, with the real model."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from patience import patient
from warm import shared

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    {"_id": "cat", "title": "Cats", "text": "The cat sat on the mat and purred.", "legs": 4},
    {"_id": "rocket", "title": "Rockets", "text": "The launch vehicle reached orbit in nine minutes.", "legs": 0},
    {"_id": "bread", "title": "Bread", "text": "Knead the dough and let it rise for an hour.", "legs": None},
]


def perwatt(*arguments: object, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return shared().run("embed", *map(str, arguments), given=stdin or "")


def lines(documents: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(document) + "\n" for document in documents)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    path.write_text(lines(DOCUMENTS))
    return path


@pytest.fixture(scope="module")
def embedded(corpus: Path) -> Path:
    out = corpus.parent / "my vectors"
    done = perwatt(corpus, "--out", out, "--precision", "fp32", "--threads", 2)
    assert done.returncode == 0, done.stderr
    assert "3 documents: 3 embedded, 0 reused" in done.stderr
    assert f"Next: perwatt build '{out}' --index my-vectors" in done.stderr
    assert done.stdout == ""
    return out


def vectors_of(out: Path) -> dict[str, np.ndarray]:
    manifest = json.loads((out / "embed.json").read_text())
    table = pa.concat_tables([pq.read_table(out / entry["file"]) for entry in manifest["fragments"]])
    return {
        key: np.array(vector, dtype=np.float32)
        for key, vector in zip(table["id"].to_pylist(), table["vector"].to_pylist(), strict=True)
    }


def test_the_vectors_are_the_models(embedded: Path, fp32_encoder: Any) -> None:
    manifest = json.loads((embedded / "embed.json").read_text())
    assert manifest["model"] == fp32_encoder.fingerprint.as_dict()
    assert manifest["run"]["threads"] == 2
    assert manifest["run"]["backend"].startswith("native ")
    vectors = vectors_of(embedded)
    expected = fp32_encoder.encode([f"{d['title']} {d['text']}" for d in DOCUMENTS])
    assert np.allclose(np.array([vectors[d["_id"]] for d in DOCUMENTS]), expected, atol=1e-5)
    for query, nearest in (("spacecraft", "rocket"), ("baking", "bread"), ("a pet", "cat")):
        scores = {key: float(vector @ fp32_encoder.encode([query], "query")[0]) for key, vector in vectors.items()}
        assert max(scores, key=lambda key: scores[key]) == nearest


def test_a_second_run_reuses_and_another_format_of_the_same_texts_too(embedded: Path, tmp_path: Path) -> None:
    table = tmp_path / "corpus.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["key", "title", "body"])
        writer.writeheader()
        writer.writerows({"key": d["_id"], "title": d["title"], "body": d["text"]} for d in DOCUMENTS)
    done = perwatt(
        table, "--out", tmp_path / "out", "--id-field", "key", "--text-field", "body", "--embedded-from", embedded,
        "--precision", "fp32",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "3 documents: 0 embedded, 3 reused" in done.stderr
    before, after = vectors_of(embedded), vectors_of(tmp_path / "out")
    assert all(np.array_equal(before[key], after[key]) for key in before)


def test_stdin_skipping_and_quiet(tmp_path: Path) -> None:
    text = lines(DOCUMENTS[:1]) + "{broken\n" * 7 + lines(DOCUMENTS[1:2]) + lines(DOCUMENTS[:1])
    refused = perwatt("-", "--out", tmp_path / "a", stdin=text)
    assert refused.returncode == 1
    assert refused.stderr.startswith("perwatt: error: stdin:2: not JSON")
    assert "--on-error skip" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "a").exists()
    done = perwatt("-", "--out", tmp_path / "a", "--on-error", "skip", stdin=text)
    assert done.returncode == 0, done.stderr
    assert "skipped 8 records" in done.stderr
    assert "stdin:6: not JSON" in done.stderr
    assert "stdin:7: not JSON" not in done.stderr
    assert "… and 3 more" in done.stderr
    assert "2 documents: 2 embedded, 0 reused, 8 skipped" in done.stderr
    quiet = perwatt("-", "--out", tmp_path / "a", "--on-error", "skip", "--quiet", stdin=lines(DOCUMENTS[:2]))
    assert (quiet.returncode, quiet.stderr) == (0, "")


def test_chunks_fit_the_model(tmp_path: Path) -> None:
    text = "A sentence about the weather in the mountains. " * 60
    given = lines([{"id": "long", "text": text}])
    cut = perwatt("-", "--out", tmp_path / "cut", stdin=given)
    assert "1 documents reached the model's 256 tokens" in cut.stderr
    done = perwatt("-", "--out", tmp_path / "out", "--chunk-tokens", 64, "--chunk-overlap", 10, stdin=given)
    assert done.returncode == 0, done.stderr
    ids = list(vectors_of(tmp_path / "out"))
    assert ids[:2] == ["long#0", "long#1"]
    assert len(ids) > 9
    assert f"1 documents in {len(ids)} chunks" in done.stderr
    assert "reached the model" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.jsonl"], "there is no file or folder nowhere.jsonl"),
        (["none-*.csv"], "no file matches none-*.csv"),
        (["python:zlib"], "zlib is written in C"),
        ([], "Missing argument 'INPUT...'"),
        (["-", "--chunk-overlap", "5"], "--chunk-overlap needs --chunk-tokens"),
        (["-", "--id-field", "x", "--number-rows"], "give one of them"),
        (["-", "--embedded-from", "nowhere"], "Directory 'nowhere' does not exist"),
        (["-", "--precision", "int4"], "'int4' is not one of"),
    ],
)
def test_usage_errors_exit_with_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = perwatt(*arguments, "--out", tmp_path / "out", stdin="")
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_known_errors_exit_with_1_and_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    path.write_text("x")
    for arguments, message in (
        ([path], "--format"),
        (["-"], "no document could be read from stdin"),
        (["-", "--chunk-tokens", "300"], "8 to 256"),
        (["-", "--model", str(tmp_path)], "config.json"),
    ):
        done = perwatt(*arguments, "--out", tmp_path / "out", stdin="")
        assert done.returncode == 1
        assert done.stderr.startswith("perwatt: error: ")
        assert message in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.long)])
def test_told_to_end_it_keeps_what_it_has_and_says_how_to_go_on(number: signal.Signals, tmp_path: Path) -> None:
    """While documents still come in: the first window is a fragment by then."""
    command = [sys.executable, "-m", "deploy.command", "embed", "-", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # a shell's background jobs ignore Ctrl-C
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stderr is not None
    given = [{"id": str(number), "text": f"short {number % 100}"} for number in range(8192 + 3000)]
    process.stdin.write(lines(given[: 8192 + 2048]))
    process.stdin.flush()
    while not list((tmp_path / "out").glob("part-*")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    if number == signal.SIGTERM:
        process.send_signal(number)  # as `timeout` does
    assert process.wait(patient(120)) == 128 + number
    said = process.stderr.read()
    process.stdin.close()
    process.stderr.close()
    assert re.search(rf"perwatt: stopped by {number.name}; [\d,]+ texts were embedded, and are kept\.", said)
    assert said.endswith(f"give the same command again: perwatt embed - --out {tmp_path / 'out'}\n")
    assert "Traceback" not in said
    again = perwatt("-", "--out", tmp_path / "out", stdin=lines(given))
    assert "11,192 documents: 0 embedded, 11,192 reused" in again.stderr


@pytest.mark.parametrize(  # at once: while the folder is being opened
    "after_s", [0.0, 0.05, *(pytest.param(each, marks=pytest.mark.long) for each in (1e-5, 1e-4))]
)
def test_told_to_end_before_anything_was_embedded_it_leaves_no_folder(tmp_path: Path, after_s: float) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "deploy.command", "embed", "-", "--out", str(out)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    while not out.exists():
        assert process.poll() is None
        time.sleep(after_s)
    process.terminate()
    assert process.wait(patient(60)) == 128 + signal.SIGTERM
    assert process.stdin is not None
    assert process.stderr is not None
    assert "perwatt: stopped by SIGTERM; nothing was embedded. To go on" in process.stderr.read()
    process.stdin.close()
    process.stderr.close()
    assert not out.exists()


def test_another_precision_into_the_same_folder_asks_for_a_flag(embedded: Path, corpus: Path) -> None:
    before = sorted(path.name for path in embedded.iterdir())
    refused = perwatt(corpus, "--out", embedded, "--precision", "int8")
    assert refused.returncode == 1
    assert "holds 3 vectors of all-MiniLM-L6-v2 in fp32" in refused.stderr
    assert "all-MiniLM-L6-v2 in int8" in refused.stderr
    assert "--replace-model" in refused.stderr
    assert sorted(path.name for path in embedded.iterdir()) == before
    copied = embedded.parent / "copied"
    shutil.copytree(embedded, copied)
    done = perwatt(corpus, "--out", copied, "--precision", "int8", "--replace-model")
    assert (done.returncode, "3 embedded" in done.stderr) == (0, True)
    assert json.loads((copied / "embed.json").read_text())["model"]["precision"] == "int8"


def test_a_table_of_a_spreadsheet_is_read_with_its_separator(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_bytes("\ufeffid;text;title\r\n1;über den Wolken;Lied\r\n".encode())
    refused = perwatt(table, "--out", tmp_path / "out")
    assert refused.returncode == 1
    assert refused.stderr == (
        f"perwatt: error: {table}:1: split at ',' the header 'id;text;title' is one column; it seems to be separated "
        "by ';': --separator ';'\n"
    )
    assert perwatt(table, "--out", tmp_path / "out", "--separator", ";").returncode == 0
    assert list(vectors_of(tmp_path / "out")) == ["1"]
    table.write_text(table.read_text().replace(";", "\t"))
    assert perwatt(table, "--out", tmp_path / "out", "--separator", "tab").returncode == 0
    wrong = perwatt(table, "--out", tmp_path / "out", "--separator", ";;")
    assert wrong.returncode == 2
    assert "';;' was given; one ASCII character" in wrong.stderr


def test_docstrings_of_one_module(tmp_path: Path) -> None:
    done = perwatt("python:gzip", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "gzip.compress" in vectors_of(tmp_path / "out")
