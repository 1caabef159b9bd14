import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overopt.errors import ConfigError, DataError, ShapeError
from overopt.stats import resampling
from overopt.stats.bon import best_of_n_curve
from overopt.stats.resampling import (
    bootstrap_counts,
    bootstrap_means,
    bootstrap_means_crossed,
    bootstrap_means_over_seeds,
    percentile_interval,
)


@given(st.integers(1, 12), st.integers(1, 20), st.integers(0, 2**32))
def test_each_draw_counts_as_many_units_as_there_are(n_units, draws, seed):
    counts = bootstrap_counts(n_units, draws, np.random.default_rng(seed))
    assert counts.shape == (draws, n_units)
    assert (counts.sum(axis=1) == n_units).all()
    assert (counts >= 0).all()


def test_counts_are_multinomial():
    n_units, draws = 10, 20_000
    counts = bootstrap_counts(n_units, draws, np.random.default_rng(0))
    # Count of one unit: binomial(10, 1/10), mean 1, variance .9; covariance of two units -1/10.
    assert np.abs(counts.mean(axis=0) - 1).max() < 4.5 * np.sqrt(0.9 / draws)
    covariance = np.cov(counts.T)
    assert np.diag(covariance) == pytest.approx(0.9, abs=0.06)
    assert covariance[~np.eye(10, dtype=bool)] == pytest.approx(-0.1, abs=0.04)


def test_means_are_the_means_of_the_counted_units():
    values = np.random.default_rng(0).normal(size=(7, 3))
    means = bootstrap_means(values, 5, np.random.default_rng(1))
    counts = bootstrap_counts(7, 5, np.random.default_rng(1))
    expected = [np.repeat(values, count, axis=0).mean(axis=0) for count in counts]
    np.testing.assert_allclose(means, expected, rtol=1e-12)


def test_means_over_seeds_use_one_draw_of_prompts_for_all_seeds():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 6, 2))
    means = bootstrap_means_over_seeds(values, 4, np.random.default_rng(1))
    again = np.random.default_rng(1)
    prompts, seeds = bootstrap_counts(6, 4, again), bootstrap_counts(3, 4, again)
    for draw in range(4):
        picked = np.repeat(np.repeat(values, seeds[draw], axis=0), prompts[draw], axis=1)
        np.testing.assert_allclose(means[draw], picked.mean(axis=(0, 1)), rtol=1e-12)


def test_the_spread_over_seeds_and_prompts_is_that_of_both_levels():
    """Means of a + b effects: variance of seeds / S plus variance of prompts / P, not prompts counted S times."""
    rng = np.random.default_rng(0)
    seed_effect, prompt_effect = rng.normal(size=(10, 1, 1)), 3 * rng.normal(size=(1, 40, 1))
    means = bootstrap_means_over_seeds(seed_effect + prompt_effect, 20_000, rng)
    assert means.var() == pytest.approx(seed_effect.var() / 10 + prompt_effect.var() / 40, rel=0.05)


def test_one_seed_leaves_the_bootstrap_over_prompts():
    values = np.random.default_rng(0).normal(size=(1, 30, 2))
    means = bootstrap_means_over_seeds(values, 4_000, np.random.default_rng(1))
    assert means.std(axis=0) == pytest.approx(values[0].std(axis=0) / np.sqrt(30), rel=0.05)


def test_blocks_do_not_change_the_law_of_the_draws(monkeypatch):
    values = np.random.default_rng(0).normal(size=(9, 2))
    monkeypatch.setattr(resampling, "_BLOCK_COUNTS", 20)  # two draws a block
    means = bootstrap_means(values, 4_001, np.random.default_rng(1))
    assert np.isfinite(means).all()
    assert len(np.unique(means[:, 0])) > 3_000
    assert means.std(axis=0) == pytest.approx(values.std(axis=0) / 3, rel=0.05)
    assert bootstrap_means_over_seeds(values[None], 7, np.random.default_rng(1)).shape == (7, 2)


