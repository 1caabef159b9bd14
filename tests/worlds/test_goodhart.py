import math

import numpy as np
import pytest

from overopt.errors import ConfigError
from overopt.worlds.gaussian import expected_maximum
from overopt.worlds.goodhart import AdversarialWorld, CausalWorld, ExtremalWorld, regressional_world
from overopt.worlds.tabular import TabularWorld
from worlds.sampling import best_of_first, z_score

WORLDS = [
    regressional_world(1.0, prompt_sd=0.5),
    ExtremalWorld(dial=0.6, onset=1.0, noise_sd=0.5, prompt_sd=1.0),
    CausalWorld(dial=0.8, correlation=0.5, noise_sd=0.3),
    AdversarialWorld(dial=1.5, rare_mass=0.02, bonus=3.0, prompt_sd=0.2),
]
FAITHFUL = [
    regressional_world(0.0),
    ExtremalWorld(dial=0.0),
    CausalWorld(dial=0.0),
    AdversarialWorld(dial=0.0, rare_mass=1e-3, bonus=3),
]


def policy(world, kl, n_prompts, samples, rng):
    """Samples, expected proxy and expected gold of the policy that the world's failure belongs to."""
    if isinstance(world, CausalWorld):
        drawn = world.sample_intervened(kl, n_prompts, samples, rng)
        return drawn, world.intervened_proxy(kl), world.intervened_gold(kl)
    return world.sample_tilted(kl, n_prompts, samples, rng), world.tilted_proxy(kl), world.tilted_gold(kl)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("n", [1, 3, 40])
def test_best_of_n_equals_monte_carlo(world, n):
    proxy, gold = world.sample(50_000, n, np.random.default_rng(n))
    assert abs(z_score(best_of_first(proxy, gold), world.best_of_n_gold(n))) < 4
    assert abs(z_score(best_of_first(proxy, proxy), world.best_of_n_proxy(n))) < 4


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("kl", [0.0, 0.5, 6.0])
def test_the_optimised_policy_equals_monte_carlo(world, kl):
    (proxy, gold), expected_proxy, expected_gold = policy(world, kl, 50_000, 1, np.random.default_rng(3))
    assert abs(z_score(proxy[:, 0], expected_proxy)) < 4
    assert abs(z_score(gold[:, 0], expected_gold)) < 4


@pytest.mark.parametrize("world", WORLDS)
def test_the_slope_is_that_of_the_base(world):
    proxy, gold = world.sample(2_000, 500, np.random.default_rng(4))
    x, y = proxy - proxy.mean(axis=1, keepdims=True), gold - gold.mean(axis=1, keepdims=True)
    residual = (x * y - world.slope * x**2).mean(axis=1)
    assert abs(z_score(residual, 0.0)) < 4


@pytest.mark.parametrize("world", FAITHFUL)
def test_at_dial_0_gold_is_the_proxy(world):
    rng = np.random.default_rng(5)
    np.testing.assert_allclose(*world.sample(10, 20, rng), atol=1e-12)
    np.testing.assert_allclose(*policy(world, 3.0, 10, 20, rng)[0], atol=1e-12)
    assert world.slope == pytest.approx(1)
    for n in (1, 4, 1_000):
        assert world.best_of_n_gold(n) == pytest.approx(world.best_of_n_proxy(n), abs=1e-12)
    _, proxy, gold = policy(world, 3.0, 1, 1, rng)
    assert gold == pytest.approx(proxy, abs=1e-12)


@pytest.mark.parametrize("cls", [ExtremalWorld, CausalWorld, AdversarialWorld])
def test_more_of_the_dial_loses_more_gold(cls):
    losses = []
    for dial in (0.0, 0.3, 0.6, 1.0):
        _, proxy, gold = policy(cls(dial=dial), 8.0, 1, 1, np.random.default_rng(0))
        losses.append(proxy - gold)
    assert losses == sorted(losses)
    assert losses[0] == pytest.approx(0, abs=1e-9)
    assert losses[1] > 0.1


