"""Which queries a fitted encoder should leave to the whole model, foretold from their tokens before any is encoded.

What a query loses grows with its length and with how seldom its tokens were taught. A linear fit of one minus the
cosine on these gives a number to a query, and queries beyond a bound go to the model. Nothing is foretold of a query
that is longer than any that was measured: it goes there too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from embed.encoders.contract import Vectors
from embed.errors import ModelError

EVERYTHING = float("inf")


@dataclass(frozen=True)
class Predictor:
    """
    Args:
        weights: Of what `features` says of a query.
        bound: The largest foretold loss that the fitted encoder answers; None for any.
        longest: Tokens of the longest query that was measured, special ones included.
    """

    weights: tuple[float, ...]
    bound: float | None
    longest: int

    def foretold(self, ids: Sequence[int], support: Vectors) -> float:
        """The loss of a query by its token ids; infinite where none was measured."""
        if len(ids) > self.longest:
            return EVERYTHING
        return float(features(ids, support) @ np.array(self.weights))

    def accepts(self, ids: Sequence[int], support: Vectors) -> bool:
        foretold = self.foretold(ids, support)
        return foretold < EVERYTHING if self.bound is None else foretold <= self.bound

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"weights": list(self.weights)}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        try:
            return cls(tuple(map(float, fields["weights"])), fields["bound"], int(fields["longest"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"The predictor of a fitted query encoder is garbled: {error}. Build again.") from None


def features(ids: Sequence[int], support: Vectors) -> npt.NDArray[np.float64]:
    """One, the number of tokens and its logarithm, and mean, least and lack of support, float64 (6,)."""
    taught = support[np.asarray(ids[1:-1] or ids)]
    length = len(ids)
    return np.array([1.0, length / 64, np.log2(length), taught.mean(), taught.min(), float((taught < 1).mean())])


def fitted_to(ids: Sequence[Sequence[int]], support: Vectors, losses: Vectors) -> Predictor:
    """The predictor of these losses by least squares, without a bound."""
    known = np.stack([features(each, support) for each in ids])
    squares = known.T @ known + 1e-3 * len(ids) * np.eye(known.shape[1])
    weights = np.linalg.solve(squares, known.T @ losses.astype(np.float64))
    return Predictor(tuple(float(f"{weight:.6g}") for weight in weights), None, max(map(len, ids)))
