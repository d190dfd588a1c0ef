"""The native encoder as its users see it: near fp32, the same in any company, and free of runtimes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embed import EmbedError, ModelError, load_encoder
from embed.encoders.native import NativeEncoder, chunks, unsuited
from embed.kernels import EncoderKernelError, _native, built, unit_in_use, units
from embed.models.folder import find_model

UNITS = [unit for unit in units() if unit != "scalar"] or ["scalar"]


def cosines(a: Any, b: Any) -> Any:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.fixture(params=UNITS)
def unit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PERWATT_ISA", request.param)
    return str(request.param)


@pytest.fixture
def encoder(unit: str) -> Iterator[NativeEncoder]:
    encoder = load_encoder(precision="int8", backend="native", threads=2)
    assert isinstance(encoder, NativeEncoder)
    assert encoder.backend == f"native {unit}"
    yield encoder
    encoder.close()


def test_every_unit_is_near_fp32(encoder: NativeEncoder, fp32_encoder: Any, texts: list[str]) -> None:
    long = [" ".join(texts) * 9, "tokens to the limit " * 300]  # cut at the model's length
    near = cosines(encoder.encode(texts + long), fp32_encoder.encode(texts + long))
    assert near.mean() > 0.997
    assert near.min() > 0.994
    assert near.max() < 1 - 1e-6  # it is really another arithmetic


def test_a_vector_is_the_same_bits_in_any_company(encoder: NativeEncoder, texts: list[str]) -> None:
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    order = np.random.default_rng(1).permutation(np.repeat(np.arange(len(texts)), 3))
    together = encoder.encode([texts[row] for row in order])
    assert np.array_equal(together, alone[order])


def test_the_number_of_threads_changes_nothing(unit: str, texts: list[str]) -> None:
    expected = None
    for threads in (1, 2, 3, 7):
        encoder = load_encoder(precision="int8", backend="native", threads=threads)
        vectors = encoder.encode(texts * 2)
        assert expected is None or np.array_equal(vectors, expected)
        expected = vectors
        encoder.close()


def test_any_number_of_tokens_agrees_with_the_scalar_unit(
    make_model: Callable[..., Path], unit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every remainder of every block of rows, keys and queries that a unit cuts its work into."""
    path = make_model(hidden=64, heads=2, inner=128, max_length=80)
    random = np.random.default_rng(2)
    lengths = np.arange(1, 81, dtype=np.int32)
    ids = [random.integers(0, 30000, length).tolist() for length in lengths]
    for precision, least in (("int8", 0.998), ("fp32", 1 - 1e-6)):
        vectors = []
        for name in (unit, "scalar"):
            monkeypatch.setenv("PERWATT_ISA", name)
            encoder = load_encoder(path, precision=precision, backend="native", threads=1)
            assert isinstance(encoder, NativeEncoder)
            vectors.append(encoder.encode_ids(ids, lengths))
        assert cosines(*vectors).min() > least


@pytest.mark.parametrize(
    ("hidden", "heads", "inner", "activation", "pooling"),
    [  # each width with each activation and each pooling, which do not know of each other
        *((64, 2, 128, *each) for each in (("gelu", "mean"), ("gelu_new", "cls"), ("relu", "max"))),
        *((128, 2, 192, *each) for each in (("gelu", "cls"), ("gelu_new", "max"), ("relu", "mean"))),
    ],
)
def test_every_shape_agrees_with_pytorch(
    make_model: Callable[..., Path],
    texts: list[str],
    pooling: str,
    activation: str,
    hidden: int,
    heads: int,
    inner: int,
) -> None:
    path = make_model(
        hidden=hidden, heads=heads, inner=inner, pooling=pooling, normalize=pooling != "max", hidden_act=activation
    )
    reference = load_encoder(path, backend="torch").encode(texts)
    encoder = load_encoder(path, precision="int8")
    assert encoder.backend.startswith("native")
    vectors = encoder.encode(texts)
    assert cosines(vectors, reference).min() > 0.99
    assert np.abs(np.linalg.norm(vectors, axis=1) / np.linalg.norm(reference, axis=1) - 1).max() < 0.02
    exact = load_encoder(path, precision="fp32")
    assert exact.backend == encoder.backend
    assert np.abs(exact.encode(texts) - reference).max() < 1e-5 * max(1, np.abs(reference).max())


