import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.least_squares import shared_coefficients
from scipy import stats

from overopt.errors import ConfigError, EstimationError, ShapeError
from overopt.stats.fitting import fit_law
from overopt.stats.joint import fit_shared_alpha, shared_alpha
from overopt.stats.laws import FITTED_LAWS, law_value

laws = st.sampled_from(FITTED_LAWS)
BETAS = (0.15, 0.2, 0.3)


def random_curves(rng, n_curves):
    """Distances and gold of unequal length, without any law behind them."""
    sizes = rng.integers(4, 11, n_curves)
    d = [np.sort(rng.uniform(0.2, 5, size)) for size in sizes]
    return d, [rng.normal(size=size) for size in sizes]


def curves(rng, alphas, noise=0.03, law="bon"):
    """Three curves of 7, 8 and 9 points with the betas above."""
    d = [np.linspace(0.3, 4, 7 + g) for g in range(3)]
    gold = [
        law_value(law, x, alpha, beta) + noise * rng.normal(size=x.size)
        for x, alpha, beta in zip(d, alphas, BETAS, strict=True)
    ]
    return [x**2 for x in d], gold


def fit(law, kl, gold, seed=0, **settings):
    return fit_shared_alpha(law, kl, gold, rng=np.random.default_rng(seed), **settings)


@given(laws, st.integers(1, 5), st.integers(0, 10_000))
def test_coefficients_are_those_of_one_stacked_regression(law, n_curves, seed):
    rng = np.random.default_rng(seed)
    d, gold = random_curves(rng, n_curves)
    weights = [rng.uniform(0.1, 5, x.size) for x in d]
    alpha, betas, _ = shared_alpha(law, d, gold, weights)
    expected_alpha, expected_betas = shared_coefficients(law, d, gold, weights)
    assert float(alpha) == pytest.approx(expected_alpha, rel=1e-7, abs=1e-8)
    np.testing.assert_allclose(betas, expected_betas, rtol=1e-7, atol=1e-8)


@given(laws, st.integers(2, 4), st.integers(0, 10_000))
def test_errors_of_points_weigh_on_one_scale_across_curves(law, n_curves, seed):
    rng = np.random.default_rng(seed)
    d, gold = random_curves(rng, n_curves)
    se = [10.0 ** rng.uniform(-2, 0) * rng.uniform(0.5, 2, x.size) for x in d]
    found = fit(law, [x**2 for x in d], gold, gold_se=se)
    weights = [np.maximum(errors, np.median(errors)) ** -2 for errors in se]
    alpha, betas = shared_coefficients(law, d, gold, weights)
    assert found.alpha == pytest.approx(alpha, rel=1e-6, abs=1e-7)
    np.testing.assert_allclose([one.beta for one in found.fits], betas, rtol=1e-6, atol=1e-7)
    assert {one.intervals for one in found.fits} == {"gold_se"}


@given(laws, st.integers(0, 10_000))
def test_draws_are_fitted_as_if_one_at_a_time(law, seed):
    rng = np.random.default_rng(seed)
    d, _ = random_curves(rng, 3)
    gold = [rng.normal(size=(4, x.size)) for x in d]
    weights = [rng.uniform(0.1, 5, x.size) for x in d]
    alphas, betas, _ = shared_alpha(law, d, gold, weights)
    for draw in range(4):
        alpha, beta, _ = shared_alpha(law, d, [values[draw] for values in gold], weights)
        assert alphas[draw] == pytest.approx(float(alpha), rel=1e-9)
        np.testing.assert_allclose([column[draw] for column in betas], beta, rtol=1e-9)


@given(laws, st.floats(-3, 3), st.lists(st.floats(-2, 2), min_size=1, max_size=4), st.integers(0, 10_000))
def test_exact_data_give_their_coefficients_back(law, alpha, betas, seed):
    rng = np.random.default_rng(seed)
    d = [np.cumsum(rng.uniform(0.2, 1, rng.integers(4, 9))) for _ in betas]
    found = fit(law, [x**2 for x in d], [law_value(law, x, alpha, beta) for x, beta in zip(d, betas, strict=True)])
    assert found.alpha == pytest.approx(alpha, abs=1e-9)
    assert [one.beta for one in found.fits] == pytest.approx(betas, abs=1e-9)
    assert {one.alpha for one in found.fits} == {found.alpha}


