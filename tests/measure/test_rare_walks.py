"""Weighted, split and counted rates of tables whose truth is a sum over states."""

import numpy as np
import pytest
from measure.tables import noisy_table, truth, walk_in

from overopt.errors import ConfigError, DataError
from overopt.measure.levels import split, split_rate
from overopt.measure.proposals import ImportanceSettings, tuned_proposal, weighted_rate
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


class Forgetful:
    """Two ways to the event, by states 3 and 4. From state 3 it is all but impossible if the path began with choice 1.

    Who tunes by the state alone and has been there that way only must not give it up.
    """

    roots = np.array([0])
    is_over = np.array([False, False, False, False, False, True, True])
    target = np.array([[1, 2, -1], [3, 4, 6], [3, -1, 6], [5, -1, 6], [5, -1, 6], [-1] * 3, [-1] * 3])
    first = np.array([0.98, 0.02, 0.0])
    second = np.array([[0.002, 0.002, 0.996], [0.02, 0.0, 0.98]])
    third = np.array([[0.3, 0.0, 0.7], [1e-6, 0.0, 1 - 1e-6]])

    def begin(self, root, choices):
        assert not choices.size
        return [()] * len(root)

    def follow(self, memory, parent, choice):
        return [(*memory[row], int(picked)) for row, picked in zip(parent, choice, strict=True)]

    def log_probs(self, memory):
        with np.errstate(divide="ignore"):
            return np.log([self.choices(path) for path in memory])

    def choices(self, path):
        if not path:
            return self.first
        # State 4 is reached in one way only.
        is_odd = path[0] == 1 and (len(path) == 1 or path[1] == 0)
        return (self.second, self.third)[len(path) - 1][int(is_odd)]


def test_no_way_to_the_event_is_lost_by_an_odd_visit():
    """The error of a rate by 4,000 draws, exact from the three paths there are, hardly depends on how tuning went."""
    walk, is_event = Forgetful(), np.arange(7) == 5
    settings = ImportanceSettings(tuning=50)
    errors = []
    for seed in range(60):
        proposal = tuned_proposal(walk, is_event, np.random.default_rng(seed), settings=settings)
        policy, other = [], []
        for path in ((0, 0, 0), (0, 1, 0), (1, 0, 0)):
            state, p, q = 0, 1.0, 1.0
            for place, choice in enumerate(path):
                own = np.log(np.maximum(walk.choices(path[:place])[None], 1e-300))
                p *= walk.choices(path[:place])[choice]
                q *= np.exp(proposal.log_probs(np.array([state]), own))[0, choice]
                state = walk.target[state, choice]
            policy.append(p)
            other.append(q)
        p, q = np.array(policy), np.array(other)
        second = (p**2 / (settings.share * p + (1 - settings.share) * q)).sum()
        errors.append(np.sqrt((second - p.sum() ** 2) / settings.episodes) / p.sum())
    assert np.median(errors) < 0.02
    assert max(errors) < 0.03


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
