"""One record for rates, and the weighted and split estimators against closed forms."""

import math

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student_t

from overopt.errors import ConfigError, DataError, ShapeError
from overopt.stats.importance import importance_rate, mixture_weights
from overopt.stats.measured_rate import counted, counted_in_clusters, enumerated, log_interval
from overopt.stats.rates import clustered_rate, rate
from overopt.stats.splitting import splitting_rate


def test_counts_keep_their_interval():
    found, plain = counted(45, 32_768), rate(45, 32_768)
    assert (found.value, found.low, found.high) == (plain.value, plain.low, plain.high)
    assert found.evidence == "45/32,768"
    clusters, expected = (
        counted_in_clusters([3, 9], [50, 50], unit="seed"),
        clustered_rate([3, 9], [50, 50], unit="seed"),
    )
    assert (clusters.low, clusters.high, clusters.n_units) == (expected.low, expected.high, 2)


def test_an_enumeration_is_bounded_by_what_it_left_out():
    found = enumerated([0.1, 0.3], [0.01, 0.03], paths=9)
    assert (found.low, found.high) == (pytest.approx(0.2), pytest.approx(0.22))
    assert found.mass == pytest.approx(0.98)
    assert enumerated([1.0], [1e-9], paths=1).high == 1.0
    with pytest.raises(DataError, match="exceed 1"):
        enumerated([0.9], [0.2], paths=1)
    with pytest.raises(DataError, match="one scenario"):
        enumerated([], [], paths=0)


def test_the_log_interval_is_that_of_a_normal_logarithm():
    low, high = log_interval(0.01, 0.3, 0.9)
    assert math.log(high / low) == pytest.approx(2 * norm.ppf(0.95) * 0.3)
    assert math.sqrt(low * high) == pytest.approx(0.01)
    low, high = log_interval(0.01, 0.3, 0.9, units=5)
    assert math.log(high / low) == pytest.approx(2 * student_t.ppf(0.95, 4) * 0.3)
    assert all(math.isnan(end) for end in log_interval(0.0, 0.3, 0.9))


def test_mixture_weights_are_the_ratio_of_densities():
    rng = np.random.default_rng(0)
    p, q = rng.uniform(0.01, 1, 50), rng.uniform(0.01, 1, 50)
    np.testing.assert_allclose(mixture_weights(np.log(p), np.log(q), 0.3), p / (0.3 * p + 0.7 * q), rtol=1e-12)
    assert (mixture_weights(np.full(3, -1e4), np.full(3, -1e9), 0.5) == 2).all()
    assert (mixture_weights(np.log(p), np.log(q), 1.0) == 1).all()


def drawn(rng, n, share):
    """Numbers of heads in 20 coins of .1, drawn by a mixture with coins of .6; the event is 12 heads or more."""
    p, q = (np.array([math.comb(20, k) * c**k * (1 - c) ** (20 - k) for k in range(21)]) for c in (0.1, 0.6))
    heads = np.where(rng.random(n) < share, rng.choice(21, n, p=p), rng.choice(21, n, p=q / q.sum()))
    return mixture_weights(np.log(p)[heads], np.log(q)[heads], share), heads >= 12, p[12:].sum()


def test_a_weighted_rate_is_unbiased_and_its_interval_covers():
    rng = np.random.default_rng(1)
    hits, z = 0, []
    for _ in range(300):
        weight, event, truth = drawn(rng, 500, 0.2)
        found = importance_rate(weight, event, largest=5.0)
        hits += found.low <= truth <= found.high
        z.append((found.value - truth) / (found.relative_error * found.value))
        assert found.largest_weight <= 5
    assert truth < 1e-7
    assert abs(np.mean(z)) < 4 / math.sqrt(300) + 0.3
    assert hits / 300 > 0.9


def test_the_mean_of_weighted_rates_is_the_rate():
    rng = np.random.default_rng(2)
    values = []
    for _ in range(200):
        weight, event, truth = drawn(rng, 500, 0.2)
        values.append(importance_rate(weight, event, largest=5.0).value)
    assert abs(np.mean(values) - truth) < 3.5 * np.std(values, ddof=1) / math.sqrt(200)


def test_no_event_leaves_the_bound_of_the_policys_share():
    found = importance_rate(np.ones(1_000), np.zeros(1_000), largest=5.0)
    assert found.value == 0
    # At this rate the mixture meets the event at least a fifth as often, so 1,000 draws would miss it 1 time in 20.
    assert (1 - found.high / 5) ** 1_000 == pytest.approx(0.05)
    assert math.isnan(found.relative_error)


def test_effective_size_and_tuning_are_told():
    found = importance_rate([1.0, 1.0, 2.0], [1, 0, 1], largest=2.0, tuning=100)
    assert found.effective == pytest.approx(16 / 6)
    assert (found.episodes, found.n_units) == (103, 3)


@pytest.mark.parametrize(
    ("weights", "events", "largest"),
    [([1.0, 6.0], [1, 0], 5.0), ([1.0, -0.1], [1, 0], 5.0), ([1.0, 1.0], [0.5, 0], 5.0), ([1.0], [1], 5.0)],
)
def test_weights_that_cannot_be_are_refused(weights, events, largest):
    with pytest.raises(DataError):
        importance_rate(weights, events, largest=largest)


def test_shares_outside_their_range_are_refused():
    with pytest.raises(ConfigError, match="share"):
        mixture_weights([0.0], [0.0], 0.0)
    with pytest.raises(ShapeError):
        mixture_weights([0.0], [0.0, 1.0], 0.5)


SHARES = (0.2, 0.05, 0.1)


def split_runs(rng, runs, episodes):
    reached = np.zeros((runs, 3), dtype=int)
    begun = np.zeros((runs, 3), dtype=int)
    begun[:, 0] = episodes
    for level, share in enumerate(SHARES):
        if level:
            begun[:, level] = np.where(reached[:, level - 1] > 0, episodes, 0)
        reached[:, level] = rng.binomial(begun[:, level], share)
    return reached, begun


def test_a_split_rate_is_unbiased_and_its_error_is_the_spread():
    rng = np.random.default_rng(3)
    found = [splitting_rate(*split_runs(rng, 10, 200)) for _ in range(400)]
    values = np.array([one.value for one in found])
    truth = math.prod(SHARES)
    assert abs(values.mean() - truth) < 3.5 * values.std(ddof=1) / math.sqrt(400)
    errors = np.array([one.value * one.relative_error for one in found])
    assert math.sqrt(np.mean(errors**2)) == pytest.approx(values.std(ddof=1), rel=0.1)
    assert np.mean([one.low <= truth <= one.high for one in found]) > 0.91


def test_one_run_has_the_error_of_independent_levels():
    found = splitting_rate([[50, 20]], [[100, 100]])
    assert found.relative_error == pytest.approx(math.sqrt(0.5 / 50 + 0.8 / 20))
    assert "independent" in found.method


def test_runs_that_died_are_zero_and_leave_a_bound():
    found = splitting_rate([[5, 0], [0, 0]], [[100, 100], [100, 0]])
    assert found.value == 0
    assert found.low == 0
    assert found.high == pytest.approx(5 / 200 * (1 - 0.05 ** (1 / 100)))
    assert splitting_rate([[50, 20], [0, 0]], [[100, 100], [100, 0]]).value == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("reached", "begun"),
    [([[3]], [[2]]), ([[1.5]], [[2]]), ([[0]], [[0]]), ([[1, 0]], [[2, 0]]), ([[-1]], [[2]])],
)
def test_counts_that_cannot_be_are_refused(reached, begun):
    with pytest.raises(DataError):
        splitting_rate(reached, begun)
