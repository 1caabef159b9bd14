import math

import numpy as np
import pytest
from scipy import stats

from overopt.errors import ConfigError, EstimationError
from overopt.stats.bon import best_of_n_curve
from overopt.stats.bon_kl import kl_bound
from overopt.stats.planning_curves import (
    gold_label_shares,
    pairs_to_separate,
    plan_peak,
    prompts_to_place_peak,
    prompts_to_separate,
)
from overopt.stats.planning_rates import episodes_for_relative_width, episodes_to_bound_rate, episodes_to_compare_rates
from overopt.stats.pools import best_of_n_weights
from overopt.stats.rate_comparison import compare_paired_rates, compare_rates
from overopt.stats.rates import rate_interval, zero_event_bound


def within(share, promised, runs):
    return abs(share - promised) < 4 * math.sqrt(max(promised * (1 - promised), 1e-4) / runs)


def test_no_event_plans_the_rule_of_three():
    for bound in (0.5, 1e-2, 3e-5):
        plan = episodes_to_bound_rate(bound)
        assert zero_event_bound(plan.episodes) <= bound < zero_event_bound(plan.episodes - 1)
        assert plan.episodes == pytest.approx(3 / bound, rel=0.01) or bound == 0.5


@pytest.mark.parametrize(("bound", "rate", "power"), [(1e-3, 2e-4, 0.8), (0.3, 0.2, 0.9), (1e-4, 5e-5, 0.5)])
def test_a_bound_is_reached_as_often_as_planned_and_not_with_one_episode_less(bound, rate, power):
    plan = episodes_to_bound_rate(bound, rate, power=power)
    assert plan.achieved >= power
    hits = np.random.default_rng(0).binomial(plan.episodes, rate, 4000)
    high = rate_interval(hits, plan.episodes, side="upper").high
    assert within((high <= bound).mean(), plan.achieved, 4000)
    # Exactly, for any smaller number: the most events that still reach the bound are too rarely not exceeded.
    for trials in range(max(1, plan.episodes - 60), plan.episodes):
        counts = np.arange(0, int(trials * bound) + 1)
        reached = rate_interval(counts, trials, side="upper").high <= bound
        most = counts[reached].max() if reached.any() else -1
        assert stats.binom.cdf(most, trials, rate) < power


@pytest.mark.parametrize(("rate", "half_width"), [(1e-3, 0.3), (0.2, 0.1), (1e-4, 1.0)])
def test_intervals_are_as_narrow_as_planned(rate, half_width):
    plan = episodes_for_relative_width(rate, half_width)
    low, high = rate_interval(np.random.default_rng(1).binomial(plan.episodes, rate, 4000), plan.episodes)
    assert ((high - low) / (2 * rate)).mean() == pytest.approx(half_width, rel=0.02)
    assert plan.achieved <= half_width < plan.achieved * 1.01


@pytest.mark.parametrize(("first", "second"), [(0.02, 0.05), (1e-3, 1e-2), (0.5, 0.65)])
def test_two_rates_are_told_apart_as_often_as_planned(first, second):
    plan = episodes_to_compare_rates(first, second)
    assert plan.achieved >= 0.8
    rng = np.random.default_rng(2)
    n = plan.episodes
    counts = zip(rng.binomial(n, first, 600), rng.binomial(n, second, 600), strict=True)
    called = np.mean([compare_rates(int(a), n, int(b), n).p_value <= 0.05 for a, b in counts])
    assert within(called, plan.achieved, 600)


@pytest.mark.parametrize(
    ("base", "ratio", "episodes"), [(1e-3, 2, 24_500), (1e-3, 3, 8_700), (1e-2, 3, 900), (1e-2, 2, 2_500)]
)
def test_plans_agree_with_the_log_rate_approximation(base, ratio, episodes):
    """The table of the tampering design: 80 % power, two-sided 5 %; the exact test is a little conservative."""
    assert 0.85 * episodes < episodes_to_compare_rates(base, ratio * base).episodes < 1.25 * episodes


def curves(rng, runs, *, prompts, pool, ns, alpha, beta, prompt_sd, sample_sd):
    """Mean gold gain (runs, K), from gold noise at every sample and prompts that differ in alpha and beta."""
    d = np.sqrt(kl_bound(ns))
    relative = prompt_sd / (math.sqrt(5) * alpha**2 / (4 * beta))
    proxy = np.tile(np.arange(float(pool)), (prompts, 1))
    gains = np.empty((runs, len(ns)))
    for run in range(runs):
        noise = best_of_n_curve(proxy, sample_sd * rng.normal(size=(prompts, pool)), [1, *ns])
        a, b = 1 + relative * rng.normal(size=(2, prompts, 1))
        gains[run] = (alpha * a * d - beta * b * d**2 + noise[:, 1:] - noise[:, :1]).mean(axis=0)
    return d, gains


