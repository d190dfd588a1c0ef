"""An archive of an index reaches a container whole or not at all."""

from __future__ import annotations

import datetime
import hashlib
import http.server
import io
import ipaddress
import os
import ssl
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from deploy.jobs.fetch import fetch, main
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


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """The key and certificate of an authority that nobody knows, which is also the server 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "authority.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def https(authority: Path, tmp_path: Path) -> Iterator[str]:
    """A server of `tmp_path`/served."""
    (tmp_path / "served").mkdir()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def fetched(url: str, sha256: str, root: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SSL_CERT")}
    return subprocess.run(
        [sys.executable, "-m", "deploy.jobs.fetch", url, sha256, str(root)],
        env={**clean, "NO_PROXY": "*", "no_proxy": "*", **environment},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_an_authority_of_ones_own_is_named_by_the_environment(https: str, authority: Path, tmp_path: Path) -> None:
    sha256 = archive(tmp_path / "served" / "a.tar", (file("docs/current"), b"x"))
    url, root = f"{https}/a.tar", tmp_path / "root"

    stranger = fetched(url, sha256, root)
    assert stranger.returncode == 1
    assert stranger.stderr.startswith(f"{url} cannot be fetched: ")
    assert stranger.stderr.endswith("name the file of its certificate in SSL_CERT_FILE.\n")
    assert list(root.iterdir()) == []

    known = fetched(url, sha256, root, SSL_CERT_FILE=str(authority))
    assert known.returncode == 0, known.stderr
    assert (root / "docs" / "current").read_bytes() == b"x"


def test_what_is_not_there_is_said_in_a_sentence(tmp_path: Path) -> None:
    url = (tmp_path / "missing.tar").as_uri()
    with pytest.raises(SystemExit, match=rf"^{url} cannot be fetched: .*Nothing was unpacked\.$"):
        fetch(url, "0" * 64, tmp_path / "root")


class Faulty(http.server.BaseHTTPRequestHandler):
    """Serves `content` after the faults of `faults`, one a request: a status, or how many bytes until it breaks off."""

    content = b""
    ranges = True
    faults: ClassVar[list[str | int]] = []
    seen: ClassVar[list[tuple[str, str]]] = []

    def do_GET(self) -> None:
        asked, who = self.headers.get("range", ""), self.headers.get("authorization", "")
        self.seen.append((asked, who))
        fault = self.faults.pop(0) if self.faults else ""
        if isinstance(fault, str) and fault:
            status, _, place = fault.partition(" ")
            self.send_response(int(status))
            if place:
                self.send_header("location", place)
            self.end_headers()
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.ranges else 0
        self.send_response(206 if asked and self.ranges else 200)
        self.send_header("content-length", str(len(self.content) - start))
        self.end_headers()
        self.wfile.write(self.content[start : fault if isinstance(fault, int) else None])

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[str]:
    sha256 = archive(tmp_path / "a.tar", (file("docs/current"), b"x" * 100_000))
    Faulty.content, Faulty.ranges, Faulty.faults, Faulty.seen = (tmp_path / "a.tar").read_bytes(), True, [], []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Faulty) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/a.tar {sha256}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.jobs.fetch.FIRST_PAUSE_S", 0.01)
    for name in ("http_proxy", "HTTP_PROXY", "FETCH_TOKEN", "FETCH_USER", "FETCH_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("ranges", [True, False])
def test_what_breaks_off_goes_on_where_it_was(faulty: str, ranges: bool, tmp_path: Path) -> None:
    url, sha256 = faulty.split()
    Faulty.faults, Faulty.ranges = ["503", 40_000, "429"], ranges
    assert fetch(url, sha256, tmp_path / "root") == ["docs/current"]
    assert [asked for asked, _ in Faulty.seen] == ["", "", "bytes=40000-", "bytes=40000-"]


def test_a_server_that_stays_broken_is_given_up_with_its_reason(faulty: str, tmp_path: Path) -> None:
    url, sha256 = faulty.split()
    Faulty.faults = ["503"] * 100
    with pytest.raises(SystemExit, match=r"503 Service Unavailable\. It was tried again for 0\.05 s"):
        fetch(url, sha256, tmp_path / "root", patience_s=0.05)
    Faulty.faults, Faulty.seen = ["403"], []
    with pytest.raises(SystemExit, match=r"403 Forbidden.*FETCH_TOKEN"):
        fetch(url, sha256, tmp_path / "root")
    assert len(Faulty.seen) == 1


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"FETCH_TOKEN": "t0ken"}, "Bearer t0ken"),
        ({"FETCH_USER": "me", "FETCH_PASSWORD": "pass"}, "Basic bWU6cGFzcw=="),
    ],
)
def test_credentials_are_for_the_server_that_was_named(
    given: dict[str, str], sent: str, faulty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, sha256 = faulty.split()
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    Faulty.faults = [f"302 {url.replace('127.0.0.1', 'localhost')}"]
    fetch(url, sha256, tmp_path / "root")
    assert [who for _, who in Faulty.seen] == [sent, ""]
    with pytest.raises(SystemExit, match="everybody on the way can read"):
        fetch("http://example.org/a.tar", sha256, tmp_path / "root")


SIGNED = "https://me:pass@example.org/a.tar?signature=5ecret"


def test_no_argument_and_no_message_has_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faulty: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="give env:NAME") as refused:
        main([SIGNED, "0" * 64, str(tmp_path / "root")])
    assert not any(secret in str(refused.value) for secret in ("pass@", "5ecret"))
    with pytest.raises(SystemExit, match="not set or empty"):
        main(["env:DOCS_URL", "0" * 64, str(tmp_path / "root")])
    url, sha256 = faulty.split()
    monkeypatch.setenv("DOCS_URL", f"{url}?signature=5ecret")
    with pytest.raises(SystemExit, match=r"a\.tar\?… has sha256") as differs:
        main(["env:DOCS_URL", "0" * 64, str(tmp_path / "root")])
    assert "5ecret" not in str(differs.value)
    main(["env:DOCS_URL", sha256, str(tmp_path / "root")])
    assert capsys.readouterr().out == "docs/current\n"
