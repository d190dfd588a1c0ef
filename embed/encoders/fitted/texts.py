"""What people might ask, made from documents: their titles, sentences and spans of words, bare and inside questions.

Queries are not to be had when an index is built, but what they are about is: it stands in the documents. Half of the
spans are put into the frame of a question or a request, so that words which people ask with, and documents never say,
are met. The frames that the measurement uses are others than those that are taught, as are its documents: what is
measured is how the encoder does with words around a subject that it has not seen there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

TAUGHT = (
    *("what is {}", "what are {}", "how does {} work", "why {}", "who {}", "when did {}", "where {}", "which {}"),
    *("how to {}", "how do I {}", "can I {}", "does {}", "is it true that {}", "effect of {}", "examples of {}"),
    *("articles about {}", "information on {}", "what is known about {}", "find documents that deal with {}"),
    *("I am looking for {}", "best way to {}", "problem with {}", "difference between {}", "{} explained", "{}?"),
    *("What methods are there for {}? How are they compared?", "Give everything that concerns {}", "list of {}"),
)
HELD_OUT = (
    *("what can you tell me about {}", "how is {} done", "what causes {}", "whose {}", "are there {}", "{} meaning"),
    *("papers discussing {}", "show me {}", "I need help with {}", "what problems and concerns are there with {}"),
    *("has anybody described {}, and what did they find?", "how can {} be described or improved"),
)
LENGTHS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16)  # words of a span
LONGEST = 48  # words of a text
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


def queries_from(
    documents: Sequence[tuple[str, str]], wanted: int, frames: Sequence[str], seed: int
) -> tuple[list[str], list[int]]:
    """At most `wanted` different texts, and of each the document it was made from.

    Args:
        documents: Title and text of each; either may be empty.
    """
    random = np.random.default_rng(seed)
    made: dict[str, int] = {}
    each = max(1, -(-2 * wanted // max(1, len(documents))))
    for number in random.permutation(len(documents)).tolist():
        if len(made) >= wanted:
            break
        title, body = documents[number]
        for text in _of_document(title, body, each, random):
            if random.random() < 0.5:
                bare = text.rstrip(".?! ")
                text = frames[int(random.integers(len(frames)))].format(bare[:1].lower() + bare[1:])
            made.setdefault(text, number)
    texts = list(made)[:wanted]
    return texts, [made[text] for text in texts]


def _of_document(title: str, text: str, wanted: int, random: np.random.Generator) -> Iterable[str]:
    sentences = [words for each in _SENTENCE.split(text) if (words := each.split())]
    found: list[list[str]] = [title.split()] if title.strip() else []
    for _ in range(wanted if sentences else 0):
        at = int(random.integers(len(sentences)))
        words = sentences[at]
        kind = random.random()
        if kind < 0.15:
            found.append(words)
        elif kind < 0.25:
            found.append([*words, *(sentences[at + 1] if at + 1 < len(sentences) else [])])
        else:
            length = LENGTHS[int(random.integers(len(LENGTHS)))]
            start = int(random.integers(max(1, len(words) - length + 1)))
            found.append(words[start : start + length])
    order = random.permutation(len(found)).tolist()
    return [" ".join(found[at][:LONGEST]) for at in order[:wanted]]
