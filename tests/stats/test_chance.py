"""Pure noise is a poor fit, whatever R^2 two coefficients reach on a few points."""

import math

import numpy as np
import pytest
from scipy import stats

from overopt.stats.chance import chance_of_errors, chance_of_residuals
from overopt.stats.fitting import fit_law
from overopt.stats.joint import fit_shared_alpha
from overopt.stats.laws import LAWS, law_value
from overopt.stats.resampling import bootstrap_means

SOURCES = ("residuals", "errors", "measured start", "prompts")


def noise_fit(law, source, points, rng):
    d = np.linspace(0.4, 4, points)
    gold = rng.normal(size=points)
    if source == "residuals":
        return fit_law(law, d**2, gold)
    if source == "errors":
        return fit_law(law, d**2, gold, gold_se=np.ones(points))
    if source == "measured start":
        kl = np.concatenate([[0.0], d**2])
        return fit_law(law, kl, 5 + np.concatenate([[rng.normal()], gold]), baseline="fitted")
    values = rng.normal(size=(12, points)).cumsum(axis=1)  # points of a pool hang together
    return fit_law(law, d**2, values.mean(axis=0), gold_draws=bootstrap_means(values, 200, rng), n_units=12)


def share_of_poor_fits(law, source, points, runs):
    rng = np.random.default_rng(points)
    return sum(noise_fit(law, source, points, rng).status == "poor_fit" for _ in range(runs)) / runs


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("points", [4, 6, 12])
def test_noise_is_a_poor_fit(source, points):
    assert share_of_poor_fits("bon", source, points, 150) >= 0.98 - 3 * math.sqrt(0.02 * 0.98 / 150)


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("points", [4, 5, 6, 8, 16])
def test_noise_is_a_poor_fit_98_times_in_100(law, source, points):
    assert share_of_poor_fits(law, source, points, 1000) >= 0.98 - 2 * math.sqrt(0.02 * 0.98 / 1000)


def test_noise_is_a_poor_fit_with_a_shared_alpha_too():
    rng = np.random.default_rng(0)
    d = np.linspace(0.4, 4, 4)
    for se in (None, [np.ones(4)] * 3):
        found = [
            fit.status
            for _ in range(60)
            for fit in fit_shared_alpha("bon", [d**2] * 3, list(rng.normal(size=(3, 4))), gold_se=se, rng=rng).fits
        ]
        assert np.mean([status == "poor_fit" for status in found]) > 0.95


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("source", ["residuals", "errors", "prompts"])
def test_four_points_of_a_law_are_more_than_chance(law, source):
    rng = np.random.default_rng(0)
    d = np.array([0.5, 1.5, 2.5, 3.5])
    truth = law_value(law, d, 1.0, 0.25 if law == "bon" else 0.7)
    values = truth + 0.1 * rng.normal(size=(16, 4))
    kwargs = {
        "residuals": {},
        "errors": {"gold_se": np.full(4, 0.1)},
        "prompts": {"gold_draws": bootstrap_means(values, 500, rng), "n_units": 16},
    }[source]
    fit = fit_law(law, d**2, values.mean(axis=0), **kwargs)
    assert fit.chance < 0.01
    assert fit.status != "poor_fit"


def test_the_f_test_is_that_of_nested_regressions():
    rng = np.random.default_rng(1)
    d, gold = np.linspace(0.5, 3, 8), rng.normal(size=8)
    columns = np.stack([d, d**2], axis=1)
    left = np.linalg.lstsq(columns, gold, rcond=None)[1][0]
    expected = stats.f.sf(((gold @ gold - left) / 2) / (left / 6), 2, 6)
    assert fit_law("bon", d**2, gold).chance == pytest.approx(expected)
    assert chance_of_residuals(left, gold @ gold, 2, 6) == pytest.approx(expected)


def test_known_errors_give_the_chi_squared_test():
    """With one error for all points the coefficients' quadratic form is chi-squared with two degrees of freedom."""
    rng = np.random.default_rng(2)
    columns, gold = rng.normal(size=(9, 2)), rng.normal(size=9) * 0.3 + 0.2
    coefficients = np.linalg.lstsq(columns, gold, rcond=None)[0]
    covariance = 0.3**2 * np.linalg.inv(columns.T @ columns)
    explained = float(np.sum((columns @ coefficients) ** 2)) / 0.3**2
    assert chance_of_errors(coefficients, covariance, columns) == pytest.approx(stats.chi2.sf(explained, 2), rel=0.05)
    assert chance_of_errors(coefficients, covariance, columns, units=8) > stats.chi2.sf(explained, 2)
    assert math.isnan(chance_of_errors(coefficients, 0 * covariance, columns))


def test_gold_that_never_leaves_its_baseline_is_chance():
    assert (chance_of_residuals(0, 0, 2, 3), chance_of_residuals(0, 1, 2, 3)) == (1, 0)
    assert math.isnan(chance_of_residuals(1, 2, 2, 0))
