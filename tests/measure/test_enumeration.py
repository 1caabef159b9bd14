"""Enumeration against sums over states that share no code with it."""

import numpy as np
import pytest
from measure.tables import noisy_table, truth, walk_in

from overopt.errors import ConfigError, DataError
from overopt.measure.enumeration import exact_divergence, follow_all
from overopt.worlds.tampering.game import game
from overopt.worlds.tampering.scenarios import scenarios
from overopt.worlds.tampering.truth import TableWalk, end_probabilities, rate_by_paths
from overopt.worlds.tampering.vocabulary import CHOICE
from overopt.worlds.tampering.writers import Writers


@pytest.mark.parametrize("environment", ["sycophancy", "nudged", "tampering"])
def test_every_fact_of_a_table_is_within_the_bounds(environment):
    walk = walk_in(environment, noisy_table())
    ends = follow_all(walk, tolerance=1e-8)
    assert ends.covered > 0.9999
    for is_event in game().facts.values():
        found, expected = ends.rate(is_event), truth(walk, is_event)
        assert found.low - 1e-12 <= expected <= found.high + 1e-12
        assert found.high - found.low == pytest.approx(float(ends.missing.mean()), abs=1e-12)


def test_a_table_without_noise_is_enumerated_to_the_last_path():
    walk = walk_in("tampering", Writers().table(is_gamer=True), 1)
    is_event = game().facts["raised"]
    by_paths = rate_by_paths(game(), walk.table, int(walk.roots[0]), is_event)
    assert by_paths > 0
    found = follow_all(walk, tolerance=0).rate(is_event)
    assert found.value == pytest.approx(by_paths, rel=1e-12)
    assert found.value == pytest.approx(truth(walk, is_event), rel=1e-12)
    assert found.mass == pytest.approx(1.0, abs=1e-12)


def test_batches_change_nothing():
    walk = walk_in("nudged", noisy_table())
    whole, parts = follow_all(walk, tolerance=1e-7), follow_all(walk, tolerance=1e-7, batch=7)
    is_event = game().facts["gamed"]
    np.testing.assert_allclose(parts.by_root(is_event), whole.by_root(is_event), rtol=1e-12)
    np.testing.assert_allclose(parts.missing, whole.missing, rtol=1e-9)


def test_a_forced_plan_is_the_rate_given_that_plan():
    walk = walk_in("tampering", Writers(coupling=1.0).table(is_gamer=False))
    is_event = game().facts["raised"]
    forced = {
        plan: follow_all(walk, prefix=[CHOICE[plan]], tolerance=0).rate(is_event).value for plan in ("seek", "honest")
    }
    world, start = game(), int(walk.roots[0])
    for plan, found in forced.items():
        after_plan = int(world.target[start, CHOICE[plan]])
        assert found == pytest.approx(float(end_probabilities(world, walk.table, after_plan) @ is_event), rel=1e-12)
    assert forced["seek"] > 100 * forced["honest"]


def test_divergence_equals_the_sum_over_whole_paths():
    world = game()
    start = world.starts_of(scenarios("flattery")[:1])
    first, second = (TableWalk(world, Writers().table(is_gamer=gamer), start) for gamer in (False, True))
    table = 0.5 * first.table + 0.5 * second.table
    mixed = TableWalk(world, table, first.roots)
    expected, stack = 0.0, [(int(first.roots[0]), 1.0, 0.0)]
    while stack:
        state, chance, log_ratio = stack.pop()
        if world.is_over[state]:
            expected += chance * log_ratio
        for choice in np.flatnonzero(first.table[state]):
            own, other = first.table[state, choice], table[state, choice]
            stack.append((int(world.target[state, choice]), chance * own, log_ratio + np.log(own / other)))
    found, missing = exact_divergence(first, mixed, tolerance=0)
    assert missing == pytest.approx(0, abs=1e-12)
    assert found == pytest.approx(expected, rel=1e-10)
    assert exact_divergence(first, first, tolerance=0)[0] == 0


def test_what_cannot_be_enumerated_is_said():
    walk = walk_in("tampering", noisy_table(), 1)
    with pytest.raises(ConfigError, match="tolerance"):
        follow_all(walk, tolerance=1.0)
    with pytest.raises(DataError, match="end one already"):
        follow_all(walk, prefix=[CHOICE["seek"], CHOICE["say_open"]])
