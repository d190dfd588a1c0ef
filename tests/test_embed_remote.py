"""Encoders elsewhere, beside a real server that stops, slows, changes its model, answers rubbish or asks to wait."""

from __future__ import annotations

import json
import logging
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import write_jsonl
from encoder_server import EncoderServer, encoder_server
from hashing_encoder import HashingEncoder
from patience import patient
from vectors_folders import manifest_of

from embed import EmbedError, ModelError, load_encoder, open_remote
from embed.cli import embed
from embed.encoders.remote import encoder as remote
from embed.encoders.remote import endpoint
from embed.encoders.remote.encoder import RemoteEncoder
from embed.encoders.remote.endpoint import Patience
from embed.errors import EncoderChangedError, EncoderError

TEXTS = [f"text {number} {'word ' * (number % 7)}" for number in range(70)]
SECRET = "sk-very-secret-0815"
BRIEF = Patience(patient(60), 3)
Opened = Callable[..., RemoteEncoder]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EncoderServer]:
    monkeypatch.setattr(endpoint, "FIRST_WAIT_S", 0.01)
    with encoder_server() as running:
        yield running


@pytest.fixture
def opened() -> Iterator[Opened]:
    """`open_remote`, closed after the test."""
    with ExitStack() as stack:
        yield lambda *given, **named: stack.enter_context(closing(open_remote(*given, **named)))


def direct(texts: list[str], name: str = "hashing") -> Any:
    return HashingEncoder(24, name, batch_trace=0).encode(texts)


def test_vectors_come_in_order_from_requests_under_way_at_once(server: EncoderServer, opened: Opened) -> None:
    encoder = opened(f"{server.url}/v1", at_once=4)
    opened = server.connections
    vectors, tokens = encoder.encode_counted(TEXTS)
    assert (encoder.dim, encoder.backend) == (24, f"openai at {server.url}/v1")
    np.testing.assert_allclose(vectors, direct(TEXTS), atol=1e-6)
    asked = [body["input"] for _, _, body in server.seen if body]
    assert sorted(map(len, asked)) == [4, 9, 32, 32]  # a canary goes with each
    assert tokens.sum() == sum(len(text.split()) + 2 for request in asked[1:] for text in request)
    for _ in range(5):
        encoder.encode(TEXTS[:1], "query")
    assert server.connections - opened <= 4  # kept, not opened for each
    assert encoder.encode([]).shape == (0, 24)
    encoder.close()


def test_prefixes_are_put_here_and_are_in_the_fingerprint(server: EncoderServer, opened: Opened) -> None:
    server.called = "intfloat/e5-small-v2"
    encoder = opened(server.url)
    assert (encoder.fingerprint.query_prefix, encoder.fingerprint.document_prefix) == ("query: ", "passage: ")
    encoder.encode(["a"], "query")
    assert server.texts()[-1] == "query: a"
    own = opened(server.url, query_prefix="ask: ", document_prefix="")
    own.encode(["a"], "document")
    assert server.texts()[-2] == "a"  # before the canary
    assert own.fingerprint.id != encoder.fingerprint.id
    server.called = "another"
    assert opened(server.url, query_prefix="ask: ", document_prefix="").fingerprint.id != own.fingerprint.id


