"""A generation is made in a folder of its own: failures leave none, all is on the disk before it has its name."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from indexing import clustered, names
from patience import patient

from index import GenerationError, NotFoundError, Root, build_generation
from index.disk.root import LOCK_FILE
from index.disk.staging import staging


def test_who_waits_for_a_folder_that_is_removed_gets_the_lock_of_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, held, asks = Root(tmp_path), threading.Event(), threading.Event()
    flock = fcntl.flock

    def asked(handle: int, how: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            asks.set()  # it holds the file that will be gone
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", asked)

    def wait() -> None:
        with root.locked("test", create=True) as folder:
            assert (folder / LOCK_FILE).exists()
            held.set()

    with root.locked("test", create=True) as folder:
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert asks.wait(patient(30))
        assert not held.is_set()
        (folder / LOCK_FILE).unlink()
        folder.rmdir()
    waiting.join()
    assert held.is_set()
    root.remove_unused("test")
    with pytest.raises(NotFoundError), root.locked("test"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_ids_sort_as_they_were_made(tmp_path: Path) -> None:
    made = []
    for _ in range(20):
        with staging(Root(tmp_path), "test") as (folder, generation, _):
            made.append(generation)
            assert folder.name == f".building-{generation}"
        assert not folder.exists()
    assert made == sorted(set(made))


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with staging(Root(tmp_path), "test") as (folder, _, _):
            (folder / "index.faiss").write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not list((tmp_path / "test").glob(".building-*"))


def test_a_root_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(Exception, match="file"):
        build_generation(clustered(5, 4), names(5), root=tmp_path / "file" / "root", name="test")
    if os.geteuid() != 0:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o500)
        with pytest.raises(Exception, match="Permission denied"):
            build_generation(clustered(5, 4), names(5), root=closed, name="test")


def test_everything_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut may come at any moment: bytes first, then the name, then the folder that holds the name."""
    events: list[tuple[str, str]] = []
    fsync, rename, replace = os.fsync, Path.rename, Path.replace

    def recorded_fsync(handle: int) -> None:
        events.append(("fsync", Path(f"/proc/self/fd/{handle}").readlink().name))
        fsync(handle)

    def recorded_rename(self: Path, target: Path) -> Path:
        events.append(("rename", Path(target).name))
        return rename(self, target)

    def recorded_replace(self: Path, target: Path) -> Path:
        events.append(("rename", Path(target).name))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(Path, "rename", recorded_rename)
    monkeypatch.setattr(Path, "replace", recorded_replace)
    path = build_generation(clustered(300, 8), names(300), root=tmp_path, name="test", payload=[{}] * 300)
    named = events.index(("rename", path.name))
    before = {name for what, name in events[:named] if what == "fsync"}
    assert before >= {file.name for file in path.iterdir()} | {f".building-{path.name}"}
    assert ("fsync", "test") in events[named:]
    switched = events.index(("rename", "current"))
    assert switched > named
    assert events[switched - 1][0] == "fsync"
    assert events[switched - 1][1].startswith(".tmp-current.")
    assert events[switched + 1] == ("fsync", "test")


def test_a_file_that_does_not_answer_as_memory_did_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the writer, the disk or the reader had a defect that leaves a valid file with other vectors in it."""
    from index.build import pipeline

    write = pipeline.write_faiss

    def defective(index: Any, path: Path, *how: Any) -> None:
        index.reset()
        index.add(clustered(300, 8, seed=123))
        write(index, path, *how)

    monkeypatch.setattr(pipeline, "write_faiss", defective)
    with pytest.raises(GenerationError, match="does not answer as the index that was written into it"):
        build_generation(clustered(300, 8), names(300), root=tmp_path, name="test")
    assert list(tmp_path.iterdir()) == []
    assert not list((tmp_path / "test").glob(".building-*"))
