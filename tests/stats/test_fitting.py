import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.least_squares import law_coefficients

from overopt.stats.fitting import fit_law, late_slope
from overopt.stats.laws import FITTED_LAWS, law_value, zero_distance
from overopt.stats.least_squares import fit_curve
from overopt.stats.resampling import bootstrap_means

PROMPTS, DRAWS = 64, 200
SOURCES = ("units", "gold_se", "residuals", "none")
# Gold that rises for good, or rises and stays; per unit of gold at the end of the data.
RISING = {
    "linear": lambda d: d / 4,
    "logarithm": lambda d: np.log1p(d) / np.log(5),
    "root": lambda d: np.sqrt(d / 4),
    "saturating": lambda d: 1 - np.exp(-d),
    "plateau": lambda d: np.minimum(d / 2, 1),
}

laws = st.sampled_from(FITTED_LAWS)
coefficients = st.tuples(st.floats(-3, 3), st.floats(-2, 2))
turning = st.tuples(st.floats(0.3, 2), st.floats(0.1, 0.6))


@st.composite
def grids(draw):
    steps = draw(st.lists(st.floats(0.2, 2), min_size=4, max_size=10))
    return np.cumsum(steps)


def grid(points):
    return np.linspace(0.3, 4, points)


def run(law, d, truth, noise, source, rng):
    """A fit of one noisy curve whose intervals come from ``source``; prompts share half of the variance of an error."""
    if source == "units":
        size = noise * np.sqrt(PROMPTS / 2)
        values = truth + size * (rng.normal(size=(PROMPTS, 1)) + rng.normal(size=(PROMPTS, d.size)))
        return fit_law(law, d**2, values.mean(axis=0), gold_draws=bootstrap_means(values, DRAWS, rng))
    gold = truth + noise * rng.normal(size=d.size)
    se = np.full(d.size, noise) if source == "gold_se" else None
    return fit_law(law, d**2, gold, gold_se=se, rng=None if source == "none" else rng)


def claims_a_turn(fit):
    return fit.status == "ok" and fit.peak is not None and fit.peak.inside_data


def false_turns(shape, runs, seed):
    """Share of runs that claim a turn inside the data, by law, K, noise and source."""
    rng = np.random.default_rng(seed)
    return {
        (law, points, noise, source): np.mean(
            [claims_a_turn(run(law, grid(points), shape(grid(points)), noise, source, rng)) for _ in range(runs)]
        )
        for law in ("bon", "rl")
        for points in (6, 12)
        for noise in (0.02, 0.1)
        for source in SOURCES
    }


@given(laws, coefficients, grids())
def test_exact_data_give_their_coefficients_back(law, truth, d):
    fit = fit_law(law, d**2, law_value(law, d, *truth))
    assert (fit.alpha, fit.beta) == pytest.approx(truth, abs=1e-9)


@given(st.floats(0.3, 3), st.floats(0.1, 1), st.floats(0.2, 3))
def test_exact_power_data_give_their_coefficients_back(alpha, beta, gamma):
    d = np.linspace(0.4, 3.2, 12)
    found = fit_curve("power", d, law_value("power", d, alpha, beta, gamma), np.ones(12))
    assert found.limit == "none"
    assert (found.alpha, found.beta, found.gamma) == pytest.approx((alpha, beta, gamma), abs=1e-6)


@given(laws, grids(), st.integers(0, 10_000))
def test_noisy_data_give_what_a_general_solver_gives_with_the_floored_weights(law, d, seed):
    rng = np.random.default_rng(seed)
    gold, se = rng.normal(size=d.size), rng.uniform(0.01, 1, d.size)
    fit = fit_law(law, d**2, gold, gold_se=se)
    expected = law_coefficients(law, d, gold, np.maximum(se, np.median(se)) ** -2)
    assert (fit.alpha, fit.beta) == pytest.approx(expected, rel=1e-7, abs=1e-8)


@pytest.mark.parametrize("name", RISING)
def test_gold_that_never_falls_seldom_passes_for_a_turn(name):
    rates = false_turns(RISING[name], 12, seed=1)
    assert np.mean(list(rates.values())) <= 0.05
    assert max(rates.values()) <= 0.25  # where each run has a chance of 5 %, 4 of 12 have one of 0.2 %


