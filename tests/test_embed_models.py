"""Finding models, describing them, and telling when they are not what they claim."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from embed import models
from embed.errors import ModelError
from embed.models import DEFAULT_WEIGHTS_SHA256, describe, find_model, sha256_file


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
    monkeypatch.setattr(models, "_packaged", lambda: altered)
    with pytest.raises(ModelError, match="expected the official weights"):
        find_model()


def test_a_model_that_is_nowhere_says_where_it_was_looked_for() -> None:
    with pytest.raises(ModelError, match=r"'no/such-model'.*not a folder here.*model hub"):
        find_model("no/such-model")


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
