import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import rates as oracle
from scipy.special import bdtr, bdtrc, gammaln, xlog1py, xlogy

from overopt.errors import ConfigError, DataError, ShapeError
from overopt.stats.rates import clustered_rate, rate, rate_interval, rule_of_three, wilson_interval, zero_event_bound


@st.composite
def counts(draw, largest=12):
    trials = draw(st.integers(1, largest))
    return draw(st.integers(0, trials)), trials


@given(counts(), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_clopper_pearson_ends_are_where_the_exact_tails_are_the_error(case, level):
    successes, trials = case
    expected = oracle.clopper_pearson(successes, trials, (1 - level) / 2)
    found = rate(successes, trials, level=level)
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (45, 32_768, 1.00e-3, 1.84e-3),
        (7, 32_768, 8.6e-5, 4.4e-4),
        (24, 10_000, 1.5e-3, 3.6e-3),
        (4, 10_000, 1.1e-4, 1.0e-3),
        (32, 32_768, 6.7e-4, 1.4e-3),
        (2, 32_768, 7e-6, 2.2e-4),
        (5, 10_000, 1.6e-4, 1.2e-3),
        (6, 10_000, 2.2e-4, 1.3e-3),
        (0, 10_000, 0, 3.7e-4),
        (0, 100_000, 0, 3.69e-5),
        (4, 100_000, 1.1e-5, 1.0e-4),
    ],
)
def test_the_published_tampering_counts_have_the_published_intervals(successes, trials, low, high):
    """Denison et al. 2024 (arXiv:2406.10162): counts as published, ends to the digits of the table."""
    found = rate(successes, trials)
    assert found.value == successes / trials
    assert found.low == pytest.approx(low, rel=0.06)
    assert found.high == pytest.approx(high, rel=0.04)


@pytest.mark.parametrize("level", [0.9, 0.95, 1 - 1e-9])
@pytest.mark.parametrize(("successes", "trials"), [(1, 10**9), (7, 32_768), (32_761, 32_768), (500, 1000)])
def test_far_tails_keep_their_digits(successes, trials, level):
    found = rate(successes, trials, level=level)
    tail = (1 - level) / 2
    assert bdtrc(successes - 1, trials, found.low) == pytest.approx(tail, rel=1e-6)
    assert bdtr(successes, trials, found.high) == pytest.approx(tail, rel=1e-5)


def test_wilson_inverts_the_score_test_and_jeffreys_is_the_posterior():
    """Wilson: |k/n - p| = z sqrt(p (1 - p) / n) at both ends."""
    rng = np.random.default_rng(0)
    trials = rng.integers(1, 10**6, 200)
    successes = rng.binomial(trials, rng.random(200) ** 4)
    for ends in rate_interval(successes, trials, method="wilson"):
        inside = (ends > 0) & (ends < 1) & (successes > 0) & (successes < trials)
        z = (successes / trials - ends)[inside] / np.sqrt(ends * (1 - ends) / trials)[inside]
        np.testing.assert_allclose(np.abs(z), 1.959963984540054, rtol=1e-6)
    # Beta(3.5, 7.5) quantiles by numerical integration of the density.
    x = np.linspace(0, 1, 400_001)[1:-1]
    density = np.exp(xlogy(2.5, x) + xlog1py(6.5, -x))
    distribution = np.cumsum(density) / density.sum()
    expected = np.interp([0.025, 0.975], distribution, x)
    np.testing.assert_allclose(np.ravel(rate_interval(3, 10, method="jeffreys")), expected, atol=5e-6)


@pytest.mark.parametrize(
    ("successes", "trials", "expected"),
    [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0, 0.1611))],
)
def test_wilson_gives_newcombes_published_examples(successes, trials, expected):
    """Newcombe 1998 (Statistics in Medicine 17: 857-872), table I, method 3."""
    assert tuple(np.ravel(rate_interval(successes, trials, method="wilson"))) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("method", ["clopper-pearson", "wilson", "jeffreys"])
@given(counts(largest=10**6))
def test_failures_mirror_successes(method, case):
    successes, trials = case
    low, high = rate_interval(successes, trials, method=method)
    mirrored = rate_interval(trials - successes, trials, method=method)
    np.testing.assert_allclose((1 - high, 1 - low), mirrored, atol=1e-12)
    assert 0 <= low <= successes / trials <= high <= 1
    assert (low == 0) == (successes == 0)
    assert (high == 1) == (successes == trials)


