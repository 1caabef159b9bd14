import numpy as np
import pytest

from overopt.errors import DataError
from overopt.stats.trends import log_trend

SIZES = np.array([3e6, 12e6, 25e6, 42e6, 85e6, 300e6, 680e6, 1.2e9, 3e9])


def test_a_line_in_log10_of_the_size_is_found_again():
    trend = log_trend(SIZES, 0.1 + 0.06 * np.log10(SIZES))
    assert (trend.intercept, trend.slope, trend.r2) == pytest.approx((0.1, 0.06, 1.0), abs=1e-12)
    assert trend.slope_stderr == pytest.approx(0, abs=1e-9)
    assert trend.points == 9


def test_errors_are_those_of_ordinary_least_squares():
    rng = np.random.default_rng(0)
    x, y = np.log10(SIZES), rng.normal(size=9)
    design = np.stack([np.ones(9), x], axis=1)
    solution, residual, _, _ = np.linalg.lstsq(design, y, rcond=None)
    covariance = residual[0] / 7 * np.linalg.inv(design.T @ design)
    trend = log_trend(SIZES, y)
    assert (trend.intercept, trend.slope) == pytest.approx(tuple(solution))
    assert (trend.intercept_stderr, trend.slope_stderr) == pytest.approx(tuple(np.sqrt(np.diag(covariance))))


def test_digitised_coefficients_of_gao_et_al_follow_their_trends():
    """Figure 3, digitised; a tolerance of 10 %, as the readers of the figure give."""
    alpha = [0.490, 0.513, 0.558, 0.548, 0.599, 0.633, 0.649, 0.653, 0.662]
    beta_rl = [0.175, 0.167, 0.152, 0.146, 0.137, 0.124, 0.119, 0.122, 0.118]
    assert log_trend(SIZES / 3e6, alpha).slope == pytest.approx(0.063, rel=0.1)
    assert log_trend(SIZES / 3e6, alpha).intercept == pytest.approx(0.490, rel=0.1)
    assert log_trend(SIZES / 3e6, beta_rl).slope == pytest.approx(-0.0207, rel=0.1)


def test_what_is_not_known_is_nan():
    two = log_trend([1e6, 1e8], [1.0, 2.0])
    assert two.slope == pytest.approx(0.5)
    assert np.isnan([two.slope_stderr, two.intercept_stderr]).all()
    one = log_trend([1e6, 1e6, 1e6], [1.0, 2.0, 3.0])
    assert np.isnan([one.slope, one.intercept, one.r2]).all()
    flat = log_trend([1e6, 1e7, 1e8], [2.0, 2.0, 2.0])
    assert flat.slope == 0
    assert np.isnan(flat.r2)
    with pytest.raises(DataError, match="above 0"):
        log_trend([0.0, 1e6], [1.0, 2.0])
