import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overopt.errors import ConfigError, DataError
from overopt.stats.sequential import STAKES, fresh_turn_test, turn_test

RISE_THEN_FALL = np.concatenate([np.linspace(0, 1, 8), np.linspace(1, 0, 12)])


def panel(rng, means, units, noise=1.0):
    """The same units at each checkpoint: hard and easy ones, and independent errors."""
    return 3 * rng.normal(size=(units, 1)) + np.asarray(means) + noise * rng.normal(size=(units, len(means)))


def test_bounded_evidence_is_the_average_wealth_of_all_bets():
    rng = np.random.default_rng(0)
    gold = rng.uniform(0, 1, size=(5, 4))
    total = 0.0
    for t in range(1, 4):
        wealths = []
        for c in range(t):
            for stake in STAKES:
                wealth = 1.0
                for unit in range(5):
                    wealth *= 1 + stake * (gold[unit, c] - gold[unit, t])
                wealths.append(wealth)
        total += sum(wealths) / len(wealths) / (t * (t + 1))
        assert turn_test(gold[:, : t + 1], bound=1.0).evidence[t] == pytest.approx(total, rel=1e-12)


def test_bounded_fresh_evidence_is_the_average_wealth_of_all_bets():
    rng = np.random.default_rng(0)
    batches = [rng.uniform(-1, 1, size=n) for n in (3, 0, 4)]
    evidence = fresh_turn_test(batches, bound=1.0, checks=5).evidence
    for k in range(3):
        total = 1 - (k + 1) / 5
        for start in range(k + 1):
            seen = np.concatenate(batches[start : k + 1])
            total += np.mean([np.prod(1 + stake * seen) for stake in STAKES]) / 5
        assert evidence[k] == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("bound", [2.0, None])
def test_evidence_has_a_mean_of_at_most_1_under_the_null_exactly(bound):
    """All 2^6 sign patterns of three units' fair differences at two later checkpoints, enumerated."""
    sizes = np.array([[0.3, 1.0], [2.0, 0.5], [0.7, 1.1]])
    fixed, fresh = [], []
    for pattern in range(64):
        signs = np.array([1.0 if pattern >> i & 1 else -1.0 for i in range(6)]).reshape(3, 2)
        gold = np.column_stack([np.zeros(3), -signs * sizes])
        # The first checkpoint against the second is fair; the third against both is fair given the first signs.
        first = turn_test(gold[:, :2], bound=bound, checks=1).evidence[-1]
        fixed.append(first)
        fresh.append(fresh_turn_test(list((signs * sizes).T), bound=bound, checks=2).evidence[-1])
    assert np.mean(fixed) == pytest.approx(1, rel=1e-12)
    assert np.mean(fresh) == pytest.approx(1, rel=1e-12)


def test_a_prefix_has_a_prefix_of_the_evidence():
    gold = panel(np.random.default_rng(1), RISE_THEN_FALL, 30)
    whole = turn_test(gold, checks=19)
    assert (np.diff(whole.evidence) >= 0).all()
    for k in (1, 5, 12):
        np.testing.assert_allclose(turn_test(gold[:, :k], checks=19).evidence, whole.evidence[:k], rtol=1e-12)
    assert whole.n_labels == 30 * 20


def test_a_fall_is_found_and_placed_after_the_peak():
    rng = np.random.default_rng(2)
    alarms = [turn_test(panel(rng, RISE_THEN_FALL, 60), checks=19).alarm for _ in range(40)]
    assert None not in alarms
    assert min(alarms) > 8
    fresh = []
    for _ in range(40):
        drops = np.maximum.accumulate(RISE_THEN_FALL)[:-1] - RISE_THEN_FALL[1:]
        test = fresh_turn_test([drop + 2**0.5 * rng.normal(size=30) for drop in drops], checks=19)
        fresh.append(test.alarm)
        assert test.n_labels == 2 * 30 * 19
    assert None not in fresh
    assert min(fresh) > 7


def test_a_long_rise_does_not_bankrupt_the_fresh_test():
    rng = np.random.default_rng(3)
    rising = [rng.normal(size=20) - 1 for _ in range(30)]
    falling = [rng.normal(size=20) + 1 for _ in range(4)]
    assert fresh_turn_test(rising, checks=34).alarm is None
    assert fresh_turn_test(rising + falling, checks=34).alarm is not None


def test_an_unbounded_outlier_buys_no_evidence():
    gold = np.zeros((40, 2))
    gold[0, 0] = 1e9
    assert turn_test(gold).evidence[1] < 1


@given(st.floats(0.001, 1000), st.floats(-50, 50), st.integers(0, 100))
def test_units_of_gold_and_its_zero_do_not_matter(unit, zero, seed):
    gold = panel(np.random.default_rng(seed), RISE_THEN_FALL[6:12], 12)
    first, second = turn_test(gold), turn_test(unit * gold + zero)
    np.testing.assert_allclose(second.evidence, first.evidence, rtol=1e-6)
    shifted = turn_test(gold + np.random.default_rng(seed + 1).normal(size=(12, 1)))  # easy and hard prompts cancel
    np.testing.assert_allclose(shifted.evidence, first.evidence, rtol=1e-6)


def test_one_checkpoint_is_no_evidence():
    test = turn_test(np.zeros((4, 1)))
    assert (test.evidence.tolist(), test.p_value, test.alarm) == ([0.0], 1.0, None)


def test_bad_input_is_refused():
    gold = np.zeros((3, 4))
    with pytest.raises(DataError, match="planned for 2 looks"):
        turn_test(gold, checks=2)
    with pytest.raises(DataError, match="beyond the bound"):
        turn_test([[0.0, 2.0]], bound=1.0)
    with pytest.raises(ConfigError, match="bound"):
        turn_test(gold, bound=-1.0)
    with pytest.raises(ConfigError, match="checks"):
        turn_test(gold, checks=0)
    with pytest.raises(ConfigError, match="level"):
        turn_test(gold, level=0.0)
    with pytest.raises(DataError, match="at least one unit"):
        turn_test(np.zeros((0, 3)))
    with pytest.raises(DataError, match="at least one batch"):
        fresh_turn_test([])
    with pytest.raises(DataError, match="not finite"):
        turn_test([[0.0, math.nan]])


def repeated_t_test(gold, level=0.05):
    """What is usually done: at each checkpoint a one-sided paired t test against the best mean so far."""
    from scipy.stats import t

    units = gold.shape[0]
    limit = t.ppf(1 - level, units - 1)
    for k in range(1, gold.shape[1]):
        difference = gold[:, np.argmax(gold[:, :k].mean(axis=0))] - gold[:, k]
        if difference.mean() > limit * difference.std(ddof=1) / math.sqrt(units):
            return k
    return None


def false_alarms(runs=2000, checkpoints=20, units=24):
    """Share of runs with an alarm at any of the checkpoints, in worlds whose gold never falls."""
    rng = np.random.default_rng(0)
    shape = (units, checkpoints)
    rising = np.minimum(np.arange(checkpoints) / 8, 1.0)
    worlds = {
        "flat, Gaussian": lambda: panel(rng, np.zeros(checkpoints), units),
        "flat, Student t with 2 degrees": lambda: rng.standard_t(2, size=shape),
        "rises, then flat": lambda: panel(rng, rising, units),
        "flat, 0 or 1": lambda: (rng.uniform(size=shape) < 0.8).astype(float),
    }
    found = []
    for world, draw in worlds.items():
        bound = 1.0 if world == "flat, 0 or 1" else None
        ours, fresh, naive = [], [], []
        for _ in range(runs):
            gold = draw()
            ours.append(turn_test(gold, bound=bound, checks=checkpoints - 1).alarm is not None)
            naive.append(repeated_t_test(gold) is not None)
            # New units at every checkpoint, answered by the present policy and by the one before it.
            pairs = [draw()[:, k - 1 : k + 1] for k in range(1, checkpoints)] if len(fresh) < runs // 4 else []
            batches = [before - now for before, now in (pair.T for pair in pairs)]
            if batches:
                fresh.append(fresh_turn_test(batches, bound=bound, checks=checkpoints - 1).alarm is not None)
        found.append((world, float(np.mean(ours)), float(np.mean(fresh)), float(np.mean(naive))))
    return found


@pytest.mark.slow
def test_false_alarms_stay_below_the_level_although_every_checkpoint_is_looked_at():
    limit = 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)
    for world, ours, fresh, naive in false_alarms():
        assert ours <= limit, world
        assert fresh <= limit, world
        assert naive > 0.3, world


def test_a_repeated_t_test_raises_false_alarms_where_this_one_does_not():
    rng = np.random.default_rng(5)
    runs = [panel(rng, np.zeros(20), 24) for _ in range(150)]
    assert np.mean([repeated_t_test(gold) is not None for gold in runs]) > 0.3
    assert np.mean([turn_test(gold, checks=19).alarm is not None for gold in runs]) <= 0.05
