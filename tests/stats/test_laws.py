import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.least_squares import law_coefficients

from overopt.errors import ConfigError, DataError, ShapeError
from overopt.stats.fitting import fit_law
from overopt.stats.laws import LAWS, fit_coefficients, law_value, peak

FIT_KEYS = {
    "group", "law", "alpha", "beta", "alpha_ci", "beta_ci", "r2", "rmse", "points", "d_range", "peak", "status",
    "alternatives",
}  # fmt: skip
D = np.array([0.0, 0.4, 0.9, 1.5, 2.0, 2.6, 3.1])

coefficients = st.tuples(st.floats(-3, 3), st.floats(-2, 2))
laws = st.sampled_from(LAWS)


def curve(law, alpha, beta, d=D):
    return law_value(law, d, alpha, beta)


def noisy_draws(gold, spread, draws=400, seed=0):
    return gold + spread * np.random.default_rng(seed).normal(size=(draws, len(gold)))


def test_laws_are_the_formulas_of_the_paper():
    alpha, beta, d = 0.7, 0.2, 1.7
    assert law_value("bon", d, alpha, beta) == pytest.approx(d * (alpha - beta * d), rel=1e-14)
    assert law_value("rl", d, alpha, beta) == pytest.approx(d * (alpha - beta * math.log(d)), rel=1e-14)
    assert law_value("rl", 0.0, alpha, beta) == 0
    assert law_value("rl", math.exp(alpha / beta), alpha, beta) == pytest.approx(0, abs=1e-12)
    with pytest.raises(DataError, match="negative"):
        law_value("bon", -1.0, alpha, beta)
    with pytest.raises(ConfigError, match="bon, rl"):
        law_value("ppo", 1.0, alpha, beta)


@given(laws, coefficients, st.lists(st.floats(0.1, 10), min_size=7, max_size=7))
def test_exact_data_give_their_coefficients_back(law, truth, weights):
    alpha, beta = fit_coefficients(law, D, curve(law, *truth), weights)
    assert (float(alpha), float(beta)) == pytest.approx(truth, abs=1e-9)
    fit = fit_law(law, D**2, curve(law, *truth))
    assert (fit.alpha, fit.beta) == pytest.approx(truth, abs=1e-9)
    assert fit.rmse == pytest.approx(0, abs=1e-9)


@given(laws, st.integers(0, 10_000))
def test_noisy_data_give_what_a_general_solver_gives(law, seed):
    rng = np.random.default_rng(seed)
    d, gold, weights = rng.uniform(0.2, 9, 6), rng.normal(size=6), rng.uniform(0.1, 5, 6)
    alpha, beta = fit_coefficients(law, d, gold, weights)
    assert (float(alpha), float(beta)) == pytest.approx(law_coefficients(law, d, gold, weights), rel=1e-7, abs=1e-9)


@given(laws, st.integers(0, 10_000))
def test_draws_are_fitted_as_if_one_at_a_time(law, seed):
    rng = np.random.default_rng(seed)
    d = rng.uniform(0.2, 4, (2, 3, 5)) * (rng.random((2, 3, 5)) > 0.1)  # some points at d = 0
    gold, weights = rng.normal(size=(2, 3, 5)), rng.uniform(0.1, 5, 5)
    together = fit_coefficients(law, d, gold, weights)
    for index in np.ndindex(2, 3):
        alone = fit_coefficients(law, d[index], gold[index], weights)
        np.testing.assert_allclose(together.alpha[index], alone.alpha, rtol=1e-9)
        np.testing.assert_allclose(together.beta[index], alone.beta, rtol=1e-9)
    shared = fit_coefficients(law, d[0, 0], gold, weights)
    np.testing.assert_allclose(shared.beta[1, 2], fit_coefficients(law, d[0, 0], gold[1, 2], weights).beta)