@pytest.mark.parametrize("law", FITTED_LAWS)
@pytest.mark.parametrize("se", [None, np.geomspace(0.01, 0.3, 8)])
def test_one_curve_is_fitted_as_alone(law, se):
    d = np.linspace(0.3, 4, 8)
    gold = law_value(law, d, 0.8, 0.25) + 0.03 * np.cos(3 * np.arange(8))
    found = fit(law, [d**2], [gold], gold_se=None if se is None else [se], groups=["only"])
    alone = fit_law(law, d**2, gold, gold_se=se, rng=np.random.default_rng(0), group="only")
    assert found.aicc == pytest.approx(found.separate_aicc) == pytest.approx(alone.aicc)
    assert found.r2 == pytest.approx(alone.r2)
    one = found.fits[0]
    for name in ("alpha", "beta", "r2", "rmse", "aicc"):
        assert getattr(one, name) == pytest.approx(getattr(alone, name), rel=1e-9)
    for name in ("alpha_ci", "beta_ci"):  # of other draws
        assert getattr(one, name) == pytest.approx(getattr(alone, name), abs=0.1 * np.ptp(getattr(alone, name)))
        assert np.ptp(getattr(one, name)) == pytest.approx(np.ptp(getattr(alone, name)), rel=0.1)
    assert (one.status, one.intervals, one.group) == (alone.status, alone.intervals, "only")


def test_sharing_is_refused_by_aicc_when_alphas_differ_and_preferred_when_they_do_not():
    rng = np.random.default_rng(1)
    apart = [fit("bon", *curves(rng, (0.6, 0.8, 1.0))) for _ in range(40)]
    same = [fit("bon", *curves(rng, (0.8, 0.8, 0.8))) for _ in range(40)]
    assert all(found.separate_aicc < found.aicc for found in apart)
    assert np.mean([found.separate_aicc - found.aicc for found in same]) > 0
    assert np.mean([found.separate_aicc > found.aicc for found in same]) > 0.8


def test_sharing_alpha_narrows_the_intervals_of_the_betas():
    kl, gold = curves(np.random.default_rng(2), (0.8, 0.8, 0.8))
    together = fit("bon", kl, gold, gold_se=[np.full(x.size, 0.03) for x in kl])
    for x, y, shared in zip(kl, gold, together.fits, strict=True):
        alone = fit_law("bon", x, y, gold_se=np.full(x.size, 0.03), rng=np.random.default_rng(0))
        assert np.ptp(shared.beta_ci) < np.ptp(alone.beta_ci)
        assert shared.beta_ci[0] < shared.beta < shared.beta_ci[1]
    assert together.alpha_ci[0] < together.alpha < together.alpha_ci[1]


def test_a_curve_with_too_few_points_is_named_and_left_out():
    kl, gold = curves(np.random.default_rng(3), (0.8, 0.8, 0.8))
    short_kl, short_gold = [0.0, 1.0, 4.0, 9.0], [0.0, 50.0, -3.0, 8.0]
    with_short = fit("bon", [kl[0], short_kl, *kl[1:]], [gold[0], short_gold, *gold[1:]], groups=["a", "b", "c", "d"])
    without = fit("bon", kl, gold)
    assert [one.group for one in with_short.fits] == ["a", "b", "c", "d"]
    assert [one.status for one in with_short.fits] == ["ok", "too_few_points", "ok", "ok"]
    assert math.isnan(with_short.fits[1].alpha)
    assert (with_short.alpha, with_short.alpha_ci) == (without.alpha, without.alpha_ci)
    assert (with_short.aicc, with_short.separate_aicc, with_short.r2) == (
        without.aicc,
        without.separate_aicc,
        without.r2,
    )


