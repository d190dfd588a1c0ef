"""Who made a vector: everything that decides what numbers come out for a text.

Two encoders with the same fingerprint id give interchangeable vectors; that is the whole promise, and it is why the id
covers the bytes of the weights and of the tokenizer and not the name, which only tells people what they are looking at.
The id travels with the vectors into the generation and into every response.

Machine and backend are not part of it: the same precision on another CPU differs by rounding alone, and the canaries
of a generation hold that difference to a stated bound (`tolerance`)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from embed.errors import ModelError
from embed.models.folder import DEFAULT_HUB_NAME, DEFAULT_WEIGHTS_SHA256, ModelFolder


def fingerprint_of(folder: ModelFolder, precision: str) -> Fingerprint:
    """What the model's own configuration says, in a precision."""
    return Fingerprint(
        name=folder.name,
        weights_sha256=folder.weights_sha256,
        tokenizer_sha256=folder.tokenizer_sha256,
        pooling=folder.pooling,
        normalize=folder.normalize,
        query_prefix=folder.query_prefix,
        document_prefix=folder.document_prefix,
        max_length=folder.max_length,
        precision=precision,
        dim=folder.dim,
    )


REMOTE = "remote"  # the precision of a model that runs elsewhere, where only whoever runs it knows it

# The least cosine between a text's vector now and when the generation was made. Measured with all-MiniLM-L6-v2 on the
# yardstick's texts and 128 abstracts: fp32 between backends and units ≥ 0.99999; int8 against fp32 ≥ 0.992, so that it
# lies beyond fp32's tolerance and is another fingerprint; and two units that round int8 differently can each be that
# far off on either side. A wrong model of the same width lies near 0. Elsewhere a model may move from one
# accelerator to another and between half precisions; a model that was trained anew lies far below.
TOLERANCE = {"fp32": 0.999, "int8": 0.98, REMOTE: 0.99}


@dataclass(frozen=True)
class Fingerprint:
    name: str
    weights_sha256: str
    tokenizer_sha256: str
    pooling: str  # "mean", "cls", "max", or "model" when the model's own modules decide
    normalize: bool
    query_prefix: str
    document_prefix: str
    max_length: int  # tokens, special tokens included; the rest of a text is cut; 0 where it is not known
    precision: str  # "fp32", "int8" or REMOTE
    dim: int

    @property
    def id(self) -> str:
        """ "sha256:<64 hex>" over the canonical JSON of every field but the name."""
        fields = asdict(self)
        del fields["name"]
        canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def names(self) -> tuple[str, ...]:
        """What people call it: its name, also without the owner; its name on the hub, where the weights are known;
        its id."""
        published = (DEFAULT_HUB_NAME,) if self.weights_sha256 == DEFAULT_WEIGHTS_SHA256 else ()
        return tuple(dict.fromkeys((self.name, self.name.rsplit("/", 1)[-1], *published, self.id)))

    @property
    def tolerance(self) -> float:
        """The least cosine at which a canary's vector counts as unchanged."""
        return TOLERANCE[self.precision]

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "id": self.id}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """The fingerprint written by `as_dict`. Raises ModelError if it was altered since."""
        given = dict(fields)
        stated = given.pop("id", None)
        try:
            fingerprint = cls(**given)
        except TypeError as error:
            raise ModelError(f"A model fingerprint has the wrong fields: {error}.") from None
        if stated != fingerprint.id:
            raise ModelError(
                f"The model fingerprint of {fingerprint.name} says {stated} but its fields give "
                f"{fingerprint.id}: it was changed after it was written. Embed again."
            )
        return fingerprint
