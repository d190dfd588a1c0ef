"""The folder of what is made once from a model: damaged, not to be written, and of a user without a home."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from embed import ModelError
from embed.models import folder
from embed.models.cache import cache_folder, cached
from embed.models.folder import sha256_file


def write(target: Path) -> None:
    target.write_bytes(b"what was made")


def test_it_is_made_once_and_again_when_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERWATT_CACHE", str(tmp_path))
    made = cached("thing.bin", write)
    assert made.parent == tmp_path / "models" == cache_folder()
    before = made.stat().st_mtime_ns
    assert cached("thing.bin", lambda _: pytest.fail("made again")).stat().st_mtime_ns == before
    for damage in (b"What was made", b"what was"):
        made.write_bytes(damage)
        assert cached("thing.bin", write).read_bytes() == b"what was made"


def test_one_that_cannot_be_written_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("PERWATT_CACHE", str(blocked))
    with pytest.raises(ModelError, match="set PERWATT_CACHE"):
        cached("thing.bin", write)


def test_a_user_without_a_home_has_a_cache_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(_class: type[Path]) -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("PERWATT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", classmethod(nowhere))
    assert f"perwatt-{os.getuid()}" in cache_folder().parts


def read_bytes() -> int:
    """What this process has read of all files."""
    said = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(said["rchar"])


def test_a_file_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights"
    file.write_bytes(bytes(8 << 20))
    first = sha256_file(file)
    file.write_bytes(bytes(8 << 19) + b"\1" * (8 << 19))  # at once, and of the same length
    second = sha256_file(file)
    assert second != first
    monkeypatch.setattr(folder, "SETTLED_NS", 0)  # as if it had been so for long enough
    assert sha256_file(file) == second
    read = read_bytes()
    assert sha256_file(file) == second
    assert read_bytes() - read < file.stat().st_size
    times = file.stat()
    with file.open("r+b") as changing:
        changing.write(b"\2")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert sha256_file(file) != second
