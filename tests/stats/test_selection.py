from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overopt.errors import ConfigError
from overopt.stats.bon import best_of_n_curve
from overopt.stats.selection import (
    chi2_pessimistic_curve,
    chi2_pessimistic_curve_over_n,
    chi2_pessimistic_weights,
    soft_best_of_n_curve,
)
from stats.pool_cases import every_n, one_by_one, pools, ragged_pools

STRENGTHS = [1e-6, 0.05, 0.4, 3.0, 1e6]


def soft_by_enumeration(proxy, values, n, temperature):
    """Mean over every subset of n of the values, weighed by exp(proxy / temperature)."""
    means = []
    for subset in combinations(range(len(proxy)), n):
        weights = [np.exp(proxy[i] / temperature) for i in subset]
        means.append(sum(w * values[i] for w, i in zip(weights, subset, strict=True)) / sum(weights))
    return np.mean(means)


def chi2_by_bisection(proxy, regularisation):
    """The threshold by halving an interval that holds it."""
    low, high = min(proxy) - 2 * regularisation * len(proxy) - 1, max(proxy)
    for _ in range(200):
        middle = (low + high) / 2
        total = sum(max(0.0, score - middle) for score in proxy) / regularisation / len(proxy)
        low, high = (middle, high) if total > 1 else (low, middle)
    weights = np.array([max(0.0, score - low) for score in proxy])
    return weights / weights.sum()


@pytest.mark.parametrize("temperature", [0.3, 2.0])
@pytest.mark.parametrize("n", [1, 2, 3, 5, 7])
def test_soft_best_of_n_is_the_mean_over_every_subset(n, temperature):
    rng = np.random.default_rng(n)
    proxy, values = rng.normal(size=7).round(1), rng.normal(size=7)
    expected = soft_by_enumeration(proxy, values, n, temperature)
    runs = 4_000 if 1 < n < 7 else 3
    rows = [np.tile(array, (runs, 1)) for array in (proxy, values)]
    curve = soft_best_of_n_curve(*rows, [n], temperature=temperature, rng=rng, repeats=2)[:, 0]
    assert abs(curve.mean() - expected) <= 4 * curve.std(ddof=1) / np.sqrt(runs) + 1e-12
    if n in (1, 7):
        np.testing.assert_allclose(curve, expected, atol=1e-12)


@given(pools())
def test_soft_best_of_n_without_temperature_is_best_of_n_and_with_much_is_the_base(case):
    proxy, values = case
    size, rng = proxy.shape[1], np.random.default_rng(0)
    cold = soft_best_of_n_curve(proxy, values, [size], temperature=1e-300, rng=rng, repeats=1)
    np.testing.assert_allclose(cold, best_of_n_curve(proxy, values, [size]), atol=1e-12)
    hot = soft_best_of_n_curve(proxy, values, [size], temperature=1e15, rng=rng, repeats=1)
    np.testing.assert_allclose(hot[:, 0], values.mean(axis=1), atol=1e-12)


def test_soft_best_of_n_of_cold_groups_agrees_with_best_of_n_on_the_whole_curve():
    rng = np.random.default_rng(8)
    proxy, values = rng.normal(size=(2, 400, 30))
    ns = [1, 2, 7, 16, 30]
    cold = soft_best_of_n_curve(proxy, values, ns, temperature=1e-9, rng=rng, repeats=30)
    error = (cold - best_of_n_curve(proxy, values, ns)).std(axis=0, ddof=1) / 20
    assert (np.abs((cold - best_of_n_curve(proxy, values, ns)).mean(axis=0)) <= 4 * error + 1e-12).all()


def test_a_gaussian_proxy_tilted_by_a_large_pool_moves_gold_by_the_correlation_over_the_temperature():
    rng = np.random.default_rng(9)
    proxy = rng.normal(size=(50, 20_000))
    gold = 0.6 * proxy + 0.8 * rng.normal(size=proxy.shape)
    curve = soft_best_of_n_curve(proxy, gold, [20_000], temperature=2.0, rng=rng, repeats=1)[:, 0]
    assert abs(curve.mean() - 0.6 / 2.0) < 4 * curve.std(ddof=1) / np.sqrt(50)


@given(pools(), st.sampled_from(STRENGTHS))
def test_chi2_weights_solve_for_their_threshold_and_sum_to_one(case, regularisation):
    proxy, _ = case
    weights = chi2_pessimistic_weights(proxy, regularisation)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-9)
    np.testing.assert_allclose(weights, [chi2_by_bisection(row, regularisation) for row in proxy], atol=1e-8)
    assert (weights >= 0).all()


@given(pools(max_prompts=1), st.sampled_from([0.05, 0.4, 3.0]), st.integers(0, 1_000))
def test_no_other_weights_give_more_proxy_less_half_the_regularised_chi2(case, regularisation, seed):
    proxy = case[0][0]
    size = proxy.size

    def objective(weights):
        return weights @ proxy - regularisation / 2 * (size * weights @ weights - 1)

    best = chi2_pessimistic_weights(proxy, regularisation)
    others = np.random.default_rng(seed).dirichlet(np.full(size, 0.5), size=40)
    for other in others:
        for step in (1.0, 0.01):
            assert objective(best + step * (other - best)) <= objective(best) + 1e-9


