"""Models that are more than a transformer and a pooling, on our kernels, beside sentence-transformers itself.

The shapes are those of published models, the weights tiny and random: a Dense module behind the pooling (mdbr-leaf-ir,
sentence-t5, LaBSE), another network for queries than for documents (Router, formerly Asym), prompts, fewer dimensions.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from embed import load_encoder
from embed.cli import embed
from embed.encoders.fitted import student
from embed.encoders.native import NativeEncoder
from embed.errors import ModelError
from embed.models.folder import find_model

SHAPE: dict[str, Any] = {"hidden": 64, "heads": 2, "inner": 128, "max_length": 48}
NEAR = 1e-5


@pytest.fixture(scope="module")
def make(make_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A folder of modules that follow a tiny model's transformer and pooling, as sentence-transformers saves it."""
    from sentence_transformers import SentenceTransformer

    def made(*after: Any, **settings: Any) -> Path:
        body = SentenceTransformer(str(make_model(**SHAPE, normalize=False)), device="cpu")
        folder = tmp_path_factory.mktemp("modules") / "model"
        SentenceTransformer(modules=[*body, *after], device="cpu", **settings).save_pretrained(str(folder))
        return folder

    return made


def dense(out: int, activation: str = "Identity", inside: int = 64) -> Any:
    import torch
    from sentence_transformers.sentence_transformer.modules import Dense

    torch.manual_seed(out)
    return Dense(inside, out, activation_function=getattr(torch.nn, activation)())


def normalize() -> Any:
    from sentence_transformers.sentence_transformer.modules import Normalize

    return Normalize()


