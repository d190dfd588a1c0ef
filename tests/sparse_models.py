"""A model that weighs documents by counting their words: quick, without a network, and easily worked out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from index.build.rows.sparse import Impacts

STEP = 1 / 64


class CountingModel:
    """Of the words w0 … w199, of which every fifth weighs nothing in a query. `ghosts`: each word brings the next one
    along, which the document does not say."""

    given = "counting"

    def __init__(self, words: int = 200, id_: str = "sha256:0") -> None:
        self._id, self.weighed = id_, list[str]()
        self._words = {f"w{number}": number + 1 for number in range(words)} | {"[UNK]": 0}
        weights = np.random.default_rng(3).uniform(0.1, 9.0, words + 1).astype(np.float32)
        weights[::5] = 0
        self.table = weights

    @property
    def described(self) -> dict[str, Any]:
        return {"name": "counting", "id": self._id, "step": STEP}

    @property
    def tokenizer(self) -> str:
        made = Tokenizer(WordLevel(self._words, unk_token="[UNK]"))
        made.pre_tokenizer = Whitespace()
        return made.to_str()

    @cache  # noqa: B019  # of a few models in a test run
    def weights(self, text: str) -> dict[int, int]:
        """Impacts of a document by their tokens."""
        counts = Counter(self._words[word] for word in text.split() if word in self._words)
        ghosts = {token % (len(self.table) - 1) + 1: 1 for token in counts}
        more = len(text.strip()) % 23 + 1  # many values near each other, and equal ones
        return {token: min(255, 10 * count + token % 7 + more) for token, count in (ghosts | counts).items()}

    def impacts(self, documents: Sequence[tuple[str, str]]) -> Impacts:
        self.weighed += [text for _, text in documents]
        found = [sorted(self.weights(f"{title} {text}").items()) for title, text in documents]
        flat = [pair for each in found for pair in each]
        return (
            np.array([token for token, _ in flat], np.uint32),
            np.array([impact for _, impact in flat], np.uint8),
            np.cumsum([len(each) for each in found], dtype=np.int64),
        )

    def scores(self, query: str, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Of every document, by exact arithmetic."""
        steps = np.rint(self.table * 1024).astype(np.int64)
        asked = dict.fromkeys(self._words[word] for word in query.split() if word in self._words)
        sums = [sum(int(steps[token]) * self.weights(text).get(token, 0) for token in asked) for text in texts]
        return np.array(sums, np.float32) * np.float32(STEP / 1024)


def many_words(rows: int, seed: int = 0) -> list[str]:
    """Texts of rare and frequent words in clumps, so that some blocks of rows are far better than others."""
    random = np.random.default_rng(seed)
    topics = random.integers(0, 60, rows // 40 + 1)
    return [
        " ".join(
            f"w{word}" for word in np.minimum(199, topics[row // 40] + random.geometric(0.2, random.integers(1, 9)))
        )
        for row in range(rows)
    ]
