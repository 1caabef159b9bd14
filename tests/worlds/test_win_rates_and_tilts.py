"""Win rates, KL of best-of-n and KL-regularised optima of the worlds, against Monte Carlo and fine tables."""

import math

import numpy as np
import pytest

from overopt.errors import ConfigError
from overopt.worlds.gaussian import GaussianWorld
from overopt.worlds.goodhart import AdversarialWorld, CausalWorld, ExtremalWorld
from overopt.worlds.heavy import HeavyTailWorld
from overopt.worlds.quantile import LawWorld, QuantileWorld
from overopt.worlds.tabular import TabularWorld
from overopt.worlds.ties import RoundedWorld
from worlds.sampling import best_of_first, z_score

NOISY = {
    "extremal": ExtremalWorld(dial=0.6, onset=1.0, noise_sd=0.5, prompt_sd=1.0),
    "causal": CausalWorld(dial=0.8, correlation=0.5, noise_sd=1.5, prompt_sd=0.4),
    "causal without noise": CausalWorld(dial=1.0),
    "adversarial": AdversarialWorld(dial=1.5, rare_mass=0.02, bonus=3.0, prompt_sd=0.2, noise_sd=0.3),
    "adversarial without noise": AdversarialWorld(dial=1.0, rare_mass=0.05, bonus=2.0),
    "quantile": QuantileWorld(powers=(2.0, -1.5), log_tail=0.2, noise_sd=0.4, prompt_sd=1.0),
    "law": LawWorld(alpha=1.0, beta=0.25, noise_sd=0.3),
    "heavy": HeavyTailWorld(tail_index=1.5, error_scale=0.5, gold_sd=0.8),
    "heavy, one-sided": HeavyTailWorld(tail_index=2.5, error_scale=0.7, family="pareto"),
    "rounded": RoundedWorld(world=GaussianWorld(error_sd=1.0), step=0.7),
    "coarse": RoundedWorld(world=GaussianWorld(error_sd=0.5, correlation=-0.4), step=3.0),
    "not rounded": RoundedWorld(world=GaussianWorld(error_sd=1.0), step=0.0),
}
TILTED = {name: NOISY[name] for name in ("quantile", "law", "rounded", "coarse", "not rounded")}
ROUNDED = [NOISY["rounded"], NOISY["coarse"]]


@pytest.mark.parametrize("name", NOISY)
@pytest.mark.parametrize("n", [1, 3, 40])
def test_the_win_rate_equals_monte_carlo(name, n):
    proxy, gold = NOISY[name].sample(8_000 if name == "law" else 40_000, n + 1, np.random.default_rng(n))
    best, other = best_of_first(proxy[:, :n], gold[:, :n]), gold[:, n]
    wins = (1 + np.sign(best - other)) / 2
    assert abs(z_score(wins, NOISY[name].win_rate(n))) < 4


@pytest.mark.parametrize("name", NOISY)
def test_one_sample_wins_half_of_the_time(name):
    assert NOISY[name].win_rate(1) == pytest.approx(0.5, abs=1e-9)


@pytest.mark.parametrize("world", [ExtremalWorld(dial=0.6), QuantileWorld(powers=(1.0,)), LawWorld(alpha=1, beta=0.2)])
def test_a_win_rate_without_noise_is_refused(world):
    with pytest.raises(ConfigError, match="noise_sd above 0"):
        world.win_rate(4)


@pytest.mark.parametrize("name", ["extremal", "causal", "adversarial"])
@pytest.mark.parametrize("n", [1, 4, 1000])
def test_scores_without_ties_have_the_kl_of_the_bound(name, n):
    assert NOISY[name].best_of_n_kl(n) == pytest.approx(math.log(n) - (n - 1) / n)


