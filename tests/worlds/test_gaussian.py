import math

import numpy as np
import pytest

from overopt.errors import ConfigError
from overopt.worlds.gaussian import GaussianWorld, expected_maximum
from overopt.worlds.tabular import TabularWorld
from worlds.sampling import best_of_first, z_score

WORLDS = [
    GaussianWorld(error_sd=0.7),
    GaussianWorld(error_sd=2.0, gold_sd=0.5),
    GaussianWorld(error_sd=1.0, correlation=-0.4),
    GaussianWorld(error_sd=0.5, prompt_sd=2.0),
    GaussianWorld(error_sd=0.0),
]


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_best_of_n_equals_monte_carlo(world, n):
    rng = np.random.default_rng(n)
    proxy, gold = world.sample(40_000, n, rng)
    assert abs(z_score(best_of_first(proxy, gold), world.best_of_n_gold(n))) < 4
    assert abs(z_score(best_of_first(proxy, proxy), world.best_of_n_proxy(n))) < 4
    assert abs(z_score(best_of_first(gold, gold), world.oracle(n))) < 4
    plain = GaussianWorld(error_sd=world.error_sd, gold_sd=world.gold_sd, correlation=world.correlation)
    proxy, gold = plain.sample(40_000, n, rng)
    base = world.gold_sd * rng.standard_normal(40_000)
    assert abs(z_score((best_of_first(proxy, gold) > base).astype(float), world.win_rate(n))) < 4


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("kl", [0.0, 0.3, 8.0])
def test_the_tilted_policy_equals_monte_carlo(world, kl):
    proxy, gold = world.sample_tilted(kl, 20_000, 2, np.random.default_rng(1))
    assert abs(z_score(proxy.mean(axis=1), world.tilted_proxy(kl))) < 4
    assert abs(z_score(gold.mean(axis=1), world.tilted_gold(kl))) < 4


@pytest.mark.parametrize("world", WORLDS)
def test_moments_equal_monte_carlo(world):
    proxy, gold = world.sample(2, 200_000, np.random.default_rng(2))
    assert proxy[0].std() == pytest.approx(world.proxy_sd, rel=0.01)
    assert np.corrcoef(proxy[0], gold[0])[0, 1] == pytest.approx(world.pearson, abs=0.01)
    agree = (np.diff(proxy[0].reshape(-1, 2)) * np.diff(gold[0].reshape(-1, 2)) > 0).astype(float)
    if world.error_sd > 0:
        assert abs(z_score(agree.ravel(), world.pair_accuracy())) < 4
    else:
        assert agree.mean() == world.pair_accuracy() == 1


def test_regression_has_the_slope_of_the_paper():
    """Gao et al. 2022, eq. 1: Var X / (Var X + Var Z)."""
    assert GaussianWorld(error_sd=2.0).slope == pytest.approx(1 / 5)
    assert GaussianWorld(error_sd=0.5, gold_sd=1.5).slope == pytest.approx(2.25 / 2.5)


def test_a_faithful_proxy_is_the_oracle():
    world = GaussianWorld(error_sd=0.0)
    for n in (1, 5, 1e6):
        assert world.best_of_n_gold(n) == world.best_of_n_proxy(n) == world.oracle(n) == expected_maximum(n)
    assert world.win_rate(3) == pytest.approx(3 / 4)  # the best of 4 exchangeable numbers is among the 3


def test_win_rate_of_a_proxy_of_pure_noise_is_a_half():
    world = GaussianWorld(error_sd=1.0, gold_sd=1e-9)
    assert world.win_rate(100) == pytest.approx(0.5, abs=1e-8)
    assert world.win_rate(1) == pytest.approx(0.5)


def test_a_fine_table_of_the_same_world_has_the_same_truth():
    """Tabular tilting and Gaussian shifting share no code."""
    z = np.linspace(-12, 12, 1_201)
    mass = np.exp(-(z**2) / 2)
    gaussian = GaussianWorld(error_sd=1.0)
    proxy = gaussian.proxy_sd * z
    table = TabularWorld(probabilities=mass / mass.sum(), proxy=proxy, gold=gaussian.slope * proxy)
    for kl in (0.1, 2.0, 6.0):
        policy = table.tilted_to(kl)
        assert table.gold_of(policy) == pytest.approx(gaussian.tilted_gold(kl), abs=1e-9)
        assert table.proxy_of(policy) == pytest.approx(gaussian.tilted_proxy(kl), abs=1e-9)
    assert table.kl_of(table.tilted(0.6)) == pytest.approx(gaussian.tilted_kl(0.6), abs=1e-9)
    assert table.gold_of(table.best_of_n(20)) == pytest.approx(gaussian.best_of_n_gold(20), abs=1e-3)
    assert math.sqrt(2) * gaussian.slope * gaussian.proxy_sd == pytest.approx(gaussian.tilted_gold(1.0))


@pytest.mark.parametrize("setting", [{"error_sd": -1}, {"error_sd": 1, "correlation": 2}, {"error_sd": math.nan}])
def test_an_impossible_setting_is_refused(setting):
    with pytest.raises(ConfigError):
        GaussianWorld(**setting)
    with pytest.raises(ConfigError, match="spread of the proxy"):
        GaussianWorld(error_sd=1, correlation=-1)
