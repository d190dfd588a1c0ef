"""A query encoder fitted to a corpus: taught, measured, and refused where it says something else than its model.

The model here has two layers, so that a student of its first and last layer is the model itself, and whatever it loses
was done to it on purpose.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from fitted_queries import made_documents

from embed import load_encoder
from embed.encoders.fitted import student
from embed.encoders.fitted.agreement import agreement, gains
from embed.encoders.fitted.encoder import open_fitted
from embed.encoders.fitted.fit import FitSettings, QueryFitter, QueryLossError
from embed.encoders.fitted.predictor import fitted_to
from embed.encoders.fitted.section import FILE, FittedSection, read_section, supported, write_section
from embed.encoders.fitted.texts import HELD_OUT, TAUGHT, queries_from

COUNT = 300
Rows = npt.NDArray[np.int64]


class Corpus:
    """Documents with their vectors, as a build hands them to a fitter."""

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder
        self.documents = made_documents(COUNT)
        self.vectors = encoder.encode([f"{each['title']} {each['text']}" for each in self.documents])

    def texts_of(self, rows: Rows) -> list[tuple[str, str]]:
        return [(self.documents[row]["title"], self.documents[row]["text"]) for row in rows.tolist()]

    def nearest(self, queries: npt.NDArray[np.float32]) -> Rows:
        return np.argsort(-(queries @ self.vectors.T), axis=1, kind="stable")[:, :10]

    def fit(self, folder: Path, settings: FitSettings, before: Path | None = None, **options: Any) -> Any:
        folder.mkdir(exist_ok=True)
        fitter = QueryFitter(self.encoder, settings, before=before, **options)
        return fitter(folder, COUNT, self.texts_of, self.nearest)


@pytest.fixture(scope="module")
def corpus(make_model: Callable[..., Path]) -> Iterator[Corpus]:
    encoder = load_encoder(make_model(hidden=64, heads=2, inner=128, max_length=128), precision="fp32", threads=1)
    yield Corpus(encoder)
    encoder.close()


def layers(corpus: Corpus) -> dict[str, npt.NDArray[np.float32]]:
    return student.first_weights(corpus.encoder.folder, student.layers_of(corpus.encoder.folder))


def section_of(corpus: Corpus, folder: Path, tensors: dict[str, npt.NDArray[np.float32]]) -> Path:
    """A folder with these layers as a fitted encoder, as an earlier build may have left it."""
    folder.mkdir()
    texts, _ = queries_from(corpus.texts_of(np.arange(COUNT)), 2000, TAUGHT, 2)
    write_section(folder, FittedSection(tensors, supported(corpus.encoder.token_ids(texts), corpus.encoder.vocabulary)))
    return folder


def shuffled(tensors: dict[str, npt.NDArray[np.float32]]) -> dict[str, npt.NDArray[np.float32]]:
    random = np.random.default_rng(1)
    return {name: random.permuted(values.ravel()).reshape(values.shape) for name, values in sorted(tensors.items())}


def worn(tensors: dict[str, npt.NDArray[np.float32]], noise: float) -> dict[str, npt.NDArray[np.float32]]:
    random = np.random.default_rng(2)
    return {
        name: (values + noise * values.std() * random.standard_normal(values.shape)).astype(np.float32)
        for name, values in sorted(tensors.items())
    }


def test_the_models_own_layers_make_its_own_vectors(corpus: Corpus, texts: list[str]) -> None:
    same = corpus.encoder.with_layers(layers(corpus))
    assert np.array_equal(same.encode(texts), corpus.encoder.encode(texts))
    other = corpus.encoder.with_layers(shuffled(layers(corpus)))
    assert (other.encode(texts) * same.encode(texts)).sum(1).mean() < 0.9


def test_a_student_learns_what_the_model_says(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, _ = queries_from(corpus.texts_of(np.arange(COUNT)), 400, TAUGHT, 2)
    ids, wanted = corpus.encoder.token_ids(texts), corpus.encoder.encode(texts)
    losses: list[float] = []
    student.taught(
        corpus.encoder.folder, layers(corpus), ids, wanted, steps=1, tell=lambda _step, loss: losses.append(loss)
    )
    assert losses[0] < 1e-5, "what is taught here is not what the kernels run"

    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch", None)  # an import of it fails as if it were not there
        untaught = student.taught(corpus.encoder.folder, layers(corpus), ids, wanted, steps=0)
    assert all(np.array_equal(untaught[name], values) for name, values in layers(corpus).items())

    start = worn(layers(corpus), 0.5)
    after = student.taught(corpus.encoder.folder, start, ids, wanted, steps=40)
    cosines = [
        float((corpus.encoder.with_layers(each).encode(texts) * wanted).sum(1).mean()) for each in (start, after)
    ]
    assert cosines[1] > cosines[0] + 0.2 * (1 - cosines[0])


def test_texts_to_measure_with_are_of_other_documents_and_in_other_frames(corpus: Corpus) -> None:
    assert not set(TAUGHT) & set(HELD_OUT)
    documents = corpus.texts_of(np.arange(20))
    texts, of = queries_from(documents, 300, TAUGHT, 3)
    assert len(texts) == len(set(texts)) == len(of) == 300
    assert queries_from(documents, 300, TAUGHT, 3) == (texts, of), "a build again makes other texts"
    for text, number in zip(texts, of, strict=True):
        words = set(" ".join(documents[number]).lower().replace(".", " ").split())
        assert words & set(text.lower().replace(".", " ").replace("?", " ").replace(",", " ").split())
    assert queries_from([("", ""), ("", " \n")], 10, TAUGHT, 1) == ([], [])


def test_a_perfect_student_is_used_alone_and_a_shuffled_one_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    whole = section_of(corpus, tmp_path / "whole", layers(corpus))
    entry = corpus.fit(tmp_path / "a", FitSettings("fitted"), whole)
    assert entry["measured"]["loss"] <= 0.02
    assert (entry["measured"]["sent"], entry["predictor"]["bound"]) == (0.0, None)
    assert entry["measured"]["cosine"] > 0.999
    assert entry["measured"]["overlap"] > 0.95
    assert entry["measured"]["ndcg_model"] > 0.1, "these texts find nothing, so they measure nothing"

    broken = section_of(corpus, tmp_path / "broken", shuffled(layers(corpus)))
    with pytest.raises(QueryLossError, match=r"it loses 0\.\d+ of the model's nDCG@10 .* --query-loss is 0\.02"):
        corpus.fit(tmp_path / "b", FitSettings("fitted"), broken)
    said: list[str] = []
    assert corpus.fit(tmp_path / "c", FitSettings("auto"), broken, say=said.append) is None
    assert "queries go through the whole model: it loses" in said[-1]
    assert not (tmp_path / "b" / FILE).exists()
    assert not (tmp_path / "c" / FILE).exists()


def test_what_a_worn_student_is_bad_at_goes_through_the_model(corpus: Corpus, tmp_path: Path) -> None:
    for noise in (0.1, 0.15, 0.2, 0.3, 0.4, 0.6):
        weak = section_of(corpus, tmp_path / f"{noise}", worn(layers(corpus), noise))
        alone = corpus.fit(tmp_path / "a", FitSettings("fitted", loss=1.0), weak)["alone"]["loss"]
        if alone > 0.3:
            break
    entry = corpus.fit(tmp_path / "b", FitSettings("fitted", loss=0.3), weak)
    assert entry["measured"]["loss"] <= 0.3 < alone == entry["alone"]["loss"]
    assert 0 < entry["measured"]["sent"] <= 0.6

    fitted = open_fitted(tmp_path / "b", entry, corpus.encoder)
    texts, _ = queries_from(corpus.texts_of(np.arange(COUNT)), 500, HELD_OUT, 9)
    sent = np.mean([fitted.encode(text) is None for text in texts])
    assert 0.5 * entry["measured"]["sent"] < sent < 2 * entry["measured"]["sent"] + 0.1, "the way back is off"


def test_a_query_longer_than_any_that_was_measured_goes_through_the_model(corpus: Corpus, tmp_path: Path) -> None:
    entry = corpus.fit(tmp_path / "a", FitSettings("fitted"), section_of(corpus, tmp_path / "whole", layers(corpus)))
    longest = entry["predictor"]["longest"]
    fitted = open_fitted(tmp_path / "a", entry, corpus.encoder)
    found = fitted.encode("kalo mitu")
    assert found is not None
    assert fitted.token_ids("kalo mitu") == corpus.encoder.token_ids(["kalo mitu"])[0]
    assert float(found @ corpus.encoder.encode(["kalo mitu"], "query")[0]) > 0.999
    shorter = open_fitted(tmp_path / "a", entry | {"predictor": entry["predictor"] | {"longest": 5}}, corpus.encoder)
    assert longest > 5
    assert shorter.encode("one two three four five six seven") is None
    assert shorter.encode("x" * 8000) is None


@pytest.mark.parametrize(("settings", "why"), [(FitSettings("fitted"), "of 2 documents those are 1 and")])
def test_a_corpus_too_small_to_measure_is_left_to_the_model(
    corpus: Corpus, tmp_path: Path, settings: FitSettings, why: str
) -> None:
    fitter = QueryFitter(corpus.encoder, settings)
    with pytest.raises(QueryLossError, match=why):
        fitter(tmp_path, 2, lambda rows: [("", "two words")] * len(rows), corpus.nearest)


def test_a_section_is_what_was_written_or_refused(corpus: Corpus, tmp_path: Path) -> None:
    folder = section_of(corpus, tmp_path / "a", layers(corpus))
    found = read_section(folder)
    for name, values in layers(corpus).items():
        np.testing.assert_allclose(found.layers[name], values, rtol=1e-3, atol=1e-4)
    assert found.support.shape == (corpus.encoder.vocabulary,)
    narrow = {name: values[: len(values) // 2] for name, values in layers(corpus).items()}
    write_section(folder, FittedSection(narrow, found.support))
    entry = {"predictor": {"weights": [0.0] * 6, "bound": None, "longest": 9}}
    with pytest.raises(Exception, match="another shape") as raised:
        open_fitted(folder, entry, corpus.encoder)
    assert "Build again" in str(raised.value)


def test_loss_is_of_the_models_own_ndcg_and_what_is_sent_loses_nothing() -> None:
    right = np.array([3, 4, 5, 6])
    model = np.array([[3, 0], [4, 0], [0, 5], [0, 1]])
    fitted = np.array([[3, 0], [0, 4], [0, 1], [0, 1]])
    assert gains(model, right).tolist() == pytest.approx([1, 1, 0.6309, 0], abs=1e-4)
    vectors = np.eye(4, dtype=np.float32)

    def loss(sent: Sequence[bool]) -> float:
        return agreement(vectors, vectors, model, fitted, right, np.array(sent)).loss

    assert loss([False] * 4) == pytest.approx(1 - 1.6309 / 2.6309, abs=1e-4)
    assert loss([False, True, True, False]) == 0
    assert loss([False, True, False, False]) == pytest.approx(0.6309 / 2.6309, abs=1e-4)
    nothing = np.zeros_like(model)
    assert agreement(vectors, vectors, nothing, nothing, right, np.zeros(4, bool)).loss == 1


def test_the_predictor_finds_what_the_loss_depends_on() -> None:
    random = np.random.default_rng(3)
    support = random.uniform(0, 8, 500).astype(np.float32)
    ids = [random.integers(0, 500, int(random.integers(3, 40))).tolist() for _ in range(400)]
    losses = np.array([0.01 * len(each) for each in ids], np.float32)
    predictor = fitted_to(ids, support, losses)
    foretold = np.array([predictor.foretold(each, support) for each in ids])
    assert np.corrcoef(foretold, losses)[0, 1] > 0.95
    assert predictor.foretold([1] * 41, support) == float("inf")