@pytest.mark.slow
@pytest.mark.parametrize("name", RISING)
def test_gold_that_never_falls_passes_for_a_turn_in_one_run_of_twenty_at_most(name):
    rates = false_turns(RISING[name], 150, seed=2)
    limit = 0.05 + 3 * math.sqrt(0.05 * 0.95 / 150)
    assert {case: rate for case, rate in rates.items() if rate > limit} == {}
    assert np.mean(list(rates.values())) <= 0.05


@pytest.mark.parametrize("name", RISING)
@pytest.mark.parametrize("law", FITTED_LAWS)
@pytest.mark.parametrize("points", [6, 12])
def test_gold_that_never_falls_never_passes_for_a_turn_without_noise(name, law, points):
    d = grid(points)
    gold = RISING[name](d)
    draws = np.repeat(gold[None], 20, axis=0)
    fits = [
        fit_law(law, d**2, gold),
        fit_law(law, d**2, gold, rng=np.random.default_rng(0)),
        fit_law(law, d**2, gold, gold_se=np.full(points, 1e-3), rng=np.random.default_rng(0)),
        fit_law(law, d**2, gold, gold_draws=draws),
    ]
    assert [claims_a_turn(fit) for fit in fits] == [False] * 4


@pytest.mark.parametrize("law", FITTED_LAWS)
@pytest.mark.parametrize("source", SOURCES)
def test_a_clear_turn_is_found_from_every_source(law, source):
    alpha, beta = {"bon": (0.8, 0.2), "rl": (0.6, 0.4), "rl1p": (1.2, 0.8)}[law]
    d, rng = grid(12), np.random.default_rng(3)
    fits = [run(law, d, law_value(law, d, alpha, beta), 0.02, source, rng) for _ in range(20)]
    assert np.mean([claims_a_turn(fit) for fit in fits]) >= 0.9
    assert {fit.intervals for fit in fits} == {source}


@pytest.mark.parametrize("source", SOURCES)
def test_pure_noise_is_no_turn_and_mostly_a_poor_fit(source):
    rng = np.random.default_rng(4)
    fits = [run(law, grid(12), np.zeros(12), 1.0, source, rng) for law in ("bon", "rl") for _ in range(80)]
    assert np.mean([claims_a_turn(fit) for fit in fits]) <= 0.05
    assert np.mean([fit.status == "poor_fit" for fit in fits]) >= 0.8


@pytest.mark.parametrize("law", FITTED_LAWS)
@pytest.mark.parametrize("level", [0.0, 0.7, -1e9, 1e-12])
def test_constant_gold_is_a_poor_fit(law, level):
    for rng in (None, np.random.default_rng(0)):
        fit = fit_law(law, grid(6) ** 2, np.full(6, level), rng=rng)
        assert fit.status == "poor_fit"
        assert math.isnan(fit.r2)


@given(laws, st.floats(0.2, 2), st.floats(0.05, 1))
def test_a_negative_beta_has_no_peak_and_no_zero(law, alpha, beta):
    fit = fit_law(law, grid(8) ** 2, law_value(law, grid(8), alpha, -beta), rng=np.random.default_rng(0))
    assert (fit.peak, fit.zero) == (None, None)
    assert fit.beta < 0


@pytest.mark.parametrize(("beta", "turn"), [(0.05, 8.0), (2.0, 0.2)])
def test_a_peak_beyond_or_before_the_data_is_marked(beta, turn):
    fit = fit_law("bon", grid(8) ** 2, law_value("bon", grid(8), 0.8, beta))
    assert fit.peak.d == pytest.approx(turn)
    assert not fit.peak.inside_data
    assert not fit.peak.falls_after


