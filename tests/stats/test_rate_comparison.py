import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import rates as oracle
from scipy import stats

from overopt.errors import DataError, ShapeError
from overopt.stats.rate_comparison import (
    compare_clustered_rates,
    compare_paired_rates,
    compare_rates,
    fisher_p_values,
    holm,
)

Z = 1.959963984540054
small = st.integers(0, 9)


@given(small, small)
def test_mcnemar_counts_splits_as_uneven_as_the_observed_one(only_first, only_second):
    found = compare_paired_rates(3, only_first, only_second, 4)
    expected = oracle.mcnemar(only_first, only_second)
    if only_first + only_second == 0:
        expected = (1.0, 1.0)  # nothing differs: no evidence, not half of it
    assert (found.p_value, found.mid_p_value) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("only_first", "only_second", "rest"), [(12, 2, 36), (0, 0, 30), (5, 0, 5), (3, 3, 0), (1, 9, 200)]
)
def test_tangos_interval_holds_the_differences_whose_score_is_small(only_first, only_second, rest):
    n = only_first + only_second + rest
    found = compare_paired_rates(rest, only_first, only_second, 0)
    grid = np.linspace(-0.9995, 0.9995, 2000)
    expected = oracle.score_interval_of_difference(only_first, only_second, n, Z, grid)
    assert found.difference_ci == pytest.approx(expected, abs=2.1e-3)


@given(small, small, small, small)
def test_swapping_the_arms_mirrors_a_paired_comparison(both, only_first, only_second, neither):
    if both + only_first + only_second + neither == 0:
        return
    found = compare_paired_rates(both, only_first, only_second, neither)
    swapped = compare_paired_rates(both, only_second, only_first, neither)
    assert swapped.p_value == found.p_value
    assert swapped.difference_ci == pytest.approx((-found.difference_ci[1], -found.difference_ci[0]), abs=1e-9)
    assert -1 <= found.difference_ci[0] <= found.difference <= found.difference_ci[1] <= 1
    assert found.difference_ci[0] < found.difference_ci[1]


@given(small, small, small, small)
def test_fisher_counts_tables_that_are_less_likely(k1, f1, k2, f2):
    if k1 + f1 == 0 or k2 + f2 == 0:
        return
    found = compare_rates(k1, k1 + f1, k2, k2 + f2)
    expected = oracle.fisher(k1, k1 + f1, k2, k2 + f2)
    assert (found.p_value, found.mid_p_value) == pytest.approx(expected, abs=1e-10)
    assert found.p_value == pytest.approx(stats.fisher_exact([[k1, f1], [k2, f2]]).pvalue, abs=1e-9)


def test_two_seeds_of_the_same_setting_differ_beyond_chance():
    """Denison et al. 2024: 24 of 10,000 against 32 of 32,768, Fisher p = 0.0013."""
    found = compare_rates(24, 10_000, 32, 32_768)
    assert found.p_value == pytest.approx(0.0013, abs=5e-5)
    assert found.p_value == pytest.approx(stats.fisher_exact([[24, 9976], [32, 32_736]]).pvalue, rel=1e-6)
    assert found.difference_ci[0] > 0
    assert found.ratio_ci[0] > 1
    assert found.mid_p_value < found.p_value


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((56, 70, 48, 80), (0.0524, 0.3339)),
        ((9, 10, 3, 10), (0.1705, 0.8090)),
        ((10, 10, 0, 20), (0.6791, 1.0)),
        ((5, 56, 0, 29), (-0.0381, 0.1926)),
        ((0, 10, 0, 20), (-0.1611, 0.2775)),
    ],
)
def test_newcombes_interval_gives_his_published_examples(counts, expected):
    """Newcombe 1998 (Statistics in Medicine 17: 873-890), table II, method 10."""
    assert compare_rates(*counts).difference_ci == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("counts", [(36, 40, 16, 80), (24, 10_000, 32, 32_768), (3, 10, 9, 10), (10, 10, 8, 20)])
def test_koopmans_interval_has_a_score_of_z_at_both_ends(counts):
    """The share of the second arm is maximised numerically here, not by its quadratic."""
    k1, n1, k2, n2 = counts
    for end in compare_rates(*counts).ratio_ci:
        second = np.linspace(0, min(1, 1 / end), 2_000_001)[1:-1]
        first = end * second
        with np.errstate(divide="ignore"):
            likelihood = (
                k1 * np.log(first) + (n1 - k1) * np.log1p(-first) + k2 * np.log(second) + (n2 - k2) * np.log1p(-second)
            )
        p2 = second[np.argmax(likelihood)]
        p1 = end * p2
        z = (k1 / n1 - end * k2 / n2) / math.sqrt(p1 * (1 - p1) / n1 + end**2 * p2 * (1 - p2) / n2)
        assert abs(z) == pytest.approx(Z, rel=2e-3)


def test_koopmans_interval_gives_the_published_example():
    """Koopman 1984: 36 of 40 against 16 of 80, ratio 4.5 within (2.94, 7.15)."""
    assert compare_rates(36, 40, 16, 80).ratio_ci == pytest.approx((2.94, 7.15), abs=0.01)


def test_zero_counts_bound_a_ratio_on_one_side():
    none_first = compare_rates(0, 1000, 8, 1000)
    assert none_first.ratio == 0
    assert none_first.ratio_ci[0] == 0
    assert 0.3 < none_first.ratio_ci[1] < 0.8
    none_second = compare_rates(8, 1000, 0, 1000)
    assert none_second.ratio == math.inf
    assert none_second.ratio_ci == pytest.approx((1 / none_first.ratio_ci[1], math.inf), rel=1e-8)
    nothing = compare_rates(0, 10, 0, 20)
    assert math.isnan(nothing.ratio)
    assert nothing.ratio_ci == (0, math.inf)
    assert nothing.p_value == 1


