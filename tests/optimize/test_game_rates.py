"""Counting, importance sampling and splitting of a model that remembers more than the state, beside its enumeration."""

import numpy as np
import pytest

from optimize.game_models import random_game_model
from overopt.errors import ConfigError
from overopt.measure.proposals import ImportanceSettings
from overopt.optimize.game_rates import counted_beside, event, exact_rates, rare_rates
from overopt.stats.measured_rate import MeasuredRate
from overopt.worlds.tampering.states import FACTS
from overopt.worlds.tampering.vocabulary import PLANS


@pytest.fixture(scope="module")
def model():
    return random_game_model()


def test_counts_deviate_from_enumeration_as_chance_has_it(model):
    found = []
    for environment in ("sycophancy", "nudged"):
        exact = exact_rates(model, environment, tolerance=1e-7)
        found += counted_beside(model, exact, episodes=800, seed=1)
    assert len(found) == 2 * len(FACTS)
    for cell in found:
        assert abs(cell.deviation) < 3.8
        assert cell.counted.episodes == 800
        assert cell.counted.n_units == 800
    assert any(cell.deviation for cell in found)


def test_counts_of_another_policy_deviate(model):
    exact = exact_rates(model, "sycophancy")
    found = counted_beside(random_game_model(7), exact, episodes=800, seed=1)
    assert max(abs(cell.deviation) for cell in found) > 5


def test_a_forced_plan_is_counted_as_it_is_enumerated(model):
    forced = {plan: exact_rates(model, "sycophancy", plan=plan) for plan in PLANS}
    for plan, exact in forced.items():
        assert exact.plans[plan] == pytest.approx(1)
        assert max(abs(cell.deviation) for cell in counted_beside(model, exact, episodes=600, seed=2)) < 3.8
    own = exact_rates(model, "sycophancy")
    assert sum(own.plans.values()) == pytest.approx(1)
    rates = [exact.rate("gamed").value for exact in forced.values()]
    assert min(rates) < own.rate("gamed").value < max(rates)


def test_each_estimator_is_within_its_error_of_the_exact_rate(model):
    exact = exact_rates(model, tolerance=1e-6).rate("both")
    settings = ImportanceSettings(episodes=900, tuning=100, rounds=2)
    found = rare_rates(model, seed=3, importance=settings)
    assert list(found) == ["weighted", "split", "counted"]
    assert found["weighted"].effective > 100
    assert found["weighted"].successes / 900 > 1.5 * exact.value
    for one in found.values():
        assert one.episodes <= 1_100
        assert -4 * spread(one) <= one.value - exact.value <= 4 * spread(one) + (exact.high - exact.low)
    assert list(rare_rates(model, "gamed", "sycophancy", seed=3, importance=settings)) == ["weighted", "counted"]


def spread(one: MeasuredRate) -> float:
    """Its standard error."""
    if one.estimator == "counted":
        return float(np.sqrt(one.value * (1 - one.value) / one.episodes))
    return one.relative_error * one.value


def test_what_is_not_there_is_said(model):
    with pytest.raises(ConfigError, match="no fact 'won'"):
        event("won")
    with pytest.raises(ConfigError, match="a plan is one of"):
        exact_rates(model, "sycophancy", plan="evil")
    with pytest.raises(ConfigError, match="at least one episode"):
        counted_beside(model, exact_rates(model, "sycophancy"), episodes=0, seed=0)