@pytest.mark.parametrize("law", LAWS)
def test_points_at_distance_zero_carry_no_information(law):
    """In the RL law ln 0 is undefined; a fit that keeps the point is nan, or moved by a small constant in its place."""
    gold = curve(law, 0.8, 0.3) + 0.05 * np.sin(np.arange(7))
    gold[0] = 0
    with_zero = fit_law(law, D**2, gold)
    without = fit_law(law, D[1:] ** 2, gold[1:])
    assert with_zero == without
    assert with_zero.points == 6
    assert fit_law(law, np.where(D > 0, D**2, -0.01), gold) == without  # a KL estimate below 0 by chance


@pytest.mark.parametrize("law", LAWS)
def test_one_distance_determines_nothing(law):
    alpha, beta = fit_coefficients(law, [2.0, 2.0, 2.0, 0.0], [1.0, 1.1, 0.9, 0.0], np.ones(4))
    assert np.isnan([alpha, beta]).all()
    assert np.isnan(fit_coefficients(law, [0.0, 0.0], [0.0, 0.0], np.ones(2)).beta)
    fit = fit_law(law, [3.0] * 5, [1.0, 1.1, 0.9, 1.0, 1.05])
    assert (fit.status, fit.peak) == ("unidentified", None)


@given(laws, st.floats(0.05, 2), st.floats(0.05, 1))
def test_peak_is_where_a_grid_search_finds_it(law, alpha, beta):
    turn = peak(law, alpha, beta)
    d = turn.d * np.linspace(0.5, 1.5, 2_001)
    gold = law_value(law, d, alpha, beta)
    assert d[gold.argmax()] == pytest.approx(turn.d, rel=6e-4)
    assert gold.max() == pytest.approx(turn.gold, rel=1e-9)


def test_peak_closed_forms():
    assert peak("bon", 0.6, 0.1) == pytest.approx((3.0, 0.9))
    assert peak("rl", 0.6, 0.3) == pytest.approx((math.e, 0.3 * math.e))
    for law, alpha, beta in [("bon", 1, 0), ("bon", 1, -0.1), ("bon", -1, 0.1), ("bon", 0, 0.1), ("rl", 1, 0)]:
        assert np.isnan(peak(law, alpha, beta)).all()
    assert np.isnan(peak("rl", 1.0, 1e-4)).all()  # beyond the largest float
    assert peak("rl", -0.6, 0.3).d == pytest.approx(math.exp(-3))


@given(laws, coefficients, st.floats(0.1, 10))
def test_gold_in_another_unit_scales_the_fit_and_nothing_else(law, truth, unit):
    gold = curve(law, *truth) + 0.1 * np.cos(np.arange(7))
    fit, scaled = fit_law(law, D**2, gold), fit_law(law, D**2, unit * gold)
    assert (scaled.alpha, scaled.beta) == pytest.approx((unit * fit.alpha, unit * fit.beta), rel=1e-8, abs=1e-9)
    assert scaled.r2 == pytest.approx(fit.r2, rel=1e-6, abs=1e-9)
    assert scaled.rmse == pytest.approx(unit * fit.rmse, rel=1e-6)
    assert scaled.aicc - fit.aicc == pytest.approx(2 * 6 * math.log(unit), abs=1e-6)


def test_a_point_with_a_tiny_error_does_not_own_the_fit():
    """Weights 1/se^2 without a floor: the smallest n, whose error is smallest, bends the whole curve to itself."""
    gold = curve("bon", 0.8, 0.2)
    gold[1] += 0.05  # the law is only approximate there
    se = np.array([0.01, 1e-6, 0.02, 0.02, 0.03, 0.04, 0.05])
    floored = fit_law("bon", D**2, gold, gold_se=se)
    assert floored.alpha == pytest.approx(0.8, abs=0.03)
    naive = fit_coefficients("bon", D[1:], gold[1:], 1 / se[1:] ** 2)
    assert abs(naive.alpha - 0.8) > 0.1  # what the floor prevents
    used = np.maximum(se[1:], np.median(se[1:]))
    assert (floored.alpha, floored.beta) == pytest.approx(
        law_coefficients("bon", D[1:], gold[1:], 1 / used**2), rel=1e-9
    )


