"""Backups that somebody else wrote or damaged: refused by name, with nothing in the root and nothing outside of it."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from backing_up import made, newest, pieces_in

from index.backup.address import open_store
from index.backup.contents import Backup, file_of, write_backup
from index.backup.pull import pull
from index.backup.push import push
from index.backup.store import FolderStore
from index.disk.root import Root
from index.disk.sealed import SEAL, parse_sealed, render_sealed
from index.errors import BackupError, IndexingError, InputError, NotFoundError, StorageError

GENERATION = "docs-20260101T000000Z-0000"


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pushed")
    made(folder / "root")
    push(Root(folder / "root"), "docs", FolderStore(folder / "store"))
    return folder / "store"


@pytest.fixture
def store(tmp_path: Path, pushed: Path) -> FolderStore:
    shutil.copytree(pushed, tmp_path / "store")
    return FolderStore(tmp_path / "store")


def refused(tmp_path: Path, store: FolderStore, error: type[IndexingError] = BackupError) -> str:
    """What a pull of the newest backup is refused with; it must leave nothing that is visible."""
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "new")}
    with pytest.raises(error) as caught:
        pull(Root(tmp_path / "new"), "docs", store)
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "new")} == before
    assert Root(tmp_path / "new").names() == []
    assert not (tmp_path / "new" / "docs" / "changes.sqlite").exists()
    return str(caught.value)


def forge(tmp_path: Path, store: FolderStore, change: Callable[[Any], None]) -> None:
    """Writes the newest backup anew, changed and with a seal that is right."""
    backup = newest(tmp_path / "store")
    content = msgspec.to_builtins(backup)
    change(content)
    store.put(file_of("docs", backup.id), render_sealed(content))


def files_of(content: Any) -> Any:
    return content["generations"][content["served"]]


NAMES = [
    "../escaped", "a/../../escaped", "/etc/escaped", "", ".", "..", "a//b", "a/", "a\\b", "a\0b", "x" * 300,
    "/".join("abcdefghi"), "manifest.json/x",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path, store: FolderStore, name: str) -> None:
    def change(content: Any) -> None:
        files_of(content)[name] = files_of(content)["index.faiss"]

    forge(tmp_path, store, change)
    said = refused(tmp_path, store)
    assert "names a file" in said
    assert not (tmp_path / "new").exists()


def _replaced(key: str, value: Any) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        content[key] = value

    return change


def _file(key: str, value: Any, name: str = "index.faiss") -> Callable[[Any], None]:
    def change(content: Any) -> None:
        files_of(content)[name][key] = value

    return change


def _renamed(generation: str) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        content["generations"] = {generation: files_of(content)}
        content["served"] = generation

    return change


def _log(key: str, value: Any) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        content["changes"][key] = value

    return change


def _without(name: str) -> Callable[[Any], None]:
    return lambda content: files_of(content).pop(name)


FORGED = [
    (_replaced("format", 2), "has format 2 and this version reads 1; use a newer perwatt"),
    (_replaced("format", "1"), "has format '1' and this version reads 1"),
    (_replaced("name", "other"), "of index 'other', not what its name says"),
    (_replaced("id", "20260101T000000.000000Z-0000"), "not what its name says"),
    (_replaced("piece_bytes", 0), "Expected `int` >= 1 - at `$.piece_bytes`"),
    (_replaced("piece_bytes", 1 << 40), "Expected `int` <= 67108864 - at `$.piece_bytes`"),
    (_replaced("generations", []), "Expected `object`, got `array` - at `$.generations`"),
    (_replaced("generations", {}), "was served, and does not hold it"),
    (_replaced("unknown", 1), "contains unknown field `unknown`"),
    (_file("bytes", -1), "Expected `int` >= 0"),
    (_file("bytes", 1 << 70), "Expected `int`"),
    (_file("bytes", 1 << 40), "bytes, and names 1 pieces"),
    (_file("pieces", ["../../../etc/passwd"]), "Expected `str` matching regex"),
    (_file("sha256", "A" * 64), "Expected `str` matching regex"),
    (_file("pieces", []), "names 0 pieces"),
    (_file("bytes", 64), "were expected at most; nothing of it was read"),
    (_renamed("../../docs-20260101T000000Z-0000"), "is not a generation of index 'docs'"),
    (_renamed("docs"), "is not a generation of index 'docs'"),
    (_renamed("other-20260101T000000Z-0000"), "is not a generation of index 'docs'"),
    (_renamed(GENERATION), "is missing"),
    (_without("manifest.json"), "names no manifest.json"),
    (_without("index.faiss"), "names other files of docs-"),
    (_replaced("changes", {"id": 1, "first": 1, "last": 23, "file": 3}), "Expected `object`"),
    (_log("last", 24), "is not the one that it describes"),
    (_log("id", 5), "is not the one that it describes"),
]


@pytest.mark.parametrize(("change", "says"), FORGED, ids=[says[:40] for _, says in FORGED])
def test_a_forged_backup_is_refused_by_name(
    tmp_path: Path, store: FolderStore, change: Callable[[Any], None], says: str
) -> None:
    forge(tmp_path, store, change)
    assert says in refused(tmp_path, store)


def test_a_log_that_is_not_the_generations_is_refused(tmp_path: Path, store: FolderStore) -> None:
    forge(tmp_path, store, _log("first", 9))
    assert "what is between is missing" in refused(tmp_path, store)


def test_a_backup_that_is_larger_than_the_disk_is_refused_before_anything_is_fetched(
    tmp_path: Path, store: FolderStore
) -> None:
    def change(content: Any) -> None:
        entry = files_of(content)["index.faiss"]
        content["piece_bytes"] = 64 << 20
        entry["bytes"], entry["pieces"] = (64 << 20) * 400_000, entry["pieces"] * 400_000  # 25 TiB

    forge(tmp_path, store, change)
    assert "free; nothing was fetched" in refused(tmp_path, store, StorageError)
    assert not (tmp_path / "new").exists()


def test_every_flipped_byte_of_a_backup_is_seen(tmp_path: Path, store: FolderStore) -> None:
    backup = newest(tmp_path / "store")
    path = tmp_path / "store" / file_of("docs", backup.id)
    whole = path.read_bytes()
    assert parse_sealed(whole)[SEAL]
    for place in range(0, len(whole), 97):
        raw = bytearray(whole)
        raw[place] ^= 1
        path.write_bytes(raw)
        assert str(path) in refused(tmp_path, store)
    path.write_bytes(whole[:-10])
    assert "is damaged: not JSON" in refused(tmp_path, store)


@pytest.mark.parametrize("damage", ["flipped", "cut", "longer", "gone", "link", "folder", "fifo"])
def test_a_damaged_piece_is_refused_by_name(tmp_path: Path, store: FolderStore, damage: str) -> None:
    backup = newest(tmp_path / "store")
    stored = backup.generations[backup.served]["payload.arrow"]
    path = next(path for path in pieces_in(tmp_path / "store") if path.name == stored.pieces[0])
    raw = path.read_bytes()
    path.unlink()
    if damage == "flipped":
        path.write_bytes(raw[:99] + bytes([raw[99] ^ 8]) + raw[100:])
    elif damage in ("cut", "longer"):
        path.write_bytes(raw[:-1] if damage == "cut" else raw + b"x")
    elif damage == "link":
        (tmp_path / "elsewhere").write_bytes(raw)
        path.symlink_to(tmp_path / "elsewhere")
    elif damage == "folder":
        path.mkdir()
    elif damage == "fifo":
        os.mkfifo(path)
    said = refused(tmp_path, store)
    assert str(path) in said
    if damage in ("flipped", "cut", "gone"):
        assert "a piece of payload.arrow" in said
        assert "Push again with --read-back" in said


@pytest.mark.parametrize("where", ["", "lexical", "index.faiss"])
def test_a_link_in_the_root_is_not_followed(tmp_path: Path, store: FolderStore, where: str) -> None:
    """What an earlier pull left is taken up again, so it could have been laid there by someone else."""
    folder = tmp_path / "new" / "docs" / f".pulling-{newest(tmp_path / 'store').served}"
    (folder / where).parent.mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (folder / where).symlink_to(tmp_path / "outside")
    assert "holds a link" in refused(tmp_path, store)
    assert not list((tmp_path / "outside").iterdir())


def test_another_generation_of_the_same_name_stays(tmp_path: Path, store: FolderStore) -> None:
    pull(Root(tmp_path / "new"), "docs", store)
    path = Root(tmp_path / "new").path("docs") / "manifest.json"
    raw = path.read_bytes().replace(b"canary", b"canard").replace(b'"count"', b'"Count"')
    path.write_bytes(raw)
    with pytest.raises(BackupError, match="is another generation than the backup's"):
        pull(Root(tmp_path / "new"), "docs", store)
    assert path.read_bytes() == raw


def test_a_backup_that_is_not_there_is_named(tmp_path: Path, store: FolderStore) -> None:
    for wanted in ("20260101T000000.000000Z-0000", "../../x", ""):
        with pytest.raises(NotFoundError, match="--list"):
            pull(Root(tmp_path / "new"), "docs", store, backup=wanted)
    with pytest.raises(InputError, match="is not an index name"):
        pull(Root(tmp_path / "new"), "../docs", store)


@pytest.mark.parametrize("address", ["ftp://host/x", "s3://", "http://host/bucket", "file:///tmp/x"])
def test_an_address_that_is_no_store_is_named(address: str) -> None:
    with pytest.raises(InputError, match="expected a folder, or s3://BUCKET/PREFIX"):
        open_store(address)


@pytest.mark.parametrize("address", ["s3://AKIAKEY:hunter2@bucket/x", "s3://bucket/x?token=hunter2"])
def test_credentials_in_an_address_are_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(InputError, match="Credentials go into the environment") as caught:
        open_store(address)
    assert "hunter2" not in str(caught.value)
    assert "AKIAKEY" not in str(caught.value)


def test_a_backup_is_read_as_it_was_written(tmp_path: Path, store: FolderStore) -> None:
    backup = newest(tmp_path / "store")
    assert isinstance(backup, Backup)
    write_backup(store, backup)
    assert newest(tmp_path / "store") == backup


@pytest.mark.parametrize("place", ["file", "read-only"])
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, place: str) -> None:
    made(tmp_path / "root")
    to = Path("/proc/nowhere")
    if place == "file":
        to = tmp_path / "file"
        to.write_text("")
    with pytest.raises(BackupError, match="cannot be written"):
        push(Root(tmp_path / "root"), "docs", FolderStore(to))


def test_files_that_go_while_a_folder_is_listed_are_passed_over(store: FolderStore, tmp_path: Path) -> None:
    """Those of another push, which gets its pieces their names meanwhile."""
    busy = tmp_path / "store" / "busy"
    busy.mkdir()
    (busy / "stays").write_bytes(b"1234")
    ended = threading.Event()

    def come_and_go() -> None:
        while not ended.is_set():
            for number in range(50):
                (busy / f".tmp-{number}").touch()
            for number in range(50):
                (busy / f".tmp-{number}").unlink()

    other = threading.Thread(target=come_and_go)
    other.start()
    try:
        assert all(store.sizes("busy") == {"stays": 4} for _ in range(300))
    finally:
        ended.set()
        other.join()
