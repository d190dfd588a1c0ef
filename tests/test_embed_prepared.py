"""The cached graph: made once, made again when it is damaged, and honest about CPUs whose int8 saturates."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from embed import ModelError, load_encoder
from embed.encoders import prepared
from embed.encoders.onnx_bert import bert_graph, save
from embed.models.cache import cache_folder
from embed.models.folder import DEFAULT_WEIGHTS_SHA256, find_model


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PERWATT_CACHE", str(tmp_path))
    return tmp_path / "models"


def make() -> Path:
    return prepared.prepared_graph(find_model(), "int8", DEFAULT_WEIGHTS_SHA256)


def test_it_is_made_once(cache: Path) -> None:
    made = make()
    assert made.parent == cache
    before = made.stat().st_mtime_ns
    assert make().stat().st_mtime_ns == before


@pytest.mark.parametrize("place", [0, 1000, -1])
def test_a_damaged_one_is_made_again(cache: Path, place: int) -> None:
    made = make()
    whole = made.read_bytes()
    damaged = bytearray(whole)
    damaged[place] ^= 0x40
    made.write_bytes(damaged)
    assert make().read_bytes() == whole


def test_a_truncated_one_is_made_again(cache: Path) -> None:
    made = make()
    size = made.stat().st_size
    os.truncate(made, size // 2)
    assert make().stat().st_size == size


def test_a_cache_that_cannot_be_written_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("PERWATT_CACHE", str(blocked))
    with pytest.raises(ModelError, match="set PERWATT_CACHE"):
        make()


def test_smaller_weights_for_cpus_that_saturate_stay_within_tolerance(
    fp32_encoder: Any, tmp_path: Path, texts: list[str]
) -> None:
    save(bert_graph(find_model(), "int8", weight_limit=63), tmp_path / "model.onnx")
    session = ort.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    encoder = load_encoder(precision="int8", backend="onnx")
    encoder._session = session  # type: ignore[attr-defined]
    near = (encoder.encode(texts) * fp32_encoder.encode(texts)).sum(1)
    assert near.min() > encoder.fingerprint.tolerance
    assert np.isfinite(near).all()


@pytest.mark.parametrize(
    ("machine", "features", "limit"),
    [
        ("x86_64", ["avx2", "avx512f", "avx512_vnni"], 127),
        ("x86_64", ["avx2", "avx_vnni"], 127),
        ("x86_64", ["avx2", "avx512f"], 63),
        ("aarch64", ["asimd"], 127),
    ],
)
def test_the_weight_limit_follows_the_cpu(
    monkeypatch: pytest.MonkeyPatch, machine: str, features: list[str], limit: int
) -> None:
    monkeypatch.setattr(prepared.platform, "machine", lambda: machine)
    monkeypatch.setattr(prepared, "features", lambda: features)
    assert prepared.int8_weight_limit() == limit


def test_a_user_without_a_home_has_a_cache_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(_class: type[Path]) -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("PERWATT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", classmethod(nowhere))
    assert f"perwatt-{os.getuid()}" in cache_folder().parts
