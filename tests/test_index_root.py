"""The alias: one step, one winner, and a way back."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner
from indexing import clustered, names

from index import ConflictError, GenerationError, InputError, NotFoundError, Root, build_generation, open_generation
from index.keeping import gc


def built(root: Path, name: str = "test", count: int = 60) -> str:
    return build_generation(clustered(count, 8), names(count), root=root, name=name, switch=False).name


@pytest.fixture
def three(tmp_path: Path) -> tuple[Root, list[str]]:
    return Root(tmp_path), [built(tmp_path) for _ in range(3)]


def test_nothing_is_served_until_something_was_switched_to(three: tuple[Root, list[str]]) -> None:
    root, generations = three
    with pytest.raises(NotFoundError) as info:
        root.alias("test")
    assert str(info.value) == (
        f"index 'test' under {root.folder} serves no generation: none of {', '.join(generations)} was switched to; "
        f"`perwatt switch test {generations[-1]}` serves it"
    )
    (root.folder / "empty").mkdir()
    with pytest.raises(NotFoundError, match="nothing was built yet; `perwatt build VECTORS --index NAME` does"):
        root.alias("empty")
    assert sorted(generations) == root.generations("test")
    assert root.names() == ["test"]


def test_switch_and_rollback(three: tuple[Root, list[str]]) -> None:
    root, (one, two, three_) = three
    assert root.switch("test", one)[:2] == (one, None)
    assert root.switch("test", two)[:2] == (two, one)
    assert root.switch("test", three_)[:2] == (three_, two)
    assert root.rollback("test")[:2] == (two, three_)
    assert root.path("test").name == two
    assert root.rollback("test")[:2] == (three_, two)
    assert root.path("test", one).name == one
    with open_generation(root.path("test")) as generation:
        assert generation.id == three_


def test_switching_to_what_is_served_keeps_the_way_back(three: tuple[Root, list[str]]) -> None:
    root, (one, two, _) = three
    root.switch("test", one)
    before = root.switch("test", two)
    assert root.switch("test", two) == before


def test_the_etag_changes_with_the_alias_and_guards_it(three: tuple[Root, list[str]]) -> None:
    root, (one, two, three_) = three
    first = root.switch("test", one, expect_etag="")
    second = root.switch("test", two, expect_etag=first.etag)
    assert len({first.etag, second.etag}) == 2
    with pytest.raises(ConflictError, match="has changed since it was read") as info:
        root.switch("test", three_, expect_etag=first.etag)
    assert info.value.etag == second.etag
    with pytest.raises(ConflictError):
        root.rollback("test", expect_etag="")
    assert root.alias("test") == second


def test_of_many_who_switch_with_one_etag_one_wins(three: tuple[Root, list[str]]) -> None:
    root, (one, two, three_) = three
    etag = root.switch("test", one).etag
    outcomes: list[str] = []

    def switch(generation: str) -> None:
        try:
            outcomes.append(root.switch("test", generation, etag).generation)
        except ConflictError:
            outcomes.append("lost")

    threads = [threading.Thread(target=switch, args=(generation,)) for generation in (two, three_) * 6]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("lost") == 11
    assert root.alias("test").generation in outcomes


def test_readers_see_one_alias_or_the_other_while_it_changes(three: tuple[Root, list[str]]) -> None:
    root, generations = three
    root.switch("test", generations[0])
    done, seen, wrong = threading.Event(), set[str](), list[BaseException]()

    def read() -> None:
        while not done.is_set():
            try:
                seen.add(root.alias("test").generation)
            except BaseException as error:
                wrong.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(60):
        root.switch("test", generations[turn % 3])
    done.set()
    reader.join()
    assert wrong == []
    assert seen <= set(generations)


def test_a_switch_between_the_name_and_its_folder_is_no_damage(
    three: tuple[Root, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, generations = three
    root.switch("test", generations[0])
    listed = Root.generations

    def switched(self: Root, name: str) -> list[str]:
        monkeypatch.undo()
        root.switch("test", generations[1])
        return listed(self, name)

    monkeypatch.setattr(Root, "generations", switched)
    assert root.path("test").name == generations[0]
    assert root.path("test").name == generations[1]


def test_a_damaged_generation_is_not_switched_to(three: tuple[Root, list[str]]) -> None:
    root, (one, two, _) = three
    before = root.switch("test", one)
    file = root.path("test", two) / "codes.i8"
    raw = bytearray(file.read_bytes())
    raw[100] ^= 4
    file.write_bytes(raw)
    with pytest.raises(GenerationError, match=r"codes\.i8: is damaged"):
        root.switch("test", two)
    assert root.alias("test") == before


def test_any_damage_to_the_alias_file_is_seen(three: tuple[Root, list[str]]) -> None:
    root, (one, *_) = three
    root.switch("test", one)
    file = root.folder / "test" / "current"
    raw = file.read_bytes()
    for place in range(len(raw)):
        damaged = bytearray(raw)
        damaged[place] ^= 1 << place % 8
        file.write_bytes(damaged)
        with pytest.raises(GenerationError, match="current"):
            root.alias("test")
    for damaged in (b"", raw[:-1], raw + b" ", b"[]", b"\xff"):
        file.write_bytes(damaged)
        with pytest.raises(GenerationError, match="current"):
            root.alias("test")


def test_a_manifest_that_was_exchanged_whole_is_seen(three: tuple[Root, list[str]]) -> None:
    """Its own seal is valid; the alias remembers another."""
    from index.disk.manifest import read_manifest
    from index.disk.sealed import write_sealed

    root, (one, *_) = three
    root.switch("test", one)
    path = root.path("test")
    write_sealed(path / "manifest.json", read_manifest(path) | {"created_at": "2020-01-01T00:00:00+00:00"})
    with pytest.raises(GenerationError, match=r"manifest\.json: is not the one that was switched to"):
        root.path("test")


def test_names_that_are_none_never_reach_the_disk(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    root = Root(tmp_path / "root")
    for name in ("..", "../secret", "a/b", "", "A", "-x", ".hidden", "a" * 64, "a\n"):
        with pytest.raises(InputError, match="is not an index name"):
            root.alias(name)
    for generation in ("../x", "..", ".lock", "current", ""):
        built(tmp_path / "root")
        with pytest.raises(NotFoundError):
            root.path("test", generation)
    with pytest.raises(NotFoundError, match="there is no index 'other'"):
        root.alias("other")
    assert Root(tmp_path / "nowhere").names() == []


def test_there_is_nothing_to_roll_back_to_at_first(three: tuple[Root, list[str]]) -> None:
    root, (one, two, _) = three
    root.switch("test", one)
    with pytest.raises(NotFoundError, match="no generation before"):
        root.rollback("test")
    root.switch("test", two)
    root.switch("test", one)
    assert root.gc("test", keep=0)
    root.switch("test", two)


@pytest.mark.parametrize(("keep", "gone"), [(0, 3), (1, 2), (2, 1), (5, 0)])
def test_gc_keeps_what_is_served_what_was_and_the_newest(tmp_path: Path, keep: int, gone: int) -> None:
    root, generations = Root(tmp_path), sorted(built(tmp_path) for _ in range(5))
    root.switch("test", generations[0])
    root.switch("test", generations[1])
    deleted = root.gc("test", keep)
    assert deleted == generations[2 : 2 + gone]
    assert root.generations("test") == [g for g in generations if g not in deleted]
    assert root.rollback("test").generation == generations[0]


def test_gc_leaves_a_build_that_is_alive_and_removes_a_dead_one(tmp_path: Path) -> None:
    root = Root(tmp_path)
    built(tmp_path)
    alive, dead = tmp_path / "test" / ".building-alive", tmp_path / "test" / ".building-dead"
    for folder in (alive, dead):
        folder.mkdir()
        (folder / "index.faiss").write_bytes(b"half")
    handle = os.open(alive, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert root.gc("test") == [".building-dead"]
        assert alive.exists()
        assert not dead.exists()
    finally:
        os.close(handle)
    assert root.gc("test") == [".building-alive"]


def test_gc_removes_an_alias_that_was_half_written_when_its_process_died(tmp_path: Path) -> None:
    root = Root(tmp_path)
    generation = built(tmp_path)
    half = tmp_path / "test" / ".tmp-current.4711"
    half.write_bytes(b"{")
    root.switch("test", generation)
    root.gc("test")
    assert not half.exists()
    assert root.alias("test").generation == generation


def test_gc_removes_an_index_whose_first_build_was_killed(tmp_path: Path) -> None:
    root = Root(tmp_path)
    dead = tmp_path / "never" / ".building-dead"
    dead.mkdir(parents=True)
    (tmp_path / "never" / ".lock").touch()
    (tmp_path / "other").mkdir()  # not ours
    assert root.names() == []
    assert root.names(unfinished=True) == ["never"]
    handle = os.open(dead, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert root.gc("never") == []  # it is alive
        assert dead.exists()
    finally:
        os.close(handle)
    assert CliRunner().invoke(gc, ["--root", str(tmp_path)]).output == "never: deleted .building-dead\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["other"]


def test_other_processes_wait_for_the_lock(three: tuple[Root, list[str]]) -> None:
    root, (one, *_) = three
    code = f"from index import Root; print(Root({str(root.folder)!r}).switch('test', {one!r}).generation)"
    with root.locked("test"):
        other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(2)
        assert not (root.folder / "test" / "current").exists()
    assert other.communicate()[0].strip() == one
