"""push and pull through a real server of S3's API, and through one that fails, stalls and breaks off."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from backing_up import answers, made, small_pieces
from patience import patient
from store_servers import BUCKET, KEY, SECRET, Front, client, credentials, seaweed
from warm import shared

from deploy.jobs.fetch import fetch
from index.backup.contents import backups
from index.backup.objects import Objects
from index.backup.pull import pull
from index.backup.push import push
from index.disk.root import Root
from index.errors import BackupError, NotFoundError


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with seaweed(tmp_path_factory.mktemp("seaweed")) as address:
        yield address


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pushed") / "root"
    made(folder)
    return folder


@pytest.fixture
def address(request: pytest.FixtureRequest) -> str:
    """A prefix of the bucket for this test alone."""
    return f"s3://{BUCKET}/{request.node.name.replace('[', '-').replace(']', '')}"


def keys(endpoint: str, address: str) -> dict[str, int]:
    pages = client(endpoint).get_paginator("list_objects_v2")
    found = pages.paginate(Bucket=BUCKET, Prefix=address.removeprefix(f"s3://{BUCKET}/") + "/")
    return {entry["Key"]: entry["Size"] for page in found for entry in page.get("Contents", [])}


def perwatt(endpoint: str, *words: object, code: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
    with pytest.MonkeyPatch.context() as patching:
        credentials(endpoint, patching)
        done = shared().run(*map(str, words), **more)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert SECRET not in done.stdout + done.stderr
    return done


def test_the_commands_bring_an_index_through_the_store(tmp_path: Path, root: Path, endpoint: str, address: str) -> None:
    assert "has no backup of index docs" in perwatt(endpoint, "pull", "docs", address, "--list").stdout
    first = json.loads(perwatt(endpoint, "push", "docs", address, "--root", root, "--json").stdout)
    assert (first["sent"], first["changes"]) == (first["bytes"], 23)
    assert "0.0 MiB were sent" in perwatt(endpoint, "push", "docs", address, "--root", root).stdout
    listed = json.loads(perwatt(endpoint, "pull", "docs", address, "--list", "--json").stdout)
    assert listed[0]["backup"] == first["backup"]
    assert len(listed) == 2
    said = perwatt(endpoint, "pull", "docs", address, "--root", tmp_path / "new").stdout
    assert f"docs serves {first['generations'][0]}" in said
    assert answers(tmp_path / "new") == answers(root)


def test_a_push_that_was_cut_off_sends_only_the_rest(
    tmp_path: Path, root: Path, endpoint: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials(endpoint, monkeypatch)
    small_pieces(monkeypatch)

    class CutOff(Objects):
        left = 9

        def put(self, name: str, content: bytes) -> None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            super().put(name, content)

    with pytest.raises(KeyboardInterrupt):
        push(Root(root), "docs", CutOff(address))
    there = keys(endpoint, address)
    assert len(there) == 9
    store = Objects(address)
    assert backups(store, "docs") == []
    done = push(Root(root), "docs", store)
    pieces = {key: size for key, size in keys(endpoint, address).items() if not key.endswith(".json")}
    assert done.sent == sum(pieces.values()) - sum(there.values())
    pull(Root(tmp_path / "new"), "docs", store)
    assert answers(tmp_path / "new") == answers(root)


def test_a_flipped_byte_in_the_store_is_refused_by_name(
    tmp_path: Path, root: Path, endpoint: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials(endpoint, monkeypatch)
    store, asking = Objects(address), client(endpoint)
    push(Root(root), "docs", store)
    found = keys(endpoint, address)
    key = max((each for each in found if "/generations/" in each), key=lambda each: found[each])
    raw = bytearray(asking.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    raw[len(raw) // 2] ^= 1
    asking.put_object(Bucket=BUCKET, Key=key, Body=bytes(raw))
    with pytest.raises(BackupError, match="is damaged: a piece of") as caught:
        pull(Root(tmp_path / "new"), "docs", store)
    assert key in str(caught.value)
    assert Root(tmp_path / "new").names() == []
    assert push(Root(root), "docs", store, read_back=True).sent == len(raw)
    asking.put_object(Bucket=BUCKET, Key=key, Body=bytes(raw) + b"more")
    with pytest.raises(BackupError, match="nothing of it was read"):
        pull(Root(tmp_path / "new"), "docs", store)
    asking.delete_object(Bucket=BUCKET, Key=key)
    with pytest.raises(BackupError, match="is missing"):
        pull(Root(tmp_path / "new"), "docs", store)


def test_two_pushes_at_once(
    tmp_path: Path, root: Path, endpoint: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials(endpoint, monkeypatch)
    pushing = [threading.Thread(target=push, args=(Root(root), "docs", Objects(address))) for _ in range(2)]
    for each in pushing:
        each.start()
    for each in pushing:
        each.join()
    found = backups(Objects(address), "docs")
    assert len(found) == 2
    for backup in found:
        pull(Root(tmp_path / backup), "docs", Objects(address), backup=backup)
        assert answers(tmp_path / backup) == answers(root)


@pytest.mark.parametrize(
    "faults", [("500", "503"), ("reset",), ("half",), ("429", "slow"), ("silent", "502")], ids="-".join
)
def test_a_store_that_fails_for_a_while_is_asked_again(
    tmp_path: Path, root: Path, endpoint: str, address: str, faults: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    front = Front(endpoint, *faults)
    with front as failing:
        credentials(failing, monkeypatch)
        store = Objects(address, timeout_s=2 if "silent" in faults else patient(10), patience_s=patient(120))
        push(Root(root), "docs", store)
        pull(Root(tmp_path / "new"), "docs", store)
    assert all(front.failed[fault] > 20 for fault in faults), front.failed
    assert answers(tmp_path / "new") == answers(root)


def test_a_store_that_goes_on_failing_is_named_and_nothing_is_seen(
    tmp_path: Path, root: Path, endpoint: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What answers is not what broke off: its patience is the library's, and is not had five times over.
    monkeypatch.setattr("index.backup.objects._PAUSES_S", (3600.0,))
    with Front(endpoint, *["503"] * 1000) as failing:
        credentials(failing, monkeypatch)
        with pytest.raises(BackupError, match="503") as caught:
            push(Root(root), "docs", Objects(address, patience_s=1))
        assert "The same command goes on from here" in str(caught.value)
        with pytest.raises(BackupError, match="503"):
            pull(Root(tmp_path / "new"), "docs", Objects(address, patience_s=1))
    assert keys(endpoint, address) == {}
    assert not (tmp_path / "new").exists()


def test_wrong_credentials_and_buckets_are_named_and_no_secret_is_shown(
    tmp_path: Path, root: Path, endpoint: str, address: str
) -> None:
    wrong = perwatt(
        endpoint, "push", "docs", address, "--root", root, code=1, AWS_SECRET_ACCESS_KEY="another-secret-altogether"
    )
    assert "403" in wrong.stderr
    assert "Give credentials that may read, write and list there" in wrong.stderr
    assert "another-secret-altogether" not in wrong.stderr
    assert KEY not in wrong.stderr
    gone = perwatt(endpoint, "pull", "docs", "s3://no-such-bucket/x", "--root", tmp_path / "new", code=1)
    assert "the bucket of s3://no-such-bucket/x is not there" in gone.stderr


def test_a_newest_backup_of_nothing_is_named(
    tmp_path: Path, endpoint: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials(endpoint, monkeypatch)
    with pytest.raises(NotFoundError, match=f"perwatt push docs {address}"):
        pull(Root(tmp_path / "new"), "docs", Objects(address))


def test_an_archive_is_fetched_from_the_store_and_goes_on_where_it_broke_off(
    tmp_path: Path, root: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials(endpoint, monkeypatch)
    with tarfile.open(tmp_path / "docs.tar", "w") as tar:
        tar.add(root / "docs", "docs")
    content = (tmp_path / "docs.tar").read_bytes()
    client(endpoint).put_object(Bucket=BUCKET, Key="archives/docs.tar", Body=content)
    sha256, url = hashlib.sha256(content).hexdigest(), f"s3://{BUCKET}/archives/docs.tar"
    front = Front(endpoint, "503", "half", "half")
    with front as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        assert "docs/current" in fetch(url, sha256, tmp_path / "there")
    assert front.failed == {"503": 1, "half": 2}
    assert answers(tmp_path / "there") == answers(root)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(SystemExit, match=rf"^{url}\.gz is missing .*Nothing was unpacked\.$"):
        fetch(f"{url}.gz", sha256, tmp_path / "nowhere")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")
    with pytest.raises(SystemExit, match="was refused") as refused:
        fetch(url, sha256, tmp_path / "nowhere")
    assert "another-secret" not in str(refused.value)
