import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, pearsonr

from overopt.errors import ConfigError, DataError
from overopt.stats.ranking import correlation_within_prompt, pair_accuracy

margins = st.lists(st.tuples(st.integers(-2, 2), st.booleans()), min_size=1, max_size=30)


@given(margins)
def test_accuracy_counts_pairs_and_half_of_the_ties(pairs):
    margin, label = np.array(pairs, dtype=float).T
    found = pair_accuracy(margin, label)
    right = sum(1.0 if (m > 0) == y else 0.0 for m, y in pairs if m != 0)
    ties = sum(1 for m, _ in pairs if m == 0)
    assert found.accuracy == pytest.approx((right + ties / 2) / len(pairs))
    assert (found.pairs, found.ties) == (len(pairs), ties)
    assert pair_accuracy(margin, label, ties="wrong").accuracy == pytest.approx(right / len(pairs))
    assert 0 <= found.low <= found.accuracy <= found.high <= 1


@given(margins)
def test_swapping_the_two_answers_changes_nothing(pairs):
    margin, label = np.array(pairs, dtype=float).T
    assert pair_accuracy(-margin, 1 - label) == pair_accuracy(margin, label)
    mirrored = pair_accuracy(-margin, label)
    assert mirrored.accuracy == pytest.approx(1 - pair_accuracy(margin, label).accuracy)
    assert mirrored.low == pytest.approx(1 - pair_accuracy(margin, label).high, abs=1e-12)


@pytest.mark.parametrize(("right", "pairs"), [(0, 5), (5, 5), (3, 8), (700, 1000)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_interval_is_scipys_wilson_interval(right, pairs, level):
    margin = np.where(np.arange(pairs) < right, 1.0, -1.0)
    found = pair_accuracy(margin, np.ones(pairs), level=level)
    expected = binomtest(right, pairs).proportion_ci(level, method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_unusable_pairs():
    empty = pair_accuracy([], [])
    assert empty.pairs == 0
    assert math.isnan(empty.accuracy)
    with pytest.raises(DataError, match="labels must be"):
        pair_accuracy([1.0], [0.5])
    with pytest.raises(DataError, match="margin holds 1"):
        pair_accuracy([np.nan], [1])
    with pytest.raises(ConfigError, match="'half' or 'wrong'"):
        pair_accuracy([1.0], [1], ties="drop")


def test_correlation_is_the_mean_of_the_prompts_own():
    rng = np.random.default_rng(0)
    proxy, gold = rng.normal(size=(2, 6, 9)) * 1e-3 + 100
    proxy[2] = 0.1  # constant: no correlation exists
    gold[4] = 7.0
    found = correlation_within_prompt(proxy, gold)
    expected = [pearsonr(proxy[p], gold[p]).statistic for p in (0, 1, 3, 5)]
    assert found.estimate.value == pytest.approx(np.mean(expected))
    assert found.estimate.stderr == pytest.approx(np.std(expected, ddof=1) / 2)
    assert (found.estimate.n_units, found.left_out) == (4, 2)


def test_a_proxy_that_only_knows_the_prompt_has_no_correlation_within_it():
    rng = np.random.default_rng(0)
    easy = 5 * rng.normal(size=(400, 1))
    proxy, gold = easy + rng.normal(size=(400, 30)), easy + rng.normal(size=(400, 30))
    assert np.corrcoef(proxy.ravel(), gold.ravel())[0, 1] > 0.9
    found = correlation_within_prompt(proxy, gold).estimate
    assert abs(found.value) < 4 * found.stderr
    assert found.stderr < 0.02


@given(st.sampled_from([1e-200, 1e-3, 1.0, 1e200]), st.floats(-1, 1))
def test_correlation_ignores_units_however_extreme(scale, shift):
    rng = np.random.default_rng(0)
    proxy, gold = rng.normal(size=(2, 3, 5))
    whole = correlation_within_prompt(proxy, gold).estimate.value
    assert correlation_within_prompt(scale * (proxy + shift), gold).estimate.value == pytest.approx(whole, rel=1e-9)
    assert correlation_within_prompt(proxy, -gold).estimate.value == pytest.approx(-whole)
    assert correlation_within_prompt(proxy, proxy).estimate.value == pytest.approx(1)


def test_correlation_without_usable_prompts_is_unknown():
    found = correlation_within_prompt(np.ones((2, 4)), np.ones((2, 4)))
    assert found.left_out == 2
    assert math.isnan(found.estimate.value)
