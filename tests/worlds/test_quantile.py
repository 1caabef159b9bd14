import math
from fractions import Fraction

import numpy as np
import pytest

from overopt.errors import ConfigError
from overopt.worlds.integrals import best_of_n_mean
from overopt.worlds.quantile import LawWorld, QuantileWorld
from worlds.sampling import best_of_first, z_score

TURNING = QuantileWorld(powers=(6.0, -6.0), log_tail=0.1)


def test_gold_is_a_rational_function_of_n_and_a_harmonic_number():
    world = QuantileWorld(powers=(1.0, -3.0), log_tail=2.0)
    for n in (1, 2, 10):
        harmonic = sum(Fraction(1, i) for i in range(1, n + 1))
        expected = Fraction(n, n + 1) - 3 * Fraction(n, n + 2) + 2 * harmonic
        assert world.best_of_n_gold(n) == pytest.approx(float(expected), rel=1e-13)
        assert world.best_of_n_proxy(n) == pytest.approx(n / (n + 1))


@pytest.mark.parametrize("world", [TURNING, QuantileWorld(powers=(1.0,), log_tail=-0.5, noise_sd=1, prompt_sd=2)])
@pytest.mark.parametrize("n", [1, 4, 50])
def test_gold_equals_monte_carlo(world, n):
    proxy, gold = world.sample(40_000, n, np.random.default_rng(n))
    assert abs(z_score(best_of_first(proxy, gold), world.best_of_n_gold(n))) < 4


def test_the_peak_is_where_a_fine_grid_puts_it():
    # n/(n+1) - n/(n+2) = n / ((n+1)(n+2)) is largest at n = sqrt 2.
    assert QuantileWorld(powers=(1.0, -1.0)).peak_n() == pytest.approx(math.sqrt(2))
    world = QuantileWorld(powers=(4.0,), log_tail=-0.1)
    grid = np.geomspace(1, 1e4, 20_001)
    best = grid[np.argmax([world.best_of_n_gold(n) for n in grid])]
    assert world.peak_n() == pytest.approx(best, rel=1e-3)
    assert 1 < best < 1e4
    assert math.isnan(QuantileWorld(powers=(1.0,), log_tail=1.0).peak_n())
    assert math.isnan(QuantileWorld(powers=(-1.0,)).peak_n())


@pytest.mark.parametrize(("alpha", "beta"), [(0.49, 0.12), (0.662, 0.09), (1.0, -0.2), (0.0, 1.0)])
@pytest.mark.parametrize("n", [1, 1.5, 2, 16, 1_000, 10**6])
def test_the_law_holds_exactly_at_every_n(alpha, beta, n):
    """By quadrature of the gold function, which comes from an inverse Laplace transform and never sees n."""
    world = LawWorld(alpha=alpha, beta=beta)

    def gold(u, q):
        return world.gold_of_exponential(np.where(u < 0.5, -np.log(u), -np.log1p(-np.minimum(q, 0.5))))

    d = math.sqrt(math.log(n) - (n - 1) / n)
    assert best_of_n_mean(gold, n) == pytest.approx(d * (alpha - beta * d), abs=2e-12)
    assert world.best_of_n_gold(n) == pytest.approx(d * (alpha - beta * d), abs=1e-14)


def test_samples_of_the_law_follow_it():
    world = LawWorld(alpha=0.6, beta=0.15, noise_sd=0.5, prompt_sd=0.5)
    for n in (1, 3, 32):
        proxy, gold = world.sample(4_000, n, np.random.default_rng(n))
        assert abs(z_score(best_of_first(proxy, gold), world.best_of_n_gold(n))) < 4


def test_a_negative_spread_is_refused():
    with pytest.raises(ConfigError, match="noise_sd"):
        LawWorld(alpha=1, beta=0, noise_sd=-1)
    with pytest.raises(ConfigError, match="prompt_sd"):
        QuantileWorld(powers=(), prompt_sd=-1)
