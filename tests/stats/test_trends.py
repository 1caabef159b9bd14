import numpy as np
import pytest
from scipy.stats import linregress
from scipy.stats import t as student

from overopt.errors import DataError
from overopt.stats.trends import left_out_errors, log_trend, predict_coefficient

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


def test_a_prediction_is_that_of_the_textbook_line():
    params, values = np.array([1e6, 3e6, 1e7, 1e8]), np.array([0.50, 0.55, 0.53, 0.66])
    found = predict_coefficient(params, values, [1e9, 1e7], level=0.9)
    x, new = np.log10(params), np.array([9.0, 7.0])
    line = linregress(x, values)
    spread = np.sum((x - x.mean()) ** 2)
    scatter = np.sum((values - line.intercept - line.slope * x) ** 2) / 2
    t_value = student.ppf(0.95, 2)
    of_mean = t_value * np.sqrt(scatter * (1 / 4 + (new - x.mean()) ** 2 / spread))
    of_one = t_value * np.sqrt(scatter * (1 + 1 / 4 + (new - x.mean()) ** 2 / spread))
    expected = line.intercept + line.slope * new
    assert found.value == pytest.approx(expected)
    assert found.mean_ci == pytest.approx(np.stack([expected - of_mean, expected + of_mean]))
    assert found.ci == pytest.approx(np.stack([expected - of_one, expected + of_one]))
    assert found.is_inside.tolist() == [False, True]


def test_a_plane_in_size_and_data_is_found_and_leaves_out_well():
    params, pairs = (axis.ravel() for axis in np.meshgrid([1e6, 1e7, 1e8], [1e3, 1e4, 1e5]))
    values = 0.1 + 0.05 * np.log10(params) - 0.02 * np.log10(pairs)
    found = predict_coefficient(params, values, [1e9], pairs=pairs, new_pairs=[1e6])
    assert found.value == pytest.approx([0.1 + 0.45 - 0.12])
    assert left_out_errors(params, values, pairs) == pytest.approx(np.zeros(9), abs=1e-12)
    bent = values + 0.1 * (params == 1e8) * (pairs == 1e5)
    assert np.argmax(np.abs(left_out_errors(params, bent, pairs))) == 8


def test_what_cannot_be_predicted_is_nan_or_refused():
    assert np.isnan(predict_coefficient([1e6, 1e7], [0.1, 0.2], [1e8]).ci).all()
    with pytest.raises(DataError):
        predict_coefficient([1e6, 1e6, 1e6], [0.1, 0.2, 0.3], [1e8])
    with pytest.raises(DataError):  # size and data grow together: nothing tells them apart
        predict_coefficient([1e6, 1e7, 1e8], [0.1, 0.2, 0.3], [1e8], pairs=[1e3, 1e4, 1e5], new_pairs=[1e3])


def coverage_of_predictions() -> list[tuple[str, float]]:
    rng = np.random.default_rng(0)
    params, new, hits = np.geomspace(1e6, 1e9, 6), 1e10, 0
    for _ in range(2000):
        noise = rng.normal(0, 0.02, 7)
        found = predict_coefficient(params, 0.05 * np.log10(params) + noise[:6], [new])
        hits += found.ci[0, 0] <= 0.5 + noise[6] <= found.ci[1, 0]
    return [("coefficient of a size ten times the largest, 6 sizes", hits / 2000)]


@pytest.mark.slow
def test_predictions_of_a_new_size_cover():
    ((_, coverage),) = coverage_of_predictions()
    assert 0.93 < coverage < 0.97


@pytest.mark.parametrize(
    ("values", "intercept", "slope"),
    [
        ((0.490, 0.513, 0.558, 0.548, 0.599, 0.633, 0.649, 0.653, 0.662), 0.490, 0.063),  # alpha of best-of-n
        ((0.120, 0.120, 0.115, 0.111, 0.106, 0.0995, 0.098, 0.0965, 0.090), 0.123, -0.0108),  # beta of best-of-n
        ((0.175, 0.167, 0.152, 0.146, 0.137, 0.124, 0.119, 0.122, 0.118), 0.172, -0.0207),  # beta of RL
    ],
)
def test_trends_of_gao_et_al_within_the_error_of_reading_their_figure(values, intercept, slope):
    # Figure 3 of arXiv:2210.10760, read off to 5-10 %; x = log10(parameters / 3e6).
    params = np.array([3e6, 12e6, 25e6, 42e6, 85e6, 300e6, 680e6, 1.2e9, 3e9])
    found = log_trend(params, values)
    assert found.slope == pytest.approx(slope, rel=0.1)
    assert found.intercept + found.slope * np.log10(3e6) == pytest.approx(intercept, rel=0.05)
