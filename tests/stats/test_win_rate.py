import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import best_of_n as oracle

from overopt.errors import ConfigError, DataError
from overopt.stats.win_rate import best_of_n_win_rate


@st.composite
def pools(draw, max_prompts=3, max_pool=7):
    """Small pools of small integers, so that ties of proxy, of gold and of both are common."""
    shape = draw(st.integers(1, max_prompts)), draw(st.integers(2, max_pool))
    size = shape[0] * shape[1]
    highest = draw(st.sampled_from([0, 1, 3, 50]))
    proxy = draw(st.lists(st.integers(0, highest), min_size=size, max_size=size))
    gold = draw(st.lists(st.integers(0, draw(st.sampled_from([0, 1, 3, 50]))), min_size=size, max_size=size))
    return np.reshape(proxy, shape).astype(float), np.reshape(gold, shape).astype(float)


def every_n(proxy):
    return list(range(1, proxy.shape[1]))


@given(pools())
def test_win_rate_equals_the_mean_over_every_subset_and_opponent(case):
    proxy, gold = case
    expected = [[oracle.win_rate(p, g, n) for n in every_n(proxy)] for p, g in zip(proxy, gold, strict=True)]
    np.testing.assert_allclose(best_of_n_win_rate(proxy, gold, every_n(proxy)), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("pool", [2, 3, 63, 64, 65, 1000])
def test_gold_as_its_own_proxy_wins_n_of_n_plus_one_times(pool):
    gold = np.random.default_rng(pool).permuted(np.arange(2.0 * pool).reshape(2, pool), axis=1)
    ns = sorted({1, 2, pool // 2 or 1, pool - 1} & set(range(1, pool)))
    expected = [[n / (n + 1) for n in ns]] * 2
    np.testing.assert_allclose(best_of_n_win_rate(gold, gold, ns), expected, rtol=1e-12)
    np.testing.assert_allclose(best_of_n_win_rate(-gold, gold, ns), 1 - np.array(expected), rtol=1e-11)


@given(pools(), st.randoms(use_true_random=False))
def test_the_order_of_samples_and_prompts_does_not_matter(case, random):
    proxy, gold = case
    samples = random.sample(range(proxy.shape[1]), proxy.shape[1])
    prompts = random.sample(range(proxy.shape[0]), proxy.shape[0])
    shuffled = best_of_n_win_rate(proxy[prompts][:, samples], gold[prompts][:, samples], every_n(proxy))
    np.testing.assert_allclose(shuffled, best_of_n_win_rate(proxy, gold, every_n(proxy))[prompts], atol=1e-12)


@given(pools())
def test_only_the_orders_of_proxy_and_gold_matter_and_reversed_gold_wins_the_rest(case):
    proxy, gold = case
    ns = every_n(proxy)
    rate = best_of_n_win_rate(proxy, gold, ns)
    np.testing.assert_allclose(best_of_n_win_rate(4 * proxy - 7, 0.5 * gold + 3, ns), rate, atol=1e-13)
    np.testing.assert_allclose(best_of_n_win_rate(proxy, -gold, ns), 1 - rate, atol=1e-12)
    assert ((rate >= -1e-12) & (rate <= 1 + 1e-12)).all()
    np.testing.assert_allclose(rate[:, 0], 0.5, atol=1e-12)


@given(pools())
def test_a_constant_proxy_or_gold_wins_half_the_time(case):
    proxy, gold = case
    for rate in (
        best_of_n_win_rate(np.zeros_like(proxy), gold, every_n(proxy)),
        best_of_n_win_rate(proxy, np.zeros_like(gold), every_n(proxy)),
    ):
        np.testing.assert_allclose(rate, 0.5, atol=1e-12)


@given(st.lists(pools(max_prompts=1), min_size=1, max_size=6))
def test_ragged_pools_give_what_single_prompts_give(cases):
    smallest = min(proxy.shape[1] for proxy, _ in cases)
    ns = list(range(1, smallest))
    sizes = [proxy.shape[1] for proxy, _ in cases]
    proxy, gold = (np.concatenate([case[i].ravel() for case in cases]) for i in (0, 1))
    expected = [best_of_n_win_rate(proxy, gold, ns)[0] for proxy, gold in cases]
    np.testing.assert_allclose(best_of_n_win_rate(proxy, gold, ns, sizes=sizes), expected, atol=1e-14)


def test_win_rate_agrees_with_simulated_contests_on_fresh_samples():
    rng = np.random.default_rng(5)
    n = 6
    proxy = rng.normal(size=(3_000, 12)).round(1)
    gold = (0.5 * proxy + rng.normal(size=proxy.shape)).round(1)
    rate = best_of_n_win_rate(proxy, gold, [n])[:, 0]
    fresh_proxy = rng.normal(size=(200_000, n)).round(1)
    # The first of the tied best, as in numpy's argmax, is a fair draw among independent samples.
    winner = 0.5 * fresh_proxy.max(axis=1) + rng.normal(size=200_000)
    opponent = 0.5 * rng.normal(size=200_000).round(1) + rng.normal(size=200_000)
    winner, opponent = winner.round(1), opponent.round(1)
    wins = (winner > opponent) + 0.5 * (winner == opponent)
    error = np.hypot(rate.std(ddof=1) / np.sqrt(rate.size), wins.std(ddof=1) / np.sqrt(wins.size))
    assert abs(rate.mean() - wins.mean()) < 4 * error


@pytest.mark.parametrize(
    ("proxy", "sizes", "ns", "error", "words"),
    [
        ([[1.0, 2.0, 3.0]], None, [3], ConfigError, r"within 1\.\.2"),
        ([[1.0], [2.0]], None, [1], DataError, "2 of 2 prompts have a single sample"),
        ([1.0, 2.0, 3.0], [1, 2], [1], DataError, "1 of 2 prompts have a single sample"),
        (np.arange(9.0), [2, 3, 4], [2], ConfigError, r"n = 2 needs 2 \+ 1 samples .* 1 of 3 .* smallest pool 2"),
    ],
)
def test_pools_without_an_opponent_are_refused(proxy, sizes, ns, error, words):
    with pytest.raises(error, match=words):
        best_of_n_win_rate(proxy, proxy, ns, sizes=sizes)
