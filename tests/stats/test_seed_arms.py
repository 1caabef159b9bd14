"""Factors over seeds and arms, against scipy and enumeration."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from scipy.stats import permutation_test

from overopt.errors import DataError
from overopt.stats.seed_arms import arm_difference, seed_factor

BEFORE = np.array([0.004, 0.005, 0.003, 0.0045, 0.006])
AFTER = np.array([0.03, 0.08, 0.02, 0.05, 0.04])


def test_a_factor_is_the_geometric_mean_with_a_t_interval():
    found = seed_factor(BEFORE, AFTER)
    logs = np.log(AFTER / BEFORE)
    assert found.value == pytest.approx(stats.gmean(AFTER / BEFORE))
    expected = stats.t.interval(0.95, 4, logs.mean(), stats.sem(logs))
    assert (math.log(found.low), math.log(found.high)) == pytest.approx(expected)
    assert math.isnan(seed_factor([0.1], [0.2]).low)


def test_arms_are_compared_as_by_welch_and_by_all_divisions():
    first, second = np.log(AFTER / BEFORE), np.array([0.3, -0.1, 0.2, 0.4])
    found = arm_difference(first, second)
    expected = stats.ttest_ind(first, second, equal_var=False)
    assert found.welch_p == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval()
    assert (math.log(found.low), math.log(found.high)) == pytest.approx((interval.low, interval.high))
    together = np.concatenate([first, second])
    gaps = [
        abs(together[list(rows)].mean() - np.delete(together, rows).mean())
        for rows in itertools.combinations(range(9), 5)
    ]
    observed = abs(first.mean() - second.mean())
    assert found.permutation_p == pytest.approx(np.mean(np.array(gaps) >= observed - 1e-12))


def test_equal_arms_have_nothing_to_show():
    found = arm_difference([1.0, 1.0], [1.0, 1.0])
    assert found.permutation_p == 1
    assert found.ratio == 1
    assert math.isnan(found.welch_p)


def test_a_rate_of_zero_has_no_factor():
    with pytest.raises(DataError, match="exactly"):
        seed_factor([0.0], [0.1])
    with pytest.raises(DataError, match="2 seeds"):
        arm_difference([1.0], [1.0, 2.0])


def test_more_seeds_than_can_be_divided_in_all_ways_are_divided_at_random():
    rng = np.random.default_rng(5)
    first, second = rng.normal(0.8, 1.0, 12), rng.normal(0.0, 1.0, 12)
    found = arm_difference(first, second)
    assert found.permutation_p == pytest.approx(permutation(first, second), abs=0.01)
    assert arm_difference(first, second) == found
    apart = arm_difference(first + 100, second)
    assert apart.permutation_p == pytest.approx(1 / 20_000, abs=1e-4)


def permutation(first, second):
    """By scipy, whose two-sided p is twice the smaller tail: the same where arms are as large."""
    found = permutation_test(
        (first, second), lambda a, b, axis: a.mean(axis) - b.mean(axis), vectorized=True, n_resamples=20_000,
        random_state=1,
    )  # fmt: skip
    return found.pvalue
