"""What the native encoder is given in practice: odd texts, ragged batches, many threads, another machine's vectors."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from patience import burden
from serving import build_docs

from embed import EmbedError, load_encoder
from embed.encoders.precision import cosine
from embed.errors import TextError
from embed.kernels import units
from embed.models.fingerprint import TOLERANCE
from embed.models.yardstick import SENTENCES, yardstick
from service.errors import LoadError
from service.query.loading import open_checked

ODD = {
    "empty": "",
    "blank": " \n\t ",
    "nul": "a\0b\0",
    "one long word": "x" * 100_000,
    "a megabyte": "word and more " * 75_000,
    "unknown letters": "𓀀𓀁𓀂 ꧁꧂",
    "emoji": "🚲👩‍👩‍👧‍👦" * 50,
    "right to left": "\u202eשלום\u202c عالم",
    "combining": "e\u0301" * 400,
}


@pytest.fixture(scope="module", params=["int8", "fp32"])
def encoder(request: pytest.FixtureRequest) -> Any:
    return load_encoder(precision=request.param, backend="native", threads=2)


@pytest.fixture(scope="module")
def reference() -> Any:
    """The vectors of ODD by sentence-transformers."""
    return load_encoder(backend="torch").encode(list(ODD.values()))


def test_odd_texts_have_the_vectors_that_sentence_transformers_gives_them(encoder: Any, reference: Any) -> None:
    vectors, tokens = encoder.encode_counted(list(ODD.values()))
    assert np.isfinite(vectors).all()
    assert tokens.min() >= 2
    assert tokens.max() == 256
    assert cosine(vectors, reference).min() > (1 - 1e-6 if encoder.fingerprint.precision == "fp32" else 0.99)


@pytest.mark.parametrize("text", ["\ud800", "before \udfff after"])
def test_half_a_surrogate_pair_is_refused_with_its_place(encoder: Any, text: str) -> None:
    for batch, number in (([text], 0), (["fine", "fine too", text], 2)):
        with pytest.raises(TextError, match=rf"Text {number} of {len(batch)} is not valid Unicode at character"):
            encoder.encode(batch)
    with pytest.raises(EmbedError, match="Text 1 of 2 is a int, expected a str"):
        encoder.encode(["fine", 3])


def test_ragged_batches_give_the_bits_of_one_by_one(encoder: Any) -> None:
    random = np.random.default_rng(8)
    words = " ".join(yardstick()).split()
    texts = [
        " ".join(random.choice(words, size)) for size in random.permutation([0, 1, 2, 3, 7, 15, 40, 90, 200, 400] * 3)
    ]
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    assert np.array_equal(encoder.encode(texts), alone)
    order = random.permutation(len(texts))
    assert np.array_equal(encoder.encode([texts[row] for row in order]), alone[order])


def test_threads_that_ask_at_once_get_what_each_would_alone(encoder: Any) -> None:
    texts = [*yardstick()[:20], "words up to the limit " * 100]
    expected = encoder.encode(texts)
    starts = [(7 * turn) % len(texts) for turn in range(burden(10))]
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda start: encoder.encode(texts[start:] + texts[:start]), starts)
        for start, vectors in zip(starts, answers, strict=True):
            assert np.array_equal(vectors, np.roll(expected, -start, axis=0))


def test_memory_does_not_grow_with_the_number_of_texts() -> None:
    """Unchunked, the activations of 60 full texts would take 140 MB."""
    code = (
        "from embed import load_encoder\n"
        "from embed.vectors.provenance import peak_rss_bytes\n"
        "encoder = load_encoder(threads=2)\n"
        "text = 'words up to the limit ' * 80\n"
        "encoder.encode([text] * 8)\n"
        "before = peak_rss_bytes()\n"
        "encoder.encode([text] * 60)\n"
        "print(peak_rss_bytes() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 64 << 20


def test_processes_that_prepare_at_once_end_with_one_whole_file(
    make_model: Callable[..., Path], tmp_path: Path
) -> None:
    path = make_model(hidden=64, heads=2, inner=128, max_length=64)
    encode = f"load_encoder({str(path)!r}, threads=1).encode(['gzip'])"
    code = f"from embed import load_encoder; print({encode}.tobytes().hex())"
    environment = {**os.environ, "PERWATT_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", code]
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = {process.communicate()[0] for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len(answers) == 1
    kept = sorted(path.suffix for path in (tmp_path / "models").iterdir())
    assert kept == [".json", ".safetensors", ".sha256", ".sha256"]  # the finding, the packed model, and their hashes
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert {again.stdout} == answers


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_units_lie_within_the_tolerance_of_canaries_and_precisions_do_not(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = SENTENCES[::9]  # short and long; the scalar unit takes a while
    vectors, ids = [], set()
    for unit in units():
        monkeypatch.setenv("PERWATT_ISA", unit)
        encoder = load_encoder(precision=precision, backend="native", threads=2)
        vectors.append(encoder.encode(texts))
        ids.add(encoder.fingerprint.id)
    assert len(ids) == 1
    for one in vectors:
        for other in vectors:
            assert cosine(one, other).min() > (0.99 if precision == "int8" else 1 - 1e-6) > TOLERANCE[precision]
    rival = load_encoder(precision="fp32" if precision == "int8" else "int8", threads=2)
    assert rival.fingerprint.id not in ids
    assert cosine(vectors[0], rival.encode(texts)).min() < TOLERANCE["fp32"]  # why precision is in the fingerprint


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_an_index_built_on_one_unit_is_served_on_every_other(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoders = []
    for unit in units():
        monkeypatch.setenv("PERWATT_ISA", unit)
        encoders.append(load_encoder(precision=precision, backend="native", threads=1))
    for builder in (encoders[0], encoders[-1]):
        path = build_docs(tmp_path / builder.backend.replace(" ", "-"), builder, drop=18)
        for encoder in encoders:
            open_checked(path, encoder, 1).close()


def test_vectors_of_another_model_or_precision_are_refused(
    tmp_path: Path, make_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fp32, int8 = (load_encoder(precision=precision, threads=1) for precision in ("fp32", "int8"))
    path = build_docs(tmp_path / "root", fp32)
    with pytest.raises(LoadError, match="holds vectors of"):
        open_checked(path, int8, 1)
    # The right name over other weights, as a damaged or swapped model would have it.
    other = load_encoder(make_model(hidden=384, heads=12, inner=1536, max_length=256), precision="fp32")
    monkeypatch.setattr(other, "_fingerprint", fp32.fingerprint)
    with pytest.raises(LoadError, match=r"encodes canary \d+ differently than when the vectors were made"):
        open_checked(path, other, 1)
