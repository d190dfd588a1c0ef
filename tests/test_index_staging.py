"""A build that is killed, or runs out of disk, has changed nothing that is served; the next one works."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from indexing import clustered, names, write_vectors_folder
from patience import patient
from warm import Process, shared

from embed.vectors.durable import TEMPORARY
from index import InputError, Root, VectorsFolder, build_generation, open_generation, verify
from index.disk.staging import publish
from index.errors import GenerationError

COUNT, DIM = 2500, 32
BUILD = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from indexing import clustered, names, write_vectors_folder
from index import IndexingError, build_generation
root, limit = sys.argv[1], int(sys.argv[2])
vectors, ids = clustered({COUNT}, {DIM}, seed=7), names({COUNT})
payload = [{{"text": "x" * 60, "n": row}} for row in range({COUNT})]
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
print("started", flush=True)
try:
    path = build_generation(
        vectors, ids, root=root, name="test", family="graph", recall_target=0.8, payload=payload, threads=2
    )
except IndexingError as error:
    sys.exit(f"{{type(error).__name__}}: {{error}}")
print(path)
"""

# All but the end of a build is there, and it goes no further.
HELD = """
import time
from index.build import pipeline
pipeline.write_faiss = lambda *_: time.sleep(3600)
"""


def builder(root: Path, limit: int = 0) -> Process:
    return shared().start([str(root), str(limit)], program=BUILD)


@pytest.fixture
def served(tmp_path: Path) -> Root:
    build_generation(clustered(COUNT, DIM), names(COUNT), root=tmp_path, name="test", family="flat")
    return Root(tmp_path)


def snapshot(root: Root) -> dict[str, Any]:
    """Everything a reader can see: files with their bytes, and what a search answers."""
    folder = root.folder / "test"
    with open_generation(root.path("test")) as generation:
        ids, scores = generation.search(clustered(5, DIM), 5)
    # But for what a dead build had not finished: the next one removes it.
    files = {
        path: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock" and not path.name.startswith(TEMPORARY)
    }
    return {"files": files, "ids": ids.tolist(), "scores": scores.tolist(), "generations": root.generations("test")}


def test_a_build_that_is_killed_at_any_moment_changes_nothing(served: Root) -> None:
    """Kills spread over the whole length of a build. One that comes after the end finds a whole generation, served."""
    whole = builder(served.folder)
    assert whole.stdout is not None
    whole.stdout.readline()
    begin = time.perf_counter()
    errors = whole.communicate()[1]
    assert whole.returncode == 0, errors
    length = time.perf_counter() - begin
    seed = int(np.random.default_rng().integers(2**32))
    caught, left = 0, 0
    for number, share in enumerate(np.random.default_rng(seed).random(40)):
        if number >= 8 and caught >= 4 and left:
            break
        delay = share * length
        before, generations = snapshot(served), served.generations("test")
        # A build that died between its generation and the switch left one that is not served.
        serving = served.alias("test").generation
        build = builder(served.folder)
        assert build.stdout is not None
        build.stdout.readline()
        time.sleep(delay)
        build.send_signal(signal.SIGKILL)
        build.communicate()
        hint = f"seed {seed}, delay {delay}"
        new = set(served.generations("test")) - set(generations)
        for generation in new:
            verify(served.path("test", generation))
        alias = served.alias("test").generation
        assert alias in {serving, *new}, hint
        if new:
            length *= 0.9  # the first build was slower than these
        else:
            caught += 1
            left += bool(list((served.folder / "test").glob(".building-*")))
            now = snapshot(served)
            # What the dead build itself wrote is not served; everything else is to the byte what it was.
            now["files"] = {path: raw for path, raw in now["files"].items() if ".building-" not in str(path)}
            before["files"] = {path: raw for path, raw in before["files"].items() if ".building-" not in str(path)}
            assert now == before, hint
    assert caught >= 4, f"too few kills came in time; seed {seed}"
    assert left, f"no kill hit a build at work; seed {seed}"
    after = builder(served.folder)
    errors = after.communicate()[1]
    assert after.returncode == 0, errors
    assert not list((served.folder / "test").glob(".building-*"))


def test_gc_removes_what_a_killed_build_left(served: Root) -> None:
    build = shared().start([str(served.folder), "0"], program=HELD + BUILD)
    assert build.stdout is not None
    build.stdout.readline()
    folder = served.folder / "test"
    deadline = time.monotonic() + patient(60)
    while not list(folder.glob(".building-*/codes.i8")):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert served.gc("test") == []  # it is alive
    build.kill()
    build.communicate()
    leftovers = [path.name for path in folder.glob(".building-*")]
    assert len(leftovers) == 1
    assert served.gc("test") == leftovers


LIMITS = (1, 4096, 60_000, 100_000, 300_000, 400_000, 1_000_000, 1_050_000)