@pytest.mark.parametrize(("prompt_sd", "sample_sd"), [(0.3, 0.0), (0.0, 0.2), (0.3, 0.2)])
def test_the_peak_is_placed_as_well_as_planned(prompt_sd, sample_sd):
    """Each curve is fitted by its own least squares; the spread of its peaks is the promise."""
    case = {
        "alpha": 0.6,
        "beta": 0.12,
        "pool": 256,
        "ns": [2, 8, 32, 128, 256],
        "prompt_sd": prompt_sd,
        "sample_sd": sample_sd,
    }
    plan = plan_peak(prompts=100, **case)
    d, gains = curves(np.random.default_rng(3), 1000, prompts=100, **case)
    alpha, beta = np.linalg.lstsq(np.stack([d, -(d**2)], axis=1), gains.T, rcond=None)[0]
    assert (alpha / (2 * beta)).mean() == pytest.approx(plan.d, rel=0.05)
    assert (alpha / (2 * beta)).std() == pytest.approx(plan.d_stderr, rel=0.1)
    assert (alpha**2 / (4 * beta)).std() * 1.96 == pytest.approx(plan.gold_half_width, rel=0.1)


def test_a_wide_interval_is_fiellers_and_none_where_beta_is_not_seen():
    """Fieller by definition: the t with (alpha - 2 t beta)^2 <= z^2 var(alpha - 2 t beta), on a grid."""
    case = {"alpha": 0.6, "beta": 0.12, "pool": 256, "ns": [2, 32, 256], "prompt_sd": 0.0, "sample_sd": 1.0}
    d = np.sqrt(kl_bound(case["ns"]))
    weights = np.stack([best_of_n_weights(256, n) for n in case["ns"]]) - 1 / 256
    design = np.stack([d, -(d**2)], axis=1)
    solve = np.linalg.inv(design.T @ design) @ design.T
    covariance = solve @ weights @ weights.T @ solve.T
    t = np.linspace(-50, 100, 1_500_001)
    variance = covariance[0, 0] - 4 * t * covariance[0, 1] + 4 * t**2 * covariance[1, 1]
    for prompts in (100, 400):
        kept = t[(0.6 - 2 * t * 0.12) ** 2 <= 1.959964**2 * variance / prompts]
        assert plan_peak(prompts=prompts, **case).d_half_width == pytest.approx((kept[-1] - kept[0]) / 2, abs=2e-4)
    assert plan_peak(prompts=5, **case).d_half_width == math.inf


def test_planned_prompts_give_the_wanted_width_and_one_less_does_not():
    case = {"alpha": 0.6, "beta": 0.12, "pool": 256, "ns": [2, 8, 32, 256], "prompt_sd": 0.3, "sample_sd": 0.8}
    plan = prompts_to_place_peak(0.2, **case)
    assert plan.d_half_width <= 0.2 < plan_peak(prompts=plan.prompts - 1, **case).d_half_width
    assert (plan.gold_labels, plan.inside) == (plan.prompts * 256, False)  # the peak is at 2.5, n = 256 at 2.13
    assert plan.gold == pytest.approx(0.75)
    # The same gap between wanted and given, in other units of gold.
    scaled = prompts_to_place_peak(0.2, **{**case, "alpha": 6.0, "beta": 1.2, "prompt_sd": 3.0, "sample_sd": 8.0})
    assert scaled.prompts == plan.prompts


@pytest.mark.parametrize(("difference", "sd", "correlation"), [(0.3, 1.0, 0.6), (-2.0, 1.0, 0.0)])
def test_a_paired_t_test_has_the_planned_power(difference, sd, correlation):
    plan = prompts_to_separate(difference, sd, correlation=correlation)
    rng = np.random.default_rng(4)
    shared = math.sqrt(correlation) * rng.normal(size=(3000, plan.episodes))
    own = math.sqrt(1 - correlation) * rng.normal(size=(2, 3000, plan.episodes))
    called = stats.ttest_rel(sd * (shared + own[0]) + difference, sd * (shared + own[1]), axis=1).pvalue <= 0.05
    assert plan.achieved >= 0.8
    assert within(called.mean(), plan.achieved, 3000)


@pytest.mark.parametrize(("first", "second", "discordance"), [(0.75, 0.70, 0.15), (0.6, 0.8, None)])
def test_mcnemar_has_the_planned_power(first, second, discordance):
    plan = pairs_to_separate(first, second, discordance=discordance)
    share = discordance or first * (1 - second) + second * (1 - first)
    shares = [(share + first - second) / 2, (share - first + second) / 2, 1 - share]
    tables = np.random.default_rng(5).multinomial(plan.episodes, shares, 1000)
    called = np.mean([compare_paired_rates(int(rest), int(a), int(b), 0).p_value <= 0.05 for a, b, rest in tables])
    assert plan.achieved >= 0.8
    assert within(called, plan.achieved, 1000)


def test_proxies_that_err_together_need_fewer_pairs():
    assert pairs_to_separate(0.75, 0.7, discordance=0.08).episodes < pairs_to_separate(0.75, 0.7).episodes / 3


