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

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from deploy.jobs.fetch import fetch
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
