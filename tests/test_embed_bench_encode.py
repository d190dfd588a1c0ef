"""The encoders' race: what it measures, what it does without a peer, and what its ratios mean."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from embed.bench import encode as bench_encode
from embed.bench.contenders import contenders
from embed.bench.encode import RATIOS, multiply_adds, race, ratios
from embed.bench.texts import cut_texts
from embed.encoders.tokens import Tokens
from embed.kernels import unit_in_use, units
from embed.models.folder import find_model


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the whole standard library takes longer than all that is done with it here."""
    monkeypatch.setattr("embed.bench.texts.SOURCES", ("python:string", "python:decimal", "python:json"))


@pytest.mark.parametrize("length", [8, 32, 256])
def test_texts_have_the_length_that_is_asked_for(length: int) -> None:
    tokens = Tokens(find_model())
    texts = cut_texts(tokens, 5, length)
    assert len(set(texts)) == 5
    assert {len(each) for each in tokens.ids(texts)} == {length}


def test_a_missing_peer_is_named_and_the_rest_runs(
    make_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_model(hidden=64, heads=2, inner=128, max_length=64)
    for gone in ("onnxruntime", "openvino", "sentence_transformers"):
        monkeypatch.setitem(sys.modules, gone, None)
    monkeypatch.delitem(sys.modules, "embed.encoders.onnx", raising=False)
    with contenders(find_model(path), path, 1, tmp_path) as (running, absent):
        assert absent == {
            "onnxruntime": "not installed (onnxruntime)",
            "openvino": "not installed (openvino)",
            "sentence_transformers": "not installed (sentence_transformers)",
        }
        assert set(running) == {"perwatt_int8", "perwatt_fp32"}
        seconds, peak = race(running, ["gzip"], 2)
        vectors = {name: encode(["gzip", "a longer text"]) for name, encode in running.items()}
    assert {len(times) for times in seconds.values()} == {2}
    assert peak > 0
    for each in vectors.values():  # they race on the same course
        assert (np.asarray(each) * vectors["perwatt_fp32"]).sum(1).min() > 0.99


def test_a_peer_that_fails_is_named_with_its_error(
    make_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no such instruction\nat all")

    monkeypatch.setattr("embed.bench.contenders.openvino", broken)
    monkeypatch.setattr("embed.bench.contenders.sentence_transformers", broken)
    path = make_model(hidden=64, heads=2, inner=128, max_length=64)
    with contenders(find_model(path), path, 1, tmp_path) as (running, absent):
        assert absent["openvino"] == "RuntimeError: no such instruction"
        assert set(running) == {"perwatt_int8", "perwatt_fp32", "ort_int8_dynamic", "ort_fp32"}
        vectors = {name: encode(["gzip", "a longer text " * 20]) for name, encode in running.items()}
    for each in vectors.values():  # they race on the same course
        assert (np.asarray(each) * vectors["perwatt_fp32"]).sum(1).min() > 0.99
    cold = bench_encode.cold_start(find_model(path), 1, tmp_path)
    assert set(cold) == {"perwatt", "ort_int8"}
    for started in cold.values():
        assert 0 < started["load_and_query_s"] < started["process_s"]


def test_ratios_leave_out_who_was_not_there() -> None:
    times = {"perwatt_int8": 2.0, "ort_int8_dynamic": 4.0, "ort_fp32": 11.0}
    case = {name: {"ms_per_call": value} for name, value in times.items()}
    found = ratios(dict.fromkeys(("query1", "query8", "documents"), case))
    assert found["query1_vs_ort_int8"] == found["query8_vs_ort_int8"] == found["documents_vs_ort_int8"] == 2.0
    assert found["query1_vs_ort_fp32"] == 5.5
    assert "documents_vs_sentence_transformers" in RATIOS.keys() - found.keys()


def test_multiply_adds_are_those_of_the_published_model() -> None:
    """88 million of an 8-token query: 8 × 6 × (4 × 384² + 2 × 384 × 1536) and attention's 2 × 8² × 384 × 6."""
    assert multiply_adds(find_model(), 8) == 8 * 10_616_832 + 294_912


def test_every_unit_is_measured(make_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERWATT_ISA", units()[-1])
    folder = find_model(make_model(hidden=64, heads=2, inner=128, max_length=64))
    found = bench_encode.by_unit(folder, Tokens(folder), 1)
    assert list(found) == units()[:-1]
    assert all(value > 0 for each in found.values() for value in each.values())
    assert unit_in_use() == units()[-1]  # the environment is as it was
