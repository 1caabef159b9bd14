import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from overopt.errors import ConfigError, DataError, EstimationError
from overopt.stats.calibration import (
    Recalibration,
    estimate_temperature,
    expected_calibration_error,
    fit_temperature,
    recalibrate_gold,
    recalibrate_proxy,
)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def cross_entropy(factor, margin, label):
    p = sigmoid(factor * margin)
    return -np.mean(label * np.log(p) + (1 - label) * np.log(1 - p))


def test_gold_has_mean_zero_and_spread_one_on_the_initial_policy():
    scores = 5 + 3 * np.random.default_rng(0).normal(size=(4, 50))
    map_ = recalibrate_gold(scores)
    assert map_.apply(scores).shape == (4, 50)
    assert map_.apply(scores).mean() == pytest.approx(0, abs=1e-12)
    assert map_.apply(scores).std() == pytest.approx(1)
    assert map_.apply(map_.shift + 2 * map_.scale) == pytest.approx(2)
    with pytest.raises(EstimationError, match="all equal"):
        recalibrate_gold(np.full(7, 0.1))


@given(st.floats(0.05, 20), st.integers(0, 1000))
def test_the_factor_that_made_soft_labels_is_found(factor, seed):
    margin = np.random.default_rng(seed).normal(size=30)
    assert fit_temperature(margin, sigmoid(factor * margin)) == pytest.approx(factor, rel=1e-6)


@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_the_factor_minimises_cross_entropy_and_undoes_a_scale(seed, scale):
    rng = np.random.default_rng(seed)
    margin = rng.normal(size=40)
    label = sigmoid(margin + rng.normal(size=40))
    factor = fit_temperature(margin, label)
    grid = factor * np.linspace(0.5, 1.5, 201)
    values = [cross_entropy(s, margin, label) for s in grid]
    assert grid[np.argmin(values)] == pytest.approx(factor, rel=1e-9)
    assert fit_temperature(scale * margin, label) * scale == pytest.approx(factor, rel=1e-9)
    assert fit_temperature(-margin, 1 - label) == pytest.approx(factor, rel=1e-9)


def test_hard_labels_with_errors_have_a_factor_and_without_have_none():
    margin = np.array([1.0, 2.0, -1.5, 0.5])
    assert fit_temperature(margin, [1, 1, 0, 0]) > 0
    with pytest.raises(EstimationError, match="unbounded"):
        fit_temperature(margin, [1, 1, 0, 1])
    with pytest.raises(EstimationError, match="no better than chance"):
        fit_temperature(margin, [0, 0, 1, 1])
    with pytest.raises(EstimationError, match="no better than chance"):
        fit_temperature(np.zeros(4), [0, 0, 1, 1])
    with pytest.raises(DataError, match=r"outside 0\.\.1"):
        fit_temperature(margin, [0, 0, 1, 2])


def test_a_recalibrated_proxy_has_mean_zero_and_calibrated_margins():
    rng = np.random.default_rng(0)
    base, a, b = 2 + rng.normal(size=100), rng.normal(size=80), rng.normal(size=80)
    map_ = recalibrate_proxy(base, a - b, sigmoid(3 * (a - b)))
    assert map_.apply(base).mean() == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(map_.apply(a) - map_.apply(b), 3 * (a - b), rtol=1e-6, atol=1e-12)
    assert (np.argsort(map_.apply(base)) == np.argsort(base)).all()


def test_a_map_that_would_change_the_order_is_refused():
    for setting in ({"scale": 0.0}, {"scale": float("nan")}, {"temperature": -1.0}):
        with pytest.raises(ConfigError, match="above 0"):
            Recalibration(shift=0.0, **setting)


def test_calibration_error_of_known_forecasts():
    forecast = np.array([0.05, 0.05, 0.95, 0.95, 1.0])
    outcome = np.array([0.0, 1.0, 1.0, 1.0, 0.0])
    # First bin: mean forecast .05, outcome .5, weight 2; last bin: 2.9 / 3 against 2 / 3, weight 3.
    assert expected_calibration_error(forecast, outcome) == pytest.approx((2 * 0.45 + 3 * 0.3) / 5)
    assert expected_calibration_error(forecast, forecast) == 0
    assert np.isnan(expected_calibration_error([], []))
    with pytest.raises(DataError, match="probability"):
        expected_calibration_error([1.2], [1])


def test_calibration_error_is_small_for_perfect_forecasts_and_right_for_biased_ones():
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.2, 0.8, 100_000)
    outcome = rng.random(100_000) < truth
    assert expected_calibration_error(truth, outcome) < 0.01
    assert expected_calibration_error(truth + 0.1, outcome) == pytest.approx(0.1, abs=0.01)


