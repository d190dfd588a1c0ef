"""The file of keys: what is in it, what is not, who may change it, and what a damaged one does."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from service.access import keys
from service.access.keyring import Keyring
from service.access.quota import Quotas
from service.cli.keys import keys as command
from service.errors import KeysError
from service.wire.problems import Problem


def run(*arguments: object, ok: bool = True) -> Result:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert (result.exit_code == 0) is ok, result.output
    return result


def create(path: Path, name: str, *more: object) -> str:
    return run("create", name, "--keys", path, *more).stdout.strip()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def ring(path: Path) -> Keyring:
    return Keyring(path, Quotas())


def test_a_key_is_printed_once_and_its_hash_is_kept(path: Path) -> None:
    token = create(path, "shop", "--scope", "search", "--index", "docs")
    content = path.read_text()
    secret = token.split("_", 2)[2]
    assert len(secret) == 43  # 256 bits in base64
    assert secret not in content
    assert hashlib.sha256(token.encode()).hexdigest() in content
    assert path.stat().st_mode & 0o777 == 0o600
    caller = ring(path).caller(token)
    assert caller is not None
    assert (caller.name, caller.scope, caller.indexes) == ("shop", "search", frozenset({"docs"}))
    listed = run("list", "--keys", path)
    assert "shop" in listed.output
    assert secret not in listed.output
    assert hashlib.sha256(token.encode()).hexdigest() not in listed.output


def test_two_keys_are_never_the_same(path: Path) -> None:
    assert len({create(path, f"key{number}") for number in range(20)}) == 20


@pytest.mark.parametrize("change", [lambda t: t[:-1], lambda t: t + "A", lambda t: t.swapcase(), lambda t: "x" + t[1:]])
def test_a_key_that_is_nearly_right_is_wrong(path: Path, change: Any) -> None:
    token = create(path, "shop")
    assert ring(path).caller(token) is not None
    assert ring(path).caller(change(token)) is None


@given(st.text(max_size=100))
def test_no_text_is_a_key_by_accident(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    with keys.changing(path) as held:
        keys.add(held, keys.Key("shop", 0, "search", []), None)
    assert ring(path).caller(text) is None


def test_a_rotation_has_two_secrets_that_live_and_no_third(path: Path) -> None:
    first = create(path, "shop", "--index", "docs")
    second = run("rotate", "shop", "--keys", path).stdout.strip()
    held = ring(path)
    assert held.caller(first) == held.caller(second) != None  # noqa: E711
    with pytest.raises(KeysError, match="two live secrets"):
        run("rotate", "shop", "--keys", path)
    run("revoke", first.split("_")[1], "--keys", path)
    held = ring(path)
    assert held.caller(first) is None
    assert held.caller(second) is not None
    third = run("rotate", "shop", "--keys", path).stdout.strip()
    run("revoke", "shop", "--keys", path)
    assert [ring(path).caller(token) for token in (first, second, third)] == [None] * 3
    with pytest.raises(KeysError, match="no key 'shop'"):
        run("revoke", "shop", "--keys", path)


def test_a_rotation_may_end_the_old_secret_by_itself(path: Path) -> None:
    first = create(path, "shop", "--expires", "90d")
    second = run("rotate", "shop", "--old-expires", "0s", "--keys", path).stdout.strip()
    assert ring(path).caller(first) is None
    assert ring(path).caller(second) is not None
    [key] = json.loads(run("list", "--json", "--keys", path).output)
    assert key["secrets"][0]["expires_at"] < datetime.datetime.now(datetime.UTC).isoformat()
    assert key["secrets"][1]["expires_at"] is None


def test_a_secret_ends_when_it_expires(path: Path) -> None:
    assert ring_after(path, create(path, "ended", "--expires", "0s")) is None
    assert ring_after(path, create(path, "alive", "--expires", "1h")) is not None


def ring_after(path: Path, token: str) -> Any:
    return ring(path).caller(token)


def test_every_key_has_a_slot_of_its_own_and_a_freed_one_is_used_again(path: Path) -> None:
    for name in ("a", "b", "c"):
        create(path, name)
    run("revoke", "b", "--keys", path)
    create(path, "d")
    assert {key.name: key.slot for key in keys.read(path)} == {"a": 0, "d": 1, "c": 2}


def test_commands_at_the_same_time_lose_no_key(path: Path) -> None:
    def add(number: int) -> None:
        with keys.changing(path) as held:
            keys.add(held, keys.Key(f"key{number}", 0, "search", []), None)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(40)))
    assert sorted(key.name for key in keys.read(path)) == sorted(f"key{number}" for number in range(40))


def test_a_change_that_fails_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create(path, "shop")
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        run("create", "other", "--keys", path)
    assert path.read_bytes() == before
    assert {file.name for file in path.parent.iterdir()} == {"keys.json", "keys.json.lock"}


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (
            b'{"format": 1, "keys": [{"name": "x", "slot": 0, "scope": "search", "secrets": [{"id": "a", "sha256": "0",'
            b'"created_at": "2026-01-01T00:00:00Z"}]}]}',
            "Expected the 64 hexadecimal digits of a SHA-256",
        ),
        (b"", "not a file of keys"),
        (b"{}", "not a file of keys"),
        (b"\xff", "not a file of keys"),
        (b'{"format": 2, "keys": []}', "format 2"),
        (b'{"format": 1, "keys": [], "more": 1}', "not a file of keys"),
        (b'{"format": 1, "keys": [{"name": "x", "slot": 0, "scope": "root", "secrets": []}]}', "not a file of keys"),
        (b'{"format": 1, "keys": [{"name": "X!", "slot": 0, "scope": "search", "secrets": []}]}', "is none"),
        (
            b'{"format": 1, "keys": [{"name": "x", "slot": 0, "scope": "search", "secrets": []},'
            b'{"name": "y", "slot": 0, "scope": "search", "secrets": []}]}',
            "same slot",
        ),
    ],
)
def test_a_file_that_is_none_is_refused(path: Path, content: bytes, word: str) -> None:
    path.write_bytes(content)
    with pytest.raises(KeysError, match=word):
        ring(path)


def test_a_file_that_others_may_write_is_refused(path: Path) -> None:
    create(path, "shop")
    path.chmod(0o620)
    with pytest.raises(KeysError, match="chmod 600"):
        ring(path)
    path.chmod(0o640)
    assert len(ring(path)) == 1


def test_a_file_that_is_not_there_says_how_to_make_one(path: Path) -> None:
    with pytest.raises(KeysError, match="perwatt keys create"):
        ring(path)


def test_the_ring_follows_the_file_and_survives_a_damaged_one(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = create(path, "first")
    held = ring(path)
    assert not held.follow()
    second = create(path, "second")
    assert held.caller(second) is None
    assert held.follow()
    assert held.caller(second) is not None
    content = path.read_bytes()
    path.write_bytes(content[:-30])
    assert not held.follow()
    assert "stay as they were" in caplog.text
    path.unlink()
    assert not held.follow()
    assert held.caller(first) is not None
    path.write_bytes(content)
    run("revoke", "first", "--keys", path)
    assert held.follow()
    assert held.caller(first) is None


def test_digests_are_compared_in_constant_time_and_for_unknown_ids_too(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hmac

    token = create(path, "shop")
    held = ring(path)
    compared: list[tuple[str, str]] = []
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append((a, b)) or a == b)
    name = token.split("_")[1]
    for sent in (token, f"pw_{name}_wrong", "pw_000000000000_wrong", "nonsense"):
        held.caller(sent)
    assert [len(a) == len(b) == 64 for a, b in compared] == [True] * 4
    assert [a == b for a, b in compared] == [True, False, False, False]


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "Shop"),
        ("create", ""),
        ("create", "shop", "--index", "../x"),
        ("create", "shop", "--filter", "{"),
        ("create", "shop", "--filter", "[]"),
        ("rotate", "nobody"),
    ],
)
def test_what_makes_no_sense_is_refused_and_writes_nothing(path: Path, arguments: tuple[str, ...]) -> None:
    with pytest.raises(KeysError):
        run(*arguments, "--keys", path)
    assert not path.exists()


def test_usage_errors_are_usage_errors(path: Path) -> None:
    for arguments in (("--burst", 3), ("--expires", "soon"), ("--scope", "root"), ("--rate", 0)):
        assert run("create", "shop", "--keys", path, *arguments, ok=False).exit_code == 2


def test_a_key_in_a_freed_slot_owes_nothing(path: Path) -> None:
    """The debt of the key that had the slot before is not its own; that of a key which stays is."""
    tokens = {name: create(path, name, "--rate", "0.001", "--burst", 2) for name in ("stays", "goes")}
    held = ring(path)
    for token in tokens.values():
        caller = held.caller(token)
        assert caller is not None
        caller.charge(500)
    run("revoke", "goes", "--keys", path)
    assert held.follow()
    tokens["comes"] = create(path, "comes", "--rate", "0.001", "--burst", 2)
    assert held.follow()
    through = {}
    for name in ("stays", "comes"):
        caller = held.caller(tokens[name])
        assert caller is not None
        assert caller.quota is not None
        try:
            caller.quota.take()
            through[name] = True
        except Problem:
            through[name] = False
    assert through == {"stays": False, "comes": True}
    assert {key.slot for key in keys.read(path)} == {0, 1}
