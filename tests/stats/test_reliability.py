import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import ranking as oracle
from scipy.special import ndtr

from overopt.errors import ConfigError, DataError, ShapeError
from overopt.stats.calibration import expected_calibration_error
from overopt.stats.ranking import pair_accuracy
from overopt.stats.reliability import (
    brier_score,
    calibration_test,
    reliability_curve,
    squared_calibration_error,
)

forecasts = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=25)


@given(forecasts, st.integers(1, 6))
def test_bins_of_equal_width_hold_their_forecasts_and_outcomes(rows, bins):
    forecast, outcome = np.array([(f / 8, y / 2) for f, y, _ in rows]).T
    curve = reliability_curve(forecast, outcome, bins=bins)
    expected = {}
    for f, y in zip(forecast, outcome, strict=True):
        place = bins - 1 if f == 1 else next(i for i in range(bins) if i <= f * bins < i + 1)
        expected.setdefault(place, []).append((f, y))
    assert [(b.left, b.right) for b in curve] == [(i / bins, (i + 1) / bins) for i in sorted(expected)]
    for found, place in zip(curve, sorted(expected), strict=True):
        assert (found.forecast, found.outcome) == pytest.approx(tuple(np.mean(expected[place], axis=0)))
        assert found.count == len(expected[place])
    gap = sum(b.count * abs(b.forecast - b.outcome) for b in curve) / len(rows)
    assert gap == pytest.approx(expected_calibration_error(forecast, outcome, bins), abs=1e-12)


@given(forecasts, st.integers(1, 6))
def test_bins_of_equal_count_never_part_equal_forecasts(rows, bins):
    forecast, outcome = np.array([(f / 8, y / 2) for f, y, _ in rows]).T
    curve = reliability_curve(forecast, outcome, bins=bins, binning="count")
    assert sum(b.count for b in curve) == len(rows)
    assert len(curve) <= bins
    for left, right in itertools.pairwise(curve):
        assert left.right < right.left


def test_bins_of_equal_count_are_equal_without_ties():
    rng = np.random.default_rng(0)
    forecast = rng.beta(5, 2, size=1000)
    curve = reliability_curve(forecast, rng.random(1000) < forecast, bins=10, binning="count")
    assert [b.count for b in curve] == [100] * 10
    ranked = np.sort(forecast)
    assert [b.left for b in curve] == list(ranked[::100])
    assert [b.right for b in curve] == list(ranked[99::100])


def test_equal_forecasts_go_where_the_middle_of_them_belongs():
    # The middle of the equal four is the fourth or fifth place of six, in the upper half; their first is in the lower.
    curve = reliability_curve([0.1, 0.3, 0.5, 0.5, 0.5, 0.5], [0, 0, 1, 0, 1, 1], bins=2, binning="count")
    assert [b.count for b in curve] == [2, 4]
    curve = reliability_curve([0.1, 0.1, 0.1, 0.1, 0.5, 0.9], [0, 0, 1, 0, 1, 1], bins=2, binning="count")
    assert [b.count for b in curve] == [4, 2]


def test_intervals_of_bins_are_those_of_a_share_also_by_prompt():
    rng = np.random.default_rng(1)
    forecast, prompt = rng.random(200), rng.integers(0, 30, size=200)
    outcome = rng.random(200) < forecast
    for ids in (None, prompt):
        for found in reliability_curve(forecast, outcome, bins=4, prompt=ids):
            kept = (forecast >= found.left) & (forecast < found.right)
            share = pair_accuracy(
                np.where(outcome, 1.0, -1.0)[kept], np.ones(kept.sum()), prompt=None if ids is None else ids[kept]
            )
            assert (found.outcome, found.low, found.high) == pytest.approx((share.accuracy, share.low, share.high))


@given(forecasts)
def test_brier_score_is_the_sum_of_its_parts_by_isotonic_regression(rows):
    forecast, outcome = np.array([(f / 8, y / 2) for f, y, _ in rows]).T
    found = brier_score(forecast, outcome)
    recalibrated = np.array(oracle.isotonic(list(forecast), list(outcome)))
    base = np.mean((outcome - outcome.mean()) ** 2)
    after = np.mean((recalibrated - outcome) ** 2)
    loss = (forecast - outcome) ** 2
    assert found.score.value == pytest.approx(loss.mean())
    assert found.uncertainty == pytest.approx(base)
    assert found.miscalibration == pytest.approx(loss.mean() - after, abs=1e-12)
    assert found.discrimination == pytest.approx(base - after, abs=1e-12)
    assert found.miscalibration >= -1e-12
    assert found.discrimination >= -1e-12
    total = found.miscalibration - found.discrimination + found.uncertainty
    assert total == pytest.approx(found.score.value, abs=1e-12)
    prompts = [p for *_, p in rows]
    if len(set(prompts)) > 1:
        by_prompt = brier_score(forecast, outcome, prompt=prompts).score
        expected = oracle.ratio_stderr(list(loss), [1.0] * len(rows), prompts)
        assert by_prompt.stderr == pytest.approx(expected, abs=1e-9)
        assert by_prompt.unit == "prompt"


def test_an_increasing_distortion_costs_calibration_and_no_discrimination():
    rng = np.random.default_rng(2)
    truth = rng.random(20_000)
    outcome = rng.random(20_000) < truth
    honest, bent = brier_score(truth, outcome), brier_score(truth**3, outcome)
    assert bent.discrimination == pytest.approx(honest.discrimination)
    assert honest.miscalibration < 0.003
    # Mean of (p - p³)² is 8/105.
    assert bent.miscalibration - honest.miscalibration == pytest.approx(8 / 105, abs=0.006)


