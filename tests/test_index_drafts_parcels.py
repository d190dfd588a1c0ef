"""Parts of a draft that others do, in memory and in a shared folder: the same links, whoever helps, leaves or lies."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from indexing import clustered
from numpy.typing import NDArray
from patience import patient
from walks import encoded

from index import InputError, build_generation, kernels
from index.build.drafts import parcels
from index.build.drafts.command import draft as draft_command
from index.build.drafts.parcels import Helper, SharedParts
from index.disk.layout import DEGREE, Layout
from index.errors import StorageError
from index.kernels import _native

COUNT, DIM = 3000, 48
PLAN = {"fan": 4, "leaf": 40, "near": 40, "drawn": 8, "strangers": 4, "degree": DEGREE, "connected": True}


def layout_of(count: int = COUNT, dim: int = DIM) -> Layout:
    vectors = clustered(count, dim, seed=dim)
    vectors[: count // 8] = vectors[0]  # equal ones, which are told apart by their numbers
    return encoded(vectors, np.full((count, DEGREE), -1, np.int32), True)


def drafted(layout: Layout, which: NDArray[np.int32] | None = None) -> _native.Draft:
    return layout.graph().draft(which, *PLAN.values(), 1)


def linked(draft: _native.Draft, count: int = COUNT) -> NDArray[np.int32]:
    out, done = np.empty((count, DEGREE), np.int32), np.zeros(1, np.uint64)
    draft.link(1, out, done)
    return out


def at_home(draft: _native.Draft) -> None:
    draft.meet(0, len(draft.starts) - 1, 1, np.zeros(1, np.uint64))


def array(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)


def elsewhere(draft: _native.Draft, first: int, last: int, unit: str = "", threads: int = 1) -> None:
    parcel = array(draft.parcel(first, last))
    reply = array(_native.reply_to(parcel, threads, unit))
    draft.take(first, last, _native.parcel_hash(parcel), reply, np.zeros(1, np.uint64))


@pytest.fixture(scope="module")
def layout() -> Layout:
    return layout_of()


@pytest.fixture(scope="module")
def expected(layout: Layout) -> NDArray[np.int32]:
    draft = drafted(layout)
    at_home(draft)
    return linked(draft)


@pytest.mark.parametrize("unit", kernels.units())
@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_parts_that_met_elsewhere_are_linked_alike(
    layout: Layout, expected: NDArray[np.int32], unit: str, at_once: int
) -> None:
    draft = drafted(layout)
    last = len(draft.starts) - 1
    for first in reversed(range(0, last, at_once)):
        elsewhere(draft, first, min(first + at_once, last), unit, threads=2)
    np.testing.assert_array_equal(linked(draft), expected)


@pytest.mark.parametrize(("count", "dim"), [(1, 8), (90, 8), (700, 130), (900, 384)])
def test_some_parts_meet_at_home_and_some_elsewhere(count: int, dim: int) -> None:
    layout, which = layout_of(count, dim), np.arange(0, count, 2, dtype=np.int32)
    home, mixed = drafted(layout, which), drafted(layout, which)
    at_home(home)
    for part in range(len(mixed.starts) - 1):
        if part % 3:
            mixed.meet(part, part + 1, 1, np.zeros(1, np.uint64))
        else:
            elsewhere(mixed, part, part + 1)
    np.testing.assert_array_equal(linked(mixed, count), linked(home, count))


def test_what_is_damaged_or_anothers_is_refused_and_leaves_no_trace(
    layout: Layout, expected: NDArray[np.int32]
) -> None:
    draft, random, done = drafted(layout), np.random.default_rng(5), np.zeros(1, np.uint64)
    last = len(draft.starts) - 1
    whole, other = (array(draft.parcel(*parts)) for parts in ((0, last), (0, last - 1)))
    hash_, reply = _native.parcel_hash(whole), array(_native.reply_to(whole))
    for parcel in (whole, reply):
        for length in (0, 8, 40, 72, len(parcel) - 8):
            with pytest.raises(ValueError, match="damaged"):
                _native.reply_to(parcel[:length]) if parcel is whole else draft.take(
                    0, last, hash_, parcel[:length], done
                )
    for _ in range(50):
        flipped = np.array(whole), np.array(reply)
        for each in flipped:
            each[random.integers(len(each))] ^= 1 << int(random.integers(8))
        with pytest.raises(ValueError, match="damaged"):
            _native.reply_to(flipped[0])
        with pytest.raises(ValueError, match="damaged"):
            draft.take(0, last, hash_, flipped[1], done)
    with pytest.raises(ValueError, match="another parcel"):
        draft.take(0, last, hash_, array(_native.reply_to(other)), done)
    with pytest.raises(ValueError, match="do not fit"):
        draft.take(0, 2, hash_, reply, done)
    assert int(done[0]) == 0
    draft.take(0, last, hash_, reply, done)
    assert int(done[0]) == draft.starts[-1]
    np.testing.assert_array_equal(linked(draft), expected)


def resealed(parcel: NDArray[np.uint8], place: int, value: int) -> NDArray[np.uint8]:
    """With another number, and the hash that goes with it: from somebody who means it."""
    words = np.array(parcel).view(np.uint64)
    words[place] = value
    mask = (1 << 64) - 1
    hash_ = len(parcel) - 16
    for word in words[2:].tolist():
        z = ((hash_ ^ word) + 0x9E3779B97F4A7C15) & mask
        z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & mask
        hash_ = z ^ z >> 31
    words[1] = hash_
    return words.view(np.uint8)


def test_numbers_that_lead_out_of_a_parcel_are_refused(layout: Layout) -> None:
    draft = drafted(layout)
    parcel = array(draft.parcel(0, 3))
    assert _native.reply_to(resealed(parcel, 2, int(parcel.view(np.uint64)[2])))  # the hash is this one
    words, random = len(parcel) // 8, np.random.default_rng(3)
    for place in [*range(2, 9), *random.integers(9, words, 200).tolist()]:
        for value in (0, 1 << 31, (1 << 64) - 1, int(random.integers(1 << 62))):
            changed = resealed(parcel, place, value)
            with suppress(ValueError):
                assert len(_native.reply_to(changed)) > 0


def test_a_draft_is_linked_once_and_has_no_other_parts_than_its_own(layout: Layout) -> None:
    draft = drafted(layout)
    for first, last in ((0, len(draft.starts)), (2, 2), (3, 2)):
        with pytest.raises(ValueError, match="no such parts"):
            draft.parcel(first, last)
    at_home(draft)
    linked(draft)
    with pytest.raises(ValueError, match="linked already"):
        linked(draft)


def test_parcels_hold_all_parts_in_their_order() -> None:
    starts = [0, 5, 5, 30, 31, 40, 41]
    assert parcels.parcels(starts, 10) == [(0, 3), (3, 5), (5, 6)]
    assert parcels.parcels(starts, 1000) == [(0, 6)]
    assert parcels.parcels([0, 0], 10) == [(0, 1)]


class Slow:
    """A draft whose home is slow, so that there is time to help."""

    def __init__(self, draft: _native.Draft) -> None:
        self._draft = draft

    def __getattr__(self, name: str) -> Any:
        return getattr(self._draft, name)

    def meet(self, first: int, last: int, threads: int, done: NDArray[np.uint64]) -> None:
        time.sleep(0.05)
        self._draft.meet(first, last, threads, done)


@pytest.fixture
def shared(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], tuple[SharedParts, NDArray[np.int32], int]]:
    """A draft in the folder tmp_path / "parts" of some thirty parcels: its parts, its links, and how far it got."""
    monkeypatch.setattr(parcels, "MEMBERS", 400)

    def meet() -> tuple[SharedParts, NDArray[np.int32], int]:
        draft, done = drafted(layout), np.zeros(1, np.uint64)
        parts, members = SharedParts(tmp_path / "parts", 1, patience_s=0.3), draft.starts[-1]
        slow: Any = Slow(draft)
        parts.meet(slow, done)
        assert int(done[0]) == members
        assert list((tmp_path / "parts").iterdir()) == []
        return parts, linked(draft), parts.elsewhere

    return meet


def test_a_helper_of_another_process_does_some_of_it(
    shared: Callable[[], Any], expected: NDArray[np.int32], tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "deploy.command",
        "draft",
        str(tmp_path / "parts"),
        "--threads",
        "1",
        "--idle",
        "20",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as helper:
        try:
            for _ in range(20):  # until it is up
                parts, links, did = shared()
                np.testing.assert_array_equal(links, expected)
                if did:
                    break
        finally:
            helper.terminate()
    assert 0 < did <= parts.count


def test_nobody_needs_to_help(shared: Callable[[], Any], expected: NDArray[np.int32]) -> None:
    parts, links, did = shared()
    assert (did, parts.count > 20) == (0, True)
    np.testing.assert_array_equal(links, expected)


@contextmanager
def meanwhile(folder: Path, do: Callable[[Path], None]) -> Iterator[list[Path]]:
    """Something is done to every parcel that comes up."""
    seen: list[Path] = []
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            with suppress(FileNotFoundError):  # the build is done, and its folder goes
                for parcel in [each for each in folder.glob("draft-*/*.parcel") if each not in seen]:
                    if parcels._take(parcel.with_suffix(".taken")):
                        seen.append(parcel)
                        do(parcel)
            time.sleep(0.002)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield seen
    finally:
        over.set()
        watching.join()


def test_who_takes_a_parcel_and_dies_costs_time_alone(
    shared: Callable[[], Any], expected: NDArray[np.int32], tmp_path: Path
) -> None:
    most = 0

    def look(parcel: Path) -> None:
        nonlocal most
        most = max(most, len(list(parcel.parent.glob("*.parcel"))))

    with meanwhile(tmp_path / "parts", look) as taken:
        _, links, did = shared()
    assert len(taken) > 3
    assert most <= 2 * parcels._SPARE  # of some thirty
    assert did == 0
    np.testing.assert_array_equal(links, expected)


def test_a_reply_that_is_none_is_done_again(
    shared: Callable[[], Any], expected: NDArray[np.int32], tmp_path: Path
) -> None:
    def lie(parcel: Path) -> None:
        parcels._put(parcel.with_suffix(".reply"), os.urandom(4000))

    with meanwhile(tmp_path / "parts", lie) as taken:
        _, links, did = shared()
    assert len(taken) > 3
    assert did == 0
    np.testing.assert_array_equal(links, expected)


def test_a_helper_leaves_a_damaged_parcel_to_the_build(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "draft-x").mkdir()
    (tmp_path / "draft-x" / "00000.parcel").write_bytes(b"12345678" * 20)
    assert Helper(tmp_path, 0.0).work(2) == 0
    assert "damaged" in capsys.readouterr().err


def test_what_a_killed_build_left_is_removed_once_it_is_old(shared: Callable[[], Any], tmp_path: Path) -> None:
    for name, age_s in (("draft-old", 7200.0), ("draft-new", 60.0)):
        alive = tmp_path / "parts" / name / "alive"
        alive.parent.mkdir(parents=True)
        alive.touch()
        os.utime(alive, (time.time() - age_s, time.time() - age_s))
    with pytest.raises(AssertionError, match="draft-new"):
        shared()
    assert [each.name for each in (tmp_path / "parts").iterdir()] == ["draft-new"]


def test_what_was_killed_while_it_was_removed_is_removed_too(shared: Callable[[], Any], tmp_path: Path) -> None:
    left = tmp_path / "parts" / "draft-half"
    left.mkdir(parents=True)
    (left / "00001.parcel").touch()
    os.utime(left, (time.time() - 7200, time.time() - 7200))
    shared()
    assert not left.exists()


def test_another_build_that_ends_meanwhile_is_let_be(
    shared: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "parts" / "draft-other").mkdir(parents=True)
    (tmp_path / "parts" / "draft-other" / "alive").touch()
    exists = os.path.exists

    def gone(path: Any) -> bool:
        there = exists(path)
        if str(path).endswith("draft-other/alive"):
            shutil.rmtree(tmp_path / "parts" / "draft-other")
        return there

    monkeypatch.setattr(os.path, "exists", gone)
    shared()


def test_where_one_thread_fails_the_others_end_too(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parcels, "MEMBERS", 400)
    slow: Any = Slow(drafted(layout))
    put, met = parcels._put, Counter[str]()
    runs: list[Any] = []

    class Seen(parcels._Run):
        def __init__(self, *how: Any) -> None:
            super().__init__(*how)
            runs.append(self)

    def full(path: Path, data: bytes) -> None:
        met["put"] += 1
        if met["put"] == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        put(path, data)

    def meet(*words: Any) -> None:
        met["meet"] += 1
        limit_s = time.monotonic() + patient(60)
        while met["put"] >= 2 and not runs[0].stopped and time.monotonic() < limit_s:
            time.sleep(0.005)  # the build has to hear of it first
        Slow.meet(slow, *words)

    monkeypatch.setattr(parcels, "_Run", Seen)
    monkeypatch.setattr(parcels, "_put", full)
    monkeypatch.setattr(slow, "meet", meet)
    with pytest.raises(StorageError, match="No space left on device"):
        SharedParts(tmp_path / "parts", 2).meet(slow, np.zeros(1, np.uint64))
    assert met["meet"] <= 4  # of some thirty: what was begun, and the next that waited for it
    assert list((tmp_path / "parts").iterdir()) == []


def test_a_helper_whose_parcel_is_gone_when_it_answers_goes_on(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "draft-x"
    place.mkdir()
    draft = drafted(layout)
    (place / "00000.parcel").write_bytes(draft.parcel(0, 1))

    def stale(path: Path, data: bytes) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(parcels, "_put", stale)
    assert Helper(tmp_path, 0.0, show=False).work(1) == 0
    assert (place / "00000.taken").exists()


def test_a_part_of_very_many_rows_is_not_put_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(parcels, "MEMBERS", 100)
    draft: Any = SimpleNamespace(starts=[*range(0, 1100, 100), 9900, 10000])
    run = parcels._Run(draft, np.zeros(1, np.uint64), tmp_path, 1.0)
    assert (len(run.left), list(run.large)) == (11, [(10, 11)])
    draft.starts = list(range(0, 9000, 900))  # where all are as large, they are put out
    run = parcels._Run(draft, np.zeros(1, np.uint64), tmp_path, 1.0)
    assert (len(run.left), list(run.large)) == (9, [])


def test_a_build_whose_parts_are_shared_makes_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcels, "MEMBERS", 4000)
    how: dict[str, Any] = {"family": "graph", "builder": "quick", "lexical": False, "threads": 2}
    vectors = clustered(COUNT, DIM)
    helper = threading.Thread(target=Helper(tmp_path / "parts", 2.0, show=False).work, args=(2,))
    helper.start()
    together = build_generation(vectors, range(COUNT), root=tmp_path, name="a", parts=tmp_path / "parts", **how)
    helper.join()
    alone = build_generation(vectors, range(COUNT), root=tmp_path, name="b", **how)
    for file in ("index.faiss", "graph.blocks", "graph.root"):
        assert (together / file).read_bytes() == (alone / file).read_bytes()


def test_parts_are_those_of_our_own_builder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="where the builder is own or quick, and it is faiss"):
        build_generation(clustered(300, 8), range(300), root=tmp_path, name="x", builder="faiss", parts=tmp_path / "p")


def test_a_folder_that_cannot_be_written_is_named(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "parts").touch()
    with pytest.raises(StorageError, match="parts cannot be written"):
        SharedParts(tmp_path / "parts", 1).meet(drafted(layout), np.zeros(1, np.uint64))


def test_a_helper_that_may_not_write_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "draft-x").mkdir()
    (tmp_path / "draft-x" / "00000.parcel").write_bytes(b"12345678" * 20)

    def refused(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(StorageError, match="draft-x cannot be written: Permission denied"):
        Helper(tmp_path, 0.0).work(1)


def test_without_anything_to_do_a_helper_ends(tmp_path: Path) -> None:
    done = CliRunner().invoke(draft_command, [str(tmp_path / "none"), "--idle", "0"], catch_exceptions=False)
    waiting = f"waiting for builds that put parcels into {tmp_path / 'none'}, which is not there yet\n"
    assert done.output == f"{waiting}0 parcels done\n"


def test_a_build_that_shares_nothing_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    how: dict[str, Any] = {"root": tmp_path, "name": "x", "parts": tmp_path / "parts", "lexical": False}
    build_generation(clustered(300, 8), range(300), progress=True, **how)
    assert f"nothing is put into {tmp_path / 'parts'}: what is built is of the family flat" in capsys.readouterr().err


def test_who_was_too_slow_leaves_no_reply_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would read it, and it may be 58 MB."""
    parcel = tmp_path / "0-1.parcel"
    parcel.write_bytes(b"bytes")

    def slow(_: object) -> bytes:
        parcel.unlink()  # the build has done it meanwhile
        return b"reply"

    monkeypatch.setattr(parcels._native, "reply_to", slow)
    assert not parcels._done(parcel)
    assert list(tmp_path.iterdir()) == []
