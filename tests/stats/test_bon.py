import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import best_of_n as oracle

from overopt.errors import ConfigError, DataError, ShapeError
from overopt.stats import bon
from overopt.stats.bon import best_of_n_curve, best_of_n_kl, best_of_n_score, best_of_n_weights, kl_bound, tie_rate


@st.composite
def pools(draw, max_prompts=3, max_pool=7):
    """Small pools of small integers, so that ties are common and sums are exact."""
    shape = draw(st.integers(1, max_prompts)), draw(st.integers(1, max_pool))
    size = shape[0] * shape[1]
    proxy = draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    values = draw(st.lists(st.integers(-8, 8), min_size=size, max_size=size))
    return np.reshape(proxy, shape).astype(float), np.reshape(values, shape).astype(float)


def every_n(proxy):
    return list(range(1, proxy.shape[1] + 1))


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
    monkeypatch.setattr(bon, "_BLOCK_SCORES", 70)  # three prompts a block, the last one short
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


@pytest.mark.parametrize("probabilities", [(0.5, 0.5), (0.25, 0.25, 0.5), (0.5, 0.125, 0.125, 0.25), (1.0,)])
@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_kl_of_a_discrete_policy_is_exact(probabilities, n):
    scores = np.repeat(np.arange(len(probabilities)), [int(64 * p) for p in probabilities]).astype(float)[None]
    assert best_of_n_kl(scores, [n])[0, 0] == pytest.approx(oracle.kl(probabilities, n), abs=1e-12)
    assert best_of_n_kl(scores, [n])[0, 0] <= kl_bound(n) + 1e-12


def test_kl_of_two_answers_stays_at_ln_2_where_the_formula_diverges():
    """The formula ln n - (n-1)/n is plotted as exact everywhere; with ties it is a bound and nothing more."""
    scores = np.repeat([0.0, 1.0], 50)[None]
    assert best_of_n_kl(scores, [10_000])[0, 0] == pytest.approx(np.log(2), abs=1e-9)
    assert kl_bound(10_000) > 8


@given(pools())
def test_kl_lies_between_zero_and_the_bound_and_meets_it_without_ties(case):
    proxy, _ = case
    ns = [1, 2, 5, 100]
    kl = best_of_n_kl(proxy, ns)
    assert (kl >= -1e-12).all()
    assert (kl <= kl_bound(ns) + 1e-12).all()
    np.testing.assert_array_equal(
        best_of_n_kl(np.argsort(np.argsort(proxy)).astype(float), ns), [kl_bound(ns)] * len(kl)
    )


def test_kl_of_many_small_atoms_approaches_the_bound():
    scores = np.repeat(np.arange(5_000.0), 2)[None]
    atoms = oracle.kl([1 / 5_000] * 5_000, 8)
    assert best_of_n_kl(scores, [8])[0, 0] == pytest.approx(atoms, abs=1e-9)
    assert atoms == pytest.approx(kl_bound(8), abs=1e-3)


def test_kl_bound_is_the_integral_over_the_best_of_n_density():
    u = (np.arange(1_000_000) + 0.5) / 1_000_000
    for n in (1, 2, 50):
        density = n * u ** (n - 1)
        with np.errstate(divide="ignore"):
            assert kl_bound(n) == pytest.approx(np.mean(density * np.log(density)), abs=1e-5)
    assert kl_bound([1, 2]).shape == (2,)
    with pytest.raises(ConfigError, match="at least 1"):
        kl_bound(0)


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