@given(forecasts, st.integers(1, 4))
def test_squared_calibration_error_is_the_mean_product_of_different_residuals(rows, bins):
    forecast, outcome = np.array([(f / 8, y / 2) for f, y, _ in rows]).T
    total = weight = 0.0
    for i in range(bins):
        inside = [k for k, f in enumerate(forecast) if min(int(f * bins), bins - 1) == i]
        n = len(inside)
        if n > 1:
            r = forecast - outcome
            products = [r[a] * r[b] for a in inside for b in inside if a != b]
            total, weight = total + n * sum(products) / (n * (n - 1)), weight + n
    found = squared_calibration_error(forecast, outcome, bins=bins, binning="width")
    if weight:
        assert found == pytest.approx(total / weight, abs=1e-12)
    else:
        assert math.isnan(found)


def test_squared_calibration_error_is_unbiased_where_the_plain_one_is_not():
    rng = np.random.default_rng(3)
    for shift, truth in ((0.0, 0.0), (0.1, 0.01)):
        values, plain = [], []
        for _ in range(400):
            p = rng.uniform(0.2, 0.8, size=100)
            outcome = rng.random(100) < p
            values.append(squared_calibration_error(p + shift, outcome))
            plain.append(sum(b.count * (b.forecast - b.outcome) ** 2 for b in curve_of(p + shift, outcome)) / 100)
        error = np.std(values) / 20
        assert abs(np.mean(values) - truth) < 4 * error
        assert np.mean(plain) - truth > 4 * error
    assert min(values) < np.mean(values)


def curve_of(forecast, outcome):
    return reliability_curve(forecast, outcome, binning="count")


def test_expected_error_of_a_calibrated_forecaster_is_exact_on_a_case_that_can_be_listed():
    """Two forecasts of .5 in one bin: the error is 0 or 1/2, with probability one half each."""
    found = calibration_test([0.5, 0.5], [1, 1], rng=np.random.default_rng(0), bins=1, draws=4000)
    assert found.observed == 0.5
    assert found.expected_if_calibrated == pytest.approx(0.25, abs=0.02)
    assert found.p_value == pytest.approx(0.5, abs=0.04)
    assert found.quantile_if_calibrated == 0.5
    assert (found.pairs, found.draws) == (2, 4000)


def test_a_calibrated_forecaster_passes_as_often_as_it_should_and_a_wrong_one_does_not():
    rng = np.random.default_rng(4)
    p_values, errors, expected = [], [], []
    for _ in range(400):
        p = rng.random(80)
        found = calibration_test(p, rng.random(80) < p, rng=rng, draws=100)
        p_values.append(found.p_value)
        errors.append(found.observed)
        expected.append(found.expected_if_calibrated)
    for level in (0.1, 0.5):
        assert abs(np.mean(np.array(p_values) <= level) - level) < 4 * math.sqrt(level * (1 - level) / 400)
    assert np.mean(errors) > 0.05  # never 0, although every forecast is right
    assert np.mean(errors) == pytest.approx(np.mean(expected), rel=0.05)
    p = rng.uniform(0.1, 0.8, size=2000)
    wrong = calibration_test(p + 0.1, rng.random(2000) < p, rng=rng, draws=200)
    assert wrong.p_value == pytest.approx(1 / 201)
    assert wrong.observed > wrong.quantile_if_calibrated > wrong.expected_if_calibrated


def test_unusable_forecasts_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match=r"probability must lie within 0\.\.1"):
        reliability_curve([1.2], [1])
    with pytest.raises(DataError, match="label must lie"):
        brier_score([0.2], [2])
    with pytest.raises(ConfigError, match="bins"):
        reliability_curve([0.2], [1], bins=0)
    with pytest.raises(ConfigError, match="binning"):
        squared_calibration_error([0.2], [1], binning="equal")
    with pytest.raises(ShapeError, match="one shape"):
        brier_score([0.2], [1, 0])
    with pytest.raises(DataError, match="soft"):
        calibration_test([0.2], [0.5], rng=rng)
    with pytest.raises(DataError, match="at least one pair"):
        calibration_test([], [], rng=rng)
    assert reliability_curve([], []) == ()
    assert math.isnan(brier_score([], []).score.value)
    assert math.isnan(brier_score([], []).miscalibration)
    assert math.isnan(squared_calibration_error([], []))


def coverage_of_reliability_bins() -> list[tuple[str, float]]:
    """The outcome of a bin, forecasts right: independent pairs, and prompts that share a shift of their outcomes."""
    rng = np.random.default_rng(71)
    cases = []
    for name, prompts, per_prompt in (("500 pairs", 500, 1), ("60 prompts of 8", 60, 8)):
        hits = bins = 0
        for _ in range(2_000):
            prompt = np.repeat(np.arange(prompts), per_prompt)
            forecast = rng.random(prompt.size)
            # A uniform number a pair that is alike within a prompt, as a Gaussian copula of correlation one half.
            common = rng.normal(size=prompts)[prompt] if per_prompt > 1 else rng.normal(size=prompt.size)
            latent = ndtr((common + rng.normal(size=prompt.size)) / math.sqrt(2))
            curve = reliability_curve(
                forecast, latent < forecast, bins=5, prompt=prompt if per_prompt > 1 else None, binning="width"
            )
            # Within a bin the mean probability of the outcome is the middle of the bin, forecasts being uniform.
            hits += sum(b.low <= (b.left + b.right) / 2 <= b.high for b in curve)
            bins += len(curve)
        cases.append((f"reliability bin, {name}", hits / bins))
    return cases


@pytest.mark.slow
def test_intervals_of_bins_cover_the_truth():
    for name, share in coverage_of_reliability_bins():
        assert 0.93 <= share <= 0.97, name
