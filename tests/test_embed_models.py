"""Finding models, describing them, and telling when they are not what they claim."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from embed.errors import ModelError
from embed.models import folder as models
from embed.models.folder import DEFAULT_WEIGHTS_SHA256, describe, find_model, sha256_file


def test_the_default_model_needs_no_network_and_is_the_official_one() -> None:
    folder = find_model()
    assert sha256_file(folder.weights) == DEFAULT_WEIGHTS_SHA256
    assert (folder.name, folder.dim, folder.max_length) == ("all-MiniLM-L6-v2", 384, 256)
    assert (folder.pooling, folder.normalize, folder.lower_case) == ("mean", True, False)
    assert folder.bert_shaped


@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"])
def test_its_names_find_the_same_folder(name: str) -> None:
    assert find_model(name) == find_model()


def test_weights_that_are_not_the_official_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    altered = tmp_path / "altered"
    shutil.copytree(find_model().path, altered)
    weights = bytearray((altered / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (altered / "model.safetensors").write_bytes(weights)
    monkeypatch.setattr(models, "packaged_folder", lambda: altered)
    with pytest.raises(ModelError, match="expected the official weights"):
        find_model()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("/no/such/folder", "there is no such folder here, and no name on the model hub looks like that"),
        ("./vectors", "there is no such folder here, and no name on the model hub looks like that"),
        ("two words", "there is no such folder here, and no name on the model hub looks like that"),
        (__file__, "it is a file, and a folder was expected"),
        ("no/such-model", "it is not a folder here, was not downloaded before, and the model hub cannot be reached"),
    ],
)
def test_a_model_that_is_nowhere_says_why(name: str, why: str) -> None:
    with pytest.raises(ModelError) as caught:
        find_model(name)
    assert str(caught.value).startswith(f"No model {name!r}: {why}")
    assert "Give a folder in the sentence-transformers layout" in str(caught.value)


def test_a_default_model_that_is_not_installed_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "packaged_folder", lambda: None)
    for name in (None, "all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"):
        with pytest.raises(ModelError) as caught:
            find_model(name)
        assert "is not installed: it is not a folder here" in str(caught.value)
        assert "Install it with pip (or pipx, or uv tool) install 'perwatt[model]'" in str(caught.value)
        assert "leave --model out" not in str(caught.value)


def test_what_the_extra_installs_is_where_the_default_model_is_looked_for() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    (package,) = (each.partition("==")[0].replace("-", "_") for each in project["optional-dependencies"]["model"])
    assert package in dict(models.DEFAULT_PACKAGES)


def test_a_name_that_the_hub_does_not_have_is_said_to_be_so() -> None:
    """A hub on this machine that has no models."""
    asked = []

    class Empty(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Empty) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        hub = "import sys; from embed.models.folder import find_model; find_model(sys.argv[1])"
        command = [sys.executable, "-c", hub, "no/such-model"]
        ran = subprocess.run(
            command,
            env=os.environ | {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "NO_PROXY": "*"},
            capture_output=True,
            text=True,
        )
        server.shutdown()
    assert asked
    assert "the model hub has none of that name for you" in ran.stderr


@pytest.mark.parametrize(
    ("pooling", "normalize"), [("mean", True), ("cls", True), ("max", False), ("mean_sqrt_len_tokens", True)]
)
def test_pooling_is_read_as_the_library_writes_it(
    make_model: Callable[..., Path], pooling: str, normalize: bool
) -> None:
    folder = describe(make_model(pooling=pooling, normalize=normalize), "tiny")
    known = pooling in ("mean", "cls", "max")
    assert folder.pooling == (pooling if known else "model")
    assert folder.normalize is normalize
    assert folder.bert_shaped is known
    assert (folder.dim, folder.max_length) == (48, 32)


def test_prompts_become_prefixes(make_model: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / "e5"
    shutil.copytree(make_model(), path)
    settings = path / "config_sentence_transformers.json"
    content = json.loads(settings.read_text())
    content["prompts"] = {"query": "query: ", "passage": "passage: "}
    settings.write_text(json.dumps(content))
    folder = describe(path, "e5")
    assert (folder.query_prefix, folder.document_prefix) == ("query: ", "passage: ")


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_an_incomplete_folder_names_what_is_missing(
    make_model: Callable[..., Path], tmp_path: Path, missing: str
) -> None:
    path = tmp_path / "incomplete"
    shutil.copytree(make_model(), path)
    (path / missing).unlink()
    with pytest.raises(ModelError, match=missing):
        find_model(path)


def test_a_configuration_that_is_not_json_names_its_file(make_model: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / "broken"
    shutil.copytree(make_model(), path)
    (path / "modules.json").write_text("{")
    with pytest.raises(ModelError, match=r"modules\.json cannot be read"):
        find_model(path)