@pytest.mark.parametrize("name", TILTED)
@pytest.mark.parametrize("kl", [0.0, 0.1, 0.7])
def test_the_tilted_policy_equals_a_weighted_sample(name, kl):
    """Base samples weighted by exp(proxy / kl_coef): the ratio's error by its linear form."""
    world = TILTED[name]
    proxy, gold = (scores[:, 0] for scores in world.sample(200_000, 1, np.random.default_rng(5)))
    low, high = 1e-3, 1e3  # kl_coef of this KL, by bisection: the world is asked for the KL of a coefficient only
    for _ in range(80):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if world.tilted_kl(middle) > kl else (low, middle)
    weight = np.exp((proxy - proxy.max()) / low) if kl > 0 else np.ones(proxy.size)
    weight /= weight.mean()
    truth = world.tilted_proxy(kl), world.tilted_gold(kl)
    for values, expected in zip((proxy, gold), truth, strict=True):
        assert abs(z_score(weight * (values - expected), 0.0)) < 4
    if kl > 0:
        log_weight = (proxy - proxy.max()) / low
        measured = (weight * log_weight).mean() - np.log(np.exp(log_weight).mean())
        assert measured == pytest.approx(kl, abs=0.03)


@pytest.mark.parametrize("kl", [1e-9, 1e-3, 0.5, 3.0, 12.0])
def test_the_tilt_of_a_uniform_proxy_equals_that_of_a_fine_table(kl):
    """A grid that is dense where the tilted policy lies; the midpoint rule on it errs by less than 1e-7."""
    edges = 1 - np.concatenate([np.linspace(1, 1e-3, 20_000), np.geomspace(1e-3, 1e-12, 20_001)[1:], [0.0]])
    u, mass = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    world = QuantileWorld(powers=(2.0, -1.5, 0.3))
    table = TabularWorld(probabilities=mass, proxy=u, gold=world.expected_gold(u, 1 - u))
    policy = table.tilted_to(kl)
    assert world.tilted_proxy(kl) == pytest.approx(table.proxy_of(policy), abs=1e-6)
    assert world.tilted_gold(kl) == pytest.approx(table.gold_of(policy), abs=1e-6)
    coefficient = 0.3
    assert world.tilted_kl(coefficient) == pytest.approx(table.kl_of(table.tilted(coefficient)), abs=1e-6)


@pytest.mark.parametrize("world", ROUNDED)
@pytest.mark.parametrize("kl", [0.2, 2.0, 20.0])
def test_the_rounded_tilt_equals_that_of_a_table_of_its_cells(world, kl):
    fine = np.linspace(-12, 12, 480_001)  # of the standardised proxy
    sd, slope = world.world.proxy_sd, world.world.slope
    cell = np.floor(fine * sd / world.step + 0.5)
    density = np.exp(-(fine**2) / 2)
    names, group = np.unique(cell, return_inverse=True)
    own = np.bincount(group, weights=density)
    mean = np.bincount(group, weights=density * fine) / own
    table = TabularWorld(probabilities=own / own.sum(), proxy=names * world.step, gold=slope * sd * mean)
    if kl < table.max_kl():
        policy = table.tilted_to(kl)
        assert world.tilted_proxy(kl) == pytest.approx(table.proxy_of(policy), abs=3e-3)
        assert world.tilted_gold(kl) == pytest.approx(table.gold_of(policy), abs=3e-3)
    assert world.tilted_kl(0.8) == pytest.approx(table.kl_of(table.tilted(0.8)), abs=3e-3)


def test_a_fine_grid_tilts_like_no_grid():
    world = GaussianWorld(error_sd=1.0)
    fine = RoundedWorld(world=world, step=1e-3)
    for kl in (0.5, 8.0):
        assert fine.tilted_gold(kl) == pytest.approx(world.tilted_gold(kl), rel=1e-5)
        assert fine.tilted_proxy(kl) == pytest.approx(world.tilted_proxy(kl), rel=1e-5)
    assert fine.win_rate(100) == pytest.approx(world.win_rate(100), rel=1e-6)
