"""An archive of an index reaches a container whole or not at all."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from deploy.fetch import fetch
from index import Root, build_generation, verify


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> str:
    with tarfile.open(path, "w") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def file(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def test_an_index_that_was_packed_is_served_elsewhere(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).standard_normal((50, 8), np.float32)
    build_generation(vectors, list(range(50)), root=tmp_path / "here", name="docs")
    with tarfile.open(tmp_path / "docs.tar", "w") as tar:
        tar.add(tmp_path / "here" / "docs", "docs")
    sha256 = hashlib.sha256((tmp_path / "docs.tar").read_bytes()).hexdigest()

    names = fetch((tmp_path / "docs.tar").as_uri(), sha256, tmp_path / "there")

    assert "docs/current" in names
    verify(Root(tmp_path / "there").path("docs"))


def test_another_hash_unpacks_nothing(tmp_path: Path) -> None:
    sha256 = archive(tmp_path / "a.tar", (file("docs/current"), b"x"))
    wrong = "0" * 64
    with pytest.raises(SystemExit, match=f"has sha256 {sha256}, expected {wrong}"):
        fetch((tmp_path / "a.tar").as_uri(), wrong, tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []


@pytest.mark.parametrize(
    "member",
    [
        file("../outside"),
        file("/etc/outside"),
        file("docs/../../outside"),
        file("docs/link", tarfile.SYMTYPE, "/etc/passwd"),
        file("docs/link", tarfile.LNKTYPE, "docs/current"),
        file("docs/device", tarfile.CHRTYPE),
    ],
    ids=lambda member: f"{member.name} {member.type.decode()}",
)
def test_only_plain_files_below_the_root_are_unpacked(member: tarfile.TarInfo, tmp_path: Path) -> None:
    sha256 = archive(tmp_path / "a.tar", (file("docs/current"), b"x"), (member, b""))
    with pytest.raises(SystemExit, match="not a folder or plain file"):
        fetch((tmp_path / "a.tar").as_uri(), sha256, tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []
    assert not (tmp_path / "outside").exists()