@pytest.mark.parametrize(
    "limits", [(1, 60_000, 300_000, 1_000_000), pytest.param(LIMITS, marks=pytest.mark.long)], ids=len
)
def test_a_file_that_cannot_grow_ends_the_build_and_changes_nothing(served: Root, limits: tuple[int, ...]) -> None:
    """RLIMIT_FSIZE makes every write beyond a size fail, in NumPy's files, Arrow's and FAISS's alike."""
    before = snapshot(served)
    outcomes = {}
    for limit in limits:
        build = builder(served.folder, limit)
        _, errors = build.communicate()
        outcomes[limit] = build.returncode
        if build.returncode:
            assert errors.startswith("StorageError: "), errors
            assert "What is served has not changed." in errors
            assert snapshot(served) == before
            assert not list((served.folder / "test").glob(".building-*"))
    assert all(outcomes[limit] for limit in limits if limit <= 300_000)


def namespace() -> tuple[str, ...]:
    """A command that runs another where it may mount, or nothing where this system does not allow that."""
    for flags in (("--mount",), ("--map-root-user", "--mount")):
        command = ("unshare", *flags)
        probe = [*command, "sh", "-c", "mount -t tmpfs -o size=1m none /mnt"]
        if shutil.which("unshare") and subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            return command
    return ()


@pytest.mark.skipif(not namespace(), reason="mounting a small tmpfs needs a mount namespace")
@pytest.mark.parametrize(
    "sizes", [("500k", "1200k", "8m"), pytest.param(("500k", "1700k", "2400k", "8m"), marks=pytest.mark.long)], ids=len
)
def test_a_full_disk_ends_the_build_and_changes_nothing(tmp_path: Path, sizes: tuple[str, ...]) -> None:
    """A real ENOSPC: disks from too small for the first file to large enough, on which an index is served already."""
    served = tmp_path.parent / "served"
    build_generation(clustered(500, DIM), names(500), root=served, name="test", family="flat")
    script = f"""
set -e
mount -t tmpfs -o size=$1 none {tmp_path}
cp -a {served}/. {tmp_path}
before=$(cat {tmp_path}/test/current {tmp_path}/test/test-*/* | sha256sum)
set +e
"$0" -W ignore -c "$2" {tmp_path} 0 2>{tmp_path.parent}/errors
code=$?
[ $code = 0 ] || [ "$before" = "$(cat {tmp_path}/test/current {tmp_path}/test/test-*/* | sha256sum)" ] || exit 99
[ -z "$(ls -d {tmp_path}/test/.building-* 2>/dev/null)" ] || exit 98
cat {tmp_path.parent}/errors >&2
exit $code
"""
    codes = {}
    for size in sizes:
        command = [*namespace(), "sh", "-c", script, sys.executable, size, BUILD]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        codes[size] = done.returncode
        assert done.returncode in (0, 1), (size, done.returncode, done.stderr)
        if done.returncode:
            assert "StorageError: " in done.stderr
            assert "MiB are free" in done.stderr
    assert codes["500k"] == codes.get("1200k", 1) == 1
    assert codes["8m"] == 0


def test_a_first_build_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    vectors = clustered(20, DIM)
    vectors[3] = np.nan
    root = tmp_path / "some" / "indexes"
    with pytest.raises(InputError, match="row 3"):
        build_generation(vectors, names(20), root=root, name="test")
    assert list(tmp_path.iterdir()) == []
    root.mkdir(parents=True)  # what was there before stays
    with pytest.raises(InputError):
        build_generation(vectors, names(20), root=root, name="test")
    assert root.is_dir()
    assert list(root.iterdir()) == []
    path = build_generation(vectors[4:], names(16), root=root, name="test", family="flat")
    with pytest.raises(InputError):
        build_generation(vectors, names(20), root=root, name="test")
    assert Root(root).path("test") == path


def test_two_builds_at_once_both_finish(served: Root) -> None:
    builds = [builder(served.folder) for _ in range(2)]
    paths = []
    for build in builds:
        out, errors = build.communicate()
        assert build.returncode == 0, errors
        paths.append(Path(out.splitlines()[-1]))
    assert len(set(paths)) == 2
    for path in paths:
        open_generation(path).close()
    assert served.alias("test").generation in {path.name for path in paths}
    assert len(served.generations("test")) == 3


def test_what_must_not_become_a_generation_any_more_stays_what_it_was(tmp_path: Path) -> None:
    """It is asked when all bytes are on the disk, which takes minutes where there are many."""
    build_generation(clustered(30, 8), names(30), root=tmp_path, name="test")
    finished = tmp_path / "test" / ".building-test-29990101T000000Z-0000"
    finished.mkdir()
    before = Root(tmp_path).generations("test")

    def check() -> None:
        raise InputError("changes left the log meanwhile")

    with pytest.raises(InputError, match="left the log"):
        publish(Root(tmp_path), "test", "test-29990101T000000Z-0000", finished, check)
    assert Root(tmp_path).generations("test") == before


def test_a_folder_that_is_embedded_anew_while_it_is_read_is_named(tmp_path: Path) -> None:
    source = VectorsFolder(write_vectors_folder(tmp_path / "v", names(30), clustered(30, 8)))
    for file in (tmp_path / "v").glob("*.parquet"):
        file.unlink()
    for rows in (source.batches, source.ids):
        with pytest.raises(GenerationError, match=r"parquet.* went away while it was read: .*; build again"):
            list(rows())
