"""push and pull through a folder: the same answers from what comes back, whatever was killed or written meanwhile."""

from __future__ import annotations

import errno
import shutil
import threading
from pathlib import Path

import pytest
from backing_up import PIECE, answers, made, newest, pieces_in, run_dying, small_pieces
from changing import DIM, Documents, write

from index.backup import log_copy
from index.backup.contents import backups
from index.backup.pull import pull
from index.backup.push import push
from index.backup.store import FolderStore
from index.changes.fold import folded_to
from index.changes.log import Log
from index.changes.log_file import LOG_FILE, RECEIPT_FILE
from index.changes.log_reader import LogReader, changes
from index.changes.rebuild import folded_from_served
from index.disk.manifest import read_manifest
from index.disk.root import PULLING_PREFIX, Root
from index.errors import BackupError, GenerationError, NotFoundError, StorageError


@pytest.fixture
def documents(tmp_path: Path) -> Documents:
    return made(tmp_path / "root")


@pytest.fixture
def root(tmp_path: Path, documents: Documents) -> Path:
    return tmp_path / "root"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def rebuilt(root: Path, **settings: object) -> Path:
    from index import build_generation

    with folded_from_served(Root(root), "docs", 1) as (source, kept):
        return build_generation(source, root=root, name="docs", threads=1, **(kept | settings))  # type: ignore[arg-type]


def test_what_is_pulled_answers_as_what_was_pushed(tmp_path: Path, root: Path, store: FolderStore) -> None:
    done = push(Root(root), "docs", store)
    assert (done.changes, done.sent) == (23, done.bytes)
    back = pull(Root(tmp_path / "new"), "docs", store)
    assert (back.changes, back.served, back.generations) == (23, done.generations[0], done.generations)
    assert answers(tmp_path / "new") == answers(root)
    with LogReader(tmp_path / "new" / "docs") as log:
        assert log.acknowledged == 23  # so a service that writes nothing finds them too, and a cut is seen


def test_what_is_there_is_not_sent_again(tmp_path: Path, root: Path, store: FolderStore) -> None:
    push(Root(root), "docs", store)
    assert push(Root(root), "docs", store).sent == 0
    new = Root(tmp_path / "new")
    pull(new, "docs", store)
    again = pull(new, "docs", store)
    assert again.changes == 0
    assert again.fetched == newest(tmp_path / "store").changes.file.bytes  # the log alone is looked at again


