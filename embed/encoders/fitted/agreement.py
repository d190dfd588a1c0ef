"""How near a fitted encoder's answers come to the model's, on queries whose document is known.

The loss is what the product is for: how much of nDCG@10 is lost when the fitted encoder answers, each query having one
right document, that which its text was made from. Overlap and cosine are measured beside it. They say how far vectors
and hits moved, not whether the change was for the worse: a set of hits may change by a third and be as good.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from embed.encoders.contract import Vectors

HITS = 10
_DRAWS = 400  # of the bootstrap
Rows = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class Agreement(NamedTuple):
    """
    Args:
        loss: Of nDCG@10, relative to the model's; low and high are its 95 % interval.
        overlap: Share of the model's own ten hits that are among its ten.
        sent: Share of the queries that went through the whole model.
        queries: How many.
    """

    loss: float
    low: float
    high: float
    ndcg_model: float
    overlap: float
    cosine: float
    sent: float
    queries: int

    def as_dict(self) -> dict[str, float]:
        return {name: round(value, 4) for name, value in self._asdict().items()}


def gains(hits: Rows, documents: Rows) -> npt.NDArray[np.float64]:
    """nDCG@10 of each query whose one right answer is its row in `documents`, float64 (q,)."""
    found = hits[:, :HITS] == documents[:, None]
    gained: npt.NDArray[np.float64] = (found / np.log2(np.arange(2, found.shape[1] + 2))).sum(1)
    return gained


def agreement(
    model: Vectors, fitted: Vectors, model_hits: Rows, fitted_hits: Rows, documents: Rows, sent: Flags
) -> Agreement:
    """
    Args:
        model, fitted: Vectors of unit length, (q, dim).
        model_hits, fitted_hits: Rows of the ten best, (q, 10).
        documents: The right row of each query, (q,).
        sent: Whether a query goes through the model, and so loses nothing.
    """
    by_model, by_fitted = gains(model_hits, documents), gains(fitted_hits, documents)
    by_fitted = np.where(sent, by_model, by_fitted)
    draws = np.random.default_rng(5).integers(len(sent), size=(_DRAWS, len(sent)))
    losses = np.sort(_loss(by_model[draws].mean(1), by_fitted[draws].mean(1)))
    shared = np.array([len(set(a) & set(b)) for a, b in zip(model_hits.tolist(), fitted_hits.tolist(), strict=True)])
    cosines = (model * fitted).sum(1)
    return Agreement(
        float(_loss(by_model.mean(), by_fitted.mean())),
        float(losses[int(0.025 * _DRAWS)]),
        float(losses[int(0.975 * _DRAWS)]),
        float(by_model.mean()),
        float(np.where(sent, 1.0, shared / model_hits.shape[1]).mean()),
        float(np.where(sent, 1.0, cosines).mean()),
        float(sent.mean()),
        len(sent),
    )


def _loss(
    model: npt.NDArray[np.float64] | np.float64, fitted: npt.NDArray[np.float64] | np.float64
) -> npt.NDArray[np.float64]:
    """1 − fitted / model; 1 where the model finds nothing, since nothing can be said of the other then."""
    return np.where(model > 0, 1.0 - fitted / np.maximum(model, 1e-12), 1.0)
