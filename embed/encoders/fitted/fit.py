"""Fits a query encoder to the texts of a corpus, measures it, and says whether it keeps what was asked.

    split       some documents are held out: what is measured was not taught
    teach       a student on texts made from the others                          texts.py, student.py
    foretell    which queries it is bad at, on half of the held-out ones          predictor.py
    bound       the share that goes through the model, so that the rest keeps the loss asked for
    measure     both together, on the other half                                  agreement.py

"auto" leaves a corpus to the model where any of it fails, and says why; "fitted" refuses then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from embed.encoders.contract import Encoder, Vectors
from embed.encoders.fitted import agreement, student
from embed.encoders.fitted.agreement import Agreement, Rows
from embed.encoders.fitted.predictor import Predictor, fitted_to
from embed.encoders.fitted.section import FILE, FittedSection, read_section, supported, write_section
from embed.encoders.fitted.texts import HELD_OUT, TAUGHT, queries_from
from embed.encoders.native import NativeEncoder
from embed.encoders.packed_bert import layer_count
from embed.errors import EmbedError, ModelError

Wanted = Literal["fitted", "auto"]
Nearest = Callable[[Vectors], Rows]

DOCUMENTS = 20_000  # that texts are made from, at most
HELD_OUT_SHARE = 0.15  # of them
TAUGHT_TEXTS = 60_000
MEASURED_TEXTS = 4_000
LEAST_HELD_OUT, LEAST_MEASURED = 20, 100  # documents and texts: with fewer there is nothing to say of a loss
MOST_SENT = 0.5  # beyond it most queries cost the model and the student together
MARGIN = 0.75  # of the loss asked for, where the share that is sent is chosen, so that the other half keeps it too
TIMED = 50  # queries, one at a time


class QueryLossError(EmbedError):
    """A fitted query encoder loses more than was asked for, or cannot be fitted here."""


class FitSettings(NamedTuple):
    """
    Args:
        wanted: "fitted" refuses what misses, "auto" does without it.
        loss: Of nDCG@10, relative to the model's, that may be lost.
        steps: Batches that a student is taught.
        layers: Of a student.
    """

    wanted: Wanted = "auto"
    loss: float = 0.02
    steps: int = student.STEPS
    layers: int = 2


class QueryFitter:
    """Fits to the documents of one build.

    Args:
        encoder: The model of the documents' vectors.
        before: The folder of a generation whose fitted encoder is measured again, in place of one that is taught.
        say: Told how far it is, and why nothing was fitted.
    """

    def __init__(
        self,
        encoder: Encoder,
        settings: FitSettings,
        threads: int = 1,
        before: Path | None = None,
        say: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._encoder, self._settings, self._threads = encoder, settings, threads
        self._before, self._say = before, say

    def __call__(
        self, folder: Path, count: int, texts_of: Callable[[Rows], Sequence[tuple[str, str]]], nearest: Nearest
    ) -> dict[str, Any] | None:
        """Writes the section into `folder` and returns what the manifest says of it; None where the model is better.

        Args:
            count: Rows of the corpus.
            texts_of: Title and text of rows.
            nearest: The ten best rows of each query vector by exact search, int64 (q, 10).

        Raises:
            QueryLossError: A fitted encoder was wanted, and it misses what was asked.
        """
        try:
            return self._fit(folder, count, texts_of, nearest)
        except (QueryLossError, ModelError) as error:
            if self._settings.wanted == "fitted":
                raise QueryLossError(
                    f"No query encoder was fitted: {error}. --query-encoder auto builds all the same, and leaves "
                    "queries to the model"
                ) from None
            self._say(f"queries go through the whole model: {error}")
            return None

    def _fit(
        self, folder: Path, count: int, texts_of: Callable[[Rows], Sequence[tuple[str, str]]], nearest: Nearest
    ) -> dict[str, Any]:
        model, asked = self._encoder, self._settings
        if not isinstance(model, NativeEncoder):
            raise ModelError(
                f"it has one network for queries and documents on perwatt's own kernels, and this model is a "
                f"{type(model).__name__} on {model.backend}"
            )
        rows = np.random.default_rng(11).permutation(count)[:DOCUMENTS].astype(np.int64)
        documents = list(texts_of(rows))
        held = max(1, round(HELD_OUT_SHARE * len(rows)))
        texts, of = queries_from(documents[:held], MEASURED_TEXTS, HELD_OUT, 1)
        if held < LEAST_HELD_OUT or len(texts) < LEAST_MEASURED:
            raise QueryLossError(
                f"to measure a loss takes {LEAST_HELD_OUT} documents that are not taught and {LEAST_MEASURED} texts of "
                f"them, and of {count:,} documents those are {held} and {len(texts)}"
            )
        started_s = time.process_time()
        fitted, section = self._taught(model, documents[held:])
        fit_cpu_s = time.process_time() - started_s
        ids = model.token_ids(texts, "query")
        wanted, found = model.encode(texts, "query"), fitted.encode(texts, "query")
        right = rows[np.array(of)]
        hits = nearest(wanted), nearest(found)
        # By documents, in turn: both halves are of documents that were not taught, and of different ones.
        first = np.array(of) % 2 == 0
        predictor = fitted_to(
            [each for each, in_first in zip(ids, first, strict=True) if in_first],
            section.support,
            1.0 - (wanted * found).sum(1)[first],
        )
        predictor = replace(predictor, longest=max(map(len, ids)))
        foretold = np.array([predictor.foretold(each, section.support) for each in ids])

        def measured(of_half: agreement.Flags, sent: agreement.Flags) -> Agreement:
            model_hits, fitted_hits = hits
            return agreement.agreement(
                wanted[of_half],
                found[of_half],
                model_hits[of_half],
                fitted_hits[of_half],
                right[of_half],
                sent[of_half],
            )

        predictor = self._bounded(predictor, foretold, lambda sent: measured(first, sent).loss, foretold[first])
        sent = foretold > (np.inf if predictor.bound is None else predictor.bound)
        says = measured(~first, sent)
        if says.loss > asked.loss:
            raise QueryLossError(_missed(says.loss, asked.loss, says))
        write_section(folder, section)
        return {
            "kind": "student",
            "file": FILE,
            "layers": layer_count(section.layers),
            "loss_asked": asked.loss,
            "measured": says.as_dict(),
            "alone": measured(~first, np.zeros(len(ids), bool)).as_dict(),
            "cpu_of_model": round(_cpu_of_model(model, fitted, texts[:TIMED]), 3),
            "fit_cpu_s": round(fit_cpu_s, 1),
            "predictor": predictor.as_dict(),
        }

    def _taught(
        self, model: NativeEncoder, documents: Sequence[tuple[str, str]]
    ) -> tuple[NativeEncoder, FittedSection]:
        if self._before is not None:
            section = read_section(self._before)
            if len(section.support) != model.vocabulary:  # rows of another model than that generation's
                raise ModelError(f"{self._before.name} has one for another model")
            try:
                return model.with_layers(section.layers), section
            except (ValueError, TypeError) as error:
                raise ModelError(f"{self._before.name} has one for a model of another shape ({error})") from None
        texts, _ = queries_from(documents, TAUGHT_TEXTS, TAUGHT, 2)
        if not texts:
            raise QueryLossError("no document has a title or text to teach with")
        self._say(f"query encoder: {len(texts):,} texts, {self._settings.steps:,} steps")
        ids = model.token_ids(texts, "query")
        layers = student.first_weights(model.folder, student.layers_of(model.folder, self._settings.layers))
        layers = student.taught(
            model.folder,
            layers,
            ids,
            model.encode(texts, "query"),
            steps=self._settings.steps,
            threads=self._threads,
            tell=self._tell,
        )
        layers = {name: values.astype(np.float16).astype(np.float32) for name, values in layers.items()}  # as stored
        support = supported(ids, model.vocabulary).astype(np.float16).astype(np.float32)
        return model.with_layers(layers), FittedSection(layers, support)

    def _tell(self, step: int, loss: float) -> None:
        if (step + 1) % 100 == 0:
            self._say(f"query encoder: step {step + 1:,} of {self._settings.steps:,}, loss {loss:.3f}")

    def _bounded(
        self, predictor: Predictor, foretold: Vectors, loss: Callable[[agreement.Flags], float], among: Vectors
    ) -> Predictor:
        """The predictor with the bound that sends the smallest share of `among` to the model that keeps the loss."""
        least, best = np.inf, predictor
        for share in np.arange(0.0, MOST_SENT + 0.01, 0.05):
            bound = float(f"{np.quantile(among, 1.0 - share):.6g}") if share else None
            lost = loss(foretold > (np.inf if bound is None else bound))
            if lost < least:
                least, best = lost, replace(predictor, bound=bound)
            if lost <= MARGIN * self._settings.loss:
                break
        if least > self._settings.loss:
            raise QueryLossError(_missed(least, self._settings.loss, None))
        return best


def _missed(loss: float, asked: float, says: Agreement | None) -> str:
    interval = "" if says is None else f" (95 %: {says.low:.3f} to {says.high:.3f}, {says.queries:,} queries)"
    return (
        f"it loses {loss:.3f} of the model's nDCG@10{interval} with up to {MOST_SENT:.0%} of the queries sent through "
        f"the model, and --query-loss is {asked:g}"
    )


def _cpu_of_model(model: NativeEncoder, fitted: NativeEncoder, texts: Sequence[str]) -> float:
    """Processor time of a query alone in the fitted encoder, as a share of the model's: medians of both."""
    took: list[list[float]] = [[], []]
    for text in texts:
        for times, encoder in zip(took, (model, fitted), strict=True):
            start_s = time.thread_time()
            encoder.encode([text], "query")
            times.append(time.thread_time() - start_s)
    whole, part = (float(np.median(times)) for times in took)
    return part / whole if whole else 1.0