def test_empty_and_long_texts_and_none_at_all(encoder: NativeEncoder) -> None:
    assert np.isfinite(encoder.encode([""])).all()
    vectors, tokens = encoder.encode_counted([])
    assert vectors.shape == (0, 384)
    assert tokens.shape == (0,)
    vectors, tokens = encoder.encode_counted(["word " * 5000, "word " * 6000])
    assert tokens.tolist() == [256, 256]
    assert np.array_equal(vectors[0], vectors[1])


def test_a_model_of_another_width_runs_on_onnx_runtime(make_model: Callable[..., Path]) -> None:
    path = make_model()  # hidden 48
    assert unsuited(find_model(path)) == "its heads are 12 wide, and (32, 64) are supported"
    assert unsuited(find_model(make_model(hidden=96, heads=3))) == "its widths 96 and 96 are not multiples of 64"
    assert load_encoder(path).backend.startswith("onnx")
    with pytest.raises(ModelError, match=r"--backend native cannot run model: its heads"):
        load_encoder(path, backend="native")


def test_where_onnx_runtime_is_not_installed_it_is_said_what_to_do(
    make_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_model()  # hidden 48
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # an import of it fails as if it were not there
    monkeypatch.delitem(sys.modules, "embed.encoders.onnx", raising=False)
    with pytest.raises(ModelError, match=r"12 wide, .*; but onnxruntime is not installed\. .* make setup-onnx"):
        load_encoder(path, precision="fp32")
    assert load_encoder(precision="int8").backend.startswith("native")


@pytest.mark.parametrize("runtime", ["torch", pytest.param("onnx", marks=pytest.mark.long)])
def test_fp32_on_every_unit_equals_the_other_runtimes(
    runtime: Any, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    long = [*texts, " ".join(texts) * 9, "", "tokens to the limit " * 300]
    other = load_encoder(precision="fp32", backend=runtime)
    expected = other.encode(long)
    for unit in UNITS:
        monkeypatch.setenv("PERWATT_ISA", unit)
        ours = load_encoder(precision="fp32")
        assert ours.backend == f"native {unit}"
        assert other.fingerprint == ours.fingerprint
        assert np.abs(ours.encode(long) - expected).max() < 1e-5, unit


@pytest.mark.parametrize("place", [0, 5000, -1])
def test_a_damaged_packed_model_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, texts: list[str], place: int
) -> None:
    monkeypatch.setenv("PERWATT_CACHE", str(tmp_path))
    expected = load_encoder(precision="int8", backend="native").encode(texts)
    [packed] = (tmp_path / "models").glob("*.safetensors")
    whole = packed.read_bytes()
    damaged = bytearray(whole)
    damaged[place] ^= 0x40
    packed.unlink()
    packed.write_bytes(damaged)
    assert np.array_equal(load_encoder(precision="int8", backend="native").encode(texts), expected)
    assert packed.read_bytes() == whole


def test_the_packed_model_is_a_safetensors_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors import safe_open

    monkeypatch.setenv("PERWATT_CACHE", str(tmp_path))
    monkeypatch.setenv("PERWATT_ISA", "scalar")
    load_encoder(precision="int8", backend="native")
    [packed] = (tmp_path / "models").glob("*.safetensors")
    with safe_open(packed, "np") as file:
        assert file.get_slice("0.inner").get_dtype() == "I8"
        steps, sums, _bias = file.get_tensor("5.outer.scales")
        codes = file.get_tensor("5.outer")
    assert np.allclose(codes.sum((1, 3), dtype=np.int64).reshape(-1) * steps, sums, rtol=1e-5)


@pytest.mark.parametrize("tensor", ["encoder.layer.1.output.dense.bias", "embeddings.LayerNorm.weight"])
def test_a_missing_tensor_is_named(make_model: Callable[..., Path], tmp_path: Path, tensor: str) -> None:
    from safetensors.numpy import load_file, save_file

    path = Path(shutil.copytree(make_model(hidden=64, heads=2, inner=128), tmp_path / "model"))
    tensors = load_file(path / "model.safetensors")
    del tensors[tensor]
    save_file(tensors, path / "model.safetensors")
    with pytest.raises(ModelError, match=tensor.replace(".", r"\.")):
        load_encoder(path)


def test_serving_loads_neither_runtime_nor_pytorch() -> None:
    code = (
        "import sys; from embed import load_encoder; load_encoder(threads=1).encode(['gzip']);"
        "print([name for name in ('onnxruntime', 'onnx', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("lengths", [[], [7], [5, 1, 3, 2], [300] * 4, [1] * 50, [256, 1, 256, 2, 255, 900]])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_chunks_hold_every_row_once_in_order(lengths: list[int], threads: int) -> None:
    counted = np.array(lengths, np.int32)
    found = list(chunks(counted, threads, budget=256))
    rows = [row for each in found for row in range(each.start, each.stop)]
    assert rows == list(range(len(lengths)))
    for each in found:
        assert each.stop - each.start == 1 or counted[each].sum() <= 256


def test_the_environment_chooses_the_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in units():
        monkeypatch.setenv("PERWATT_ISA", name)
        assert unit_in_use() == name
    monkeypatch.setenv("PERWATT_ISA", "")
    assert unit_in_use() == units()[0]


def test_a_rung_without_a_unit_of_ours_takes_the_unit_below(monkeypatch: pytest.MonkeyPatch) -> None:
    ladder = [rung for rung, _ in _native.ladder()]
    for rung in set(ladder) - set(built()):
        monkeypatch.setenv("PERWATT_ISA", rung)
        below = ladder[: ladder.index(rung)]
        assert unit_in_use() == next(unit for unit in units() if unit in below)


@pytest.mark.parametrize("isa", ["altivec", "AVX2 ", "neon" if "avx2" in built() else "avx2"])
def test_a_unit_that_cannot_run_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, isa: str) -> None:
    monkeypatch.setenv("PERWATT_ISA", isa)
    with pytest.raises(EncoderKernelError, match=r"is not a unit of this build.*; this machine can run .*scalar"):
        load_encoder()
    assert issubclass(EncoderKernelError, EmbedError)


def test_vectors_rank_as_those_of_fp32(data_folder: Path, fp32_encoder: Any) -> None:
    """nDCG@10 over SciFact's judged queries and a tenth of its abstracts, against fp32's on the same."""
    folder = data_folder / "scifact"
    judged: dict[str, set[str]] = {}
    for line in (folder / "qrels.tsv").read_text().splitlines()[1:]:
        query, document, score = line.split("\t")
        if int(score) > 0:
            judged.setdefault(query, set()).add(document)
    wanted = set().union(*judged.values())
    corpus = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    corpus = [each for row, each in enumerate(corpus) if each["_id"] in wanted or row % 20 == 0]
    queries = [
        each for each in map(json.loads, (folder / "queries.jsonl").read_text().splitlines()) if each["_id"] in judged
    ]
    documents = [f"{each['title']} {each['text']}" for each in corpus]

    def ndcg(encoder: Any) -> float:
        scores = encoder.encode([q["text"] for q in queries], "query") @ encoder.encode(documents).T
        total = 0.0
        for query, row in zip(queries, scores, strict=True):
            relevant = judged[query["_id"]]
            top = np.argsort(-row, kind="stable")[:10]
            gain = sum(1 / np.log2(rank + 2) for rank, at in enumerate(top) if corpus[at]["_id"] in relevant)
            total += gain / sum(1 / np.log2(rank + 2) for rank in range(min(10, len(relevant))))
        return total / len(queries)

    native = load_encoder(precision="int8", backend="native", threads=os.cpu_count())
    assert ndcg(native) > ndcg(fp32_encoder) - 0.002
