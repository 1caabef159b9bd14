import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import law_posterior as oracle

from overopt.errors import ConfigError, DataError, ShapeError
from overopt.stats.law_posterior import Prior, falling_probability, law_posterior, predict, turn_probability, weak_prior
from overopt.stats.laws import fit_coefficients, law_value

SIZES = (0.0, 0.05, 0.4)


def a_curve(seed, points=6):
    rng = np.random.default_rng(seed)
    d = np.sort(rng.uniform(0.3, 9, points))
    gold = law_value("rl", d, 0.4, 0.15) + 0.1 * rng.normal(size=points)
    mixing = rng.normal(size=(points, points))
    return d, gold, 0.01 * (mixing @ mixing.T / points + 0.2 * np.eye(points))


@pytest.mark.parametrize("law", ["bon", "rl"])
@pytest.mark.parametrize("seed", range(4))
def test_posterior_and_prediction_equal_the_conditioned_joint_gaussian(law, seed):
    d, gold, errors = a_curve(seed)
    prior = Prior(mean=(0.2, 0.1), covariance=((0.3, 0.05), (0.05, 0.02)))
    found = law_posterior(law, d, gold, errors, prior=prior, departures=SIZES)
    new = [0.5, 4.0, 1.3 * d.max()]
    prediction = predict(found, new)
    scale = max(gold.max(), 0) - min(gold.min(), 0)
    floor = (1e-6 * scale) ** 2 * np.eye(d.size)
    logs = []
    for c, share in enumerate(SIZES):
        expected = oracle.posterior(law, d, gold, errors + floor, prior.mean, prior.covariance, share * scale, new)
        mean, covariance, log_density = expected
        np.testing.assert_allclose(found.mean[c], mean[:2], rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(found.covariance[c], covariance[:2, :2], rtol=1e-7, atol=1e-12)
        np.testing.assert_allclose(prediction.mean[c], mean[2:], rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(prediction.covariance[c], covariance[2:, 2:], rtol=1e-6, atol=1e-10)
        logs.append(log_density)
    weights = np.exp(np.array(logs) - max(logs))
    np.testing.assert_allclose(found.weights, weights / weights.sum(), rtol=1e-7)


@pytest.mark.parametrize("law", ["bon", "rl"])
@pytest.mark.parametrize("seed", range(3))
def test_the_probability_of_a_turn_equals_an_integral_over_beta(law, seed):
    d, gold, errors = a_curve(seed, points=4)
    found = law_posterior(law, d, gold, 30 * errors, departures=SIZES)
    for place in (0.01, 0.7, 3.0, 8.0, 40.0, 1e6):
        parts = [oracle.turn_probability(law, m, v, place) for m, v in zip(found.mean, found.covariance, strict=True)]
        assert turn_probability(found, place) == pytest.approx(found.weights @ parts, abs=1e-9)


def test_prior_probabilities_of_a_turn_are_angles():
    """Two zero-mean Gaussians: the orthant is 1/4 + arcsin(rho) / 2 pi, also at limits of exactly 0."""
    prior = Prior(mean=(0.0, 0.0), covariance=((1.0, 0.0), (0.0, 1.0)))
    nothing = law_posterior("bon", [1.0], [0.0], [1e9], prior=prior, departures=(0.0,))
    for d in (0.0, 0.3, 2.0):
        rho = 2 * d / math.sqrt(1 + 4 * d * d)
        assert turn_probability(nothing, d) == pytest.approx(0.25 + math.asin(rho) / (2 * math.pi), abs=1e-9)


def test_the_probability_of_a_turn_rises_with_the_distance_to_that_of_a_positive_beta():
    d, gold, errors = a_curve(1)
    for law in ("bon", "rl"):
        found = law_posterior(law, d, gold, 30 * errors)
        values = turn_probability(found, np.concatenate([[0.0], np.geomspace(1e-6, 1e9, 200), [math.inf]]))
        assert (np.diff(values) >= -1e-12).all()
        z = found.mean[:, 1] / np.sqrt(found.covariance[:, 1, 1])
        expected = found.weights @ [0.5 * math.erfc(-x / math.sqrt(2)) for x in z]
        assert values[-1] == pytest.approx(expected, rel=1e-12)
        assert turn_probability(found, 1e200) <= values[-1] + 1e-12


@pytest.mark.parametrize("law", ["bon", "rl"])
def test_many_precise_points_give_the_weighted_least_squares_fit(law):
    d = np.linspace(0.5, 12, 60)
    rng = np.random.default_rng(0)
    se = rng.uniform(0.01, 0.03, 60)
    gold = law_value(law, d, 0.4, 0.03) + se * rng.normal(size=60)
    found = law_posterior(law, d, gold, se, departures=(0.0,))
    expected = fit_coefficients(law, d, gold, 1 / se**2)
    sd = np.sqrt(np.diagonal(found.covariance[0]))
    assert np.abs(found.mean[0] - np.array(expected)).max() < 0.05 * sd.min()


@pytest.mark.parametrize("law", ["bon", "rl"])
def test_exact_points_give_the_coefficients_back(law):
    d = np.linspace(0.5, 12, 20)
    found = law_posterior(law, d, law_value(law, d, 0.4, 0.07), np.zeros(20))
    # A weak prior still pulls by the square of the believed error over the prior's width.
    np.testing.assert_allclose(found.mean[np.argmax(found.weights)], [0.4, 0.07], rtol=1e-7)
    assert found.weights[0] == found.weights.max()


def test_a_departure_from_the_law_is_noticed():
    d = np.linspace(0.5, 12, 30)
    bent = np.tanh(d / 2) - 0.02 * np.maximum(d - 6, 0) ** 2
    found = law_posterior("rl", d, bent, np.full(30, 0.01))
    assert found.weights[0] < 1e-6
    assert np.abs(found.weights @ predict(found, d).mean - bent)[2:].max() < 0.02
    straight = law_posterior("rl", d, bent, np.full(30, 0.01), departures=(0.0,))
    assert np.abs(predict(straight, d).mean[0] - bent)[2:].max() > 0.05


@given(st.floats(0.01, 100), st.floats(0.1, 10), st.sampled_from(["bon", "rl"]), st.integers(0, 50))
def test_units_of_gold_and_distance_do_not_matter(gold_unit, d_unit, law, seed):
    d, gold, errors = a_curve(seed)
    first = law_posterior(law, d, gold, errors)
    second = law_posterior(law, d_unit * d, gold_unit * gold, gold_unit**2 * errors)
    np.testing.assert_allclose(second.weights, first.weights, rtol=1e-6)
    places = np.array([0.5, 2.0, 9.0, 30.0])
    np.testing.assert_allclose(turn_probability(second, d_unit * places), turn_probability(first, places), atol=1e-7)
    np.testing.assert_allclose(
        predict(second, d_unit * places).mean, gold_unit * predict(first, places).mean, rtol=1e-6
    )
    end, second_end = first.d.max(), second.d.max()
    assert falling_probability(second, 2 * second_end) == pytest.approx(falling_probability(first, 2 * end), abs=1e-7)


@given(st.permutations(range(6)), st.integers(0, 20))
def test_the_order_of_points_does_not_matter(order, seed):
    d, gold, errors = a_curve(seed)
    first = law_posterior("rl", d, gold, errors)
    second = law_posterior("rl", d[order], gold[order], errors[np.ix_(order, order)])
    np.testing.assert_allclose(second.mean, first.mean, rtol=1e-9)
    np.testing.assert_allclose(predict(second, [3.0]).mean, predict(first, [3.0]).mean, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("law", ["bon", "rl"])
def test_the_slope_is_the_derivative_of_the_prediction(law):
    d, gold, errors = a_curve(2)
    found = law_posterior(law, d, gold, errors, departures=(0.3,))
    for place in (d.max() * 1.0001, 1.5 * d.max()):
        step = 1e-4
        mean, covariance = (a[0] for a in predict(found, [place - step, place + step]))
        slope = (mean[1] - mean[0]) / (2 * step)
        sd = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]) / (2 * step)
        expected = 0.5 * math.erfc(slope / sd / math.sqrt(2))
        assert falling_probability(found, place) == pytest.approx(expected, abs=1e-4)


def test_points_that_share_their_errors_are_less_sure_than_independent_ones():
    d = np.linspace(1, 8, 12)
    gold = law_value("rl", d, 0.35, 0.13)
    together = 0.05**2 * (0.9 * np.outer(d, d) / 8 + 0.1 * np.eye(12))  # an error of alpha
    apart = np.sqrt(np.diag(together))
    shared = law_posterior("rl", d, gold, together, departures=(0.0,))
    independent = law_posterior("rl", d, gold, apart, departures=(0.0,))
    assert shared.covariance[0, 0, 0] > 1.4 * independent.covariance[0, 0, 0]


def test_a_point_at_distance_0_says_nothing():
    first = law_posterior("rl", [1.0, 2.0, 4.0], [0.3, 0.5, 0.6], [0.1, 0.1, 0.1])
    second = law_posterior("rl", [0.0, 1.0, 2.0, 4.0], [0.0, 0.3, 0.5, 0.6], [0.0, 0.1, 0.1, 0.1])
    np.testing.assert_array_equal(first.mean, second.mean)


def test_the_weak_prior_gives_a_turn_one_half():
    for law in ("bon", "rl"):
        prior = weak_prior(law, 5.0, 0.3)
        assert prior.mean == (0.0, 0.0)
        spread = np.array(prior.covariance)
        end = np.array([law_value(law, 5.0, 1.0, 0.0), law_value(law, 5.0, 0.0, 1.0)])
        assert math.sqrt(end @ spread @ end) == pytest.approx(0.9, rel=1e-9)


def test_bad_input_is_refused():
    good = ([1.0, 2.0], [0.1, 0.2], [0.1, 0.1])
    with pytest.raises(ConfigError, match="law must be"):
        law_posterior("linear", *good)
    with pytest.raises(DataError, match="cannot be negative"):
        law_posterior("rl", [-1.0, 2.0], *good[1:])
    with pytest.raises(DataError, match="at least one point"):
        law_posterior("rl", [0.0], [0.0], [0.1])
    with pytest.raises(DataError, match="not finite"):
        law_posterior("rl", [1.0, 2.0], [0.1, math.nan], [0.1, 0.1])
    with pytest.raises(DataError, match="standard errors"):
        law_posterior("rl", *good[:2], [0.1, -0.1])
    with pytest.raises(ShapeError):
        law_posterior("rl", *good[:2], np.eye(3))
    with pytest.raises(DataError, match="no covariance"):
        law_posterior("rl", *good[:2], [[0.1, 0.2], [0.0, 0.1]])
    with pytest.raises(DataError, match="no covariance"):
        law_posterior("rl", *good[:2], [[0.1, 0.2], [0.2, 0.1]])
    with pytest.raises(ConfigError, match="departures"):
        law_posterior("rl", *good, departures=(-0.1,))
    with pytest.raises(ConfigError, match="positive definite"):
        Prior(mean=(0.0, 0.0), covariance=((1.0, 2.0), (2.0, 1.0)))
    found = law_posterior("rl", *good)
    with pytest.raises(DataError, match="0 or above"):
        turn_probability(found, -1.0)
    with pytest.raises(DataError, match="or beyond"):
        falling_probability(found, 1.0)
