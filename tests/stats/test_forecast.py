import math

import numpy as np
import pytest

from overopt.errors import ConfigError
from overopt.stats.forecast import expected_gold, forecast_peak, is_informed, peak_d_quantiles
from overopt.stats.law_posterior import Prior, law_posterior, predict, turn_probability
from overopt.stats.laws import law_value, peak

EARLIER_RUNS = Prior(mean=(0.4, 0.12), covariance=((0.01, 0.0015), (0.0015, 0.0009)))

EARLIER_BON_RUNS = Prior(mean=(0.6, 0.06), covariance=((0.02, 0.0), (0.0, 0.0008)))


@pytest.mark.parametrize(("law", "beta"), [("bon", 0.05), ("rl", 0.15)])
def test_precise_points_past_the_turn_give_the_peak(law, beta):
    d = np.linspace(0.5, 10, 30)
    turn = peak(law, 0.4, beta)
    seen = forecast_peak(d, law_value(law, d, 0.4, beta), np.full(30, 1e-4), law=law, departures=(0.0,))
    assert seen.status == "ok"
    assert (seen.d_median, seen.gold_median) == pytest.approx(turn, rel=2e-3)
    assert seen.d_ci[0] < turn.d < seen.d_ci[1]
    assert seen.gold_ci[0] < turn.gold < seen.gold_ci[1]
    assert (seen.p_turned, seen.p_falling, seen.p_no_turn) == pytest.approx((1, 1, 0), abs=1e-6)
    now, end = law_value(law, [10.0, 20.0], 0.4, beta)
    assert (seen.regret_now, seen.regret_at_d_max) == pytest.approx((turn.gold - now, turn.gold - end), rel=5e-3)
    assert seen.best_d == 10.0


@pytest.mark.parametrize("law", ["bon", "rl"])
def test_quantiles_invert_the_probability_of_a_turn(law):
    rng = np.random.default_rng(3)
    d = np.linspace(0.5, 5, 9)
    found = law_posterior(law, d, law_value(law, d, 0.4, 0.06) + 0.05 * rng.normal(size=9), np.full(9, 0.05))
    ever = float(turn_probability(found, math.inf))
    levels = np.array([0.02, 0.3, 0.6, 0.95]) * ever
    np.testing.assert_allclose(turn_probability(found, peak_d_quantiles(found, levels)), levels, atol=1e-9)
    assert peak_d_quantiles(found, [ever + 1e-6]).tolist() == [math.inf]


@pytest.mark.parametrize("law", ["bon", "rl"])
def test_gold_at_the_peak_and_regrets_equal_those_of_random_draws(law):
    """Draws of (alpha, beta) and the largest value of each drawn law on a fine grid."""
    rng = np.random.default_rng(4)
    d = np.linspace(0.5, 5, 9)
    gold = law_value(law, d, 0.4, 0.06) + 0.05 * rng.normal(size=9)
    seen = forecast_peak(d, gold, np.full(9, 0.05), law=law, d_max=9.0, level=0.8)
    post = seen.posterior
    component = rng.choice(post.weights.size, size=20_000, p=post.weights)
    drawn = np.array([rng.multivariate_normal(post.mean[c], post.covariance[c]) for c in component])
    grid = np.concatenate([[0.0], np.linspace(1e-3, 9, 400)])
    curves = law_value(law, grid, drawn[:, :1], drawn[:, 1:])
    highest = curves.max(axis=1)
    for value, level in zip((*seen.gold_ci, seen.gold_median), (0.1, 0.9, 0.5), strict=True):
        assert abs(np.mean(highest <= value) - level) < 4 * math.sqrt(level * (1 - level) / 20_000) + 0.002
    now = law_value(law, 5.0, *drawn.T)
    for value, draws in ((seen.regret_now, highest - now), (seen.regret_at_d_max, highest - curves[:, -1])):
        # The quadrature leaves out what lies beyond its outermost cells.
        assert abs(value - draws.mean()) < 4 * draws.std() / math.sqrt(20_000) + 0.01 * draws.mean()
    turned = (drawn[:, 1] > 0) & (
        np.gradient(law_value(law, [4.999, 5.001], drawn[:, :1], drawn[:, 1:]), axis=1)[:, 0] < 0
    )
    assert abs(seen.p_turned - turned.mean()) < 4 * math.sqrt(0.25 / 20_000)


