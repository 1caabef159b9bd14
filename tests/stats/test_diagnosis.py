import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from overopt.errors import ConfigError, DataError, ShapeError
from overopt.stats.diagnosis import diagnose_run, flat_drop_threshold, noise_from_curve

RISING = np.linspace(0, 1, 30)
DROP_VERDICTS = ("overoptimized", "collapsed")


def rl_law(last_d, points=30, alpha=1.0, beta=0.5):
    """d (alpha - beta ln d) up to ``last_d``; the peak is at exp(alpha / beta - 1), here 2.718."""
    d = np.linspace(last_d / points, last_d, points)
    return d * (alpha - beta * np.log(d))


def test_a_law_past_its_peak_is_overoptimized_and_before_it_improving():
    past = diagnose_run(RISING, rl_law(6.0))
    assert past.verdict == "overoptimized"
    assert past.peak_index == np.argmax(rl_law(6.0))
    assert past.gold_peak - past.gold_final == past.drop
    assert past.proxy_at_peak == RISING[past.peak_index]
    assert (past.proxy_final, past.points) == (1.0, 30)
    assert diagnose_run(RISING, rl_law(2.6)).verdict == "improving"


def test_the_proxy_decides_between_overoptimized_and_collapsed():
    gold = rl_law(6.0)
    assert diagnose_run(gold, gold).verdict == "collapsed"
    assert diagnose_run(np.zeros(30), gold).verdict == "overoptimized"
    # A proxy that rose long before gold's peak and fell only since then.
    proxy = np.where(np.arange(30) <= 13, 5.0, 5.0 - 0.2 * (np.arange(30) - 13))
    assert diagnose_run(proxy, gold).verdict == "collapsed"
    # A fall that its own noise explains.
    noisy = 0.5 * np.random.default_rng(0).normal(size=30)
    noisy[-1] = noisy[np.argmax(gold)] - 0.3
    assert diagnose_run(noisy, gold).verdict == "overoptimized"


def test_a_fall_from_the_first_point_counts():
    gold = -np.linspace(0, 2, 12)
    assert diagnose_run(RISING[:12], gold).verdict == "overoptimized"
    assert diagnose_run(gold, gold).verdict == "collapsed"
    assert diagnose_run(gold, gold).peak_index == 0


def test_equal_peaks_take_the_first():
    found = diagnose_run([0, 1, 2, 3, 4, 5], [0, 3, 3, 1, 0, -2])
    assert (found.peak_index, found.proxy_at_peak) == (1, 1)


@pytest.mark.parametrize("points", [1, 2, 3])
def test_too_few_points_are_undetermined(points):
    found = diagnose_run(np.arange(points), -np.arange(float(points)))
    assert found.verdict == "undetermined"
    assert math.isnan(found.threshold)
    assert "fewer" in found.rule


@pytest.mark.parametrize("value", [0.0, 0.1, -1e9])
def test_a_constant_gold_is_undetermined(value):
    found = diagnose_run(RISING, np.full(30, value))
    assert found.verdict == "undetermined"
    assert (found.drop, found.noise_sd) == (0, 0)


def test_rounding_is_no_drop():
    """0.1 + 0.2 against 0.3: a drop of one unit in the last place on a curve without any roughness but that."""
    gold = np.full(30, 0.3)
    gold[:10] = 0.1 + 0.2
    assert gold[0] > gold[-1]
    assert diagnose_run(RISING, gold, gold_se=np.zeros(30)).verdict == "undetermined"


@pytest.mark.parametrize("where", [0, 1, 7, 15, 28, 29])
@pytest.mark.parametrize("size", [-50.0, 50.0])
def test_one_odd_point_decides_nothing(where, size):
    flat, rising = np.zeros(30), 0.01 * np.arange(30)
    for gold in (flat, rising, flat + 0.01 * np.random.default_rng(1).normal(size=30)):
        gold = gold.copy()
        gold[where] += size
        for se in (None, np.full(30, 0.01)):
            assert diagnose_run(RISING, gold, gold_se=se).verdict not in DROP_VERDICTS


def test_a_sudden_collapse_is_seen():
    gold = 0.05 * np.random.default_rng(2).normal(size=40) + np.where(np.arange(40) < 30, 1.0, -1.0)
    assert diagnose_run(np.arange(40), gold).verdict == "overoptimized"


def test_scores_on_a_coarse_grid_still_have_noise():
    """More than half of the second differences of rounded scores can be exactly 0; the noise is not."""
    runs = np.round(0.04 * np.random.default_rng(5).normal(size=(200, 40)), 1)
    assert np.median(np.abs(np.diff(runs, n=2)), axis=1).min() < 1e-9
    verdicts = [diagnose_run(np.arange(40), gold).verdict for gold in runs]
    assert np.mean([verdict != "undetermined" for verdict in verdicts]) <= 0.05


