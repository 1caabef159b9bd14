import numpy as np
import pytest

from overopt.stats.piecewise import PiecewiseLinear


def pools(seed=0, n_prompts=12, samples=80):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_prompts, samples))
    return x, np.sin(2 * x) + 0.3 * rng.normal(size=x.shape)


def predicted(fit, x_PM, counts_DP):
    return (fit.coefficients(counts_DP)[:, None, :] * fit.mean_hats(x_PM)).sum(axis=2)


def test_the_fit_is_least_squares_over_hats():
    x, y = pools()
    fit = PiecewiseLinear(x, y)
    design = np.stack([np.interp(x.ravel(), fit.knots, unit) for unit in np.eye(fit.knots.size)], axis=1)
    expected = np.linalg.lstsq(design, y.ravel(), rcond=None)[0]
    np.testing.assert_allclose(fit.coefficients(np.ones((1, 12)))[0], expected, atol=1e-4)


def test_a_draw_is_the_fit_to_the_drawn_prompts_repeated():
    x, y = pools()
    fit = PiecewiseLinear(x, y)
    counts = np.array([[0, 3, 1, 0, 2, 1, 0, 0, 1, 2, 1, 1.0]])
    rows = np.repeat(np.arange(12), counts[0].astype(int))
    design = np.stack([np.interp(x[rows].ravel(), fit.knots, unit) for unit in np.eye(fit.knots.size)], axis=1)
    residual = y[rows].ravel() - design @ fit.coefficients(counts)[0]
    best = np.linalg.lstsq(design, y[rows].ravel(), rcond=None)
    assert residual @ residual == pytest.approx(best[1][0], rel=1e-5)


def test_predictions_over_the_samples_have_the_mean_of_y():
    x, y = pools()
    fit = PiecewiseLinear(x, y)
    assert predicted(fit, x, np.ones((1, 12))).mean() == pytest.approx(y.mean(), abs=1e-9)


def test_a_line_is_fitted_exactly_however_the_prompts_are_drawn():
    x, _ = pools()
    fit = PiecewiseLinear(x, 2 * x + 1)
    counts = np.random.default_rng(1).multinomial(12, np.ones(12) / 12, size=50).astype(float)
    np.testing.assert_allclose(fit.coefficients(counts), np.tile(2 * fit.knots + 1, (50, 1)), atol=1e-8)


def test_points_out_of_reach_weigh_nothing():
    x, y = pools()
    fit = PiecewiseLinear(x, y)
    points = np.tile([0.0, x.max() + 1, x.min() - 1, x.max()], (12, 1))
    np.testing.assert_array_equal(fit.reaches(points)[0], [True, False, False, True])
    np.testing.assert_allclose(fit.mean_hats(points).sum(axis=1), 0.5)


def test_knots_double_towards_the_middle_and_merge_scores_that_are_equal_up_to_rounding():
    x = np.arange(1_000.0).reshape(10, 100)
    knots = PiecewiseLinear(x, x).knots
    np.testing.assert_array_equal(knots, [0, 32, 64, 128, 256, 500, 743, 871, 935, 967, 999])
    assert ((x > 967).sum(), (x < 32).sum()) == (32, 32)
    few = np.tile([0.0, 1.0, 2.0], (200, 1)) + 1e-13 * np.random.default_rng(0).normal(size=(200, 1))
    assert PiecewiseLinear(few, few).knots == pytest.approx([0, 1, 2])


def test_a_draw_without_spread_is_nan():
    x = np.array([[-1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    found = PiecewiseLinear(x, x).coefficients(np.array([[1.0, 1.0], [0.0, 2.0]]))
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()