@given(st.integers(0, 40), st.integers(1, 60), st.integers(1, 60))
def test_fisher_of_every_split_at_once(successes, first_trials, second_trials):
    successes = min(successes, first_trials + second_trials)
    p_values, mid_p_values = fisher_p_values(successes, first_trials, second_trials)
    start = max(0, successes - second_trials)
    for i in range(0, len(p_values), 5):
        single = compare_rates(start + i, first_trials, successes - start - i, second_trials)
        assert (single.p_value, single.mid_p_value) == (p_values[i], mid_p_values[i])


def test_clusters_of_equal_size_are_a_paired_t_test():
    rng = np.random.default_rng(0)
    first, second = rng.binomial(50, 0.3, 12), rng.binomial(50, 0.2, 12)
    found = compare_clustered_rates(first, [50] * 12, second, [50] * 12, unit="seed")
    expected = stats.ttest_rel(first / 50, second / 50)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.difference_ci == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert (found.n_units, found.unit) == (12, "seed")


def test_unequal_clusters_agree_with_the_jackknife():
    rng = np.random.default_rng(1)
    n1, n2 = rng.integers(20, 60, 300), rng.integers(20, 60, 300)
    ease = rng.beta(2, 6, 300)
    k1, k2 = rng.binomial(n1, ease), rng.binomial(n2, ease**1.2)
    found = compare_clustered_rates(k1, n1, k2, n2, unit="prompt")

    def jackknife(of):
        left_out = of((k1.sum() - k1) / (n1.sum() - n1), (k2.sum() - k2) / (n2.sum() - n2))
        return 2 * 1.968 * math.sqrt(299 / 300 * ((left_out - left_out.mean()) ** 2).sum())

    assert np.ptp(found.difference_ci) == pytest.approx(jackknife(lambda a, b: a - b), rel=0.02)
    assert np.ptp(np.log(found.ratio_ci)) == pytest.approx(jackknife(lambda a, b: np.log(a / b)), rel=0.02)


def test_clusters_that_cannot_answer_give_nan():
    for counts in (
        [[3], [10], [4], [10]],
        [[0, 0, 0], [10] * 3, [0, 0, 0], [10] * 3],
        [[1, 1], [7, 7], [3, 3], [7, 7]],
    ):
        found = compare_clustered_rates(*counts, unit="seed")
        assert math.isnan(found.p_value)
        assert np.isnan(found.difference_ci).all()


def test_holm_steps_down():
    """Holm 1979: the smallest of m is multiplied by m, the next by m - 1, never below its predecessor."""
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.5, np.nan, 0.4]), [0.8, np.nan, 0.8])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1, 1])
    assert holm([]).size == 0
    with pytest.raises(DataError):
        holm([1.2])


@pytest.mark.parametrize("counts", [(-1, 2, 3, 4), (1.5, 2, 3, 4), (math.nan, 2, 3, 4), (0, 0, 0, 0), ("a", 1, 1, 1)])
def test_tables_that_are_none_are_refused(counts):
    with pytest.raises(DataError):
        compare_paired_rates(*counts)


def test_arms_without_trials_are_refused():
    for counts in ((0, 0, 1, 2), (3, 2, 1, 2), (1, 2, 3, 2)):
        with pytest.raises(DataError):
            compare_rates(*counts)
    with pytest.raises(DataError):
        compare_clustered_rates([1, 0], [2, 0], [1, 0], [2, 2], unit="seed")
    with pytest.raises(ShapeError):
        compare_clustered_rates([1], [2, 2], [1, 1], [2, 2], unit="seed")


def coverage_of_rate_differences(runs=2000):
    rng = np.random.default_rng(2)
    cases = []
    for p1, n1, p2, n2 in [(0.3, 60, 0.2, 80), (1.4e-3, 10_000, 1e-3, 32_768), (0.02, 200, 0.1, 200)]:
        found = [
            compare_rates(a, n1, b, n2)
            for a, b in zip(rng.binomial(n1, p1, runs), rng.binomial(n2, p2, runs), strict=True)
        ]
        for name, truth, ends in (
            ("difference", p1 - p2, [f.difference_ci for f in found]),
            ("ratio", p1 / p2, [f.ratio_ci for f in found]),
        ):
            low, high = np.transpose(ends)
            cases.append(
                (f"{name} of rates {p1:g} of {n1} and {p2:g} of {n2}", float(np.mean((low <= truth) & (truth <= high))))
            )
    for shares, n in [((0.5, 0.2, 0.1, 0.2), 50), ((0.9, 0.03, 0.01, 0.06), 300)]:
        tables = rng.multinomial(n, shares, runs)
        low, high = np.transpose([compare_paired_rates(*table).difference_ci for table in tables])
        truth = shares[1] - shares[2]
        cases.append(
            (f"paired difference, {n} pairs, shares {shares}", float(np.mean((low <= truth) & (truth <= high))))
        )
    for units, each in [(5, 400), (40, 30)]:
        ease = rng.beta(10, 90, (runs, units))
        first, second = rng.binomial(each, ease), rng.binomial(each, ease / 2)
        trials = np.full(units, each)
        found = [compare_clustered_rates(a, trials, b, trials, unit="seed") for a, b in zip(first, second, strict=True)]
        low, high = np.transpose([f.difference_ci for f in found])
        cases.append(
            (f"clustered difference, {units} clusters of {each}", float(np.mean((low <= 0.05) & (high >= 0.05))))
        )
    return cases


@pytest.mark.slow
def test_comparison_intervals_cover():
    for case, coverage in coverage_of_rate_differences():
        assert 0.93 <= coverage <= 0.975, (case, coverage)
