"""A folder of indexes that cannot be written to: what reads it works, what would write to it says so."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import write_jsonl
from serving import ARTICLES, NotStarted, build_docs, serving
from warm import Warm, shared

from index import Root

pytest_plugins = ["serving_fixtures"]

Run = Callable[..., subprocess.CompletedProcess[str]]

# Root may do everything by two capabilities, which a process that gives them up does not pass on.
GIVE_UP = """
import ctypes, os, sys
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH of linux/capability.h
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP of linux/prctl.h
os.execv(sys.argv[1], sys.argv[1:])
"""
MOUNT = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'


def without_rights() -> tuple[str, ...]:
    return (sys.executable, "-c", GIVE_UP)


def mounted_read_only(root: Path) -> tuple[str, ...]:
    """A command that runs another where `root` is mounted read-only; nothing where this system allows no mounts."""
    for flags in (("--mount",), ("--map-root-user", "--mount")):
        command = ("unshare", *flags, "sh", "-c", MOUNT, str(root))
        if shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True).returncode == 0:
            return command
    return ()


@pytest.fixture(scope="module", params=["mount", pytest.param("rights", marks=pytest.mark.long)])
def read_only(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, served_encoder: Any
) -> Iterator[tuple[Path, Warm]]:
    """A root with two generations of one index, and what starts commands where it cannot be written to: where a system
    allows no mounts, a folder without the right to write stands for one."""
    root = tmp_path_factory.mktemp("read-only") / "indexes"
    build_docs(root, served_encoder, drop=1)
    build_docs(root, served_encoder)
    prefix = mounted_read_only(root) if request.param == "mount" else ()
    if prefix:
        with contextlib.closing(Warm(prefix)) as warm:
            yield root, warm
        return
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    (root / "docs" / ".lock").chmod(0o444)
    with contextlib.closing(Warm(without_rights())) as warm:
        yield root, warm
    for folder in folders:
        folder.chmod(0o755)


@pytest.fixture
def run(read_only: tuple[Path, Warm]) -> Run:
    root, warm = read_only

    def running(*words: str) -> subprocess.CompletedProcess[str]:
        return warm.run(*(word.replace("ROOT", str(root)) for word in words))

    return running


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_jsonl(folder / "corpus.jsonl", [{"id": f"d{at}", "text": text} for at, (_, text, _) in enumerate(ARTICLES)])
    shared().run("embed", str(folder / "corpus.jsonl"), "--out", str(folder / "vectors"), "--quiet").check_returncode()
    write_jsonl(folder / "queries.jsonl", [{"_id": "q", "text": ARTICLES[0][0]}])
    (folder / "qrels.tsv").write_text("q\ta00\t1\n")
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ("build", "CORPUS/vectors", "--index", "docs", "--root", "ROOT"),
        ("build", "CORPUS/vectors", "--index", "another", "--root", "ROOT"),
        ("switch", "docs", "FIRST", "--root", "ROOT"),
        ("rollback", "docs", "--root", "ROOT"),
        ("gc", "--root", "ROOT"),
        ("gc", "docs", "--root", "ROOT"),
        ("keys", "create", "app", "--keys", "ROOT/keys.json"),
        ("embed", "CORPUS/corpus.jsonl", "--out", "ROOT/vectors"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_what_would_write_says_so_in_a_sentence(
    run: Run, read_only: tuple[Path, Warm], corpus: Path, words: tuple[str, ...]
) -> None:
    root, _ = read_only
    before = sorted(root.rglob("*")), (root / "docs" / "current").read_bytes()
    first = Root(root).generations("docs")[0]
    done = run(*(word.replace("CORPUS", str(corpus)).replace("FIRST", first) for word in words))
    assert done.returncode == 1
    [said] = [line for line in done.stderr.splitlines() if not line.startswith("family")]
    assert said.startswith("perwatt: error: "), done.stderr
    assert "Read-only file system" in said or "Permission denied" in said
    assert str(root) in said
    assert (sorted(root.rglob("*")), (root / "docs" / "current").read_bytes()) == before


def test_what_reads_works(run: Run, corpus: Path) -> None:
    judged = ("--queries", f"{corpus}/queries.jsonl", "--qrels", f"{corpus}/qrels.tsv")
    for words, said in (
        (("generations",), "served"),
        (("verify", "docs"), "is intact"),
        (("search", "docs", "rain", "--k", "1", "--filter", '{"field": "words", "gte": 1}'), "  "),
        (("eval", "docs", *judged), "ndcg@10      1.00000"),
    ):
        done = run(*words, "--root", "ROOT")
        assert (done.returncode, done.stderr) == (0, "")
        assert said in done.stdout


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_answers_and_says_that_it_cannot_switch(
    read_only: tuple[Path, Warm], tmp_path: Path, workers: str
) -> None:
    root, warm = read_only
    with serving(root, tmp_path, "--workers", workers, warm=warm) as server, server.client() as client:
        found = client.post("/v1/indexes/docs/search", json={"text": ARTICLES[0][0], "k": 1})
        assert found.json()["hits"][0]["id"] == "a00"
        refused: httpx.Response = client.post("/v1/aliases/docs/rollback")
        assert refused.status_code == 500
        assert "The alias could not be written: cannot " in refused.json()["detail"]
    assert "Traceback" not in server.log()


def test_what_cannot_even_be_read_is_said(own_root: Path, tmp_path: Path) -> None:
    (own_root / "docs").chmod(0o000)
    try:
        with contextlib.closing(Warm(without_rights())) as warm:
            for workers in ("1", "2"):
                with (
                    pytest.raises(NotStarted) as failed,
                    serving(own_root, tmp_path, "--workers", workers, warm=warm),
                ):
                    pass
                assert failed.value.status == 1
                assert "perwatt: error: cannot use " in failed.value.log
                assert "Permission denied" in failed.value.log
                assert "Traceback" not in failed.value.log
            ran = warm.run("generations", "--root", str(own_root))
        assert ran.returncode == 1
        assert ran.stderr.startswith("perwatt: error: cannot use ")
        assert len(ran.stderr.splitlines()) == 1
    finally:
        (own_root / "docs").chmod(0o755)