@pytest.mark.parametrize("method", ["clopper-pearson", "wilson", "jeffreys"])
def test_one_sided_bounds_are_ends_of_a_wider_interval(method):
    low, high = rate_interval(7, 100, level=0.9, method=method)
    np.testing.assert_allclose(rate_interval(7, 100, level=0.95, method=method, side="upper"), (0, high))
    np.testing.assert_allclose(rate_interval(7, 100, level=0.95, method=method, side="lower"), (low, 1))
    assert rate(7, 100, side="upper").method == "clopper-pearson, upper"


def test_zero_events_have_one_bound_by_three_routes():
    trials = np.array([1, 10, 1000, 10**7])
    exact = zero_event_bound(trials)
    np.testing.assert_allclose(exact, rate_interval(np.zeros(4), trials, side="upper").high, rtol=1e-12)
    np.testing.assert_allclose((1 - exact[:3]) ** trials[:3], 0.05, rtol=1e-9)
    assert (rule_of_three(trials) >= exact).all()
    np.testing.assert_allclose(rule_of_three(10**6), 3e-6, rtol=2e-3)
    assert np.isnan(zero_event_bound(0))
    assert np.isnan(rule_of_three(0))


def test_a_matrix_of_cells_is_one_call_and_cells_without_trials_are_nan():
    successes, trials = np.array([[0, 3, 0], [5, 5, 1]]), np.array([[10, 10, 0], [5, 10, 100_000]])
    for method in ("clopper-pearson", "wilson", "jeffreys"):
        low, high = rate_interval(successes, trials, method=method)
        for cell in np.ndindex(2, 3):
            single = rate(int(successes[cell]), int(trials[cell]), method=method)
            np.testing.assert_array_equal([low[cell], high[cell]], [single.low, single.high])
    assert np.isnan([low[0, 2], high[0, 2]]).all()
    assert np.isnan(rate(0, 0).value)


def test_wilson_keeps_the_digits_of_small_bounds():
    trials, z = 1e15, 1.959963984540054
    assert rate_interval(0, trials, method="wilson").high == pytest.approx(z**2 / (trials + z**2), rel=1e-12)


def test_wilson_takes_ties_as_halves():
    low, high = wilson_interval([2.5, 2, 3], 4)
    assert low[1] < low[0] < low[2]
    assert high[1] < high[0] < high[2]
    np.testing.assert_array_equal(wilson_interval(3, 4), rate_interval(3, 4, method="wilson"))


@pytest.mark.parametrize(
    ("successes", "trials"), [(3, 2), (-1, 4), (1.5, 4), (np.nan, 4), (1, np.inf), ("a", 4), ([1, 2], [3, 4, 5])]
)
def test_counts_that_are_none_are_refused(successes, trials):
    with pytest.raises(DataError):
        rate_interval(successes, trials)


def test_unknown_settings_are_refused():
    for settings in ({"level": 1.0}, {"method": "wald"}, {"side": "left"}):
        with pytest.raises(ConfigError):
            rate(1, 2, **settings)
    with pytest.raises(DataError, match="more successes"):
        wilson_interval(2.5, 2)
    with pytest.raises(DataError, match="single"):
        rate([1, 2], 3)


def test_clusters_of_one_trial_are_nearly_independent_trials():
    rng = np.random.default_rng(1)
    hits = (rng.random(2000) < 0.03).astype(int)
    clustered = clustered_rate(hits, np.ones(2000), unit="prompt")
    plain = rate(int(hits.sum()), 2000)
    assert clustered.design_effect == pytest.approx(2000 / 1999)
    assert (clustered.low, clustered.high) == pytest.approx((plain.low, plain.high), rel=2e-3)


def test_copies_within_clusters_add_nothing():
    """Epochs of one sample counted as independent gave 2,048 where there were 32: 44 of 2,048 looked exact."""
    hits = np.array([1] * 6 + [0] * 94)
    once, copied = (
        clustered_rate(hits, np.ones(100), unit="prompt"),
        clustered_rate(50 * hits, [50] * 100, unit="prompt"),
    )
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))
    assert copied.design_effect == pytest.approx(50 * once.design_effect)
    assert copied.high - copied.low > 4 * (rate(300, 5000).high - rate(300, 5000).low)


