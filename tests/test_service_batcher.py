"""The micro-batcher with the real encoder: who goes at once, who goes together, and who goes not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import numpy as np
import pytest

from embed.encoders.fitted.encoder import FittedEncoder
from embed.encoders.fitted.predictor import Predictor
from embed.encoders.fitted.student import first_weights
from embed.encoders.query_cache import CacheMemory, QueryCache
from service.query.batcher import LONGEST_LOOKED_UP, MAX_TEXTS, WINDOW_TEXTS, Batcher, Encoded


def run(encoder: Any, work: Any) -> tuple[Any, list[int]]:
    """The result of `work(batcher)`, and the sizes of the batches that were encoded."""
    sizes: list[int] = []

    async def main() -> Any:
        batcher = Batcher(encoder, sizes.append)
        try:
            return await work(batcher)
        finally:
            batcher.close()

    return asyncio.run(main()), sizes


def test_a_lone_text_goes_at_once_and_those_that_gather_meanwhile_go_together(served_encoder: Any) -> None:
    texts = ["the first one " * 100, *(f"text {number}" for number in range(9))]

    async def work(batcher: Batcher) -> Any:
        return await asyncio.gather(*(batcher.encode(text) for text in texts))

    encoded, sizes = run(served_encoder, work)
    assert sizes == [1, 9]
    np.testing.assert_allclose([one.vector for one in encoded], served_encoder.encode(texts, "query"), atol=1e-5)
    assert [one.tokens for one in encoded] == served_encoder.encode_counted(texts, "query")[1].tolist()


def test_one_after_the_other_is_one_by_one(served_encoder: Any) -> None:
    async def work(batcher: Batcher) -> None:
        for text in ("a", "b", "c"):
            await batcher.encode(text)

    assert run(served_encoder, work)[1] == [1, 1, 1]


def test_a_crowd_is_split_at_the_largest_batch(served_encoder: Any) -> None:
    async def work(batcher: Batcher) -> None:
        await asyncio.gather(*(batcher.encode(f"text {number}") for number in range(1 + MAX_TEXTS + 3)))

    assert run(served_encoder, work)[1] == [1, MAX_TEXTS, 3]


def test_a_query_waits_behind_one_window_of_bulk_work_at_most(served_encoder: Any) -> None:
    async def work(batcher: Batcher) -> int:
        bulk = asyncio.create_task(batcher.encode_many([f"bulk {number}" for number in range(200)], "query"))
        await asyncio.sleep(0)  # the first window is queued
        assert batcher.waiting <= WINDOW_TEXTS
        await batcher.encode("one query")
        ahead = sum(sizes)
        assert len(await bulk) == 200
        return ahead

    sizes: list[int] = []

    async def main() -> int:
        batcher = Batcher(served_encoder, sizes.append)
        try:
            return await work(batcher)
        finally:
            batcher.close()

    assert asyncio.run(main()) <= WINDOW_TEXTS + MAX_TEXTS
    assert sum(sizes) == 201


def test_bulk_work_comes_back_in_order(served_encoder: Any) -> None:
    texts = [f"{'word ' * (number % 9)}{number}" for number in range(50)]
    encoded, _ = run(served_encoder, lambda batcher: batcher.encode_many(texts, "document"))
    np.testing.assert_allclose([one.vector for one in encoded], served_encoder.encode(texts), atol=1e-5)


def test_a_text_whose_caller_gave_up_is_not_encoded(served_encoder: Any) -> None:
    async def work(batcher: Batcher) -> None:
        first = asyncio.create_task(batcher.encode("the first one " * 100))
        await asyncio.sleep(0)
        impatient = [asyncio.create_task(batcher.encode(f"impatient {number}")) for number in range(5)]
        patient = asyncio.create_task(batcher.encode("patient"))
        await asyncio.sleep(0)
        for task in impatient:
            task.cancel()
        await asyncio.gather(first, patient)

    assert run(served_encoder, work)[1] == [1, 1]


def test_queries_and_documents_are_not_mixed(served_encoder: Any) -> None:
    async def work(batcher: Batcher) -> None:
        kinds: list[Coroutine[Any, Any, Any]] = [batcher.encode("first")]
        kinds += [batcher.encode("a", "query"), batcher.encode("b", "document"), batcher.encode("c", "document")]
        await asyncio.gather(*kinds)

    assert run(served_encoder, work)[1] == [1, 1, 2]


SHORT = 6  # tokens


@pytest.fixture
def fitted(served_encoder: Any) -> FittedEncoder:
    """Of the model's first layer, for queries of up to SHORT tokens: what it foretells is their number over 64."""
    student = served_encoder.with_layers(first_weights(served_encoder.folder, [0]))
    predictor = Predictor((0.0, 1.0, 0.0, 0.0, 0.0, 0.0), SHORT / 64, 64)
    return FittedEncoder(student, np.zeros(served_encoder.vocabulary, np.float32), predictor, "docs-1")