@pytest.mark.parametrize(
    "failure",
    [
        (0, {}, b""),
        (503, {}, b"<html>"),
        (429, {"retry-after": "0.05"}, b""),
        (429, {"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}, b""),
    ],
    ids=["closed", "503", "429", "a date"],
)
def test_what_passes_is_asked_again(server: EncoderServer, opened: Opened, failure: Any) -> None:
    encoder = opened(server.url, patience=BRIEF)
    server.failures.extend([failure] * 2)
    np.testing.assert_allclose(encoder.encode(TEXTS[:2]), direct(TEXTS[:2]), atol=1e-6)
    server.failures.extend([failure] * 3)
    with pytest.raises(EncoderError, match=r"gave no answer: it .*; it was asked 3 times"):
        encoder.encode(TEXTS[:2])


def test_a_named_pause_holds_for_every_thread_and_is_not_waited_for_in_vain(
    server: EncoderServer, opened: Opened
) -> None:
    encoder = opened(server.url, patience=BRIEF)
    server.failures.append((429, {"retry-after": "6000"}, b""))
    for asked in (1, 0):
        before = len(server.seen)
        with pytest.raises(EncoderError, match=r"gave no answer") as caught:
            encoder.encode(["a"])
        assert len(server.seen) - before == asked
        assert 5000 < caught.value.retry_after_s <= 7000


def test_a_server_that_hangs_costs_a_stated_time(server: EncoderServer, opened: Opened) -> None:
    encoder = opened(server.url, patience=BRIEF)
    server.slow_s, encoder._endpoint._patience = 300.0, Patience(0.3, 2)
    with pytest.raises(EncoderError, match="took too long"):
        encoder.encode(["a"])
    server.slow_s, encoder._endpoint._patience = 0.0, BRIEF
    server.released.set()
    assert encoder.encode(["a"]).shape == (1, 24)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"<html>hello</html>", "an object with data"),
        (b'{"data": []}', "expected 1 vectors and got 0"),
        (b'{"data": [{"index": 0, "embedding": []}]}', "expected vectors of one length"),
        (b'{"data": [{"index": 1, "embedding": [1, 2]}]}', "an embedding for each index"),
        (b'{"data": [{"index": 0, "embedding": [0, 0]}]}', "not all 0"),
        (b'{"data": [{"index": 0, "embedding": [1e99, 1]}]}', "finite numbers"),
        (b'{"data": [{"index": 0, "embedding": "AAAA"}]}', "base64 of little-endian float32"),
    ],
)
def test_rubbish_is_no_vector(server: EncoderServer, opened: Opened, body: bytes, expected: str) -> None:
    encoder = opened(server.url)
    server.answers.append(body)
    with pytest.raises(EncoderError, match=f"answers with no vectors: .*{expected}"):
        encoder.encode(["a"], "query")


def other_model(server: EncoderServer) -> None:
    server.seed = "another"


def other_width(server: EncoderServer) -> None:
    server.dim = 32


def other_name(server: EncoderServer) -> None:
    server.called = "hashing-2"


@pytest.mark.parametrize(
    ("change", "how"),
    [
        (other_model, r"comes out differently \(cosine -?0\.\d+, at least 0\.99 is expected"),
        (other_width, "have 32 dimensions instead of 24"),
        (other_name, "calls its model 'hashing-2' instead of 'hashing-1'"),
    ],
)
def test_a_model_that_changes_is_noticed_and_refused_until_it_is_back(
    server: EncoderServer,
    opened: Opened,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[EncoderServer], None],
    how: str,
) -> None:
    monkeypatch.setattr(remote, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(remote, "LOOK_AGAIN_S", 3600.0)
    encoder = opened(server.url)
    encoder.encode(TEXTS[:40])
    change(server)
    with pytest.raises(EncoderChangedError, match=how):
        encoder.encode(["a"])
    asked = len(server.seen)
    with pytest.raises(EncoderChangedError, match=how):  # at once, and nobody is asked
        encoder.encode(["a"])
    assert len(server.seen) == asked
    monkeypatch.setattr(remote, "LOOK_AGAIN_S", 0.0)
    with pytest.raises(EncoderChangedError):
        encoder.encode(["a"])
    server.seed, server.dim, server.called = "hashing", 24, "hashing-1"
    np.testing.assert_allclose(encoder.encode(["a"]), direct(["a"]), atol=1e-6)


def test_a_request_that_is_too_much_is_cut(server: EncoderServer, opened: Opened) -> None:
    encoder = opened(server.url)
    server.batch = 10
    np.testing.assert_allclose(encoder.encode(TEXTS[:32]), direct(TEXTS[:32]), atol=1e-6)
    server.batch = 1
    np.testing.assert_allclose(encoder.encode(TEXTS[:2]), direct(TEXTS[:2]), atol=1e-6)
    server.batch = 0
    with pytest.raises(EncoderError, match=r"refuses a text of 1 characters with 413.*--chunk-tokens"):
        encoder.encode(["a"])


def test_neither_key_nor_text_is_told(
    server: EncoderServer, opened: Opened, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("PERWATT_ENCODER_KEY", SECRET)
    encoder = opened(server.url, patience=BRIEF)
    assert server.seen[-1][1]["authorization"] == f"Bearer {SECRET}"
    said = []
    echo = json.dumps({"error": {"message": f"private text, and {SECRET}"}}).encode()
    for status in (503, 400, 401, 404):
        server.failures.extend([(status, {}, echo)] * 3)
        with pytest.raises(EncoderError) as caught:
            encoder.encode(["private text"])
        said.append(str(caught.value))
        server.failures.clear()
    assert "its key is read from the variable PERWATT_ENCODER_KEY, and it was refused" in said[2]
    server.failures.append((404, {}, echo))
    with pytest.raises(EncoderError, match="answers with 404: private text, and …") as caught:
        opened(server.url)  # the canaries are nobody's secret; the key is
    said += [str(caught.value), caplog.text]
    assert SECRET not in "".join(said)
    assert "private text" not in "".join([*said[:4], caplog.text])
    assert "answers again" in caplog.text


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("127.0.0.1:80", "expected one like http://"),
        ("ftp://a", "expected one like http://"),
        ("http://key@host/v1", "A key goes into the variable PERWATT_ENCODER_KEY"),
        ("http://host/v1?key=1", "A key goes into the variable PERWATT_ENCODER_KEY"),
    ],
)
def test_an_address_is_only_an_address(address: str, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        open_remote(address)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "docs.jsonl", [{"id": str(at), "text": text} for at, text in enumerate(TEXTS)])