@given(
    arrays(np.float64, st.integers(4, 12), elements=st.integers(-5, 5).map(float)),
    st.integers(-3, 3),
    st.integers(-8, 8),
)
def test_scale_and_shift_change_no_verdict(gold, exponent, shift):
    scale = 2.0**exponent
    proxy = np.cumsum(np.abs(gold)) - 2 * np.arange(gold.size)
    found, mapped = diagnose_run(proxy, gold), diagnose_run(scale * proxy - shift, scale * gold + shift)
    assert mapped.verdict == found.verdict
    assert mapped.peak_index == found.peak_index
    assert mapped.noise_sd == pytest.approx(scale * found.noise_sd)
    assert mapped.threshold == pytest.approx(scale * found.threshold, abs=1e-12)


def test_a_difference_of_two_points_has_the_normal_threshold():
    assert flat_drop_threshold([1.0, 1.0], 0.95) == pytest.approx(1.6448536 * math.sqrt(2), abs=1e-6)
    assert flat_drop_threshold([3.0, 4.0], 0.95) == pytest.approx(1.6448536 * 5, abs=1e-5)
    # Student's t with 5 degrees of freedom: 2.0150.
    assert flat_drop_threshold([1.0, 1.0], 0.95, 5) == pytest.approx(2.0150 * math.sqrt(2), rel=2e-3)


def test_thresholds_hold_for_points_of_unequal_noise():
    rng = np.random.default_rng(3)
    for sd in ([1.0] * 24, [0.1, 0.5, 2.0, 1.0, 0.3], [0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0]):
        errors = np.array(sd) * rng.normal(size=(200_000, len(sd)))
        t = flat_drop_threshold(sd, 0.95)
        assert (errors.max(axis=1) - errors[:, -1] > t).mean() == pytest.approx(
            0.05, abs=4 * math.sqrt(0.05 * 0.95 / 200_000)
        )


def test_noise_is_read_from_roughness_whatever_the_trend():
    rng = np.random.default_rng(4)
    trend = 5 * np.sin(np.linspace(0, 3, 200))
    found = [noise_from_curve(trend + 0.2 * rng.normal(size=200)) for _ in range(300)]
    assert np.mean(found) == pytest.approx(0.2, rel=0.05)
    assert noise_from_curve(trend) < 0.01


def test_a_drop_needs_more_than_given_noise():
    gold = rl_law(6.0)
    known = diagnose_run(RISING, gold, gold_se=np.full(30, 0.05))
    assert known.verdict == "overoptimized"
    assert known.noise_sd == pytest.approx(0.05)
    assert diagnose_run(RISING, gold, gold_se=np.full(30, 1.0)).verdict == "undetermined"
    assert "standard errors" in known.rule
    assert "at most 5 % of runs of 30 points" in known.rule
    assert f"{known.threshold:.3g}" in known.rule


def false_verdicts(points, runs, level=0.95, known=False):
    rng = np.random.default_rng(points)
    gold, proxy = rng.normal(size=(2, runs, points))
    se = np.ones(points) if known else None
    found = [diagnose_run(p, g, gold_se=se, level=level) for p, g in zip(proxy, gold, strict=True)]
    return np.mean([f.drop > f.threshold for f in found]), np.mean([f.verdict != "undetermined" for f in found])


@pytest.mark.parametrize("points", [4, 7, 24])
def test_a_flat_gold_gets_a_verdict_in_few_runs(points):
    exceeded, verdicts = false_verdicts(points, 300)
    assert exceeded <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)
    assert verdicts <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


def rates_of_false_verdicts(runs=1500):
    cases = []
    for points in (4, 5, 8, 12, 24, 60, 200):
        exceeded, verdicts = false_verdicts(points, runs)
        cases.append((f"drop of white noise, {points} points", float(exceeded)))
        cases.append((f"any verdict on white noise, {points} points", float(verdicts)))
    cases.append(("drop of white noise of known sd, 24 points", float(false_verdicts(24, runs, known=True)[0])))
    return cases


@pytest.mark.slow
def test_verdicts_on_white_noise_are_as_rare_as_promised():
    for case, share in rates_of_false_verdicts():
        assert share <= 0.06, (case, share)
        if case.startswith("drop"):
            assert share >= 0.02, (case, share)


def test_what_is_no_run_is_refused():
    with pytest.raises(DataError):
        diagnose_run([], [])
    with pytest.raises(DataError):
        diagnose_run([0, 1, 2, 3], [0, math.nan, 2, 3])
    with pytest.raises(DataError):
        diagnose_run([0, 1, 2, 3], [0, 1, 2, 3], gold_se=[1, 1, -1, 1])
    with pytest.raises(ShapeError):
        diagnose_run([0, 1, 2], [0, 1])
    with pytest.raises(ShapeError):
        diagnose_run([0, 1], [0, 1], gold_se=[1])
    with pytest.raises(ConfigError):
        diagnose_run([0, 1], [0, 1], level=95)
    with pytest.raises(DataError):
        noise_from_curve([0, 1])


@pytest.mark.parametrize("unit", [1.0, 1e-9, 1e12])
def test_a_threshold_of_rounding_is_0(unit):
    gold = unit * (0.1 + 0.2) * np.ones(12)
    gold[5] = unit * 0.3  # a last bit less
    found = diagnose_run(np.arange(12.0), gold)
    assert (found.threshold, found.drop, found.noise_sd, found.verdict) == (0, 0, 0, "undetermined")
    assert "drop > 0," in found.rule
