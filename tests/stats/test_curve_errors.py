import numpy as np
import pytest

from overopt.errors import DataError
from overopt.stats.curve_errors import curve_of_units


def test_variances_are_those_of_the_means():
    gold = np.random.default_rng(0).normal(size=(20, 5)).cumsum(axis=1)
    curve = curve_of_units(gold)
    np.testing.assert_allclose(curve.gold, gold.mean(axis=0))
    np.testing.assert_allclose(np.diag(curve.covariance), gold.var(axis=0, ddof=1) / 20)


def test_many_units_keep_their_correlations():
    rng = np.random.default_rng(1)
    gold = rng.normal(size=(50_000, 6)).cumsum(axis=1)
    expected = np.minimum.outer(np.arange(1, 7), np.arange(1, 7)) / 50_000
    np.testing.assert_allclose(curve_of_units(gold).covariance, expected, rtol=0.05)


def test_few_units_shrink_towards_one_correlation_and_stay_a_covariance():
    rng = np.random.default_rng(2)
    shared = [0.8**0.5 * rng.normal(size=(5, 1)) + 0.2**0.5 * rng.normal(size=(5, 12)) for _ in range(200)]
    raw, shrunk = [], []
    truth = 0.2 * np.eye(12) + 0.8
    for gold in shared:
        covariance = curve_of_units(gold).covariance
        assert np.linalg.eigvalsh(covariance).min() > 0
        sd = np.sqrt(np.diag(covariance))
        shrunk.append(np.sum((covariance / np.outer(sd, sd) - truth) ** 2))
        raw.append(np.sum((np.corrcoef(gold.T) - truth) ** 2))
    assert np.mean(shrunk) < 0.9 * np.mean(raw)


def test_constant_points_and_single_columns_are_no_crash():
    assert curve_of_units([[1.0], [2.0], [3.0]]).covariance.shape == (1, 1)
    covariance = curve_of_units([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]]).covariance
    np.testing.assert_allclose(covariance, [[1 / 3, 0], [0, 0]])


def test_two_units_are_refused():
    with pytest.raises(DataError, match="at least 3 units"):
        curve_of_units([[1.0, 2.0], [2.0, 3.0]])
