"""Fixtures around `renting`; a test module asks for them with `pytest_plugins = ["renting_fixtures"]`.

credentials  that nobody would take
archives     what machines are given, by name
cloud        one with the stack and no machine
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from late import Late
from renting import REGION, Cloud, Machinery, pack


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)


@pytest.fixture
def archives(tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / "archives"
    folder.mkdir()
    for name in ("serve-amd64", "serve-arm64", "loadtest-amd64"):
        (folder / f"{name}.tar").write_text(f"the bytes of {name}")
    pack(folder / "index.tar", "indexes/docs/current", "vectors/embed.json")
    return {path.stem: path for path in sorted(folder.glob("*.tar"))}


@pytest.fixture(scope="module")
def moto_cloud() -> Iterator[Cloud]:
    with Late("moto").mock_aws():
        yield Cloud()


@pytest.fixture
def cloud(moto_cloud: Cloud) -> Cloud:
    """The stack is made once; machines of another test are gone, or that test has failed."""
    moto_cloud.calls.clear()
    moto_cloud.launches.clear()
    moto_cloud.crash, moto_cloud.error = None, RuntimeError
    moto_cloud.machinery = Machinery()
    moto_cloud.forget()
    return moto_cloud
