from itertools import pairwise
from math import exp, fsum, lgamma, log

import numpy as np
import pytest
from hypothesis import given
from oracles import best_of_n as oracle
from scipy.integrate import quad

from overopt.errors import ConfigError
from overopt.stats.best_of_poisson import (
    best_of_poisson_curve,
    best_of_poisson_kl,
    best_of_poisson_weights,
    largest_mu,
)
from overopt.stats.bon_kl import kl_bound
from stats.pool_cases import one_by_one, pools, ragged_pools


def chance_of_more(mu, pool):
    """Chance that 1 + Poisson(mu) exceeds the pool, summed term by term."""
    return fsum(exp(k * log(mu) - mu - lgamma(k + 1)) for k in range(pool, pool + 2_000))


@given(pools())
def test_best_of_poisson_mixes_the_means_over_every_subset(case):
    proxy, values = case
    size = proxy.shape[1]
    mu = 0.99 * largest_mu(size)
    chance = [np.exp(-mu)]
    for k in range(1, size):
        chance.append(chance[-1] * mu / k)
    for p, v, actual in zip(proxy, values, best_of_poisson_curve(proxy, values, [mu, 0.0]), strict=True):
        expected = [oracle.expected_value(p, v, n) for n in range(1, size + 1)]
        np.testing.assert_allclose(actual, [np.dot(chance, expected) / sum(chance), v.mean()], atol=1e-12)


@pytest.mark.parametrize("mu", [0.0, 0.5, 7.0, 300.0])
def test_weights_sum_to_one_and_the_quantile_of_the_chosen_has_the_published_mean(mu):
    pool = 3_000
    weights = best_of_poisson_weights(pool, mu)
    assert weights.sum() == pytest.approx(1, abs=1e-11)
    assert (np.diff(weights) >= -1e-18).all()
    # The mean of u under the distribution function u exp(mu (u-1)); rank r of N stands for r / (N+1).
    mean = 1 - quad(lambda u: u * np.exp(mu * (u - 1)), 0, 1)[0]
    assert weights @ np.arange(1, pool + 1) / (pool + 1) == pytest.approx(mean, abs=1e-9)


def test_blocks_of_the_mixture_add_up(monkeypatch):
    whole = best_of_poisson_weights(500, 40.0)
    monkeypatch.setattr("overopt.stats.best_of_poisson._BLOCK_WEIGHTS", 3_500)
    np.testing.assert_allclose(best_of_poisson_weights(500, 40.0), whole, rtol=1e-12)


def test_best_of_poisson_agrees_with_simulated_selection():
    rng = np.random.default_rng(11)
    mu = 5.0
    proxy = rng.normal(size=(4_000, 40)).round(1)
    gold = 0.6 * proxy + 0.8 * rng.normal(size=proxy.shape)
    curve = best_of_poisson_curve(proxy, gold, [mu])[:, 0]
    counts = 1 + rng.poisson(mu, size=100_000)
    fresh = np.where(np.arange(40) < counts[:, None], rng.normal(size=(100_000, 40)).round(1), -np.inf)
    chosen = 0.6 * fresh.max(axis=1) + 0.8 * rng.normal(size=100_000)
    error = np.hypot(curve.std(ddof=1) / np.sqrt(4_000), chosen.std(ddof=1) / np.sqrt(100_000))
    assert abs(curve.mean() - chosen.mean()) < 4 * error


@pytest.mark.parametrize("mu", [1e-3, 0.3, 0.9999, 1.0, 5.0, 40.0, 98.9, 99.1, 600.0, 800.0])
def test_kl_is_the_integral_over_the_published_density(mu):
    def integrand(u):
        log_density = np.log1p(mu * u) + mu * (u - 1)
        return np.exp(log_density) * log_density

    edges = [0.0, *(1 - np.array([0.5, 0.1, 0.02, 0.005, 0.001])), 1.0]
    expected = sum(quad(integrand, low, high, epsabs=1e-14)[0] for low, high in pairwise(edges))
    assert best_of_poisson_kl([mu])[0] == pytest.approx(expected, rel=1e-9, abs=1e-13)


def test_kl_of_a_small_mu_keeps_its_digits_and_of_a_large_one_lies_above_best_of_n_of_one_plus_mu():
    # To second order the density is 1 + mu (2u - 1), so the KL is mu^2 / 6.
    np.testing.assert_allclose(best_of_poisson_kl([0.0, 1e-6]), [0.0, 1e-12 / 6], rtol=1e-5, atol=0)
    # A mixture has at most the mean KL of its parts, and ln n is concave: the bound at the mean n is above.
    assert (best_of_poisson_kl([0.5, 3.0, 50.0, 1e4]) < [kl_bound(1 + mu) for mu in (0.5, 3.0, 50.0, 1e4)]).all()


@given(ragged_pools())
def test_ragged_pools_give_what_single_prompts_give(case):
    proxy, values, sizes = case
    mus = [0.0, largest_mu(int(sizes.min()))]
    expected = [best_of_poisson_curve(p[None], v[None], mus)[0] for p, v in one_by_one(*case)]
    np.testing.assert_allclose(best_of_poisson_curve(proxy, values, mus, sizes=sizes), expected, atol=1e-12)


@pytest.mark.parametrize("pool", [1, 2, 10, 64, 1_000])
def test_the_largest_mu_leaves_a_billionth_above_the_pool(pool):
    assert chance_of_more(largest_mu(pool), pool) == pytest.approx(1e-9, rel=1e-6)


@pytest.mark.parametrize(
    ("mus", "words"),
    [([5.0], r"exceeds the smallest pool of 8 .* lower mu to 0\.29\d+$"), ([-1.0], "negative"), ([], r"got \[\]")],
)
def test_unusable_mus_are_refused_with_a_sentence(mus, words):
    with pytest.raises(ConfigError, match=words):
        best_of_poisson_curve(np.ones((2, 8)), np.ones((2, 8)), mus)
