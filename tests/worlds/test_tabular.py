import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overopt.errors import ConfigError, ShapeError
from overopt.worlds.tabular import TabularWorld
from worlds.sampling import z_score


@st.composite
def worlds(draw, outcomes=4):
    """Few outcomes and few distinct scores, so that ties are common."""
    size = draw(st.integers(1, outcomes))
    mass = np.array(draw(st.lists(st.integers(1, 9), min_size=size, max_size=size)), dtype=float)
    scores = [draw(st.lists(st.integers(0, 2), min_size=size, max_size=size)) for _ in range(2)]
    return TabularWorld(probabilities=mass / mass.sum(), proxy=scores[0], gold=scores[1])


def by_listing(world, score, n):
    """Distribution of the winner over all n-tuples of outcomes, equal scores drawing lots."""
    found = Counter()
    for drawn in itertools.product(range(world.proxy.size), repeat=n):
        best = max(score[i] for i in drawn)
        winners = [i for i in drawn if score[i] == best]
        for i in winners:
            found[i] += math.prod(world.probabilities[list(drawn)]) / len(winners)
    return [found[i] for i in range(world.proxy.size)]


@given(worlds(), st.integers(1, 4))
def test_best_of_n_equals_the_list_of_all_draws(world, n):
    np.testing.assert_allclose(world.best_of_n(n), by_listing(world, world.proxy, n), atol=1e-13)
    np.testing.assert_allclose(world.best_by_gold(n), by_listing(world, world.gold, n), atol=1e-13)


@given(worlds(), st.floats(0, 5))
def test_best_of_poisson_is_the_mixture_of_its_best_of_n(world, mean):
    terms = [math.exp(-mean) * mean**k / math.factorial(k) * world.best_of_n(k + 1) for k in range(60)]
    np.testing.assert_allclose(world.best_of_poisson(mean), np.sum(terms, axis=0), atol=1e-12)


@given(worlds(), st.floats(0.1, 5), st.integers(0, 10**6))
def test_no_policy_beats_the_tilted_one_at_its_penalty(world, kl_coef, seed):
    tilted = world.tilted(kl_coef)
    best = world.proxy_of(tilted) - kl_coef * world.kl_of(tilted)
    log_partition = kl_coef * math.log((world.probabilities * np.exp(world.proxy / kl_coef)).sum())
    assert best == pytest.approx(log_partition, rel=1e-10, abs=1e-12)
    rng = np.random.default_rng(seed)
    for other in rng.dirichlet(np.ones(world.proxy.size), 20):
        assert world.proxy_of(other) - kl_coef * world.kl_of(other) <= best + 1e-12


@given(worlds(), st.floats(0, 0.999))
def test_the_tilted_policy_of_a_given_kl_has_it(world, share):
    kl = share * world.max_kl()
    if world.max_kl() <= 0:
        with pytest.raises(ConfigError, match="below"):
            world.tilted_to(0.1)
        return
    policy = world.tilted_to(kl)
    assert world.kl_of(policy) == pytest.approx(kl, abs=1e-9)
    assert policy.sum() == pytest.approx(1)
    best_of_two = world.best_of_n(2)
    if world.kl_of(best_of_two) < world.max_kl() - 1e-6:  # at equal KL no selector has more proxy
        assert world.proxy_of(world.tilted_to(world.kl_of(best_of_two))) >= world.proxy_of(best_of_two) - 1e-9


@given(worlds())
def test_limits(world):
    np.testing.assert_allclose(world.best_of_n(1), world.probabilities, atol=1e-14)
    np.testing.assert_allclose(world.tilted(1e12), world.probabilities, atol=1e-10)
    np.testing.assert_allclose(world.best_of_poisson(0), world.probabilities, atol=1e-14)
    best = world.proxy == world.proxy.max()
    np.testing.assert_allclose(world.best_of_n(10**6), world.tilted(1e-3), atol=1e-10)
    assert world.best_of_n(10**6)[best].sum() == pytest.approx(1)
    assert world.kl_of(world.best_of_n(10**6)) == pytest.approx(world.max_kl(), abs=1e-9)
    base = world.probabilities
    assert (world.kl_of(base), world.chi2_of(base)) == (0, 0)
    assert world.squared_hellinger_of(base) == 0
    assert world.win_rate_of(base) == pytest.approx(0.5)


@given(worlds(), st.integers(2, 50))
def test_divergences_are_ordered(world, n):
    policy = world.best_of_n(n)
    kl = world.kl_of(policy)
    assert kl <= math.log(n) - (n - 1) / n + 1e-12
    assert kl <= math.log1p(world.chi2_of(policy)) + 1e-12
    assert -2 * math.log1p(-world.squared_hellinger_of(policy)) <= kl + 1e-12


@given(worlds(), st.integers(1, 6))
def test_win_rate_and_pair_accuracy_equal_double_sums(world, n):
    p, gold, proxy, policy = world.probabilities, world.gold, world.proxy, world.best_of_n(n)
    pairs = list(itertools.product(range(p.size), repeat=2))
    expected = sum(policy[i] * p[j] * ((gold[i] > gold[j]) + (gold[i] == gold[j]) / 2) for i, j in pairs)
    assert world.win_rate_of(policy) == pytest.approx(expected)
    ordered = [(i, j) for i, j in pairs if gold[i] > gold[j]]
    if ordered:
        right = sum(p[i] * p[j] * ((proxy[i] > proxy[j]) + (proxy[i] == proxy[j]) / 2) for i, j in ordered)
        assert world.pair_accuracy() == pytest.approx(right / sum(p[i] * p[j] for i, j in ordered))


def test_two_answers_never_leave_the_kl_of_the_better_one():
    """2401.01879: the formula ln n - (n-1)/n diverges where the KL tends to ln 2."""
    world = TabularWorld(probabilities=[0.5, 0.5], proxy=[0, 1], gold=[1, 0])
    n = 3
    p = 1 - 0.5**n
    assert world.kl_of(world.best_of_n(n)) == pytest.approx(p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p)))
    assert world.kl_of(world.best_of_n(10**9)) == pytest.approx(math.log(2))


def test_a_tiny_best_outcome_keeps_its_digits():
    world = TabularWorld(probabilities=[1 - 1e-12, 1e-12], proxy=[0, 1], gold=[0, 1])
    assert world.best_of_n(1000)[1] == pytest.approx(1e-9, rel=1e-8)
    assert world.best_of_poisson(999)[1] == pytest.approx(1e-9, rel=1e-3)


def test_samples_follow_the_base_and_a_policy():
    world = TabularWorld(probabilities=[0.2, 0.5, 0.3], proxy=[0, 2, 1], gold=[3, -1, 0.5])
    rng = np.random.default_rng(0)
    for policy in (world.probabilities, world.best_of_n(3)):
        proxy, gold = world.sample_policy(policy, 200, 100, rng)
        assert proxy.shape == gold.shape == (200, 100)
        assert abs(z_score(proxy.ravel(), world.proxy_of(policy))) < 4
        assert abs(z_score(gold.ravel(), world.gold_of(policy))) < 4
    assert set(np.unique(world.sample(9, 9, rng)[0])) <= {0, 1, 2}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"probabilities": [0.5, 0.6]}, ConfigError),
        ({"probabilities": [0.0, 1.0]}, ConfigError),
        ({"proxy": [1.0]}, ShapeError),
        ({"gold": [math.nan, 1.0]}, ConfigError),
    ],
)
def test_an_impossible_table_is_refused(changes, error):
    with pytest.raises(error):
        TabularWorld(**({"probabilities": [0.5, 0.5], "proxy": [0, 1], "gold": [0, 1]} | changes))
