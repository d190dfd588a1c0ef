"""What several test files need: the real encoder once a run, small models of other shapes, and data sets at hand."""

from __future__ import annotations

import functools
import gc
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import in_memory
import pytest
from hypothesis import settings
from once import once
from serving import SERVED_PRECISION

from service.processes import native_threads

# A script that runs us in the background has Ctrl-C ignored, which tests and what they start would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# No test has a time of its own to be wrong by: how long an example takes says most about what else the machine does.
settings.register_profile("perwatt", deadline=None)
settings.load_profile("perwatt")
# Before anything loads them: tests run beside each other's servers, and a pool a library adds nothing but noise.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Tests start hundreds of processes: none of them should have to compile our sources again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Some tests hold more sockets than a login shell lets them.
_SOFT, _HARD = resource.getrlimit(resource.RLIMIT_NOFILE)
if 0 <= _SOFT < 8192:
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192 if _HARD < 0 else min(8192, _HARD), _HARD))
if "PYTEST_XDIST_WORKER" in os.environ:  # one of several: native code that is not told otherwise gets one thread
    native_threads.pin()
else:
    in_memory.move()  # before the first temporary folder
    # Graphs made by other versions of the code must not be found, and none of ours be left behind. Workers inherit it.
    _CACHE = tempfile.TemporaryDirectory(prefix="perwatt-test-cache-")
    os.environ["PERWATT_CACHE"] = _CACHE.name


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two more than the cores that a cgroup leaves us, since many tests wait: for servers, for loads of some seconds.
    At most six, and no more than there is memory for: one grows to 3 GB."""
    import psutil
    from loky import cpu_count

    return max(1, min(6, int(cpu_count()) + 2, psutil.virtual_memory().available // 3_000_000_000))


# Collecting makes nothing but objects that stay to the end: no need to look for garbage among them, then or later.
gc.disable()


# PyTorch and what stands on it take eight seconds of processor time to import. The first tests of all are the first
# worker's, and others take from it what it has last: so one process imports them, where three would.
BY_PYTORCH = frozenset(
    f"test_{name}"
    for name in (
        "deploy_info", "embed_bench_encode", "embed_encoder", "embed_fitted", "embed_models", "embed_modules",
        "embed_native", "embed_native_inputs", "embed_native_kernels", "embed_precision", "embed_published",
        "embed_rerank", "service_fitted", "service_rerank", "service_routing_rerank",
    )
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in BY_PYTORCH)


def pytest_collection_finish() -> None:
    gc.enable()
    gc.freeze()


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of larger data sets, for the figures that only they can give. Everything else is tested without it."""
    folder = os.environ.get("PERWATT_DATA")
    if not folder:
        pytest.skip("set PERWATT_DATA to a folder with scifact/ in BEIR's shape to check the published figures")
    return Path(folder)


@pytest.fixture(scope="session")
def fp32_encoder() -> Iterator[Any]:
    from embed import load_encoder

    encoder = load_encoder(precision="fp32", threads=2)
    yield encoder
    encoder.close()


@pytest.fixture(scope="session")
def int8_encoder() -> Iterator[Any]:
    from embed import load_encoder

    encoder = load_encoder(precision="int8", threads=2)
    yield encoder
    encoder.close()


@pytest.fixture(scope="session")
def served_encoder(request: pytest.FixtureRequest) -> Any:
    """Of the precision that the servers of tests serve."""
    return request.getfixturevalue(f"{SERVED_PRECISION}_encoder")


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A tiny model with random weights in the sentence-transformers layout, saved by that library itself.

    The same one is made once, by whichever process needs it first (the others need no PyTorch), so nobody may write
    into its folder.

    kind: "bert" or "distilbert"; pooling as sentence-transformers names it; changes go into the model's configuration.
    """

    @functools.cache
    def make(kind: str = "bert", pooling: str = "mean", **shape: Any) -> Path:
        name = "-".join([kind, pooling, *(f"{key}={value}" for key, value in sorted(shape.items()))])
        return (
            once(tmp_path_factory, name, functools.partial(save_model, kind=kind, pooling=pooling, **shape)) / "model"
        )

    return make


def save_model(
    folder: Path,
    *,
    kind: str,
    pooling: str,
    normalize: bool = True,
    hidden: int = 48,
    heads: int = 4,
    inner: int = 96,
    max_length: int = 32,
    **changes: Any,
) -> None:
    import torch
    import transformers
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    from embed.models.folder import find_model

    torch.manual_seed(5)
    bare = folder / "bare"
    if kind == "bert":
        config = transformers.BertConfig(
            hidden_size=hidden, num_hidden_layers=2, num_attention_heads=heads, intermediate_size=inner, **changes
        )
        network = transformers.BertModel(config)
    else:
        config = transformers.DistilBertConfig(dim=hidden, n_layers=2, n_heads=heads, hidden_dim=inner, **changes)
        network = transformers.DistilBertModel(config)
    # Fresh weights are so small that every text would give nearly the same vector.
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(4)
    network.eval().save_pretrained(bare)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        shutil.copy(find_model().path / name, bare / name)
    body = Transformer(str(bare), max_seq_length=max_length)
    modules = [body, Pooling(hidden, pooling_mode=pooling)] + ([Normalize()] if normalize else [])
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder / "model"))


@pytest.fixture
def texts() -> list[str]:
    """Sentences of very different lengths, some of them hostile to a tokenizer."""
    return [
        "A search that knows what it costs.",
        "a",
        "Überraschung: naïve café — 東京 🚲",
        "compress bytes in memory " * 60,
        "def f(x):\n\treturn x ** 2  # squared",
        "the same words again and again " * 8,
        "0123456789 " * 20,
        "\u200b\u202e odd \x07 controls",
    ]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def file_size_limit() -> Callable[[int], AbstractContextManager[None]]:
    """`with file_size_limit(n):` lets no file grow beyond n bytes, which is how a full disk looks to the writer."""

    @contextmanager
    def limit(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit
