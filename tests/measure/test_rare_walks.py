"""Weighted, split and counted rates of tables whose truth is a sum over states."""

import numpy as np
import pytest
from measure.tables import noisy_table, truth, walk_in

from overopt.errors import ConfigError, DataError
from overopt.measure.levels import split, split_rate
from overopt.measure.proposals import ImportanceSettings, weighted_rate
from overopt.measure.walks import counted_rate, counts_by_root
from overopt.worlds.tampering.game import game
from overopt.worlds.tampering.writers import Writers

RARE = Writers(edit_if_seek=0.002, edit_else=0.002, guard_if_edited=0.005)


@pytest.fixture(scope="module")
def rare():
    walk = walk_in("tampering", noisy_table(RARE, noise=1e-4))
    expected = truth(walk, game().facts["both"])
    assert 1e-6 < expected < 2e-5
    return walk, expected


def test_a_rare_rate_is_weighted_to_within_its_error(rare):
    walk, expected = rare
    found = [weighted_rate(walk, game().facts["both"], np.random.default_rng(seed)) for seed in range(8)]
    for one in found:
        assert one.episodes <= 10_000
        assert one.relative_error <= 0.05
        assert one.successes > 1_000
        assert abs(one.value - expected) <= 4 * one.relative_error * one.value
        assert one.largest_weight <= 5
    z = [(one.value - expected) / (one.relative_error * one.value) for one in found]
    assert abs(np.mean(z)) * np.sqrt(len(z)) < 3.5


def test_without_tuning_weights_are_one_and_the_rate_is_counted():
    walk = walk_in("nudged", noisy_table())
    settings = ImportanceSettings(rounds=0, episodes=3_000)
    found = weighted_rate(walk, game().facts["gamed"], np.random.default_rng(0), settings=settings)
    assert found.largest_weight == 1
    assert found.effective == pytest.approx(3_000)
    assert abs(found.value - truth(walk, game().facts["gamed"])) < 4 * np.sqrt(found.value / 3_000)


def test_splitting_is_unbiased_and_its_error_is_what_repeats_show():
    walk = walk_in("tampering", noisy_table(Writers(edit_else=0.05, guard_if_edited=0.03)))
    expected = truth(walk, game().facts["both"])
    found = [
        split_rate(walk, game().facts["both"], game().level, np.random.default_rng(seed), episodes=100, runs=10)
        for seed in range(6)
    ]
    values = np.array([one.value for one in found])
    spread = np.array([one.value * one.relative_error for one in found if one.value > 0])
    assert abs(values.mean() - expected) < 4 * max(values.std(ddof=1), spread.mean()) / np.sqrt(len(values))
    assert all(one.episodes <= 5 * 100 * 10 for one in found)


def test_counting_agrees():
    walk = walk_in("insubordinate", noisy_table())
    found = counted_rate(walk, game().facts["gamed"], episodes=4_000, rng=np.random.default_rng(3))
    assert found.n_units == 4_000
    assert found.low <= truth(walk, game().facts["gamed"]) <= found.high


def test_counts_over_all_scenarios_have_the_interval_of_their_total():
    """It covers however chances differ between scenarios, and a count of 0 bounds the rate by about 3.7 / n."""
    rng = np.random.default_rng(0)
    chances = np.array([0.0, 0.002, 0.03, 0.9])
    root = np.arange(1_000) % 4
    covers = 0
    for _ in range(400):
        found = counts_by_root(root, rng.random(1_000) < chances[root])
        covers += found.low <= chances.mean() <= found.high
    assert covers >= 380
    none = counts_by_root(root, np.zeros(1_000, dtype=np.bool_))
    assert none.high == pytest.approx(1 - 0.025 ** (1 / 1_000))
    with pytest.raises(DataError, match="alike often"):
        counts_by_root(np.array([0, 0, 0, 1]), np.zeros(4, dtype=np.bool_))


def test_splitting_needs_only_that_episodes_go_on():
    """A walk of +1 and -1 from 1 until 0 or 6: it reaches 6 with a chance of 1/6."""

    def go_on(begins, rng):
        found = []
        for begin in begins:
            path = list(begin)
            while 0 < path[-1] < 6:
                path.append(path[-1] + (1 if rng.random() < 0.5 else -1))
            found.append(tuple(path))
        return found

    def reach(path, level):
        hits = [place for place, at in enumerate(path) if at >= level + 1]
        return path[: hits[0] + 1] if hits else None

    counts = split([(1,)], go_on, reach, levels=5, episodes=40, runs=60, rng=np.random.default_rng(1))
    value_R = (counts.reached / np.maximum(counts.begun, 1)).prod(axis=1)
    assert abs(value_R.mean() - 1 / 6) < 3.5 * value_R.std(ddof=1) / np.sqrt(60)
    with pytest.raises(ConfigError, match="runs"):
        split([(1,)], go_on, reach, levels=5, episodes=40, runs=0, rng=np.random.default_rng(1))