def run(corpus: Path, server: EncoderServer, *more: str) -> Any:
    out = corpus.parent / "vectors"
    return CliRunner().invoke(embed, [str(corpus), "--out", str(out), "--encoder", server.url, *more])


@pytest.mark.parametrize(("address", "read"), [("http://127.0.0.1:8080", False), ("https://127.0.0.1:8080", True)])
def test_certificates_are_read_where_one_may_be_shown(
    address: str, read: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    certificates = ssl.create_default_context
    monkeypatch.setattr(ssl, "create_default_context", lambda **given: asked.append(given) or certificates(**given))
    with closing(endpoint.Endpoint(address, 1, Patience(1.0, 1))):
        assert bool(asked) == read


def test_embed_writes_what_the_server_made_and_what_it_cost(corpus: Path, server: EncoderServer) -> None:
    done = run(corpus, server, "--encoder-price", "0.02")
    assert done.exit_code == 0, done.output
    assert "tokens at 0.02 USD a million, a price that was given: 0.0000 USD" in done.output
    manifest = manifest_of(corpus.parent / "vectors")
    assert (manifest["model"]["name"], manifest["model"]["precision"]) == ("hashing-1", "remote")
    assert manifest["run"]["backend"] == f"openai at {server.url}"
    asked = [body["input"] for _, _, body in server.seen if body][1:-1]  # without those that open it and end it
    tokens = sum(len(text.split()) + 2 for request in asked for text in request)
    assert manifest["run"]["tokens"] == tokens
    assert manifest["run"]["encoder_price"] == {
        "usd_per_million_tokens": 0.02, "cost_usd": tokens * 0.02 / 1e6, "evidence": "given by the user"
    }  # fmt: skip
    with pytest.raises(ModelError, match="Say where it is with --encoder"):
        load_encoder("hashing-1", precision="remote")


def test_a_run_goes_on_with_the_same_model_alone(
    corpus: Path, server: EncoderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "OF_A_RUN", BRIEF)
    whole = corpus.read_text()
    corpus.write_text("".join(whole.splitlines(keepends=True)[:40]))
    assert run(corpus, server).exit_code == 0
    corpus.write_text(whole)
    server.seed = "another"
    refused = run(corpus, server)
    assert isinstance(refused.exception, EmbedError)
    assert "not those of the model that answers to this name now" in str(refused.exception)
    server.seed, server.called = "hashing", "hashing-2"
    assert "this run would replace them by those of hashing-2" in str(run(corpus, server).exception)
    server.called = "hashing-1"
    server.seen.clear()
    assert "40 reused" in run(corpus, server).output
    again = [text for text in server.texts() if text in TEXTS[:40]]
    assert len(again) < 20  # a few to compare, and canaries of the corpus


def test_options_of_a_model_here_are_not_of_one_elsewhere(corpus: Path, server: EncoderServer) -> None:
    assert "--encoder runs it elsewhere" in run(corpus, server, "--precision", "fp32").output
    alone = CliRunner().invoke(embed, [str(corpus), "--out", str(corpus.parent / "v"), "--encoder-price", "1"])
    assert "go with --encoder" in alone.output


def test_long_texts_are_cut_by_words(corpus: Path, server: EncoderServer) -> None:
    write_jsonl(corpus, [{"id": "long", "text": "one two three four. " * 40}])
    assert "in 14 chunks" in run(corpus, server, "--chunk-tokens", "20").output
