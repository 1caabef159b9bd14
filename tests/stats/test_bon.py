from decimal import Decimal, localcontext
from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import best_of_n as oracle

from overopt.errors import ConfigError, DataError, ShapeError
from overopt.stats import pools as pools_module
from overopt.stats.bon import best_of_n_curve, best_of_n_curves, best_of_n_score, best_of_n_weights, tie_rate
from stats.pool_cases import every_n, one_by_one, pools, ragged_pools


@given(pools())
def test_best_of_n_equals_the_mean_over_every_subset(case):
    proxy, values = case
    ns = every_n(proxy)
    expected = [[oracle.expected_value(p, v, n) for n in ns] for p, v in zip(proxy, values, strict=True)]
    np.testing.assert_allclose(best_of_n_curve(proxy, values, ns), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("pool", range(1, 13))
def test_weights_equal_exact_fractions(pool):
    for n in range(1, pool + 1):
        expected = [float(weight) for weight in oracle.weights(pool, n)]
        np.testing.assert_allclose(best_of_n_weights(pool, n), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize(("pool", "n"), [(12_600, 6_144), (12_600, 16), (100_000, 1_000), (100_000, 1), (700, 700)])
def test_weights_of_large_pools_sum_to_one_and_match_big_integers(pool, n):
    weights = best_of_n_weights(pool, n)
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    assert (weights[: n - 1] == 0).all()
    # A lower rank by the product of neighbours' ratios, in exact integers: C(i-2, n-1) / C(i-1, n-1) = (i-n)/(i-1).
    rank = max(n, pool - 40)
    numerator, denominator = n, pool
    for i in range(pool, rank, -1):
        numerator, denominator = numerator * (i - n), denominator * (i - 1)
    assert weights[rank - 1] == pytest.approx(numerator / denominator, rel=1e-12)


@given(pools(), st.randoms(use_true_random=False))
def test_the_order_of_samples_and_prompts_does_not_matter(case, random):
    proxy, values = case
    ns = every_n(proxy)
    samples = random.sample(range(proxy.shape[1]), proxy.shape[1])
    prompts = random.sample(range(proxy.shape[0]), proxy.shape[0])
    shuffled = best_of_n_curve(proxy[prompts][:, samples], values[prompts][:, samples], ns)
    np.testing.assert_allclose(shuffled, best_of_n_curve(proxy, values, ns)[prompts], atol=1e-12)


@given(pools(), st.sampled_from([0.25, 1.0, 8.0]), st.integers(-5, 5))
def test_only_the_order_of_the_proxy_matters(case, scale, shift):
    proxy, values = case
    ns = every_n(proxy)
    curve = best_of_n_curve(proxy, values, ns)
    np.testing.assert_array_equal(best_of_n_curve(scale * proxy + shift, values, ns), curve)
    np.testing.assert_array_equal(best_of_n_curve(np.exp(proxy), values, ns), curve)


@given(pools(), st.floats(-3, 3), st.floats(-3, 3))
def test_a_linear_map_of_gold_maps_the_curve(case, scale, shift):
    proxy, values = case
    ns = every_n(proxy)
    mapped = best_of_n_curve(proxy, scale * values + shift, ns)
    np.testing.assert_allclose(mapped, scale * best_of_n_curve(proxy, values, ns) + shift, atol=1e-12)


@given(pools())
def test_limits_of_n(case):
    proxy, values = case
    ends = best_of_n_curve(proxy, values, [1, proxy.shape[1]])
    np.testing.assert_allclose(ends[:, 0], values.mean(axis=1), atol=1e-12)
    top = [v[p == p.max()].mean() for p, v in zip(proxy, values, strict=True)]
    np.testing.assert_allclose(ends[:, 1], top, atol=1e-12)
    own = best_of_n_curve(proxy, proxy, every_n(proxy))
    assert (np.diff(own, axis=1) >= -1e-12).all()


@given(pools())
def test_a_constant_proxy_selects_nothing(case):
    proxy, values = case
    curve = best_of_n_curve(np.zeros_like(proxy), values, every_n(proxy))
    np.testing.assert_allclose(curve, np.repeat(values.mean(axis=1, keepdims=True), proxy.shape[1], axis=1), atol=1e-12)


def test_blocks_of_prompts_give_what_single_prompts_give(monkeypatch):
    rng = np.random.default_rng(1)
    proxy, values = rng.integers(0, 9, (50, 20)).astype(float), rng.normal(size=(50, 20))
    whole = best_of_n_curve(proxy, values, [1, 5, 20])
    monkeypatch.setattr(pools_module, "_BLOCK_SCORES", 70)  # three prompts a block, the last one short
    np.testing.assert_allclose(best_of_n_curve(proxy, values, [1, 5, 20]), whole, rtol=1e-14)


def test_identical_members_of_an_ensemble_give_the_curve_of_one():
    """A public implementation re-sorts proxy and answers of an ensemble and leaves gold in the old order."""
    rng = np.random.default_rng(2)
    proxy, gold = rng.normal(size=(2, 8, 32))
    ensemble = np.mean([proxy, proxy, proxy, proxy], axis=0)
    ns = [1, 4, 32]
    np.testing.assert_array_equal(best_of_n_curve(ensemble, gold, ns), best_of_n_curve(proxy, gold, ns))


def test_the_estimator_is_unbiased_and_far_less_noisy_than_the_first_n_draws():
    """A public implementation reports the best of the first n draws only: one subset of the pool."""
    rng = np.random.default_rng(3)
    proxy = rng.normal(size=(4_000, 64))
    gold = 0.6 * proxy + 0.8 * rng.normal(size=proxy.shape)
    n = 4
    unbiased = best_of_n_curve(proxy, gold, [n])[:, 0]
    prefix = gold[np.arange(4_000), proxy[:, :n].argmax(axis=1)]
    truth = 0.6 * 1.0293753730  # expected maximum of four standard normals, times the regression of gold on proxy
    standard_error = unbiased.std(ddof=1) / np.sqrt(4_000)
    assert abs(unbiased.mean() - truth) < 4 * standard_error
    assert unbiased.var() < prefix.var() / 10


def test_score_is_the_mean_over_prompts_with_its_error():
    rng = np.random.default_rng(4)
    proxy, gold = rng.normal(size=(2, 9, 12))
    estimate = best_of_n_score(proxy, gold, 5)
    by_prompt = [best_of_n_curve(proxy[[p]], gold[[p]], [5])[0, 0] for p in range(9)]
    assert estimate.value == pytest.approx(np.mean(by_prompt))
    assert estimate.stderr == pytest.approx(np.std(by_prompt, ddof=1) / 3)
    assert (estimate.n_units, estimate.unit) == (9, "prompt")
    assert np.isnan(best_of_n_score(proxy[:1], gold[:1], 5).stderr)


@given(ragged_pools())
def test_ragged_pools_equal_the_mean_over_every_subset_of_each_prompt(case):
    proxy, values, sizes = case
    ns = list(range(1, sizes.min() + 1))
    expected = [[oracle.expected_value(p, v, n) for n in ns] for p, v in one_by_one(*case)]
    np.testing.assert_allclose(best_of_n_curve(proxy, values, ns, sizes=sizes), expected, rtol=0, atol=1e-12)


@given(pools())
def test_ragged_layout_of_equal_sizes_gives_the_rectangle(case):
    proxy, values = case
    sizes = [proxy.shape[1]] * proxy.shape[0]
    ns = every_n(proxy)
    flat = best_of_n_curve(proxy.ravel(), values.ravel(), ns, sizes=sizes)
    np.testing.assert_array_equal(flat, best_of_n_curve(proxy, values, ns))
    assert tie_rate(proxy.ravel(), sizes=sizes) == pytest.approx(tie_rate(proxy))


def test_prompts_of_one_size_between_others_keep_their_place():
    rng = np.random.default_rng(6)
    sizes = rng.integers(2, 6, 200)
    case = rng.integers(0, 4, sizes.sum()).astype(float), rng.normal(size=sizes.sum()), sizes
    expected = [best_of_n_curve(p[None], v[None], [1, 2])[0] for p, v in one_by_one(*case)]
    np.testing.assert_allclose(best_of_n_curve(*case[:2], [1, 2], sizes=sizes), expected, atol=1e-14)
    tied = [tie_rate(p[None]) for p, _ in one_by_one(*case)]
    assert tie_rate(case[0], sizes=sizes) == pytest.approx(np.mean(tied))


@given(pools())
def test_curves_of_several_arrays_are_the_single_curves(case):
    proxy, gold = case
    ns = every_n(proxy)
    curves = best_of_n_curves(proxy, [proxy, gold, proxy.copy(), gold], ns)
    own, of_gold = best_of_n_curve(proxy, proxy, ns), best_of_n_curve(proxy, gold, ns)
    np.testing.assert_allclose(curves, [own, of_gold, own, of_gold], rtol=0, atol=1e-12)


def test_input_arrays_are_left_as_they_were():
    rng = np.random.default_rng(7)
    proxy, gold = rng.integers(0, 3, (2, 5, 9)).astype(float)
    before = proxy.copy(), gold.copy()
    best_of_n_curves(proxy, [proxy, gold], [1, 4])
    tie_rate(proxy)
    np.testing.assert_array_equal((proxy, gold), before)


@pytest.mark.parametrize("n", [2, 1_000, 400_000])
def test_weights_of_a_million_samples_match_big_integers(n):
    pool = 1_000_000
    tolerance = 1e-14 if np.finfo(np.longdouble).eps < 1e-18 else 1e-11
    weights = best_of_n_weights(pool, n)
    assert weights.sum() == pytest.approx(1, rel=tolerance)
    # Where half of the weight lies above: far enough from the top for errors to add up.
    rank = max(n, int(pool * 0.5 ** (1 / n)))
    exact = log_comb(rank - 1, n - 1) - log_comb(pool, n)
    assert weights[rank - 1] == pytest.approx(float(exact.exp()), rel=tolerance)


def log_comb(n, k):
    """ln C(n, k) with forty digits, by Stirling's series: independent of the ratios of neighbours."""
    with localcontext() as context:
        context.prec = 40

        def log_factorial(m):
            if m < 40:
                return Decimal(factorial(m)).ln()
            x = Decimal(m)
            pi = Decimal("3.141592653589793238462643383279502884197")
            series = 1 / (12 * x) - 1 / (360 * x**3) + 1 / (1260 * x**5) - 1 / (1680 * x**7) + 1 / (1188 * x**9)
            return (x + Decimal("0.5")) * x.ln() - x + (2 * pi).ln() / 2 + series

        return log_factorial(n) - log_factorial(k) - log_factorial(n - k)


@given(pools())
def test_tie_rate_counts_samples_that_share_their_score(case):
    proxy, _ = case
    tied = [sum(1 for x in row if list(row).count(x) > 1) / len(row) for row in proxy]
    assert tie_rate(proxy) == pytest.approx(np.mean(tied))


@pytest.mark.parametrize(
    ("proxy", "values", "ns", "error", "words"),
    [
        ([[1.0, 2.0]], [[1.0, 2.0, 3.0]], [1], ShapeError, "one shape"),
        ([1.0, 2.0], [1.0, 2.0], [1], ShapeError, r"\(P, N\)"),
        ([[1.0, 2.0]], [[1.0, 2.0]], [3], ConfigError, r"within 1\.\.2; got \[3\]"),
        ([[1.0, 2.0]], [[1.0, 2.0]], [0], ConfigError, r"within 1\.\.2"),
        ([[1.0, 2.0]], [[1.0, 2.0]], [1.5], ConfigError, "integers"),
        ([[1.0, 2.0]], [[1.0, 2.0]], [], ConfigError, "at least one integer"),
        ([[1.0, np.nan]], [[1.0, 2.0]], [1], DataError, r"proxy holds 1 .* index \(0, 1\)"),
        ([[1.0, 2.0]], [[np.inf, 2.0]], [1], DataError, "values holds 1"),
        ([["a", "b"]], [[1.0, 2.0]], [1], DataError, "numbers"),
        ([[1.0, 2.0], [1.0]], [[1.0, 2.0]], [1], DataError, "rectangular"),
        (np.empty((0, 3)), np.empty((0, 3)), [1], DataError, "at least one prompt"),
    ],
)
def test_unusable_input_is_refused_with_a_sentence(proxy, values, ns, error, words):
    with pytest.raises(error, match=words) as caught:
        best_of_n_curve(proxy, values, ns)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("sizes", "ns", "error", "words"),
    [
        ([2, 3, 4], [3], ConfigError, "1 of 3 prompts have fewer, the smallest pool 2; lower n to at most 2"),
        ([1, 1, 7], [1, 5], ConfigError, "n = 5 needs 5 samples of each prompt, and 2 of 3 prompts have fewer"),
        ([3, 3, 3], [4], ConfigError, r"within 1\.\.3"),
        ([2, 3, 4], [0], ConfigError, "within 1"),
        ([2, 3, 5], [1], ShapeError, "sum to the number of samples, 9; got 10"),
        ([0, 5, 4], [1], DataError, "1 prompts have no samples, the first at index 0"),
        ([-1, 6, 4], [1], DataError, "no samples"),
        ([4.0, 5.0], [1], ConfigError, "integers"),
        ([], [1], ShapeError, "at least one prompt"),
        ([[4, 5]], [1], ShapeError, r"\(P,\)"),
    ],
)
def test_unusable_sizes_are_refused_with_a_sentence(sizes, ns, error, words):
    with pytest.raises(error, match=words):
        best_of_n_curve(np.arange(9.0), np.arange(9.0), ns, sizes=sizes)


def test_sizes_ask_for_flat_scores():
    with pytest.raises(ShapeError, match=r"\(R,\)"):
        best_of_n_curve(np.ones((2, 2)), np.ones((2, 2)), [1], sizes=[2, 2])