def test_the_variance_of_clusters_is_that_of_a_ratio_of_means():
    """Against the jackknife over clusters, which shares no formula."""
    rng = np.random.default_rng(2)
    trials = rng.integers(20, 60, 400)
    successes = rng.binomial(trials, rng.beta(1, 9, 400))
    left_out = (successes.sum() - successes) / (trials.sum() - trials)
    variance = 399 / 400 * ((left_out - left_out.mean()) ** 2).sum()
    found = clustered_rate(successes, trials, unit="prompt")
    share = successes.sum() / trials.sum()
    assert found.design_effect == pytest.approx(variance * trials.sum() / (share * (1 - share)), rel=0.02)


def test_without_events_every_cluster_counts_as_one_trial():
    empty = clustered_rate(np.zeros(32), [1000] * 32, unit="prompt")
    assert np.isnan(empty.design_effect)
    assert (empty.low, empty.high) == (0, rate(0, 32).high)
    full = clustered_rate([10, 20], [10, 20], unit="seed")
    assert (full.low, full.high) == (rate(2, 2).low, 1)
    known = clustered_rate(np.zeros(32), [1000] * 32, unit="prompt", design_effect=4.0)
    assert known.high == pytest.approx(rate(0, 8000).high)


def test_what_clusters_cannot_say_is_nan():
    single = clustered_rate([3], [10], unit="seed")
    assert single.value == 0.3
    assert np.isnan([single.low, single.high, single.design_effect]).all()
    nothing = clustered_rate([0, 0], [0, 0], unit="seed")
    assert np.isnan([nothing.value, nothing.low, nothing.high]).all()
    assert clustered_rate([3, 0, 4], [10, 0, 10], unit="seed").clusters == 2
    with pytest.raises(ConfigError):
        clustered_rate([3, 4], [10, 10], unit="seed", design_effect=0.5)
    with pytest.raises(ShapeError):
        clustered_rate([3, 4], [10], unit="seed")


def exact_coverage(p, trials, method):
    """Sum of binomial probabilities of the counts whose interval holds p: no simulation."""
    k = np.arange(trials + 1)
    low, high = rate_interval(k, trials, method=method)
    log_probability = (
        gammaln(trials + 1) - gammaln(k + 1) - gammaln(trials - k + 1) + xlogy(k, p) + xlog1py(trials - k, -p)
    )
    return float(np.exp(log_probability)[(low <= p) & (p <= high)].sum())


@pytest.mark.parametrize("trials", [5, 30, 400])
def test_clopper_pearson_never_covers_less_than_promised_and_the_others_do_on_average(trials):
    p = np.linspace(0.001, 0.999, 400)
    coverage = {
        m: np.array([exact_coverage(x, trials, m) for x in p]) for m in ("clopper-pearson", "wilson", "jeffreys")
    }
    assert coverage["clopper-pearson"].min() >= 0.95
    assert coverage["wilson"].mean() == pytest.approx(0.95, abs=0.012)
    assert coverage["jeffreys"].mean() == pytest.approx(0.95, abs=0.012)
    assert coverage["wilson"].min() < 0.95


def coverage_of_clustered_rates(runs=2000):
    """Beta-binomial clusters: (units, trials each, rate, correlation within a cluster)."""
    rng = np.random.default_rng(3)
    cases = []
    for units, each, p, correlation in [
        (5, 2000, 0.01, 0.002),
        (64, 32, 0.05, 0.1),
        (1000, 32, 1e-3, 0.05),
        (30, 10, 0.5, 0.3),
    ]:
        a = p * (1 / correlation - 1)
        hits = rng.binomial(each, rng.beta(a, a * (1 - p) / p, (runs, units)))
        found = [clustered_rate(row, np.full(units, each), unit="prompt") for row in hits]
        covered = np.mean([f.low <= p <= f.high for f in found])
        cases.append((f"clustered rate, {units} clusters of {each}, rate {p:g}, icc {correlation:g}", float(covered)))
    return cases


@pytest.mark.slow
def test_clustered_intervals_cover():
    """At least nominal: Clopper-Pearson on effective counts inherits its caution, most with few events."""
    for case, coverage in coverage_of_clustered_rates():
        assert 0.93 <= coverage <= 0.995, (case, coverage)
