"""The records of rebuilds: what has ended, or died while it changed its record, is in nobody's way."""

import threading
from pathlib import Path

from embed.vectors.provenance import now_utc
from service.rebuilds.records import RebuildRecords


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
