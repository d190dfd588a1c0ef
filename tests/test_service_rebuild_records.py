"""The records of rebuilds: what has ended, or died while it changed its record, is in nobody's way."""

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embed.vectors.provenance import now_utc
from index import Root, build_generation
from service.rebuilds import starting, work
from service.rebuilds.plan import RebuildPlan
from service.rebuilds.records import RebuildRecords
from service.rebuilds.starting import Rebuilds


def test_the_next_one_starts_as_soon_as_the_last_has_said_that_it_ended(tmp_path: Path) -> None:
    records = RebuildRecords(tmp_path)
    told, seen = threading.Event(), threading.Event()

    def rebuild() -> None:
        with records.lock() as lock:
            assert lock is not None
            id_ = records.create(lock, "docs", "changes").answer.id
            with records.lock() as second:
                assert second is None  # it runs
            records.update(id_, state="succeeded", ended_at=now_utc())
            told.set()
            assert not seen.wait(0.1)  # the lock is let go of a moment later

    thread = threading.Thread(target=rebuild)
    thread.start()
    told.wait()
    with records.lock() as lock:
        assert lock is not None
    seen.set()
    thread.join()


def test_a_record_that_was_half_written_when_its_process_died_does_not_stay(tmp_path: Path) -> None:
    records = RebuildRecords(tmp_path)
    with records.lock() as lock:
        assert lock is not None
        half = records.folder / ".tmp-20261129T044649Z-21cd5f.json"
        half.write_bytes(b"{")
        created = records.create(lock, "docs", "changes").answer.id
    assert not half.exists()
    assert records.ids() == [created]


@pytest.mark.parametrize("ending", [OSError("No space left on device"), KeyboardInterrupt()])
def test_an_alias_that_a_rebuild_has_moved_is_told_of_however_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: BaseException
) -> None:
    """Servers follow what says that it was switched; a folder that cannot be cleaned is no reason not to."""

    def build(*_args: Any, **_kwargs: Any) -> None:
        build_generation(np.eye(8, dtype=np.float32), range(8), root=tmp_path, name="docs")

    def gc(*_args: Any) -> list[str]:
        raise ending

    monkeypatch.setattr(work, "_run", build)
    monkeypatch.setattr(work, "_lower", lambda plan: None)
    monkeypatch.setattr(Root, "gc", gc)
    monkeypatch.setattr("sys.stderr", None)  # which the process of a rebuild gives its own
    records = RebuildRecords(tmp_path)
    with records.lock() as lock:
        assert lock is not None
        id_ = records.create(lock, "docs", "changes").answer.id
        status = work.main(tmp_path, id_, RebuildPlan())
    record = records.get(id_)
    assert record is not None
    assert (status, record.answer.state) == ((0, "succeeded") if isinstance(ending, OSError) else (1, "failed"))
    assert record.answer.generation == Root(tmp_path).alias("docs").generation
    assert records.switched(()) == {id_: "docs"}


def test_a_rebuild_whose_process_is_not_known_yet_is_not_signalled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0 would be the group of this process, and with it the whole service."""
    build_generation(np.eye(8, dtype=np.float32), range(8), root=tmp_path, name="docs")
    signalled: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: signalled.append(pid))
    monkeypatch.setattr(starting, "END_S", 0.1)
    rebuilds = Rebuilds(Root(tmp_path), RebuildPlan(), {})
    with rebuilds.records.lock() as lock:
        assert lock is not None
        record = rebuilds.records.create(lock, "docs", "changes")
        rebuilds._end(record)
        assert signalled == []
        rebuilds.records.update(record.answer.id, pid=4_000_000)
        rebuilds._end(record)
    assert set(signalled) == {4_000_000}
