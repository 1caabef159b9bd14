from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import best_of_n as oracle

from overopt.errors import ConfigError, DataError, ShapeError
from overopt.stats.bon_kl import best_of_n_kl, best_of_n_kl_from_logprobs, discrete_best_of_n_kl, kl_bound
from stats.pool_cases import one_by_one, pools, ragged_pools


@st.composite
def worlds(draw, max_answers=6):
    """Exact probabilities of a few answers, some of them zero."""
    parts = draw(st.lists(st.integers(0, 9), min_size=1, max_size=max_answers).filter(any))
    return [Fraction(part, sum(parts)) for part in parts]


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


@given(ragged_pools())
def test_kl_of_ragged_pools_is_that_of_each_prompt(case):
    proxy, _, sizes = case
    ns = [1, 3, 50]
    expected = [best_of_n_kl(p[None], ns)[0] for p, _ in one_by_one(*case)]
    np.testing.assert_allclose(best_of_n_kl(proxy, ns, sizes=sizes), expected, atol=1e-14)


@given(worlds(max_answers=4), st.lists(st.integers(0, 2), min_size=4, max_size=4), st.integers(1, 4))
def test_discrete_kl_equals_that_of_every_sequence_of_answers(probabilities, scores, n):
    scores = scores[: len(probabilities)]
    expected = oracle.discrete_kl(probabilities, scores, n)
    actual = discrete_best_of_n_kl([float(p) for p in probabilities], scores, [n])
    np.testing.assert_allclose(actual, [expected], atol=1e-12)


@pytest.mark.parametrize("counts", [(1, 1), (1, 3, 60), (64,), (10, 20, 34), (63, 1), (1, 62, 1)])
@pytest.mark.parametrize("n", [1, 2, 100, 1_000_000])
def test_discrete_kl_of_shares_of_a_pool_is_the_plug_in_of_the_pool(counts, n):
    scores = np.repeat(np.arange(len(counts)), counts).astype(float)
    whole_groups = [count > 1 for count in counts]
    probabilities = np.array(counts) / sum(counts)
    exact = discrete_best_of_n_kl(probabilities, range(len(counts)), [n])[0]
    # A single score counts as a stretch of a continuum in the plug-in: give each answer twice.
    assert best_of_n_kl(np.repeat(scores, 2)[None], [n])[0, 0] == pytest.approx(exact, abs=1e-11)
    if all(whole_groups):
        assert best_of_n_kl(scores[None], [n])[0, 0] == pytest.approx(exact, abs=1e-11)


def test_plug_in_kl_of_a_rare_tie_at_the_top_keeps_its_digits_up_to_a_million_draws():
    pool, n = 777_777, 1_000_000
    eps = 2 / pool
    found = -np.expm1(n * np.log1p(-eps))
    expected = found * np.log(found / eps) + (1 - found) * (n - 1) * np.log1p(-eps)
    scores = np.repeat([0.0, 1.0], [pool - 2, 2])[None]
    assert best_of_n_kl(scores, [n])[0, 0] == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("eps", [0.5, 1e-3, 1e-6, 1e-9, 1e-300])
def test_discrete_kl_of_a_rare_best_answer_keeps_its_digits_up_to_a_million_draws(eps):
    n = 1_000_000
    missed = np.exp(n * np.log1p(-eps))
    found = -np.expm1(n * np.log1p(-eps))
    rest = missed * (n - 1) * np.log1p(-eps)
    expected = found * np.log(found / eps) + rest
    assert discrete_best_of_n_kl([1 - eps, eps], [0.0, 1.0], [n])[0] == pytest.approx(expected, rel=1e-12, abs=1e-290)


