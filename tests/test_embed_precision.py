"""The default precision is the one that holds the model's accuracy, and it is said when that is not the usual one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from embed import load_encoder
from embed.encoders import precision
from embed.encoders.precision import LEAST_MEAN_COSINE, choose, cosine
from embed.models.folder import find_model
from embed.models.yardstick import yardstick


def altered_model(make_model: Callable[..., Path], into: Path, largest: float) -> Path:
    """A model with one channel that is `largest` for every token, as some BERT models grow them: a row's codes must
    reach that far, and all that the model reads lies within a few steps of zero. 0: the same without such a channel."""
    made = make_model(hidden=64, heads=2, inner=128, max_length=64)
    path = Path(shutil.copytree(made, into / "model"))
    tensors = load_file(path / "model.safetensors")
    for name, values in tensors.items():
        if name.endswith("LayerNorm.bias") and not name.endswith("layer.1.output.LayerNorm.bias"):
            values[7] += largest
        if name.endswith("LayerNorm.weight") and not name.startswith("embeddings"):
            values *= max(1, largest / 8)  # the norm divides by the channel, which is in the residual stream
        if re.search(r"(value|intermediate\.dense|output\.dense)\.weight", name):
            values *= 5  # random layers else add so little to the residual stream that no precision matters
        if re.search(r"(query|key|value|intermediate\.dense)\.weight", name):
            values[:, 7] = 0
    save_file(tensors, path / "model.safetensors")
    return path


@pytest.fixture(scope="module")
def outlier_model(make_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return altered_model(make_model, tmp_path_factory.mktemp("outlier"), largest=300)


def test_it_is_the_outlier_that_int8_does_not_hold(make_model: Callable[..., Path], tmp_path: Path) -> None:
    assert choose(find_model(altered_model(make_model, tmp_path, largest=0))).precision == "int8"


def test_the_default_model_runs_in_int8() -> None:
    found = choose(find_model())
    assert found.precision == "int8"
    assert found.int8_mean_cosine is not None
    assert LEAST_MEAN_COSINE <= found.int8_mean_cosine < 1
    assert load_encoder().fingerprint.precision == "int8"


def test_a_model_that_int8_does_not_suit_runs_in_fp32(outlier_model: Path) -> None:
    found = choose(find_model(outlier_model))
    assert found.precision == "fp32"
    assert found.int8_mean_cosine is not None
    assert found.int8_mean_cosine < LEAST_MEAN_COSINE
    encoder = load_encoder(outlier_model)
    assert encoder.fingerprint.precision == "fp32"
    assert encoder.backend.startswith("native")
    reference = load_encoder(outlier_model, backend="torch")
    assert np.abs(encoder.encode(yardstick()) - reference.encode(yardstick())).max() < 1e-4
    asked_for = load_encoder(outlier_model, precision="int8")  # whoever asks gets it, at the cosine that was measured
    near = cosine(asked_for.encode(yardstick()), encoder.encode(yardstick()))
    assert abs(float(near.mean()) - found.int8_mean_cosine) < 1e-3


def test_embed_says_so_with_the_figure(outlier_model: Path, tmp_path: Path) -> None:
    (tmp_path / "docs.jsonl").write_text('{"id": "a", "text": "compress bytes in memory"}\n')

    def stderr(*more: str) -> str:
        command = [sys.executable, "-m", "deploy.command", "embed", str(tmp_path / "docs.jsonl"), "--model",
                   str(outlier_model), "--out", str(tmp_path / "-".join(["out", *more])), *more]  # fmt: skip
        return subprocess.run(command, capture_output=True, text=True, check=True).stderr

    assert re.search(
        r"the model runs in fp32: in int8 .* mean cosine of 0\.\d{4} to those of fp32, and at least 0\.997", stderr()
    )
    assert "mean cosine" not in stderr("--precision", "int8")
    assert "mean cosine" not in stderr("--precision", "fp32")
    written = json.loads((tmp_path / "out" / "embed.json").read_text())
    assert written["model"]["precision"] == "fp32"


def test_it_is_measured_once_a_machine(outlier_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERWATT_CACHE", str(tmp_path))
    folder = find_model(outlier_model)
    first = choose(folder)
    [kept] = (tmp_path / "models").glob("*-precision-*.json")
    assert not list((tmp_path / "models").glob("*-fp32-*"))  # as large as the model, and perhaps never wanted again

    def again(*_: object) -> None:
        raise AssertionError("measured again")

    with monkeypatch.context() as patch:
        patch.setattr(precision, "measure", again)
        assert choose(folder) == first
    kept.write_text(kept.read_text().replace("fp32", "int8"))  # altered: measured again, not believed
    assert choose(folder) == first


def test_a_model_that_is_not_bert_shaped_says_why(make_model: Callable[..., Path]) -> None:
    found = choose(find_model(make_model("distilbert")))
    assert (found.precision, found.int8_mean_cosine) == ("fp32", None)
    assert "distilbert" in found.reason


def test_vectors_that_are_no_vectors_count_against_int8() -> None:
    a = np.array([[1, 0], [1, 0], [1, 0], [1, 0]], np.float32)
    b = np.array([[2, 0], [0, 0], [np.nan, 1], [0, 1]], np.float32)
    assert cosine(a, b).tolist() == [1, 0, 0, 0]


def test_the_yardstick_fills_the_model() -> None:
    _, tokens = load_encoder(precision="int8").encode_counted(yardstick())
    assert len(yardstick()) >= 50
    assert (tokens == 256).sum() >= 3
    assert (tokens < 12).sum() >= 8
