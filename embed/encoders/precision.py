"""Which precision a model gets when nobody asked for one: int8 where it is measured to be near enough to fp32.

int8 suits most models and not all: a few channels with values a hundred times their neighbours' (some BERT models grow
them) take all the steps there are, and the rest is rounded away. No rule on the weights foretells that well, so the
model is asked: when it is first loaded on a machine it encodes a fixed set of texts in both precisions, and int8
becomes its default only if the mean cosine between the two is at least LEAST_MEAN_COSINE. The finding lies in the cache
beside the prepared model, and `--precision` overrules it.

The bound: all-MiniLM-L6-v2 lies at 0.9986 on these texts and its nDCG@10 on SciFact and XQuAD stays within 0.002 of
fp32's; rounding noise at 0.997 is 1.5 times as large in angle. The kernels of another processor move the mean by about
0.0001, so two machines can only decide differently that near to the bound; a service takes the precision of its vectors
and decides nothing.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from embed.encoders.native import NativeEncoder, unsuited
from embed.errors import ModelError
from embed.models.cache import cached
from embed.models.fingerprint import fingerprint_of
from embed.models.folder import ModelFolder
from embed.models.yardstick import yardstick

LEAST_MEAN_COSINE = 0.997
# Changes whenever the same model could get another finding: the texts, the bound, the way int8 is done.
RECIPE = 1


@dataclass(frozen=True)
class PrecisionChoice:
    """A default precision and why."""

    precision: str
    reason: str  # the end of a sentence: "… runs in fp32: <reason>"
    int8_mean_cosine: float | None = None  # to fp32, over the yardstick; None where int8 is not offered
    int8_least_cosine: float | None = None


def choose(folder: ModelFolder) -> PrecisionChoice:
    """The default precision of a model with backend "auto" or "native", measured once a machine.

    Raises:
        ModelError: The model cannot be run, or the cache cannot be written.
    """
    if folder.queries is not None:  # both, or neither
        sides = [choose(side) for side in (replace(folder, queries=None), folder.queries)]
        return min(sides, key=lambda side: side.int8_mean_cosine or 0.0)
    if why := unsuited(folder):
        return PrecisionChoice("fp32", f"only perwatt's own kernels run int8, and {why}")
    recipe = [RECIPE, "native", folder.weights_sha256, folder.tokenizer_sha256, folder.pooling, folder.normalize]
    recipe += [folder.max_length, hashlib.sha256(json.dumps(folder.config, sort_keys=True).encode()).hexdigest()]
    name = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:24]
    path = cached(
        f"{folder.path.name}-precision-{name}.json",
        lambda target: _write(measure(folder), target),
    )
    try:
        return PrecisionChoice(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{path} cannot be read: {error}. Delete it; it is made anew.") from None


def measure(folder: ModelFolder) -> PrecisionChoice:
    """Encodes the yardstick in both precisions on one thread."""
    vectors = []
    for precision in ("fp32", "int8"):
        encoder = NativeEncoder(folder, fingerprint_of(folder, precision), 1, keep=precision == "int8")
        vectors.append(encoder.encode(yardstick()))
        encoder.close()
    cosines = cosine(*vectors)
    mean, least = round(float(cosines.mean()), 5), round(float(cosines.min()), 5)
    found = f"in int8 its vectors have a mean cosine of {mean:.4f} to those of fp32"
    if mean >= LEAST_MEAN_COSINE:
        return PrecisionChoice("int8", f"{found}, at least {LEAST_MEAN_COSINE} is expected", mean, least)
    return PrecisionChoice("fp32", f"{found}, and at least {LEAST_MEAN_COSINE} is expected", mean, least)


def cosine(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Row by row, (n,); 0 where a vector is zero or not finite, so that it counts against int8."""
    wide, other = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1) * np.linalg.norm(other, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = (wide * other).sum(axis=1) / lengths
    return np.where(np.isfinite(cosines), cosines, 0.0)


def _write(choice: PrecisionChoice, target: Path) -> None:
    target.write_text(json.dumps(asdict(choice), indent=1) + "\n", encoding="utf-8")