def test_extremal_gold_turns_and_regressional_gold_does_not():
    extremal, regressional = ExtremalWorld(dial=0.5), regressional_world(1.0)
    ns = [2**k for k in range(20)]
    for world, turns in ((extremal, True), (regressional, False)):
        gold = np.array([world.best_of_n_gold(n) for n in ns])
        assert (np.diff(gold) < 0).any() == turns
    # E[x - dial max(x - onset, 0)^2] under a shift, against a plain sum over a fine grid.
    x = np.linspace(-10, 14, 2_400_001)
    for kl in (0.0, 1.0, 8.0):
        weight = np.exp(-((x - math.sqrt(2 * kl)) ** 2) / 2)
        assert extremal.tilted_gold(kl) == pytest.approx(weight @ extremal.expected_gold(x) / weight.sum(), abs=1e-9)


def test_a_feature_pays_under_selection_and_not_under_intervention():
    world = CausalWorld(dial=1.0, correlation=0.7)
    assert world.best_of_n_gold(64) == pytest.approx(0.7 * expected_maximum(64))
    assert world.tilted_gold(2.0) == pytest.approx(0.7 * 2.0)
    assert world.intervened_gold(2.0) == 0
    assert world.intervened_proxy(2.0) == pytest.approx(math.sqrt(1 - 0.49) * 2)


def test_best_of_n_never_meets_the_mode_that_the_optimiser_finds():
    world = AdversarialWorld(dial=1.0, rare_mass=1e-8, bonus=10.0)
    assert world.chance_of_meeting(10_000) == pytest.approx(1e-4, rel=1e-4)
    assert world.best_of_n_gold(10_000) == pytest.approx(expected_maximum(10_000), abs=1e-3)
    assert world.tilted_mode_mass(0.0) == pytest.approx(1e-8)
    assert world.tilted_mode_mass(20.0) > 0.9
    assert world.tilted_gold(20.0) < 0.2 * world.tilted_gold(2.0)
    assert world.tilted_proxy(20.0) > 5 * world.tilted_proxy(2.0)


def test_the_adversarial_tilt_equals_that_of_a_fine_table():
    world = AdversarialWorld(dial=1.5, rare_mass=1e-3, bonus=4.0)
    x = np.linspace(-10, 16, 2_001)
    modes = [(1 - 1e-3) * np.exp(-(x**2) / 2), 1e-3 * np.exp(-((x - 4) ** 2) / 2)]
    mass = np.maximum(np.concatenate(modes), 1e-300)
    table = TabularWorld(probabilities=mass / mass.sum(), proxy=np.tile(x, 2), gold=np.concatenate([x, (1 - 1.5) * x]))
    for kl in (0.2, 2.0, 8.0):
        tilted = table.tilted_to(kl)
        assert world.tilted_proxy(kl) == pytest.approx(table.proxy_of(tilted), abs=1e-8)
        assert world.tilted_gold(kl) == pytest.approx(table.gold_of(tilted), abs=1e-8)
        assert world.tilted_mode_mass(kl) == pytest.approx(tilted[2_001:].sum(), abs=1e-8)
    assert world.tilted_kl(0.5) == pytest.approx(table.kl_of(table.tilted(0.5)), abs=1e-9)


@pytest.mark.parametrize(
    ("cls", "setting"),
    [
        (ExtremalWorld, {"dial": -0.1}),
        (CausalWorld, {"dial": 1.1}),
        (CausalWorld, {"dial": 0.5, "correlation": 1.0}),
        (AdversarialWorld, {"dial": 1, "rare_mass": 0.0}),
        (AdversarialWorld, {"dial": 1, "noise_sd": -1.0}),
    ],
)
def test_an_impossible_setting_is_refused(cls, setting):
    with pytest.raises(ConfigError):
        cls(**setting)
