"""Texts to vectors: both backends agree, and a vector depends on its text alone."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embed import EmbedError, ModelError, load_encoder


def cosines(a: Any, b: Any) -> Any:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.parametrize("backend", ["native", pytest.param("onnx", marks=pytest.mark.long)])
def test_every_backend_agrees_with_pytorch_at_fp32(fp32_encoder: Any, backend: Any, texts: list[str]) -> None:
    """Of ONNX Runtime the next test shows it with a tiny model, whose graph is not as long in the making."""
    encoder = fp32_encoder if backend == "native" else load_encoder(backend=backend)
    reference = load_encoder(backend="torch")
    ids = reference.token_ids(texts)
    lengths = np.array([len(each) for each in ids], np.int32)
    np.testing.assert_allclose(reference.encode_ids(ids, lengths), reference.encode(texts), atol=1e-5)
    theirs, their_tokens = reference.encode_counted(texts)
    assert reference.fingerprint == encoder.fingerprint
    ours, ours_tokens = encoder.encode_counted(texts)
    assert np.abs(ours - theirs).max() < 1e-5
    assert np.array_equal(ours_tokens, their_tokens)
    assert encoder.encode([]).shape == reference.encode([]).shape == (0, 384)
    reference.close()


def test_where_the_graph_is_in_the_cache_pytorch_is_not_needed(
    make_model: Callable[..., Path], texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_model()  # a BERT whose heads are 12 wide
    encoder, reference = load_encoder(path), load_encoder(path, backend="torch")
    vectors, tokens = encoder.encode_counted(texts)
    expected, expected_tokens = reference.encode_counted(texts)
    assert np.abs(vectors - expected).max() < 1e-5
    assert np.array_equal(tokens, expected_tokens)
    assert encoder.fingerprint == reference.fingerprint
    assert encoder.encode([]).shape == (0, 48)
    exported = Path(os.environ["PERWATT_CACHE"]) / "models"
    monkeypatch.setitem(sys.modules, "torch", None)  # an import of it fails as if it were not there
    monkeypatch.setenv("PERWATT_CACHE", str(tmp_path / "serving"))
    with pytest.raises(ModelError, match=r"make setup-torch.* copy its two files, model-fp32-.* to .*serving/models"):
        load_encoder(path)
    shutil.copytree(
        exported, tmp_path / "serving" / "models", dirs_exist_ok=True, ignore=lambda _, names: {*names} - ours(names)
    )
    assert np.array_equal(load_encoder(path).encode(texts), vectors)


def ours(names: list[str]) -> set[str]:
    """Those of models called as ours; not the default one, which is large."""
    return {name for name in names if name.startswith("model-fp32-")}


def test_int8_is_for_our_kernels_alone(make_model: Callable[..., Path]) -> None:
    path = make_model()
    with pytest.raises(ModelError, match="in int8, and model was to run on ONNX Runtime, since its heads are 12 wide"):
        load_encoder(path, precision="int8")
    with pytest.raises(ModelError, match=r"in int8, and .* was to run on onnx. Leave --precision out"):
        load_encoder(precision="int8", backend="onnx")
    assert load_encoder(path).fingerprint.precision == "fp32"


@pytest.mark.parametrize(
    ("kind", "pooling"),
    [
        ("distilbert", "mean_sqrt_len_tokens"),
        pytest.param("distilbert", "mean", marks=pytest.mark.long),
        pytest.param("bert", "mean_sqrt_len_tokens", marks=pytest.mark.long),
    ],
)
def test_what_only_the_library_knows_is_exported_by_it(
    make_model: Callable[..., Path], texts: list[str], kind: str, pooling: str
) -> None:
    """Another architecture, another pooling: an export takes seconds, so the first has both."""
    path = make_model(kind, pooling)
    encoder = load_encoder(path)
    assert encoder.fingerprint.precision == "fp32"
    assert (encoder.fingerprint.pooling == "model") == (pooling != "mean")
    assert np.abs(encoder.encode(texts) - load_encoder(path, backend="torch").encode(texts)).max() < 1e-4
    with pytest.raises(ModelError, match=rf"Only perwatt's own kernels run a model in int8, .* since it is a {kind}"):
        load_encoder(path, precision="int8")


def test_int8_stays_near_fp32_and_is_another_fingerprint(
    fp32_encoder: Any, int8_encoder: Any, texts: list[str]
) -> None:
    assert int8_encoder.fingerprint.id != fp32_encoder.fingerprint.id
    near = cosines(fp32_encoder.encode(texts), int8_encoder.encode(texts))
    assert near.min() > int8_encoder.fingerprint.tolerance
    assert near.max() < 1 - 1e-6  # it is really another arithmetic


@pytest.mark.parametrize("name", ["fp32_encoder", "int8_encoder"])
def test_a_vector_does_not_depend_on_its_batch(name: str, texts: list[str], request: pytest.FixtureRequest) -> None:
    encoder = request.getfixturevalue(name)
    together = encoder.encode(texts * 3)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    for part in range(3):
        rows = together[part * len(texts) : (part + 1) * len(texts)]
        assert cosines(rows, alone).min() > 1 - 1e-5


def test_vectors_are_unit_length_and_finite(int8_encoder: Any, texts: list[str]) -> None:
    vectors = int8_encoder.encode(texts)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(texts), int8_encoder.dim)
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-5


def test_an_empty_text_and_no_text_are_no_failure(int8_encoder: Any) -> None:
    assert np.isfinite(int8_encoder.encode([""])).all()
    vectors, tokens = int8_encoder.encode_counted([])
    assert vectors.shape == (0, 384)
    assert tokens.shape == (0,)


def test_long_texts_are_cut_at_the_models_length(int8_encoder: Any) -> None:
    long = "word " * 5000
    vectors, tokens = int8_encoder.encode_counted([long, long + "more"])
    assert tokens.tolist() == [256, 256]
    assert np.array_equal(vectors[0], vectors[1])


def test_prefixes_belong_to_the_fingerprint_and_to_the_text(fp32_encoder: Any) -> None:
    prefixed = load_encoder(precision="fp32", query_prefix="query: ", document_prefix="passage: ")
    assert prefixed.fingerprint.id != fp32_encoder.fingerprint.id
    assert np.array_equal(prefixed.encode(["gzip"], "query"), fp32_encoder.encode(["query: gzip"]))
    assert np.array_equal(prefixed.encode(["gzip"], "document"), fp32_encoder.encode(["passage: gzip"]))


def test_many_threads_may_ask_at_once(int8_encoder: Any, texts: list[str]) -> None:
    expected = int8_encoder.encode(texts)
    with ThreadPoolExecutor(8) as pool:
        for vectors in pool.map(lambda _: int8_encoder.encode(texts), range(9)):
            assert np.array_equal(vectors, expected)


def test_token_offsets_cover_the_uncut_text(int8_encoder: Any) -> None:
    text = "search words " * 400
    offsets = int8_encoder.token_offsets(text)
    assert len(offsets) == 800
    assert [text[start:end] for start, end in offsets[-2:]] == ["search", "words"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"precision": "int4"}, "'int4' is not known"),
        ({"threads": 0}, "0 threads were asked for"),
        ({"backend": "torch", "precision": "int8"}, "was to run on torch. Leave --precision out"),
    ],
)
def test_what_cannot_be_had_is_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(EmbedError, match=message):
        load_encoder(**asked)


@pytest.mark.parametrize("lengths", [[], [7], [5, 1, 3, 2], [300] * 4, [1] * 50, [256, 1, 256, 2, 255, 900]])
@pytest.mark.parametrize("budget", [1, 8, 256, 1024])
def test_batches_hold_every_row_once_within_the_budget(lengths: list[int], budget: int) -> None:
    from embed.encoders.onnx import batches

    counted = np.array(lengths, np.int32)
    groups = list(batches(counted, budget))
    assert sorted(row for group in groups for row in group) == list(range(len(lengths)))
    for group in groups:
        widest = counted[group].max()
        assert widest == counted[group[-1]]
        assert len(group) == 1 or len(group) * widest <= budget