def reference(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


ONE: dict[str, Any] = {"show_progress_bar": False, "batch_size": 1}  # in a batch every text is padded to the longest


def test_dense_modules_run_here_as_there(make: Callable[..., Path], texts: list[str]) -> None:
    for after in (
        [dense(96), normalize()],
        [dense(32, "Tanh")],
        [dense(96, "ReLU"), dense(48, inside=96), normalize()],
    ):
        folder = make(*after)
        encoder = load_encoder(folder, precision="fp32", threads=1)
        assert isinstance(encoder, NativeEncoder)
        expected = reference(folder).encode(texts, **ONE)
        assert encoder.dim == expected.shape[1]
        assert np.abs(encoder.encode(texts) - expected).max() < NEAR
        assert np.array_equal(encoder.encode(texts)[:2], encoder.encode(texts[:2])), "a vector depends on its batch"
        encoder.close()


def test_fewer_dimensions_are_the_first_ones(make: Callable[..., Path], texts: list[str]) -> None:
    for folder in (make(normalize()), make(dense(96), normalize())):
        whole, short = (load_encoder(folder, precision="fp32", threads=1, dim=dim) for dim in (None, 24))
        expected = reference(folder).encode(texts, truncate_dim=24, normalize_embeddings=True, **ONE)
        assert short.dim == 24
        assert np.abs(short.encode(texts) - expected).max() < NEAR
        assert short.fingerprint.id != whole.fingerprint.id
        same = load_encoder(folder, precision="fp32", threads=1, dim=whole.dim)
        assert same.fingerprint.id == whole.fingerprint.id
        by_torch = load_encoder(folder, precision="fp32", backend="torch", threads=1, dim=24)
        assert np.abs(by_torch.encode(texts) - expected).max() < NEAR
        with pytest.raises(ModelError, match="1000 dimensions were asked for, and model has"):
            load_encoder(folder, precision="fp32", dim=1000)


def test_vectors_of_fewer_dimensions_are_served_by_an_encoder_of_as_many(
    make: Callable[..., Path], tmp_path: Path
) -> None:
    from service.query.loading import encoder_of
    from service.settings import Settings

    folder, documents = make(normalize()), tmp_path / "documents.jsonl"
    documents.write_text('{"_id": "a", "text": "rotate a key"}\n')
    options = ["--model", str(folder), "--dim", "24", "--threads", "1", "--quiet"]
    ran = CliRunner().invoke(embed, [str(documents), "--out", str(tmp_path / "vectors"), *options])
    assert ran.exit_code == 0, ran.output
    model = json.loads((tmp_path / "vectors" / "embed.json").read_text())["model"]
    assert model["dim"] == 24
    encoder = encoder_of(model, Settings(model=str(folder)))
    assert encoder.fingerprint.id == model["id"]
    encoder.close()
    refused = CliRunner().invoke(embed, [str(documents), "--out", "x", "--encoder", "http://x", "--dim", "24"])
    assert "--dim is of a model that runs here" in refused.output


@pytest.fixture(scope="module")
def asymmetric(
    make: Callable[..., Path], make_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Queries through a narrow network and a Dense module, documents through a wider one; prompts for both."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Router

    wide = make_model(hidden=128, heads=4, inner=192, max_length=64, normalize=False, pooling="cls")
    documents = list(reference(wide))
    router = Router.for_query_document([*reference(make(dense(128)))], documents)
    folder = tmp_path_factory.mktemp("asymmetric") / "model"
    prompts = {"query": "find this: ", "document": "text: "}
    model = SentenceTransformer(modules=[router, normalize()], device="cpu", prompts=prompts)
    model.save_pretrained(str(folder))
    return folder


def test_queries_go_through_another_network_than_documents(asymmetric: Path, texts: list[str]) -> None:
    plain = reference(asymmetric)
    encoder = load_encoder(asymmetric, precision="fp32", threads=1)
    assert encoder.backend.startswith("native")
    assert (encoder.fingerprint.query_prefix, encoder.fingerprint.document_prefix) == ("find this: ", "text: ")
    assert np.abs(encoder.encode(texts) - plain.encode_document(texts, **ONE)).max() < NEAR
    assert np.abs(encoder.encode(texts, "query") - plain.encode_query(texts, **ONE)).max() < NEAR
    short = load_encoder(asymmetric, precision="fp32", threads=1, dim=40)
    assert short.encode(texts, "query").shape == short.encode(texts).shape == (len(texts), 40)
    small = load_encoder(asymmetric, threads=1)  # in the precision that suits both
    assert (small.encode(texts, "query") * plain.encode_query(texts, **ONE)).sum(1).mean() > 0.99


def test_the_layout_before_version_5_is_read_too(asymmetric: Path, tmp_path: Path) -> None:
    old = Path(shutil.copytree(asymmetric, tmp_path / "model"))
    [router, _] = modules = json.loads((old / "modules.json").read_text())
    router["type"] = "sentence_transformers.models.Asym"
    (old / "modules.json").write_text(json.dumps(modules))
    inside = old / router["path"]
    (inside / "router_config.json").rename(inside / "config.json")
    now, then = find_model(asymmetric), find_model(old)
    assert then.queries is not None
    assert then.weights_sha256 == now.weights_sha256
    assert then.queries.dim == then.dim == 128


def test_a_fingerprint_is_of_every_part_of_a_model(asymmetric: Path, tmp_path: Path) -> None:
    before = find_model(asymmetric).weights_sha256
    changed = Path(shutil.copytree(asymmetric, tmp_path / "model"))
    queries = find_model(changed).queries
    assert queries is not None
    [module] = queries.dense
    file = module.path / "model.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    assert find_model(changed).weights_sha256 != before


def test_what_our_kernels_do_not_know_is_left_to_another_runtime_or_refused(
    make: Callable[..., Path], asymmetric: Path
) -> None:
    assert find_model(make(dense(32, "Sigmoid"))).pooling == "model"
    assert find_model(make(normalize(), dense(32))).pooling == "model", "scaled before it is projected"
    with pytest.raises(ModelError, match="by another network than documents, which perwatt's own kernels alone run"):
        load_encoder(asymmetric, precision="fp32", backend="torch")


def test_a_student_is_taught_what_follows_the_pooling_too(make: Callable[..., Path], texts: list[str]) -> None:
    encoder = load_encoder(make(dense(96, "Tanh"), normalize()), precision="fp32", threads=1, dim=40)
    assert isinstance(encoder, NativeEncoder)
    layers = student.first_weights(encoder.folder, student.layers_of(encoder.folder))
    ids, losses = encoder.token_ids(texts), list[float]()
    student.taught(
        encoder.folder, layers, ids, encoder.encode(texts), steps=1, tell=lambda _step, loss: losses.append(loss)
    )
    assert losses[0] < 1e-5, "what is taught here is not what the kernels run"
    assert np.array_equal(encoder.with_layers(layers).encode(texts), encoder.encode(texts))
    encoder.close()
