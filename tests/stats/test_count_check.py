"""Counts beside known rates, against sums of binomial probabilities."""

import math

import numpy as np
import pytest
from scipy import stats

from overopt.errors import DataError
from overopt.stats.count_check import count_deviation


@pytest.mark.parametrize(("k", "n", "p"), [(3, 10, 0.1), (0, 50, 0.1), (9, 12, 0.4), (1, 1_000, 2e-6)])
def test_a_deviation_is_as_improbable_as_the_tail(k, n, p):
    chances = [math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(n + 1)]
    tail = sum(chances[k:]) if k / n > p else sum(chances[: k + 1])
    found = count_deviation(k, n, p)
    assert stats.norm.sf(abs(found)) == pytest.approx(tail, rel=1e-9)
    assert math.copysign(1, found) == math.copysign(1, k / n - p)


def test_of_large_counts_it_is_the_usual_z():
    for k in (4_800, 5_200):
        usual = (k - 5_000) / math.sqrt(10_000 * 0.25)
        assert count_deviation(k, 10_000, 0.5) == pytest.approx(usual, abs=0.02)


def test_within_the_bounds_nothing_deviates():
    assert count_deviation(30, 100, 0.25, 0.35) == 0
    assert count_deviation(40, 100, 0.25, 0.35) == pytest.approx(count_deviation(40, 100, 0.35))
    assert count_deviation(20, 100, 0.25, 0.35) == pytest.approx(count_deviation(20, 100, 0.25))
    assert count_deviation(1, 10, 0.0) == math.inf
    assert count_deviation(9, 10, 1.0) == -math.inf
    assert count_deviation(0, 10, 0.0) == 0


def test_true_rates_seldom_deviate_by_much():
    rng = np.random.default_rng(0)
    found = [count_deviation(int(k), 1_000, 0.003) for k in rng.binomial(1_000, 0.003, size=4_000)]
    assert np.mean(np.abs(found) > 1.96) < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 4_000)
    assert max(map(abs, found)) < 4.5


@pytest.mark.parametrize("case", [(3, 2, 0.1), (-1, 2, 0.1), (0, 0, 0.1), (1, 2, 0.5, 0.4), (1, 2, 1.2)])
def test_what_is_no_count_or_rate_is_refused(case):
    with pytest.raises(DataError):
        count_deviation(*case)