def test_unknown_or_vanishing_errors_weigh_points_equally():
    gold = curve("bon", 0.8, 0.2) + 0.1 * np.cos(np.arange(7))
    plain = fit_law("bon", D**2, gold)
    assert fit_law("bon", D**2, gold, gold_se=np.full(7, np.nan)) == plain
    assert fit_law("bon", D**2, gold, gold_se=np.zeros(7)) == plain
    assert fit_law("bon", D**2, gold, gold_se=np.full(7, 0.3)).alpha == pytest.approx(plain.alpha)
    with pytest.raises(DataError, match="gold_se"):
        fit_law("bon", D**2, gold, gold_se=[0.1, np.nan, 0.1, 0.1, 0.1, 0.1, 0.1])


def test_quality_numbers_are_the_textbook_ones():
    gold = curve("rl", 0.8, 0.3)[1:] + np.array([0.1, -0.1, 0.05, 0.0, -0.05, 0.1])
    fit = fit_law("rl", D[1:] ** 2, gold)
    error = gold - law_value("rl", D[1:], fit.alpha, fit.beta)
    assert fit.rmse == pytest.approx(np.sqrt(np.mean(error**2)))
    assert fit.r2 == pytest.approx(1 - np.sum(error**2) / np.sum((gold - gold.mean()) ** 2))
    assert fit.aicc == pytest.approx(6 * math.log(np.mean(error**2)) + 2 * 3 + 2 * 3 * 4 / (6 - 3 - 1))


@pytest.mark.parametrize(("law", "other"), [("bon", "rl"), ("rl", "bon")])
def test_the_law_that_made_the_data_beats_its_alternatives(law, other):
    gold = curve(law, 0.8, 0.25) + 0.004 * np.cos(3 * np.arange(7))
    fit = fit_law(law, D**2, gold)
    assert [alternative.law for alternative in fit.alternatives] == [other, "rl1p", "power", "root", "linear"]
    for alternative in fit.alternatives:
        assert alternative.aicc > fit.aicc + 2
        assert alternative.r2 < fit.r2 or alternative.law == "power"  # which holds the others as special cases


def test_a_straight_line_is_recognised_by_the_baseline():
    gold = 0.3 * D + 0.01 * np.cos(3 * np.arange(7))
    linear = fit_law("bon", D**2, gold).alternatives[-1]
    assert linear.law == "linear"
    slope = np.sum(D[1:] * gold[1:]) / np.sum(D[1:] ** 2)
    assert linear.r2 == pytest.approx(
        1 - np.sum((gold - slope * D)[1:] ** 2) / np.sum((gold[1:] - gold[1:].mean()) ** 2)
    )
    assert linear.aicc < fit_law("bon", D**2, gold).aicc


def test_a_clear_turn_is_ok_and_its_intervals_hold_the_truth():
    gold = curve("bon", 0.8, 0.2)
    fit = fit_law("bon", D**2, gold, gold_se=np.full(7, 0.02), gold_draws=noisy_draws(gold, 0.02), group="small")
    assert (fit.status, fit.group, fit.points) == ("ok", "small", 6)
    assert fit.alpha_ci[0] < 0.8 < fit.alpha_ci[1]
    assert fit.beta_ci[0] < 0.2 < fit.beta_ci[1]
    assert fit.peak.d == pytest.approx(2.0)
    assert fit.peak.kl == pytest.approx(4.0)
    assert fit.peak.gold == pytest.approx(0.8)
    assert fit.peak.inside_data
    assert fit.peak.d_ci[0] < 2.0 < fit.peak.d_ci[1]
    assert fit.d_range == pytest.approx((0.4, 3.1))


@pytest.mark.parametrize("law", LAWS)
def test_intervals_cover_the_coefficients_when_the_draws_are_honest(law):
    rng = np.random.default_rng(0)
    truth, simulations, covered = curve(law, 0.8, 0.25), 300, 0
    for _ in range(simulations):
        units = truth + 0.5 * rng.normal(size=(80, 7)) + 0.3 * rng.normal(size=(80, 1))
        units[:, 0] = 0
        draws = rng.multinomial(80, [1 / 80] * 80, size=300) @ units / 80
        fit = fit_law(law, D**2, units.mean(axis=0), gold_draws=draws, level=0.9)
        covered += fit.beta_ci[0] <= 0.25 <= fit.beta_ci[1]
    assert 250 <= covered <= 288  # 270 expected, three standard errors are 16


