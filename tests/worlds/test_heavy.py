import itertools
import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ndtr, stdtr

from overopt.errors import ConfigError
from overopt.worlds.gaussian import GaussianWorld
from overopt.worlds.heavy import HeavyTailWorld
from worlds.sampling import best_of_first, z_score

WORLDS = [
    HeavyTailWorld(tail_index=2.5, error_scale=0.5),
    HeavyTailWorld(tail_index=2.5, error_scale=0.5, family="pareto"),
    HeavyTailWorld(tail_index=4.0, error_scale=2.0, gold_sd=1.5),
    HeavyTailWorld(tail_index=3.0, error_scale=0.1, gold_sd=0.5, family="pareto"),
]


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("n", [1, 2, 30])
def test_best_of_n_gold_equals_monte_carlo(world, n):
    proxy, gold = world.sample(100_000, n, np.random.default_rng(n))
    assert abs(z_score(best_of_first(proxy, gold), world.best_of_n_gold(n))) < 4


@pytest.mark.parametrize("world", [w for w in WORLDS if w.tail_index >= 3])  # with a finite variance, for the z
def test_best_of_n_proxy_equals_monte_carlo(world):
    proxy, _ = world.sample(100_000, 8, np.random.default_rng(0))
    assert abs(z_score(proxy[:, 0], world.best_of_n_proxy(1))) < 4
    assert abs(z_score(best_of_first(proxy, proxy), world.best_of_n_proxy(8))) < 4


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("x", [-1.0, 0.7, 3.0, 40.0])
def test_survival_equals_an_adaptive_integral(world, x):
    index, scale, sd = world.tail_index, world.error_scale, world.gold_sd

    def integrand(z):
        w = (x - sd * z) / scale
        above = stdtr(index, -w) if world.family == "student" else max(w, 1.0) ** -index
        return above * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    kinks = [(x - scale) / sd] if abs(x - scale) < 12 * sd else None
    expected = quad(integrand, -12, 12, points=kinks, epsabs=1e-14, epsrel=1e-12, limit=400)[0]
    assert world.survival(np.array([x]))[0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("family", ["student", "pareto"])
def test_gold_comes_back_to_nothing_while_the_proxy_grows(family):
    world = HeavyTailWorld(tail_index=2.0, error_scale=0.5, family=family)
    ns = [1, 10, 10**3, 10**5, 10**7]
    gold, proxy = [world.best_of_n_gold(n) for n in ns], [world.best_of_n_proxy(n) for n in ns]
    assert gold[1] > 0.5
    assert gold[2] > gold[3] > gold[4]
    assert gold[4] < 0.01
    assert all(b > 2 * a for a, b in itertools.pairwise(proxy[1:]))


@pytest.mark.parametrize("index", [1.5, 3.0])
def test_the_tail_of_the_curve_has_its_asymptotic_form(index):
    """Far out E[gold | x] = gold_sd^2 (index + 1) / x, and n^(1/index) scale / max has a Frechet limit."""
    world = HeavyTailWorld(tail_index=index, error_scale=0.5, family="pareto")
    n = 1e10
    mean_inverse = math.gamma(1 + 1 / index) / (0.5 * n ** (1 / index))
    assert world.best_of_n_gold(n) == pytest.approx((index + 1) * mean_inverse, rel=5e-3)
    mean_maximum = 0.5 * n ** (1 / index) * math.gamma(1 - 1 / index)
    assert world.best_of_n_proxy(n) == pytest.approx(mean_maximum, rel=5e-3)


def test_light_limits():
    many = HeavyTailWorld(tail_index=1e6, error_scale=0.8)  # Student's t is normal there
    normal = GaussianWorld(error_sd=0.8)
    for n in (1, 2, 64):
        assert many.best_of_n_gold(n) == pytest.approx(normal.best_of_n_gold(n), abs=1e-5)
        assert many.best_of_n_proxy(n) == pytest.approx(normal.best_of_n_proxy(n), abs=1e-5)
    assert HeavyTailWorld(tail_index=3, error_scale=0.5, family="pareto").best_of_n_proxy(1) == pytest.approx(0.75)
    assert HeavyTailWorld(tail_index=1.0, error_scale=0.5).best_of_n_proxy(2) == math.inf


@pytest.mark.parametrize("family", ["student", "pareto"])
def test_a_policy_of_small_kl_has_any_proxy_and_no_gold(family):
    """Theorem 1 of 2407.14503: the KL penalty does not protect."""
    world = HeavyTailWorld(tail_index=1.8, error_scale=0.5, family=family)
    found = [world.conditioned(0.05, threshold) for threshold in (10.0, 1e3, 1e5)]
    assert [f.gold for f in found] == sorted((f.gold for f in found), reverse=True)
    assert found[-1].gold < 1e-4
    assert found[-1].proxy > 100
    assert world.tilted_proxy(1e6) == math.inf


@pytest.mark.parametrize("family", ["student", "pareto"])
def test_the_conditioned_policy_equals_monte_carlo(family):
    world = HeavyTailWorld(tail_index=3.5, error_scale=0.5, family=family)
    proxy, gold = (scores[0] for scores in world.sample(1, 400_000, np.random.default_rng(0)))
    policy = world.conditioned(0.2, 2.0)
    share = world.survival(np.array([2.0]))[0]
    kl = policy.mass * math.log(policy.mass / share)
    kl += (1 - policy.mass) * math.log((1 - policy.mass) / (1 - share))
    assert kl == pytest.approx(0.2, abs=1e-9)
    weight = np.where(proxy > 2, policy.mass / share, (1 - policy.mass) / (1 - share))
    assert abs(z_score(weight * gold, policy.gold)) < 4
    assert abs(z_score(weight * proxy, policy.proxy)) < 4
    unmoved = world.conditioned(0.0, 2.0)
    assert unmoved.proxy == pytest.approx(world.best_of_n_proxy(1), abs=1e-9)
    assert unmoved.gold == pytest.approx(0, abs=1e-12)


def test_errors_have_the_tail_that_they_claim():
    for family in ("student", "pareto"):
        world = HeavyTailWorld(tail_index=2.0, error_scale=0.5, family=family)
        error = world.sample_error((1, 200_000), np.random.default_rng(0))[0]
        above = (error > 5.0).astype(float)
        expected = (0.5 / 5) ** 2 if family == "pareto" else stdtr(2.0, -10.0)
        assert abs(z_score(above, expected)) < 4
        ratio = world._error_survival(np.array([1e5, 2e5]))
        assert ratio[0] / ratio[1] == pytest.approx(4, rel=1e-6)
    assert ndtr(-5.0) < 1e-6  # what a normal error would give at ten of its scales is nothing


def test_impossible_settings_are_refused():
    with pytest.raises(ConfigError, match="family"):
        HeavyTailWorld(tail_index=2, error_scale=1, family="cauchy")
    with pytest.raises(ConfigError, match="error_scale"):
        HeavyTailWorld(tail_index=2, error_scale=0.0)
    world = HeavyTailWorld(tail_index=2, error_scale=1)
    with pytest.raises(ConfigError, match="kl"):
        world.conditioned(100.0, 1.0)
    with pytest.raises(ConfigError, match="infinite"):
        HeavyTailWorld(tail_index=1, error_scale=1).conditioned(0.1, 1.0)