@given(laws, turning)
def test_peak_and_zero_are_the_closed_forms(law, truth):
    alpha, beta = truth
    fit = fit_law(law, grid(9) ** 2, law_value(law, grid(9), alpha, beta))
    ratio = alpha / beta
    if law == "bon":
        d, gold, zero = ratio / 2, alpha**2 / (4 * beta), ratio
    elif law == "rl":
        d, gold, zero = math.exp(ratio - 1), beta * math.exp(ratio - 1), math.exp(ratio)
    else:
        # Where the slope alpha - beta (ln(1 + d) + d / (1 + d)) is 0; there gold is beta d^2 / (1 + d).
        d = fit.peak.d
        assert math.log1p(d) + d / (1 + d) == pytest.approx(ratio, rel=1e-6)
        gold, zero = beta * d * d / (1 + d), math.expm1(ratio)
    found = (fit.peak.d, fit.peak.kl, fit.peak.gold, fit.zero.d, fit.zero.kl)
    assert found == pytest.approx((d, d * d, gold, zero, zero * zero), rel=1e-6)
    assert fit.peak.inside_data == (0.3 <= fit.peak.d <= 4)
    assert fit.zero.inside_data == (0.3 <= fit.zero.d <= 4)
    assert float(zero_distance(law, alpha, beta)) == pytest.approx(zero, rel=1e-12)


@pytest.mark.parametrize("law", FITTED_LAWS)
@pytest.mark.parametrize("kl", [1.0, 9.0, 0.01])
def test_points_at_one_kl_determine_nothing(law, kl):
    gold = [1.0, 1.1, 0.9, 1.0, 1.05]
    for rng in (None, np.random.default_rng(0)):
        fit = fit_law(law, [kl] * 5, gold, gold_se=[0.1] * 5, rng=rng)
        assert (fit.status, fit.peak, fit.zero, fit.intervals) == ("unidentified", None, None, "none")
        json.dumps(fit.to_dict(), allow_nan=False)


@pytest.mark.parametrize("law", FITTED_LAWS)
@pytest.mark.parametrize("beta", [1e-4, 1e-12, 1e-300])
@pytest.mark.parametrize("unit", [1e-100, 1.0, 1e100])
def test_a_turn_beyond_the_largest_float_is_no_turn_and_no_exception(law, beta, unit):
    gold = unit * law_value(law, grid(6), 1.0, beta)
    for rng in (None, np.random.default_rng(0)):
        fit = fit_law(law, grid(6) ** 2, gold, rng=rng)
        assert not claims_a_turn(fit)
        json.dumps(fit.to_dict(), allow_nan=False)


@given(laws, turning, st.sampled_from(SOURCES[:3]), st.integers(0, 1_000))
def test_intervals_are_coherent(law, truth, source, seed):
    rng = np.random.default_rng(seed)
    fit = run(law, grid(8), law_value(law, grid(8), *truth), 0.02, source, rng)
    assert fit.intervals == source
    assert fit.alpha_ci[0] < fit.alpha < fit.alpha_ci[1]
    assert fit.beta_ci[0] < fit.beta < fit.beta_ci[1]
    if fit.peak is not None:
        assert fit.peak.d_ci[0] <= fit.peak.d <= fit.peak.d_ci[1]
        assert fit.peak.gold_ci[0] <= fit.peak.gold <= fit.peak.gold_ci[1]
        assert fit.peak.kl == pytest.approx(fit.peak.d**2)
        if fit.zero is not None:
            assert fit.zero.d_ci[0] <= fit.zero.d <= fit.zero.d_ci[1]
            assert fit.zero.d > fit.peak.d
            assert fit.zero.d_ci[0] >= fit.peak.d_ci[0]


@given(st.integers(0, 1_000))
def test_the_fall_is_the_slope_from_the_last_point_before_the_peak_on(seed):
    rng, d = np.random.default_rng(seed), grid(9)
    gold, weights = rng.normal(size=(3, 9)), rng.uniform(0.1, 5, 9)
    for last in range(8):
        turn = (d[last] + d[last + 1]) / 2
        # polyfit multiplies residuals, not their squares, by its weights.
        expected = [np.polyfit(d[last:], y[last:], 1, w=np.sqrt(weights[last:]))[0] for y in gold]
        np.testing.assert_allclose(late_slope(d, gold, weights, d, turn), expected, rtol=1e-8, atol=1e-10)
    for turn in (0.1, 5.0):
        assert np.isnan(late_slope(d, gold, weights, d, turn)).all()