def test_draws_are_refitted_with_the_weights_of_the_curve():
    gold = curve("bon", 0.8, 0.2) + 0.1 * np.cos(np.arange(7))
    se = np.array([0.0, 0.01, 0.02, 0.03, 0.1, 0.2, 0.3])
    fit = fit_law("bon", D**2, gold, gold_se=se, kl_draws=[D**2] * 3, gold_draws=[gold] * 3)
    assert fit.alpha_ci == pytest.approx((fit.alpha, fit.alpha), rel=1e-12)
    assert fit.beta_ci == pytest.approx((fit.beta, fit.beta), rel=1e-12)


def test_draws_of_the_kl_widen_the_interval_and_may_be_negative():
    gold, kl = curve("rl", 0.8, 0.25), D**2
    rng = np.random.default_rng(0)
    kl_draws = kl + np.array([0, 0.3, 0.2, 0.2, 0.2, 0.2, 0.2]) * rng.normal(size=(500, 7))
    assert (kl_draws[:, 1] < 0).any()
    fit = fit_law("rl", kl, gold, kl_draws=kl_draws)
    assert fit.beta_ci[0] < fit.beta < fit.beta_ci[1]
    both = fit_law("rl", kl, gold, kl_draws=kl_draws, gold_draws=noisy_draws(gold, 0.01, draws=500))
    only_gold = fit_law("rl", kl, gold, gold_draws=noisy_draws(gold, 0.01, draws=500))
    assert np.ptp(both.beta_ci) > np.ptp(only_gold.beta_ci)


def test_fewer_than_four_points_are_too_few():
    fit = fit_law("bon", D[:4] ** 2, curve("bon", 0.8, 0.2)[:4])  # one of the four lies at d = 0
    assert (fit.status, fit.points, fit.peak) == ("too_few_points", 3, None)
    assert np.isnan([fit.alpha, fit.beta]).all()
    assert fit_law("bon", [], []).status == "too_few_points"
    assert fit_law("bon", D[:5] ** 2, curve("bon", 0.8, 0.25)[:5]).status == "ok"


@pytest.mark.parametrize("level", [0.0, 0.7])
def test_constant_gold_is_a_poor_fit_and_divides_by_nothing(level):
    fit = fit_law("bon", D[1:] ** 2, np.full(6, level), gold_draws=np.full((20, 6), level))
    assert fit.status == "poor_fit"
    assert math.isnan(fit.r2)
    json.dumps(fit.to_dict(), allow_nan=False)


def test_a_curve_that_is_no_law_is_a_poor_fit():
    assert fit_law("bon", D**2, [0, 1, -1, 1, -1, 1, -1]).status == "poor_fit"


def test_a_turn_beyond_the_data_is_unidentified_without_draws():
    """Gold still rises at the last point; a peak read off such a fit is an extrapolation."""
    gold = curve("bon", 0.8, 0.05)
    fit = fit_law("bon", D**2, gold)
    assert fit.status == "unidentified"
    assert fit.peak.d == pytest.approx(8.0)
    assert not fit.peak.inside_data


def test_a_turn_beyond_the_data_is_unidentified_however_narrow_its_interval():
    gold = curve("bon", 0.8, 0.12)  # peak at 3.33, data end at 3.1
    narrow = fit_law("bon", D**2, gold, gold_draws=noisy_draws(gold, 0.005))
    assert (narrow.status, narrow.peak.inside_data, narrow.shape) == ("unidentified", False, "rises")
    assert np.ptp(narrow.peak.d_ci) < 0.3  # it stays in the record with its interval
    assert narrow.alpha == pytest.approx(0.8, abs=1e-9)
    unbounded = fit_law("bon", D**2, gold, gold_draws=noisy_draws(gold, 0.4))
    assert unbounded.beta_ci[0] < 0
    assert unbounded.status == "unidentified"
    assert unbounded.peak.d_ci[1] == math.inf
    assert unbounded.to_dict()["peak"]["d_ci"][1] is None