def test_labels_at_the_top_ranks_serve_the_curve_as_planned():
    """Hajek's estimator on simulated labels, against the variance of the fully labelled pool."""
    pool, ns, runs = 256, [4, 64], 6000
    plan = gold_label_shares(pool, ns, labels=80)
    assert plan.labels == pytest.approx(80)
    assert (plan.shares <= 1).all()
    assert (np.diff(plan.shares) >= 0).all()
    assert (plan.variance_ratio < 0.7 * plan.uniform_variance_ratio).all()
    rng = np.random.default_rng(6)
    gold = 5 + rng.normal(size=(runs, pool))
    bought = rng.random((runs, pool)) < plan.shares
    for k, n in enumerate(ns):
        weights = best_of_n_weights(pool, n)
        scaled = bought * np.divide(weights, plan.shares, out=np.zeros(pool), where=plan.shares > 0)
        estimate = (scaled * gold).sum(axis=1) / scaled.sum(axis=1)
        assert estimate.mean() == pytest.approx(5, abs=4 * estimate.std() / math.sqrt(runs))
        assert estimate.var() / (gold @ weights).var() == pytest.approx(plan.variance_ratio[k], rel=0.1)


def test_all_labels_lose_nothing_and_no_other_shares_do_better():
    np.testing.assert_allclose(gold_label_shares(64, [1, 16], 64).variance_ratio, 1)
    plan = gold_label_shares(64, [1, 16], 20)
    squared = np.stack([best_of_n_weights(64, n) ** 2 for n in (1, 16)])
    squared /= squared.sum(axis=1, keepdims=True)
    rng = np.random.default_rng(7)
    for _ in range(50):
        other = np.clip(plan.shares * np.exp(0.2 * rng.normal(size=64)), 0, 1)
        other *= 20 / other.sum()
        if other.max() <= 1:
            assert (squared / other).sum() >= plan.variance_ratio.sum()


@pytest.mark.parametrize(
    "plan",
    [
        lambda: episodes_to_bound_rate(1e-3, 1e-3),
        lambda: episodes_to_bound_rate(1e-3, power=1),
        lambda: episodes_for_relative_width(0, 0.5),
        lambda: episodes_to_compare_rates(0.1, 0.1),
        lambda: prompts_to_separate(0, 1),
        lambda: prompts_to_separate(1, 1, correlation=1),
        lambda: pairs_to_separate(0.7, 0.75, discordance=0.01),
        lambda: pairs_to_separate(0.9, 0.95, discordance=0.5),
        lambda: gold_label_shares(10, [11], 5),
        lambda: gold_label_shares(10, [2], 11),
        lambda: plan_peak(alpha=1, beta=0, prompts=1, pool=8, ns=[2, 8], prompt_sd=1, sample_sd=1),
        lambda: plan_peak(alpha=1, beta=1, prompts=1, pool=8, ns=[8], prompt_sd=1, sample_sd=1),
        lambda: plan_peak(alpha=1, beta=1, prompts=1, pool=8, ns=[2, 8], prompt_sd=-1, sample_sd=1),
        lambda: prompts_to_place_peak(0, alpha=1, beta=1, pool=8, ns=[2, 8], prompt_sd=1, sample_sd=1),
    ],
)
def test_what_cannot_be_planned_is_refused(plan):
    with pytest.raises(ConfigError):
        plan()


def test_a_plan_beyond_any_budget_is_refused():
    with pytest.raises(EstimationError):
        episodes_to_bound_rate(1e-10)


@pytest.mark.parametrize(("alpha", "beta"), [(0.3, 0.01), (0.8, 0.1), (1.0, 1e-6)])
def test_a_peak_that_best_of_n_cannot_reach_is_not_planned(alpha, beta):
    """At beta 0.01 the answer was 15.6 billion labels and 225 nats; ten million samples of a prompt reach 15."""
    case = {"pool": 1024, "ns": [4, 64, 1024], "prompt_sd": 0.3, "sample_sd": 0.8}
    with pytest.raises(EstimationError, match="nats"):
        plan_peak(alpha=alpha, beta=beta, prompts=100, **case)
    with pytest.raises(EstimationError, match="nats"):
        prompts_to_place_peak(0.2, alpha=alpha, beta=beta, **case)


def test_a_peak_that_ten_million_samples_reach_is_planned():
    d = math.sqrt(kl_bound(10**7))
    case = {"prompts": 100, "pool": 1024, "ns": [4, 64, 1024], "prompt_sd": 0.3, "sample_sd": 0.8}
    assert plan_peak(alpha=0.999 * 2 * d * 0.1, beta=0.1, **case).gold_labels == 102_400
    with pytest.raises(EstimationError):
        plan_peak(alpha=1.001 * 2 * d * 0.1, beta=0.1, **case)


def test_a_relative_width_names_the_options_it_needs():
    with pytest.raises(ConfigError, match="--rate between 0 and 1, and a positive --half-width"):
        episodes_for_relative_width(0.0, 0.3)