@given(pools())
def test_chi2_strength_runs_from_the_best_samples_to_the_base(case):
    proxy, values = case
    size = proxy.shape[1]
    curve = chi2_pessimistic_curve(proxy, values, [1e-9, 1e9])
    np.testing.assert_allclose(curve.value[:, :1], best_of_n_curve(proxy, values, [size]), atol=1e-9)
    np.testing.assert_allclose(curve.value[:, 1], values.mean(axis=1), atol=1e-6)
    n_best = (proxy == proxy.max(axis=1, keepdims=True)).sum(axis=1)
    np.testing.assert_allclose(curve.kl[:, 0], np.log(size / n_best), atol=1e-9)
    np.testing.assert_allclose(curve.chi2[:, 0], size / n_best - 1, atol=1e-9)
    np.testing.assert_allclose(curve.kl[:, 1], 0, atol=1e-9)
    np.testing.assert_allclose(curve.chi2[:, 1], 0, atol=1e-9)


@given(pools(), st.sampled_from([0.25, 8.0]), st.integers(-5, 5), st.randoms(use_true_random=False))
def test_chi2_curve_ignores_order_and_follows_the_units_of_the_proxy(case, scale, shift, random):
    proxy, values = case
    strengths = np.array([0.05, 0.4, 3.0])
    curve = chi2_pessimistic_curve(proxy, values, strengths)
    samples = random.sample(range(proxy.shape[1]), proxy.shape[1])
    shuffled = chi2_pessimistic_curve(
        scale * proxy[::-1, samples] + shift, 2 * values[::-1, samples] - 1, scale * strengths
    )
    np.testing.assert_allclose(shuffled.value[::-1], 2 * curve.value - 1, atol=1e-9)
    np.testing.assert_allclose(shuffled.kl[::-1], curve.kl, atol=1e-9)
    np.testing.assert_allclose(shuffled.chi2[::-1], curve.chi2, atol=1e-9)
    assert (curve.kl <= np.log1p(np.maximum(curve.chi2, 0)) + 1e-12).all()
    assert (curve.kl >= -1e-12).all()


@given(ragged_pools())
def test_ragged_pools_give_what_single_prompts_give(case):
    proxy, values, sizes = case
    singles = one_by_one(*case)
    curve = chi2_pessimistic_curve(proxy, values, STRENGTHS, sizes=sizes)
    for p, (own_proxy, own_values) in enumerate(singles):
        single = chi2_pessimistic_curve(own_proxy[None], own_values[None], STRENGTHS)
        np.testing.assert_allclose(curve.value[p], single.value[0], atol=1e-12)
        np.testing.assert_allclose(curve.chi2[p], single.chi2[0], atol=1e-12)
        np.testing.assert_allclose(curve.kl[p], single.kl[0], atol=1e-12)
    rng = np.random.default_rng(0)
    base = soft_best_of_n_curve(proxy, values, [1], temperature=1.0, rng=rng, sizes=sizes)[:, 0]
    np.testing.assert_allclose(base, [v.mean() for _, v in singles], atol=1e-12)


def test_pessimism_keeps_with_more_samples_what_best_of_n_loses():
    """Gold falls in the far tail of the proxy: the picture of arXiv:2503.21878, with its claim as a paired test."""
    rng = np.random.default_rng(10)
    gold = rng.normal(size=(400, 512))
    proxy = gold + np.where(rng.uniform(size=gold.shape) < 0.01, 6.0 + rng.exponential(size=gold.shape), 0.0)
    ns = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    greedy = best_of_n_curve(proxy, gold, ns)
    pessimistic = chi2_pessimistic_curve_over_n(proxy, gold, ns, regularisation=1.5, rng=rng, repeats=4)
    lost = greedy[:, :-1].mean(axis=0).max() - greedy[:, -1].mean()
    assert lost > 0.5
    step = np.diff(pessimistic, axis=1)
    error = step.std(axis=0, ddof=1) / np.sqrt(len(step))
    assert (step.mean(axis=0) > -4 * error).all()
    assert pessimistic[:, -1].mean() > 0.25
    np.testing.assert_allclose(pessimistic[:, 0], gold.mean(axis=1), atol=1e-12)
    whole = chi2_pessimistic_curve(proxy, gold, [1.5]).value[:, 0]
    np.testing.assert_allclose(pessimistic[:, -1], whole, atol=1e-12)


@given(pools())
def test_constant_scores_select_nothing(case):
    proxy, values = case
    flat = np.zeros_like(proxy)
    ns, rng = every_n(proxy), np.random.default_rng(0)
    size = proxy.shape[1]
    soft = soft_best_of_n_curve(flat, values, [1, size], temperature=0.1, rng=rng)
    np.testing.assert_allclose(soft, np.repeat(values.mean(axis=1)[:, None], 2, axis=1), atol=1e-12)
    np.testing.assert_allclose(
        soft_best_of_n_curve(proxy, flat + 3, ns, temperature=0.1, rng=rng, repeats=2), 3, atol=1e-12
    )
    curve = chi2_pessimistic_curve(flat, values, [0.3])
    np.testing.assert_allclose(curve.value[:, 0], values.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose((curve.kl, curve.chi2), 0, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s, rng: soft_best_of_n_curve(s, s, [1], temperature=0.0, rng=rng), "temperature must be"),
        (lambda s, rng: soft_best_of_n_curve(s, s, [1], temperature=np.nan, rng=rng), "temperature must be"),
        (lambda s, rng: soft_best_of_n_curve(s, s, [1], temperature=1.0, rng=rng, repeats=0), "repeats"),
        (lambda s, rng: soft_best_of_n_curve(s, s, [4], temperature=1.0, rng=rng), r"within 1\.\.3"),
        (lambda s, rng: chi2_pessimistic_curve(s, s, [0.0]), "regularisation must be"),
        (lambda s, rng: chi2_pessimistic_curve_over_n(s, s, [1], regularisation=-1.0, rng=rng), "regularisation"),
    ],
)
def test_unusable_settings_are_refused_with_a_sentence(call, words):
    with pytest.raises(ConfigError, match=words):
        call(np.ones((2, 3)), np.random.default_rng(0))