RISING = {
    "saturating": lambda d: d / (1 + 0.1 * d),
    "exponential": lambda d: 1 - np.exp(-d / 3),
    "logarithm": np.log1p,
    "root": np.sqrt,
    "start of a law": lambda d: d * (1 - 0.1 * d),
}


@pytest.mark.parametrize("noise", [0.0, 1e-3, 0.02])
@pytest.mark.parametrize("name", RISING)
@pytest.mark.parametrize("law", LAWS)
def test_a_curve_that_rises_to_the_end_never_has_an_ok_peak(law, name, noise):
    d = np.linspace(0.4, 4, 12)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        gold = RISING[name](d) + noise * rng.normal(size=d.size)
        for fit in (fit_law(law, d**2, gold, rng=rng), fit_law(law, d**2, gold)):
            assert fit.peak is None or fit.status != "ok"


def test_no_turn_has_no_peak():
    gold = curve("bon", 0.3, -0.1)
    certain = fit_law("bon", D**2, gold)
    assert (certain.status, certain.peak) == ("ok", None)  # no scatter, so no doubt that beta is negative
    accelerating = fit_law("bon", D**2, gold, gold_draws=noisy_draws(gold, 0.01))
    assert (accelerating.status, accelerating.peak) == ("ok", None)  # the whole interval of beta is negative
    falling = curve("bon", -0.3, 0.1)
    assert fit_law("bon", D**2, falling, gold_draws=noisy_draws(falling, 0.01)).peak is None


@pytest.mark.parametrize("law", LAWS)
def test_dict_is_the_contract_in_plain_json(law):
    gold = curve(law, 0.8, 0.3)
    fit = fit_law(law, D**2, gold, gold_draws=noisy_draws(gold, 0.01), group="a")
    found = json.loads(json.dumps(fit.to_dict(), allow_nan=False))
    assert set(found) == FIT_KEYS | {
        "aicc", "zero", "intervals", "widened_by", "baseline", "baseline_se", "best_seen", "shape", "lack_of_fit",
        "chance",
    }  # fmt: skip
    assert set(found["lack_of_fit"]) == {"p_value", "chi2_per_dof", "inflation", "method"}
    assert set(found["best_seen"]) == {"d", "gold"}
    assert set(found["peak"]) == {"d", "kl", "gold", "inside_data", "falls_after", "d_ci", "gold_ci"}
    assert [set(alternative) for alternative in found["alternatives"]] == [{"law", "aicc", "r2"}] * 5
    assert found["alpha"] == fit.alpha
    assert found["beta_ci"] == list(fit.beta_ci)
    bare = json.loads(json.dumps(fit_law(law, D[:3] ** 2, gold[:3]).to_dict(), allow_nan=False))
    assert set(bare) == set(found)
    assert (bare["alpha"], bare["alpha_ci"], bare["peak"], bare["status"]) == (
        None,
        [None, None],
        None,
        "too_few_points",
    )


def test_unusable_input_is_refused():
    with pytest.raises(ShapeError, match="one shape"):
        fit_law("bon", [1.0, 2.0], [1.0])
    with pytest.raises(DataError, match="gold holds 1"):
        fit_law("bon", [1.0, 2.0], [1.0, np.nan])
    with pytest.raises(DataError, match="gold_draws must hold"):
        fit_law("bon", D**2, D, gold_draws=np.zeros((5, 3)))
    with pytest.raises(ShapeError, match="kl_draws and gold_draws"):
        fit_law("bon", D**2, D, gold_draws=np.zeros((5, 7)), kl_draws=np.zeros((4, 7)))
    with pytest.raises(ConfigError, match="level"):
        fit_law("bon", D**2, D, level=1.5)
    with pytest.raises(ConfigError, match="bon, rl"):
        fit_law("ppo", D**2, D)
