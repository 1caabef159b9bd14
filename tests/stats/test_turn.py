import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overopt.errors import ConfigError, DataError
from overopt.stats.turn import SPLITS, change, gold_drop


def noisy(curve, units, spread, rng):
    return np.asarray(curve) + spread * rng.normal(size=(units, len(curve))) + rng.normal(size=(units, 1))


def test_a_fall_after_a_peak_is_found_with_its_size():
    rng = np.random.default_rng(0)
    gold = noisy([0, 0.5, 1.0, 0.5], 100, 0.5, rng)
    found = gold_drop(gold, rng=rng)
    assert (found.verdict, found.peak_index) == ("overoptimized", 2)
    # Both halves choose column 2, so the drop is the plain paired mean and its interval the usual one.
    difference = gold[:, 2] - gold[:, 3]
    assert found.drop == pytest.approx(difference.mean())
    half_width = 1.96 * difference.std() / 10
    assert found.ci == pytest.approx((found.drop - half_width, found.drop + half_width), abs=0.02)


def test_gold_that_rises_to_the_end_has_not_turned():
    rng = np.random.default_rng(0)
    found = gold_drop(noisy([0, 0.5, 1.0, 1.5], 100, 0.3, rng), rng=rng)
    assert (found.verdict, found.peak_index, found.drop, found.ci) == ("not_overoptimized", 3, 0.0, (0.0, 0.0))


def test_too_much_noise_is_undetermined():
    rng = np.random.default_rng(0)
    assert gold_drop(noisy([0, 0.1, 0.05], 20, 3.0, rng), rng=rng).verdict == "undetermined"


def test_flat_noisy_gold_is_called_overoptimized_no_more_often_than_chance():
    """Winner's curse: the largest of ten noisy means exceeds the last by chance; measured on the prompts that chose
    it, flat gold would be called over-optimised in a large share of studies."""
    rng = np.random.default_rng(1)
    simulations, called, naive, drops = 400, 0, 0, []
    for _ in range(simulations):
        gold = noisy(np.zeros(10), 60, 1.0, rng)
        found = gold_drop(gold, rng=rng)
        called += found.verdict == "overoptimized"
        drops.append(found.drop)
        naive += change(gold, -1, found.peak_index, rng=rng, draws=400).ci[0] > 0
    assert called <= 20  # 2.5 % of 400 are 10; 5 % are 20
    assert naive >= 40  # 10 %: what the split prevents
    assert abs(np.mean(drops)) < 4 * np.std(drops) / math.sqrt(simulations)


def test_interval_of_the_drop_covers_a_true_fall():
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(300):
        low, high = gold_drop(noisy([0, 2.0, 1.6], 60, 0.5, rng), rng=rng, level=0.9).ci
        covered += low <= 0.4 <= high
    assert 250 <= covered <= 288  # 270 expected, three standard errors are 16


@given(st.integers(0, 1000), st.floats(0.1, 10), st.floats(-5, 5))
def test_unit_and_zero_of_gold_do_not_change_the_verdict(seed, scale, shift):
    gold = np.random.default_rng(seed).normal(size=(12, 4))
    found = gold_drop(gold, rng=np.random.default_rng(seed))
    mapped = gold_drop(scale * gold + shift, rng=np.random.default_rng(seed))
    assert (mapped.verdict, mapped.peak_index) == (found.verdict, found.peak_index)
    assert mapped.drop == pytest.approx(scale * found.drop, abs=1e-12)
    easier = gold + np.random.default_rng(seed + 1).normal(size=(12, 1))  # a prompt's level cancels in pairs
    np.testing.assert_allclose(
        change(easier, 0, 3, rng=np.random.default_rng(0)).ci, change(gold, 0, 3, rng=np.random.default_rng(0)).ci
    )


def test_constant_gold_has_not_turned():
    found = gold_drop(np.ones((10, 3)), rng=np.random.default_rng(0))
    assert (found.verdict, found.drop, found.ci) == ("not_overoptimized", 0.0, (0.0, 0.0))


@pytest.mark.parametrize(("units", "verdict"), [(2, "undetermined"), (5, "undetermined"), (6, "overoptimized")])
def test_a_handful_of_units_cannot_reach_the_level(units, verdict):
    gold = np.tile([0.0, 1.0, 0.5], (units, 1))
    found = gold_drop(gold, rng=np.random.default_rng(0))
    assert (found.verdict, found.drop) == (verdict, 0.5)


@pytest.mark.parametrize("shape", [(1, 4), (9, 1)])
def test_one_unit_or_one_point_tells_nothing(shape):
    found = gold_drop(np.ones(shape), rng=np.random.default_rng(0))
    assert found.verdict == "undetermined"
    assert np.isnan([found.drop, *found.ci]).all()