@pytest.mark.parametrize("cached", [False, True])
def test_what_a_fitted_encoder_takes_goes_together_and_apart_from_the_models(
    served_encoder: Any, fitted: FittedEncoder, cached: bool
) -> None:
    texts = ["one two", "three", "four", "a query of many more tokens than six", "another one of more tokens than six"]
    cache = QueryCache(CacheMemory(1 << 20), "model", served_encoder.dim) if cached else None
    sizes: list[int] = []

    async def main() -> tuple[list[Encoded], list[Encoded]]:
        batcher = Batcher(served_encoder, sizes.append, cache=cache)
        try:
            by_fitted = await asyncio.gather(*(batcher.submit(text, fitted=fitted) for text in texts))
            return by_fitted, await asyncio.gather(*(batcher.submit(text) for text in texts))
        finally:
            batcher.close()

    either, model = asyncio.run(main())
    assert sizes == ([1, 2, 2, 1, 2] if cached else [1, 2, 2, 1, 4])  # the model's of before are known to the cache
    assert [one.fitted for one in either] == [True, True, True, False, False]
    assert not any(one.fitted for one in model)
    by_both = [fitted.encode(text) for text in texts[:3]], served_encoder.encode(texts, "query")
    np.testing.assert_allclose([one.vector for one in either], [*by_both[0], *by_both[1][3:]], atol=1e-5)
    np.testing.assert_allclose([one.vector for one in model], by_both[1], atol=1e-5)
    assert [one.tokens for one in either] == served_encoder.encode_counted(texts, "query")[1].tolist()


class Elsewhere:
    """A model that is asked with texts, as one on another server."""

    def __init__(self, encoder: Any) -> None:
        self.dim, self.encode_counted = encoder.dim, encoder.encode_counted


def test_of_a_model_elsewhere_each_text_is_kept_with_its_own_vector(served_encoder: Any) -> None:
    """Also beside one that is too long to be kept."""
    texts = ["first", "long " * LONGEST_LOOKED_UP, "short"]
    cache = QueryCache(CacheMemory(1 << 20), "model", served_encoder.dim)
    sizes: list[int] = []

    async def main() -> Encoded:
        model: Any = Elsewhere(served_encoder)
        batcher = Batcher(model, sizes.append, cache=cache)
        try:
            await asyncio.gather(*(batcher.submit(text) for text in texts))
            return await batcher.submit("short")
        finally:
            batcher.close()

    again = asyncio.run(main())
    assert (again.cached, sizes) == (True, [1, 2])
    np.testing.assert_allclose(again.vector, served_encoder.encode(["short"], "query")[0], atol=1e-5)


def test_the_cost_of_a_batch_is_shared_by_tokens(served_encoder: Any) -> None:
    texts = ["start", "short", "long " * 200]
    encoded, sizes = run(served_encoder, lambda batcher: asyncio.gather(*(batcher.encode(text) for text in texts)))
    assert sizes == [1, 2]
    _, short, long = encoded
    assert short.cpu_s > 0
    assert long.cpu_s / short.cpu_s == pytest.approx(long.tokens / short.tokens)


def test_a_failure_reaches_every_caller_and_the_next_batch_runs(served_encoder: Any) -> None:
    async def work(batcher: Batcher) -> list[Any]:
        wrong: Any = 7  # not a text: the tokenizer refuses the batch
        failed = await asyncio.gather(
            batcher.encode("first"), batcher.encode(wrong), batcher.encode("beside it"), return_exceptions=True
        )
        return [*failed, await batcher.encode("after")]

    results, _ = run(served_encoder, work)
    assert [isinstance(one, Exception) for one in results] == [False, True, True, False]