def test_a_higher_level_gives_a_wider_interval():
    gold = law_value("bon", grid(8), 0.8, 0.2) + 0.03 * np.cos(np.arange(8))
    narrow, wide = (
        fit_law("bon", grid(8) ** 2, gold, rng=np.random.default_rng(0), level=level) for level in (0.5, 0.99)
    )
    for name in ("alpha_ci", "beta_ci"):
        assert getattr(wide, name)[0] < getattr(narrow, name)[0] < getattr(narrow, name)[1] < getattr(wide, name)[1]


def test_scatter_about_the_law_does_not_see_the_error_that_points_share():
    """A prompt that is easy at one n is easy at all: points hug a smooth curve that is itself uncertain."""
    rng, d, runs = np.random.default_rng(5), grid(10), 120
    truth, covered, widths = law_value("bon", d, 0.8, 0.2), {"residuals": 0, "units": 0}, {"residuals": [], "units": []}
    for _ in range(runs):
        slopes = 0.5 * rng.normal(size=(PROMPTS, 1))
        values = truth + slopes * d + 0.05 * rng.normal(size=(PROMPTS, d.size))
        gold = values.mean(axis=0)
        fits = {
            "residuals": fit_law("bon", d**2, gold, rng=rng),
            "units": fit_law("bon", d**2, gold, gold_draws=bootstrap_means(values, DRAWS, rng)),
        }
        for source, fit in fits.items():
            assert fit.intervals == source
            covered[source] += fit.alpha_ci[0] <= 0.8 <= fit.alpha_ci[1]
            widths[source].append(np.ptp(fit.alpha_ci))
    assert np.median(widths["residuals"]) < np.median(widths["units"]) / 4
    assert covered["residuals"] < 0.5 * runs
    assert covered["units"] > 0.88 * runs


@given(laws, turning, st.sampled_from(SOURCES), st.sampled_from([0.125, 2.0, 64.0]), st.integers(0, 1_000))
def test_gold_in_another_unit_changes_no_distance_and_no_verdict(law, truth, source, unit, seed):
    """Powers of two, so that rounding is the same in both units."""
    gold = law_value(law, grid(7), *truth)
    fit = run(law, grid(7), gold, 0.05, source, np.random.default_rng(seed))
    scaled = run(law, grid(7), unit * gold, unit * 0.05, source, np.random.default_rng(seed))
    assert scaled.status == fit.status
    for name in ("alpha", "beta", "alpha_ci", "beta_ci", "rmse"):
        ours = unit * np.asarray(getattr(fit, name))
        np.testing.assert_allclose(getattr(scaled, name), ours, rtol=1e-9, atol=1e-12 * unit)
    assert scaled.r2 == pytest.approx(fit.r2, rel=1e-9)
    assert (scaled.peak is None) == (fit.peak is None)
    if fit.peak is not None:
        assert (scaled.peak.inside_data, scaled.peak.falls_after) == (fit.peak.inside_data, fit.peak.falls_after)
        np.testing.assert_allclose(scaled.peak.d, fit.peak.d, rtol=1e-9)
        np.testing.assert_allclose(scaled.peak.d_ci, fit.peak.d_ci, rtol=1e-9)
        np.testing.assert_allclose(scaled.peak.gold_ci, unit * np.asarray(fit.peak.gold_ci), rtol=1e-9)


@given(st.sampled_from(("bon", "rl")), turning, st.floats(0.2, 5), st.integers(0, 1_000))
def test_another_unit_of_distance_moves_the_peak_with_it(law, truth, unit, seed):
    """Nothing hangs on KL being in nats: in bits or in nats, the two laws of Gao et al. fit the same curve."""
    d = grid(7)
    gold = law_value(law, d, *truth) + 0.03 * np.random.default_rng(seed).normal(size=7)
    fit, scaled = fit_law(law, d**2, gold), fit_law(law, (unit * d) ** 2, gold)
    assert scaled.rmse == pytest.approx(fit.rmse, rel=1e-6)
    assert scaled.status == fit.status
    if fit.peak is not None and scaled.peak is not None:
        assert scaled.peak.d == pytest.approx(unit * fit.peak.d, rel=1e-6)
        assert scaled.peak.gold == pytest.approx(fit.peak.gold, rel=1e-6)