def test_change_is_the_paired_difference_of_two_columns():
    rng = np.random.default_rng(0)
    values = noisy([0.0, 1.0, 3.0], 400, 0.2, rng)
    found = change(values, 1, -1, rng=rng)
    difference = values[:, 2] - values[:, 1]
    assert found.value == pytest.approx(difference.mean())
    assert found.n_units == 400
    assert found.ci == pytest.approx(difference.mean() + 1.96 * np.array([-1, 1]) * difference.std() / 20, abs=0.005)
    assert np.isnan(change(values[:1], 0, 1, rng=rng).ci).all()


def test_unusable_input_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="gold_by_unit holds 1"):
        gold_drop([[1.0, np.nan]], rng=rng)
    with pytest.raises(DataError, match="at least one unit"):
        gold_drop(np.empty((0, 3)), rng=rng)
    with pytest.raises(ConfigError, match="no columns"):
        change(np.ones((3, 2)), 0, 2, rng=rng)


def test_the_verdict_depends_on_neither_names_nor_order_of_units():
    gold = np.random.default_rng(0).normal(size=(30, 6)) * 0.6 + [0, 0.3, 0.45, 0.5, 0.42, 0.2]
    found = gold_drop(gold, rng=np.random.default_rng(1))
    for seed in range(5):
        moved = np.random.default_rng(seed).permutation(gold)
        assert gold_drop(moved, rng=np.random.default_rng(1)) == found


def test_the_verdict_seldom_depends_on_the_seed():
    """One random half of the units gave 24 of these 40 tables two verdicts."""
    changed = 0
    for table in range(40):
        rng = np.random.default_rng(table)
        gold = rng.normal(size=(30, 6)) * 0.6 + [0, 0.3, 0.45, 0.5, 0.42, 0.2]
        found = [gold_drop(gold, rng=np.random.default_rng(seed)) for seed in range(8)]
        changed += len({one.verdict for one in found}) > 1
        drops = np.array([one.drop for one in found])
        assert drops.std(ddof=1) < 0.06 * found[0].stderr
    assert changed <= 4


def test_the_cross_fitted_drop_is_the_mean_over_all_splits():
    """By enumeration of all halves of six units; the random splits may differ from them by four standard errors."""
    gold = np.random.default_rng(5).normal(size=(6, 4))
    drops = []
    for half in itertools.combinations(range(6), 3):
        other = [unit for unit in range(6) if unit not in half]
        peaks = gold[list(half)].mean(axis=0).argmax(), gold[other].mean(axis=0).argmax()
        drops.append(
            np.mean([gold[other, peaks[0]] - gold[other, -1], gold[list(half), peaks[1]] - gold[list(half), -1]])
        )
    found = gold_drop(gold, rng=np.random.default_rng(0)).drop
    assert abs(found - np.mean(drops)) < 4 * np.std(drops) / math.sqrt(SPLITS)


def test_a_drop_of_many_units_leaves_out_groups_and_says_the_same():
    rng = np.random.default_rng(0)
    gold = rng.normal(size=(1201, 3)) + np.array([0.0, 1.0, 0.5])
    found = gold_drop(gold, rng=rng)
    assert found.stderr == pytest.approx((gold[:, 1] - gold[:, 2]).std(ddof=1) / math.sqrt(1201), rel=0.12)


def test_noise_is_seldom_said_not_to_have_turned():
    """A held-out drop of noise is negative more often than not, and then may have a small jackknife error."""
    rng = np.random.default_rng(3)
    for points in (2, 6):
        found = [gold_drop(rng.normal(size=(20, points)), rng=rng).verdict for _ in range(200)]
        assert found.count("not_overoptimized") <= 0.025 * 200 + 6


def false_alarms(units, points, runs, seed, *, is_walk):
    rng = np.random.default_rng(seed)
    called = 0
    for _ in range(runs):
        gold = rng.normal(size=(units, points))
        gold = gold.cumsum(axis=1) if is_walk else gold
        called += gold_drop(gold, rng=rng).verdict == "overoptimized"
    return called / runs


@pytest.mark.parametrize("units", [6, 10, 20, 50])
def test_flat_gold_of_a_few_units_is_seldom_called_overoptimized(units):
    assert false_alarms(units, 6, 200, units, is_walk=True) <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / 200)


@pytest.mark.slow
@pytest.mark.parametrize("is_walk", [True, False])
@pytest.mark.parametrize("points", [2, 6, 16])
@pytest.mark.parametrize("units", [6, 10, 20, 50])
def test_flat_gold_is_called_overoptimized_in_one_run_of_forty_at_most(units, points, is_walk):
    assert false_alarms(units, points, 2000, units, is_walk=is_walk) <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / 2000)


def test_a_drop_takes_milliseconds():
    gold = np.random.default_rng(0).normal(size=(64, 16))
    start = time.perf_counter()
    gold_drop(gold, rng=np.random.default_rng(0))
    assert time.perf_counter() - start < 0.3