@pytest.mark.parametrize("spread", [0.0, 1e-8])
def test_a_curve_at_one_distance_is_left_out(spread):
    """Distances that differ by rounding alone would give alpha and beta of any size."""
    kl, gold = curves(np.random.default_rng(4), (0.8, 0.8, 0.8))
    still_kl, still_gold = 4 * (1 + spread * np.arange(5)), [9.0, 9.2, 9.1, 8.8, 9.0]
    found = fit("bon", [*kl, still_kl], [*gold, still_gold])
    assert found.alpha == fit("bon", kl, gold).alpha
    assert (found.fits[3].status, found.fits[3].peak) == ("unidentified", None)
    with pytest.raises(EstimationError, match="4 points"):
        fit("bon", [still_kl], [still_gold])


def test_nothing_usable_is_refused():
    for kl, gold in (([], []), ([[1.0, 2.0, 3.0]], [[1.0, 2.0, 3.0]]), ([[0.0] * 6], [[0.0] * 6])):
        with pytest.raises(EstimationError, match="4 points"):
            fit("bon", kl, gold)


@pytest.mark.parametrize("has_errors", [False, True])
@pytest.mark.parametrize("law", FITTED_LAWS)
def test_the_order_of_the_curves_does_not_matter(law, has_errors):
    kl, gold = curves(np.random.default_rng(5), (0.8, 0.8, 0.8), law=law)
    se = [0.02 * (g + 1) * np.ones(x.size) for g, x in enumerate(kl)] if has_errors else None
    order = [2, 0, 1]
    found = fit(law, kl, gold, gold_se=se)
    moved = fit(law, [kl[g] for g in order], [gold[g] for g in order], gold_se=se and [se[g] for g in order])
    for name in ("alpha", "r2", "aicc", "separate_aicc"):
        assert getattr(moved, name) == pytest.approx(getattr(found, name), rel=1e-9)
    for place, g in enumerate(order):
        assert moved.fits[place].beta == pytest.approx(found.fits[g].beta, rel=1e-9)
        assert moved.fits[place].points == kl[g].size


def test_unusable_input_is_refused():
    kl, gold = curves(np.random.default_rng(6), (0.8, 0.8, 0.8))
    with pytest.raises(ShapeError, match="one entry a curve"):
        fit("bon", kl, gold[:2])
    with pytest.raises(ShapeError, match="one entry a curve"):
        fit("bon", kl, gold, groups=["a"])
    with pytest.raises(ShapeError, match="one entry a curve"):
        fit("bon", kl, gold, gold_se=[np.ones(7)])
    with pytest.raises(ConfigError, match="level"):
        fit("bon", kl, gold, level=2.0)
    with pytest.raises(ConfigError, match="bon, rl"):
        fit("ppo", kl, gold)


def test_the_f_test_of_one_alpha_holds_its_level_and_sees_different_alphas():
    rng = np.random.default_rng(7)
    same = [fit("bon", *curves(rng, (0.8, 0.8, 0.8)), seed) for seed in range(150)]
    apart = [fit("bon", *curves(rng, (0.7, 0.8, 0.9))) for _ in range(20)]
    p_values = np.array([found.p_value for found in same])
    assert (p_values < 0.05).mean() <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 150)
    assert 0.35 <= (p_values < 0.5).mean() <= 0.65
    assert [found.tenable for found in same] == [bool(p >= 0.05) for p in p_values]
    assert not any(found.tenable for found in apart)


def test_the_f_test_is_that_of_two_nested_regressions():
    kl, gold = curves(np.random.default_rng(8), (0.78, 0.8, 0.84))
    found = fit("bon", kl, gold)
    apart = [fit_law("bon", x, y) for x, y in zip(kl, gold, strict=True)]
    separate = sum(one.points * one.rmse**2 for one in apart)
    together = sum(one.points * one.rmse**2 for one in found.fits)
    points = sum(one.points for one in apart)
    statistic = (together - separate) / 2 / (separate / (points - 6))
    assert found.p_value == pytest.approx(stats.f.sf(statistic, 2, points - 6), rel=1e-6)


def test_one_alpha_is_not_in_question_for_one_curve_and_certain_for_exact_ones():
    kl, gold = curves(np.random.default_rng(9), (0.8, 0.8, 0.8), noise=0.0)
    alone = fit("bon", kl[:1], gold[:1])
    assert math.isnan(alone.p_value)
    assert alone.tenable is None
    exact = fit("bon", kl, gold)
    assert (exact.p_value, exact.tenable) == (1, True)