def test_expected_gold_has_the_moments_of_the_mixture():
    d = np.linspace(0.5, 5, 9)
    bent = np.minimum(d / 3, 1.0) + 0.1 * np.sin(2 * d)
    found = law_posterior("rl", d, bent, np.full(9, 0.1))
    mean, covariance = predict(found, [3.0, 8.0])
    # The sizes of the departure disagree about the future, and that is part of the error.
    assert found.weights @ (mean[:, 1] - found.weights @ mean[:, 1]) ** 2 > 0.1 * covariance[:, 1, 1].min()
    rng = np.random.default_rng(0)
    component = rng.choice(found.weights.size, size=200_000, p=found.weights)
    drawn = mean[component, 1] + np.sqrt(covariance[component, 1, 1]) * rng.normal(size=200_000)
    expected = expected_gold(found, [3.0, 8.0])
    assert abs(expected.gold[1] - drawn.mean()) < 4 * drawn.std() / math.sqrt(200_000)
    assert expected.sd[1] == pytest.approx(drawn.std(), rel=0.01)
    assert expected.sd[1] > 3 * expected.sd[0]  # the future is less certain than the present


def test_gold_that_falls_from_the_start_has_its_peak_at_0():
    d = np.linspace(0.5, 5, 12)
    seen = forecast_peak(d, law_value("bon", d, -0.3, 0.05), np.full(12, 0.01), law="bon", departures=(0.0,))
    assert (seen.gold_median, *seen.gold_ci) == (0.0, 0.0, 0.0)
    assert (seen.d_median, *seen.d_ci) == (0.0, 0.0, 0.0)
    assert seen.regret_now == pytest.approx(0.3 * 5 + 0.05 * 25, rel=0.02)


@pytest.mark.parametrize(("unit", "d_unit"), [(1e-3, 1.0), (250.0, 0.2)])
def test_units_do_not_matter(unit, d_unit):
    d = np.linspace(0.5, 6, 12)
    gold = law_value("rl", d, 0.35, 0.13) + 0.02 * np.random.default_rng(0).normal(size=12)
    first = forecast_peak(d, gold, np.full(12, 0.02))
    second = forecast_peak(d_unit * d, unit * gold, np.full(12, unit * 0.02))
    for name in ("p_turned", "p_turn_by_d_max", "p_no_turn", "p_falling"):
        assert getattr(second, name) == pytest.approx(getattr(first, name), abs=1e-6)
    np.testing.assert_allclose(second.d_ci, np.array(first.d_ci) * d_unit, rtol=1e-5)
    np.testing.assert_allclose(second.gold_ci, np.array(first.gold_ci) * unit, rtol=1e-5)
    assert second.regret_at_d_max == pytest.approx(unit * first.regret_at_d_max, rel=1e-5)


@pytest.mark.parametrize("shape", [lambda d: d, np.sqrt, lambda d: d * (1 - 0.02 * d), lambda d: d**1.3, np.log1p])
@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
@pytest.mark.parametrize("law", ["bon", "rl"])
def test_a_rising_run_is_never_said_to_have_turned(shape, noise, law):
    d = np.linspace(0.4, 10, 25)
    for seed in range(10):
        errors = noise * shape(d[-1]) * np.random.default_rng(seed).normal(size=25)
        gold = shape(d) + errors
        seen = forecast_peak(d, gold, np.full(25, max(noise, 1e-6) * shape(d[-1])), law=law)
        assert not seen.p_falling > 0.99
        assert not seen.p_turned > 0.99  # unknown where the law cannot follow the curve


def test_short_or_silent_prefixes_are_too_early_and_say_nothing():
    d = np.linspace(0.5, 8, 16)
    gold = law_value("rl", d, 0.35, 0.13)
    for points, error in ((1, 0.01), (2, 0.001), (16, 5.0)):
        seen = forecast_peak(d[:points], gold[:points], np.full(points, error))
        assert seen.status == "too_early"
        assert np.isnan(
            [seen.p_turned, seen.d_median, *seen.d_ci, seen.gold_median, seen.regret_now, seen.best_d]
        ).all()
        assert not is_informed(seen.posterior)
    assert forecast_peak(d, gold, np.full(16, 0.02)).status == "ok"


@pytest.mark.parametrize("law", ["bon", "rl"])
def test_gold_that_stays_where_it_is_has_no_confident_peak(law):
    d = np.linspace(1, 10, 20)
    for value, error in ((0.3, 0.001), (0.3, 0.01), (-0.2, 0.001)):
        seen = forecast_peak(d, np.full(20, value), np.full(20, error), law=law)
        assert seen.status == "poor_fit"
        believed = forecast_peak(d, np.full(20, value), np.full(20, error), law=law, max_p_departed=1.0)
        assert believed.status == "ok"  # who sets the limit to 1 judges the law himself
        assert 0 <= believed.p_turned <= 1
        assert np.isnan([seen.p_turned, seen.p_no_turn, seen.d_median, seen.gold_median, seen.regret_now]).all()
        assert 0.05 < seen.p_falling < 0.95
        assert 10 <= seen.best_d <= 20
    zero = forecast_peak(d, np.zeros(20), np.full(20, 0.05), law=law)
    assert zero.status == "too_early" or 0.1 < zero.p_no_turn < 0.9