@pytest.mark.parametrize("at", [1, 4, 25])
def test_a_push_that_is_killed_is_not_seen_and_goes_on(
    tmp_path: Path, root: Path, store: FolderStore, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_pieces(monkeypatch)
    assert run_dying("push", root, tmp_path / "store", at).returncode == -9
    assert backups(store, "docs") == []
    with pytest.raises(NotFoundError, match="has no backup of index 'docs'"):
        pull(Root(tmp_path / "new"), "docs", store)
    assert len(there := pieces_in(tmp_path / "store")) == at - 1
    done = push(Root(root), "docs", store)
    assert done.sent == sum(pieces_in(tmp_path / "store").values()) - sum(there.values())
    pull(Root(tmp_path / "new"), "docs", store)
    assert answers(tmp_path / "new") == answers(root)


@pytest.mark.parametrize("at", [1, 3, 12, 20])
def test_a_pull_that_is_killed_is_not_seen_and_goes_on(
    tmp_path: Path, root: Path, store: FolderStore, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_pieces(monkeypatch)
    whole = push(Root(root), "docs", store)
    assert run_dying("pull", tmp_path / "new", tmp_path / "store", at).returncode == -9
    new = Root(tmp_path / "new")
    assert new.names() == []
    done = pull(new, "docs", store)
    if at == 20:
        assert done.fetched < whole.bytes - 10 * PIECE
    assert answers(tmp_path / "new") == answers(root)
    assert not list((tmp_path / "new" / "docs").glob(".pulling-*"))


def test_a_pull_that_ended_as_its_log_was_in_place_does_not_write_over_it_later(
    tmp_path: Path, root: Path, store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(Root(root), "docs", store)
    new = tmp_path / "new"
    pull(Root(new), "docs", store)
    for lost in (LOG_FILE, RECEIPT_FILE):
        (new / "docs" / lost).unlink()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(log_copy, "Receipt", full)
        with pytest.raises(StorageError, match="No space left on device"):
            pull(Root(new), "docs", store)
    assert (new / "docs" / LOG_FILE).stat().st_nlink == 1
    with Log(new / "docs", DIM, None) as log:
        last = log.append([write("later", 1)])
    # As versions before left it, which gave the log in place a second name:
    left = new / "docs" / f"{PULLING_PREFIX}changes-{newest(tmp_path / 'store').changes.file.sha256[:16]}"
    left.mkdir(exist_ok=True)
    (left / LOG_FILE).hardlink_to(new / "docs" / LOG_FILE)
    pull(Root(new), "docs", store)
    assert [change.id for change in changes(new / "docs", last - 1)] == ["later"]


def test_gc_removes_what_a_dead_pull_left(tmp_path: Path, root: Path, store: FolderStore) -> None:
    push(Root(root), "docs", store)
    last = len(pieces_in(tmp_path / "store"))
    assert run_dying("pull", tmp_path / "new", tmp_path / "store", last).returncode == -9
    assert list((tmp_path / "new" / "docs").glob(".pulling-*"))
    Root(tmp_path / "new").gc("docs")
    assert not (tmp_path / "new" / "docs").exists()


def test_the_log_is_copied_whole_while_it_is_written(
    tmp_path: Path, root: Path, documents: Documents, store: FolderStore
) -> None:
    ended, written = threading.Event(), []

    def write() -> None:
        with Log(root / "docs", DIM, None) as log:
            while not ended.is_set():
                written.append(log.append([documents.put(len(written) % 90, len(written)) for _ in range(7)]))

    writing = threading.Thread(target=write)
    writing.start()
    try:
        for number in range(6):
            before = written[-1] if written else 23
            done = push(Root(root), "docs", store)
            assert done.changes is not None
            assert done.changes >= before
            assert (done.changes - 23) % 7 == 0  # whole transactions
            assert pull(Root(tmp_path / str(number)), "docs", store).changes == done.changes
    finally:
        ended.set()
        writing.join()


def test_two_pushes_at_once_make_two_whole_backups(
    tmp_path: Path, root: Path, store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_pieces(monkeypatch)
    pushing = [threading.Thread(target=push, args=(Root(root), "docs", store)) for _ in range(3)]
    for each in pushing:
        each.start()
    for each in pushing:
        each.join()
    found = backups(store, "docs")
    assert len(found) == 3
    for number, backup in enumerate(found):
        pull(Root(tmp_path / str(number)), "docs", store, backup=backup)
        assert answers(tmp_path / str(number)) == answers(root)
    assert not list((tmp_path / "store").rglob(".tmp-*"))


def test_two_pulls_at_once_make_one_whole_index(tmp_path: Path, root: Path, store: FolderStore) -> None:
    push(Root(root), "docs", store)
    refused: list[str] = []

    def one() -> None:
        try:
            pull(Root(tmp_path / "new"), "docs", store)
        except BackupError as error:
            refused.append(str(error))

    pulling = [threading.Thread(target=one) for _ in range(3)]
    for each in pulling:
        each.start()
    for each in pulling:
        each.join()
    assert len(refused) < 3
    assert all("another pull" in each for each in refused), refused
    assert answers(tmp_path / "new") == answers(root)


def test_what_is_served_changes_only_when_told(tmp_path: Path, root: Path, store: FolderStore) -> None:
    push(Root(root), "docs", store)
    second, new = tmp_path / "second", Root(tmp_path / "second")
    pull(new, "docs", store)
    first = new.alias("docs")
    built = rebuilt(root)
    push(Root(root), "docs", store)
    done = pull(new, "docs", store)
    assert (done.served, new.alias("docs")) == (first.generation, first)
    assert built.name in new.generations("docs")
    assert answers(second)["generation"] == first.generation
    assert pull(new, "docs", store, switch=True).served == built.name
    assert new.alias("docs").previous == first.generation
    assert answers(second) == answers(root)


def test_all_generations_come_back_with_their_alias(tmp_path: Path, root: Path, store: FolderStore) -> None:
    built = rebuilt(root)
    before = Root(root).alias("docs")
    push(Root(root), "docs", store, everything=True)
    new = Root(tmp_path / "new")
    done = pull(new, "docs", store, everything=True)
    assert done.generations == Root(root).generations("docs")
    assert new.alias("docs") == before
    assert before.generation == built.name
    new.rollback("docs")
    Root(root).rollback("docs")
    assert answers(tmp_path / "new") == answers(root)


def test_a_standby_follows_by_pulling_again(
    tmp_path: Path, root: Path, documents: Documents, store: FolderStore
) -> None:
    push(Root(root), "docs", store)
    new = Root(tmp_path / "new")
    pull(new, "docs", store)
    with Log(root / "docs", DIM, None) as log:
        log.append([documents.put(number, 3000 + number) for number in range(40)])
    push(Root(root), "docs", store)
    assert pull(new, "docs", store).changes == 40
    assert answers(tmp_path / "new") == answers(root)


def test_a_log_that_went_another_way_is_not_replaced(
    tmp_path: Path, root: Path, documents: Documents, store: FolderStore
) -> None:
    push(Root(root), "docs", store)
    new = tmp_path / "new"
    pull(Root(new), "docs", store)
    for place, seed in ((root, 7000), (new, 8000)):
        with Log(place / "docs", DIM, None) as log:
            log.append([documents.put(number, seed + number) for number in range(4)])
    push(Root(root), "docs", store)
    before = answers(new)
    with pytest.raises(BackupError, match="went different ways before change 27"):
        pull(Root(new), "docs", store)
    assert answers(new) == before


def test_a_log_that_a_service_writes_is_not_touched(
    tmp_path: Path, root: Path, documents: Documents, store: FolderStore
) -> None:
    push(Root(root), "docs", store)
    new = tmp_path / "new"
    pull(Root(new), "docs", store)
    with Log(root / "docs", DIM, None) as log:
        log.append([documents.put(1, 1)])
    push(Root(root), "docs", store)
    with Log(new / "docs", DIM, None), pytest.raises(BackupError, match="Stop that service"):
        pull(Root(new), "docs", store)


def test_changes_are_not_laid_over_a_generation_that_they_are_not_of(
    tmp_path: Path, root: Path, store: FolderStore
) -> None:
    push(Root(root), "docs", store)
    new = tmp_path / "new"
    Documents(30).build(new)
    before = answers(new)
    for switch in (False, True):
        with pytest.raises(BackupError, match="they would change what it answers"):
            pull(Root(new), "docs", store, switch=switch)
    assert answers(new) == before
    assert not (new / "docs" / LOG_FILE).exists()
    with Log(new / "docs", DIM, None):
        pass
    with pytest.raises(BackupError, match="is another log than the backup's"):
        pull(Root(new), "docs", store, switch=True)


def test_a_lost_log_is_restored_beside_its_generation(tmp_path: Path, root: Path, store: FolderStore) -> None:
    rebuilt(root)  # so that the generation names its log
    with Log(root / "docs", DIM, None) as log:
        log.append([Documents(0).put(5, 5)])
    before = answers(root)
    push(Root(root), "docs", store)
    (root / "docs" / LOG_FILE).unlink()
    with pytest.raises(BackupError, match=f"{RECEIPT_FILE} of it is still there"):
        pull(Root(root), "docs", store)
    (root / "docs" / RECEIPT_FILE).unlink()
    assert pull(Root(root), "docs", store).changes == 24
    assert answers(root) == before
    assert folded_to(read_manifest(Root(root).path("docs"))).seq == 23


@pytest.mark.parametrize("file", ["payload.arrow", LOG_FILE])
def test_what_is_damaged_here_is_not_pushed(root: Path, store: FolderStore, file: str) -> None:
    path = next(root.rglob(file))
    raw = bytearray(path.read_bytes())
    raw[len(raw) - 900] ^= 1
    path.write_bytes(raw)
    with pytest.raises(GenerationError, match="is damaged"):
        push(Root(root), "docs", store)
    assert backups(store, "docs") == []


def test_read_back_mends_what_the_store_holds_damaged(tmp_path: Path, root: Path, store: FolderStore) -> None:
    push(Root(root), "docs", store)
    path = max(pieces_in(tmp_path / "store"), key=lambda each: each.stat().st_size)
    raw = bytearray(path.read_bytes())
    raw[100] ^= 4
    path.write_bytes(raw)
    assert push(Root(root), "docs", store).sent == 0
    with pytest.raises(BackupError, match="--read-back"):
        pull(Root(tmp_path / "new"), "docs", store)
    assert push(Root(root), "docs", store, read_back=True).sent == len(raw)
    pull(Root(tmp_path / "new"), "docs", store)
    assert answers(tmp_path / "new") == answers(root)


def test_an_index_that_is_not_there_is_named(tmp_path: Path, root: Path, store: FolderStore) -> None:
    with pytest.raises(NotFoundError, match="there is no index 'other'"):
        push(Root(root), "other", store)
    shutil.rmtree(root / "docs")
    with pytest.raises(NotFoundError, match="nothing was built there yet"):
        push(Root(root), "docs", store)
