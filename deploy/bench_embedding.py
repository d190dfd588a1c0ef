"""Documents a second: perwatt's encoder beside plain sentence-transformers, on the same texts, cores and model.

The texts are the standard library's docstrings, joined to about 240 tokens each (the length of an abstract), so that
anyone can repeat the measurement. Contenders take turns within each round, so that a machine that slows down slows all
of them; the best round of each counts, and the ratio is of those.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from loky import cpu_count

TOKENS = 240
TEXTS = 96
ROUNDS = 5
QUERIES = (
    "compress bytes in memory",
    "read a csv file with a header",
    "how do I run a coroutine with a timeout",
    "parse command line arguments",
    "decode base64 from a url",
    "walk a directory tree",
    "round a decimal half up",
    "lock shared by several processes",
)


def measure() -> dict[str, Any]:
    """Figures with the unit in their name; see `deploy/figures.py` for how they are shown."""
    from sentence_transformers import SentenceTransformer

    from embed.encoder import load_encoder
    from embed.models import find_model

    cores = cpu_count()
    int8, fp32 = load_encoder(precision="int8"), load_encoder(precision="fp32")
    plain = SentenceTransformer(str(find_model().path), device="cpu")
    texts = documents(int8.token_offsets)
    contenders: dict[str, Callable[[list[str]], Any]] = {
        "sentence_transformers": lambda batch: plain.encode(batch, show_progress_bar=False),
        "perwatt_fp32": fp32.encode,
        "perwatt_int8": int8.encode,
    }
    rates = dict.fromkeys(contenders, 0.0)
    query_ms = {name: float("inf") for name in contenders}
    for _ in range(ROUNDS):
        for name, encode in contenders.items():
            rates[name] = max(rates[name], len(texts) / _seconds(encode, texts))
            for query in QUERIES:
                query_ms[name] = min(query_ms[name], 1e3 * _seconds(encode, [query]))
    reference, quantised = fp32.encode(texts), int8.encode(texts)
    cosine = (reference * quantised).sum(1)
    return {
        "cores": cores,
        "texts": len(texts),
        "tokens_per_text": round(float(np.mean(int8.encode_counted(texts)[1])), 1),
        "documents_per_s": {name: round(rate, 1) for name, rate in rates.items()},
        "query_ms": {name: round(value, 2) for name, value in query_ms.items()},
        "int8_cosine_mean": round(float(cosine.mean()), 5),
        "int8_cosine_min": round(float(cosine.min()), 5),
    }


def documents(offsets: Callable[[str], list[tuple[int, int]]]) -> list[str]:
    from embed.documents import Faults, FieldNames
    from embed.inputs import find_sources, read_documents

    texts: list[str] = []
    gathered = ""
    for document in read_documents(find_sources(["python:stdlib"]), FieldNames(), Faults("fail")):
        gathered = f"{gathered} {document.text}"
        tokens = offsets(gathered)
        if len(tokens) >= TOKENS:
            texts.append(gathered[: tokens[TOKENS - 1][1]])
            gathered = ""
        if len(texts) == TEXTS:
            break
    return texts


def _seconds(encode: Callable[[list[str]], Any], texts: list[str]) -> float:
    started = time.perf_counter()
    encode(texts)
    return time.perf_counter() - started