def test_gold_that_follows_the_law_is_rarely_called_a_poor_fit():
    rng = np.random.default_rng(6)
    d = np.linspace(0.4, 12, 24)
    for law, alpha, beta in (("rl", 0.35, 0.13), ("bon", 0.5, 0.04)):
        gold = law_value(law, d, alpha, beta) + 0.03 * rng.normal(size=(50, 24))
        found = [forecast_peak(d[:k], g[:k], np.full(k, 0.03), law=law).status for g in gold for k in (10, 24)]
        assert found.count("poor_fit") <= 4  # of 100


def test_a_prior_from_earlier_runs_tells_more_than_the_weak_one():
    d = np.linspace(0.5, 3, 6)
    gold = law_value("rl", d, 0.4, 0.13)
    weak = forecast_peak(d, gold, np.full(6, 0.05), departures=(0.0,))
    told = law_posterior("rl", d, gold, np.full(6, 0.05), prior=EARLIER_RUNS, departures=(0.0,))
    low, high = peak_d_quantiles(told, [0.05, 0.95])
    assert low < peak("rl", 0.4, 0.13).d < high
    assert weak.status == "too_early" or high - low < weak.d_ci[1] - weak.d_ci[0]


def test_the_horizon_must_lie_ahead():
    with pytest.raises(ConfigError, match="d_max"):
        forecast_peak([1.0, 2.0, 3.0], [0.1, 0.2, 0.2], [0.1, 0.1, 0.1], d_max=2.5)


def coverage_of_forecast(runs=2000):
    """Share of central 95 % intervals that hold the peak; a distance is inside if its posterior rank is."""
    found = []
    rng = np.random.default_rng(0)
    for law, prior in (("rl", EARLIER_RUNS), ("bon", EARLIER_BON_RUNS)):
        for points in (3, 8):
            d = np.linspace(0.8, 5, points)
            distance, height = [], []
            for alpha, beta in rng.multivariate_normal(prior.mean, prior.covariance, size=runs):
                gold = law_value(law, d, alpha, beta) + 0.05 * rng.normal(size=points)
                post = law_posterior(law, d, gold, np.full(points, 0.05), prior=prior, departures=(0.0,))
                distance.append(abs(_rank(post, _peak_d(law, alpha, beta), rng) - 0.5) <= 0.475)
                if points == 8:
                    seen = forecast_peak(d, gold, np.full(8, 0.05), law=law, prior=prior, departures=(0.0,), level=0.95)
                    highest = law_value(law, np.linspace(0, 10, 400), alpha, beta).max()
                    height.append(seen.gold_ci[0] <= highest <= seen.gold_ci[1])
            found.append((f"{law}, drawn from the prior, {points} points, peak d", float(np.mean(distance))))
            if height:
                found.append((f"{law}, drawn from the prior, {points} points, peak gold", float(np.mean(height))))
    for law, alpha, beta, end in (
        ("rl", 0.35, 0.13, 0.8),
        ("rl", 0.35, 0.2, 1.8),
        ("bon", 0.6, 0.06, 0.8),
        ("bon", 0.6, 0.1, 1.8),
    ):
        turn = peak(law, alpha, beta).d
        d = np.linspace(0.2, end, 16) * turn
        hits = []
        for noise in rng.normal(size=(runs, 16)):
            post = law_posterior(
                law, d, law_value(law, d, alpha, beta) + 0.03 * noise, np.full(16, 0.03), departures=(0.0,)
            )
            hits.append(abs(float(turn_probability(post, turn)) - 0.5) <= 0.475)
        found.append((f"{law}, alpha {alpha}, beta {beta}, seen up to {end} of the peak", float(np.mean(hits))))
    return found


def _peak_d(law, alpha, beta):
    if beta <= 0:
        return math.inf
    return max(alpha / beta / 2, 0.0) if law == "bon" else math.exp(alpha / beta - 1)


def _rank(post, d, rng):
    """Of the true peak in its posterior; peaks at 0 or at infinity, where the posterior has a mass, rank at random."""
    low, ever = turn_probability(post, [0.0, math.inf])
    if d == math.inf:
        return float(ever + rng.uniform() * (1 - ever))
    return float(rng.uniform() * low) if d == 0 else float(turn_probability(post, d))


@pytest.mark.slow
def test_intervals_of_the_peak_cover_as_often_as_they_say():
    for case, coverage in coverage_of_forecast():
        assert 0.93 <= coverage <= 0.97, case
