import math

import numpy as np
import pytest
from scipy import stats

from overopt.errors import ConfigError, DataError
from overopt.stats.bon import best_of_n_curve
from overopt.stats.drop_power import gain_spread, prompts_to_decide


def world(rng, prompts, pool, *, prompt_sd, sample_sd, n=8):
    """Gold is a slope in a normal proxy, the slope differs between prompts, plus noise of each sample."""
    proxy = rng.normal(size=(prompts, pool))
    slope = 0.5 + prompt_sd * rng.normal(size=(prompts, 1))
    gold = slope * proxy + 3 * rng.normal(size=(prompts, 1)) + sample_sd * rng.normal(size=proxy.shape)
    curve = best_of_n_curve(proxy, gold, [1, n])
    return proxy, gold, curve[:, 1] - curve[:, 0]


def test_the_two_standard_deviations_are_those_of_the_world():
    """The gain at n = 8 is slope times the mean of the largest of 8 normals, 1.4236."""
    proxy, gold, gain = world(np.random.default_rng(0), 3000, 256, prompt_sd=0.2, sample_sd=0.7)
    spread = gain_spread(proxy, gold, gain, 8)
    assert spread.sample_sd == pytest.approx(0.7, rel=0.02)
    assert spread.prompt_sd == pytest.approx(0.2 * 1.4236, rel=0.06)


def test_the_noise_of_finite_pools_is_not_taken_for_a_difference_between_prompts():
    proxy, gold, gain = world(np.random.default_rng(1), 2000, 32, prompt_sd=0.0, sample_sd=2.0)
    assert gain.std() > 0.5
    assert gain_spread(proxy, gold, gain, 8).prompt_sd < 0.2


def test_ties_and_ragged_pools_are_allowed_for():
    rng = np.random.default_rng(2)
    sizes = rng.integers(16, 64, 1500)
    proxy = rng.integers(0, 3, sizes.sum()).astype(float)
    gold = rng.normal(size=proxy.size)
    curve = best_of_n_curve(proxy, gold, [1, 16], sizes=sizes)
    spread = gain_spread(proxy, gold, curve[:, 1] - curve[:, 0], 16, sizes=sizes)
    assert spread.sample_sd == pytest.approx(1, rel=0.02)
    assert spread.prompt_sd < 0.1


def test_what_cannot_be_known_is_nan():
    one = gain_spread([[1.0, 2.0, 3.0]], [[1.0, 0.0, 2.0]], [1.0], 2)
    assert math.isnan(one.prompt_sd)
    assert one.sample_sd == pytest.approx(math.sqrt(5 / 4))
    single = gain_spread([[1.0], [2.0]], [[1.0], [2.0]], [0.0, 0.0], 1)
    assert math.isnan(single.sample_sd)
    assert math.isnan(gain_spread([[1.0, 2.0], [2.0, 1.0]], [[1.0, 2.0], [2.0, 3.0]], [0.0, 0.0], 1).prompt_sd)
    with pytest.raises(DataError, match="one number a prompt"):
        gain_spread([[1.0, 2.0]], [[1.0, 2.0]], [0.0, 1.0], 2)
    with pytest.raises(ConfigError):
        gain_spread([[1.0, 2.0]], [[1.0, 2.0]], [0.0], 3)


def test_so_many_prompts_decide_four_times_in_five():
    difference = np.random.default_rng(3).normal(0.2, 1, 60)
    drop, sd = difference.mean(), difference.std(ddof=1)
    needed = prompts_to_decide(drop, sd)
    drawn = np.random.default_rng(4).normal(drop, sd, (3000, needed))
    decided = (stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05) & (drawn.mean(axis=1) > 0)
    assert decided.mean() == pytest.approx(0.8, abs=4 * math.sqrt(0.16 / 3000))
    assert prompts_to_decide(drop, sd, level=0.99) > needed
    assert prompts_to_decide(drop, sd, power=0.5) < needed


def test_no_drop_asks_for_no_prompts():
    assert prompts_to_decide(-0.1, 1.0) is None
    assert prompts_to_decide(0.0, 0.0) is None
    assert prompts_to_decide(1.0, math.nan) is None
    assert prompts_to_decide(math.nan, 1.0) is None
    assert prompts_to_decide(1e-9, 1e3) is None


def test_a_drop_without_spread_still_needs_units_that_could_reach_the_level():
    """2^-U must be below (1 - level) / 2, as in ``turn.gold_drop``: six units at 0.95."""
    assert prompts_to_decide(1.0, 0.0) == 6
    assert prompts_to_decide(1.0, 1e-9) == 6
    assert prompts_to_decide(1.0, 0.0, level=0.9) == 5