def test_constant_values_have_no_spread():
    means = bootstrap_means(np.full((5, 2), 3.0), 50, np.random.default_rng(0))
    np.testing.assert_allclose(means, 3.0, rtol=1e-15)


def test_interval_holds_its_share_and_allows_infinite_draws():
    draws = np.stack([np.arange(1_001.0), np.where(np.arange(1_001) > 900, np.inf, np.arange(1_001.0))], axis=1)
    low, high = percentile_interval(draws, 0.9)
    assert low.tolist() == [50, 50]
    assert high.tolist() == [950, np.inf]
    assert np.isnan(percentile_interval([1.0, np.nan], 0.5)).all()


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=40), st.sampled_from([0.5, 0.8, 0.95]))
def test_interval_commutes_with_increasing_functions_and_mirrors(values, level):
    draws = np.array(values)
    low, high = percentile_interval(draws, level)
    assert low <= np.median(draws) <= high
    assert percentile_interval(np.exp(draws), level).tolist() == [np.exp(low), np.exp(high)]
    assert percentile_interval(-draws, level).tolist() == [-high, -low]


def test_interval_of_a_best_of_n_mean_covers_the_truth():
    """Pools of fresh prompts; the truth is the mean over prompts of an exact expectation."""
    rng = np.random.default_rng(5)
    simulations, covered = 300, 0
    truth = 0.6 * 1.0293753730  # expected maximum of four standard normals
    for _ in range(simulations):
        proxy = rng.normal(size=(60, 24))
        gold = 0.6 * proxy + 0.8 * rng.normal(size=proxy.shape) + rng.normal(size=(60, 1))
        by_prompt = best_of_n_curve(proxy, gold, [4])
        low, high = percentile_interval(bootstrap_means(by_prompt, 400, rng), 0.9)
        covered += low[0] <= truth <= high[0]
    # 270 expected; three standard errors of a count are 16.
    assert 250 <= covered <= 288


def test_unusable_requests_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match="draws"):
        bootstrap_means([[1.0]], 0, rng)
    with pytest.raises(DataError, match="at least one unit"):
        bootstrap_counts(0, 3, rng)
    with pytest.raises(ConfigError, match="level"):
        percentile_interval([1.0], 95)
    with pytest.raises(DataError, match="at least one draw"):
        percentile_interval([], 0.9)


def test_crossed_means_resample_each_axis_on_its_own():
    rng = np.random.default_rng(5)
    effects = [rng.normal(size=(6, 1, 1)), 2 * rng.normal(size=(1, 9, 1)), 0.5 * rng.normal(size=(1, 1, 30))]
    values = sum(effects)[..., None] + np.array([0.0, 10.0])
    found = bootstrap_means_crossed(values, 20_000, np.random.default_rng(0))
    variance = sum(effect.var() / effect.size for effect in effects)  # additive effects: variances of means add
    assert found.mean(axis=0) == pytest.approx(values.mean(axis=(0, 1, 2)), abs=4 * np.sqrt(variance / 20_000))
    assert found.var(axis=0) == pytest.approx(variance, rel=0.05)
    assert found[:, 1] - found[:, 0] == pytest.approx(10)  # one draw serves all columns


def test_crossed_means_are_those_of_explicit_loops():
    values = np.random.default_rng(1).normal(size=(3, 2, 4, 2))
    found = bootstrap_means_crossed(values, 5, np.random.default_rng(7))
    again = np.random.default_rng(7)
    counts = [bootstrap_counts(size, 5, again) for size in (4, 2, 3)][::-1]
    for draw in range(5):
        weight = np.einsum("a,b,c->abc", *(axis[draw] for axis in counts))
        assert found[draw] == pytest.approx(np.einsum("abc,abck->k", weight, values) / 24)


def test_crossed_means_need_units():
    with pytest.raises(ShapeError):
        bootstrap_means_crossed([1.0, 2.0], 10, np.random.default_rng(0))
