"""Arrivals are Poisson, repeatable, and add up over streams."""

from __future__ import annotations

import numpy as np
import pytest
from late import Late

from loadtest.workload.schedule import PoissonStream

stats = Late("scipy.stats")


def test_the_same_seed_and_stream_give_the_same_gaps_and_others_do_not() -> None:
    def gaps(seed: int, stream: tuple[int, ...]) -> list[float]:
        one = PoissonStream(100, seed, stream)
        return [one.gap_s() for _ in range(5000)]  # more than one block

    assert gaps(1, (0, 1)) == gaps(1, (0, 1))
    assert gaps(1, (0, 1)) != gaps(1, (1, 0))
    assert gaps(1, (0,)) != gaps(2, (0,))


def test_virtual_time_and_real_time_get_the_same_arrivals() -> None:
    stream = PoissonStream(50, 3)
    walked = np.cumsum([stream.gap_s() for _ in range(200)])
    assert PoissonStream(50, 3).arrivals_s(float(walked[-1]) + 1e-9)[:200] == pytest.approx(walked)


def test_gaps_are_exponential_and_not_paced() -> None:
    arrivals = PoissonStream(1000, 7).arrivals_s(30)
    assert stats.kstest(np.diff(arrivals), "expon", args=(0, 1e-3)).pvalue > 0.01
    assert np.diff(arrivals).std() == pytest.approx(1e-3, rel=0.05)


def test_many_streams_are_one_stream_of_their_summed_rate() -> None:
    streams = [PoissonStream(10, 5, (0, n)).arrivals_s(60) for n in range(50)]
    counts = np.histogram(np.sort(np.concatenate(streams)), bins=np.arange(0, 60.5, 0.5))[0]
    assert counts.mean() == pytest.approx(250, rel=0.02)
    assert counts.var() == pytest.approx(counts.mean(), rel=0.35)  # periodic streams would have far less


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="above 0 and below"):
        PoissonStream(rate, 1)