@given(worlds(), st.sampled_from([1, 2, 5, 40, 1000]))
def test_discrete_kl_merges_answers_of_one_score_and_stays_below_the_bound(probabilities, n):
    probabilities = np.array([float(p) for p in probabilities])
    distinct = discrete_best_of_n_kl(probabilities, range(len(probabilities)), [n])[0]
    merged = discrete_best_of_n_kl(probabilities, np.arange(len(probabilities)) // 2, [n])[0]
    assert -1e-12 <= merged <= distinct + 1e-12 <= kl_bound(n) + 2e-12
    assert discrete_best_of_n_kl(probabilities, np.zeros(len(probabilities)), [n])[0] == pytest.approx(0, abs=1e-12)


def test_discrete_kl_of_two_answers_goes_to_ln_2_where_the_formula_diverges():
    """The formula ln n - (n-1)/n is plotted as exact everywhere; with probable answers it is a bound."""
    kl = discrete_best_of_n_kl([0.5, 0.5], [0.0, 1.0], [1, 60, 1_000_000])
    np.testing.assert_allclose(kl, [0, np.log(2), np.log(2)], atol=1e-14)
    assert kl_bound(1_000_000) > 12


@given(worlds(), st.sampled_from([1, 2, 5, 40]))
def test_the_mean_of_the_logprob_estimator_is_at_least_the_kl_and_near_it_for_many_draws(probabilities, n):
    probabilities = [float(p) for p in probabilities if p > 0]
    mean, kl = oracle.kl_of_winners(probabilities, n), oracle.kl(probabilities, n)
    assert kl - 1e-12 <= mean
    if (1 - probabilities[-1]) ** n < 1e-6:  # the best answer is found, whose own probability sets the KL
        assert mean == pytest.approx(kl, abs=1e-4)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_the_logprob_estimator_is_unbiased_for_the_mean_over_winners(n):
    rng = np.random.default_rng(n)
    probabilities = np.array([0.4, 0.05, 0.25, 0.3])
    drawn = rng.choice(4, p=probabilities, size=(20_000, 8))
    kl = best_of_n_kl_from_logprobs(drawn.astype(float), np.log(probabilities)[drawn], [n])[:, 0]
    expected = oracle.kl_of_winners(probabilities, n)
    assert abs(kl.mean() - expected) <= 4 * kl.std(ddof=1) / np.sqrt(kl.size) + 1e-12


@given(pools(), st.lists(st.floats(-30, 0), min_size=21, max_size=21))
def test_the_logprob_estimator_is_the_best_of_n_curve_of_one_winners_share(case, logprobs):
    proxy, _ = case
    logprob = np.resize(logprobs, proxy.shape)
    for n in range(1, proxy.shape[1] + 1):
        eps = np.exp(logprob)
        missed = (1 - eps) ** n
        share = missed * (np.log(n) - (n - 1) / n) + (1 - missed) * np.log((1 - missed) / eps)
        expected = [[oracle.expected_value(p, s, n)] for p, s in zip(proxy, share, strict=True)]
        actual = best_of_n_kl_from_logprobs(proxy, logprob, [n])
        np.testing.assert_allclose(actual, expected, atol=2e-5)  # the line above loses half its digits at exp(-30)


@pytest.mark.parametrize("logprob", [-80.0, -660.0, -700.0, -745.0, -5_000.0])
def test_improbable_responses_give_the_bound(logprob):
    ns = [1, 2, 1_000]
    kl = best_of_n_kl_from_logprobs(np.arange(1_000.0)[None], np.full((1, 1_000), logprob), ns)
    np.testing.assert_allclose(kl, [kl_bound(ns)], rtol=1e-12, atol=1e-12)


def test_certain_and_even_responses_give_zero_and_ln_2():
    proxy = np.arange(200.0)[None]
    certain = best_of_n_kl_from_logprobs(proxy, np.zeros((1, 200)), [1, 5, 200])
    np.testing.assert_allclose(certain, 0, atol=1e-15)
    even = best_of_n_kl_from_logprobs(proxy, np.full((1, 200), np.log(0.5)), [200])
    assert even[0, 0] == pytest.approx(np.log(2), abs=1e-12)


@given(ragged_pools())
def test_the_logprob_estimator_of_ragged_pools_is_that_of_each_prompt(case):
    proxy, logprob, sizes = case[0], -np.abs(case[1]), case[2]
    ns = list(range(1, sizes.min() + 1))
    singles = one_by_one(proxy, logprob, sizes)
    expected = [best_of_n_kl_from_logprobs(p[None], lp[None], ns)[0] for p, lp in singles]
    np.testing.assert_allclose(best_of_n_kl_from_logprobs(proxy, logprob, ns, sizes=sizes), expected, atol=1e-14)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: best_of_n_kl_from_logprobs([[1.0, 2.0]], [[-1.0, 0.5]], [1]), DataError, "1 values above 0"),
        (lambda: best_of_n_kl_from_logprobs([[1.0, 2.0]], [[-1.0, -np.inf]], [1]), DataError, "base_logprob holds 1"),
        (lambda: best_of_n_kl_from_logprobs([[1.0, 2.0]], [[-1.0, -1.0]], [3]), ConfigError, r"within 1\.\.2"),
        (lambda: discrete_best_of_n_kl([0.5, 0.6], [0.0, 1.0], [1]), DataError, "sum to 1"),
        (lambda: discrete_best_of_n_kl([-0.5, 1.5], [0.0, 1.0], [1]), DataError, "1 below 0"),
        (lambda: discrete_best_of_n_kl([1.0], [0.0, 1.0], [1]), ShapeError, "one shape"),
        (lambda: discrete_best_of_n_kl([], [], [1]), DataError, "0 of them"),
        (lambda: discrete_best_of_n_kl([1.0], [0.0], [0]), ConfigError, "ns must"),
    ],
)
def test_unusable_distributions_are_refused_with_a_sentence(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_one_sample_is_the_base_policy_exactly():
    """Rounding gave -1.9e-17 nats, which was printed."""
    rng = np.random.default_rng(3)
    for scores in (rng.normal(size=(40, 60)), rng.integers(0, 7, (40, 61)).astype(float)):
        assert (best_of_n_kl(scores, [1, 4])[:, 0] == 0).all()