def noisy_pairs(rng, pairs, factor):
    margin = rng.normal(size=pairs)
    return margin, (rng.random(pairs) < sigmoid(factor * margin)).astype(float)


def p_of(factor, margin, label):
    score = margin * (label - sigmoid(factor * margin))
    return 2 * student.sf(abs(score.sum()) / math.sqrt(np.sum(score**2)), margin.size - 1)


@given(st.integers(0, 1000))
def test_the_test_of_factor_one_compares_scores_with_their_spread_and_agrees_with_the_interval(seed):
    margin, label = noisy_pairs(np.random.default_rng(seed), 60, 1.3)
    found = estimate_temperature(margin, label)
    assert found.factor == fit_temperature(margin, label)
    assert found.p_value == pytest.approx(p_of(1.0, margin, label), rel=1e-6)
    assert found.low < found.factor < found.high
    assert (found.low <= 1 <= found.high) == (found.p_value >= 0.05)
    for end in (found.low, found.high):
        if 0 < end < math.inf:
            assert p_of(end, margin, label) == pytest.approx(0.05, rel=1e-6)


def test_interval_of_the_factor_follows_the_scale_of_margins_and_the_sandwich_error():
    rng = np.random.default_rng(1)
    margin, label = noisy_pairs(rng, 4000, 0.6)
    found, scaled = estimate_temperature(margin, label), estimate_temperature(10 * margin, label)
    assert (scaled.low, scaled.high) == pytest.approx((found.low / 10, found.high / 10))
    assert scaled.log_stderr == pytest.approx(found.log_stderr)
    p = sigmoid(found.factor * margin)
    score = margin * (label - p)
    bread = np.sum(margin**2 * p * (1 - p))
    assert found.log_stderr == pytest.approx(math.sqrt(np.sum(score**2)) / bread / found.factor, rel=1e-3)
    assert math.log(found.high / found.low) == pytest.approx(2 * 1.96 * found.log_stderr, rel=0.05)
    assert found.p_value < 1e-6


def test_copies_of_pairs_within_a_prompt_carry_no_more_information():
    margin, label = noisy_pairs(np.random.default_rng(2), 200, 1.0)
    once = estimate_temperature(margin, label)
    prompt = np.repeat(np.arange(200), 4)
    copies = estimate_temperature(np.repeat(margin, 4), np.repeat(label, 4), prompt=prompt)
    assert (copies.low, copies.high, copies.p_value) == pytest.approx((once.low, once.high, once.p_value))
    assert (copies.n_units, copies.unit, once.unit) == (200, "prompt", "pair")
    naive = estimate_temperature(np.repeat(margin, 4), np.repeat(label, 4))
    assert naive.high - naive.low < 0.6 * (copies.high - copies.low)


def test_a_factor_without_error_or_without_units_has_no_error():
    margin = np.linspace(-2, 3, 11)
    sure = estimate_temperature(margin, sigmoid(2 * margin))
    assert sure.factor == pytest.approx(2)
    assert math.isnan(sure.log_stderr)
    alone = estimate_temperature(margin, sigmoid(margin), prompt=np.zeros(11))
    assert math.isnan(alone.low)
    assert math.isnan(alone.p_value)
    few = estimate_temperature([1.0, 1.2, 0.8, -1.1], [1, 0, 1, 0])
    assert few.low == 0.0 or few.high == math.inf
    with pytest.raises(ConfigError, match="level"):
        estimate_temperature(margin, sigmoid(margin), level=2)


def coverage_of_temperature() -> list[tuple[str, float]]:
    """Hard labels, independent and with four pairs of one margin a prompt; soft labels with noise."""
    rng = np.random.default_rng(51)
    cases = []
    for name, pairs, copies, factor in (("200 pairs", 200, 1, 1.0), ("60 prompts of 4", 60, 4, 0.5)):
        hits = 0
        for _ in range(2_000):
            margin = np.repeat(rng.normal(size=pairs), copies) * 2
            label = (rng.random(margin.size) < sigmoid(factor * margin)).astype(float)
            found = estimate_temperature(margin, label, prompt=np.repeat(np.arange(pairs), copies))
            hits += found.low <= factor <= found.high
        cases.append((f"temperature {factor:g}, {name}", hits / 2_000))
    return cases


@pytest.mark.slow
def test_intervals_of_the_factor_cover_the_truth():
    for name, share in coverage_of_temperature():
        assert 0.93 <= share <= 0.97, name
