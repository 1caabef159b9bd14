"""Every estimator against worlds whose truth is known. The worlds share no code with the estimators.

A z-score is the mean over prompts minus the truth, in standard errors over prompts; 4 is passed by chance in one of
16,000 comparisons.
"""

import itertools
import math

import numpy as np
import pytest
from scipy.special import logsumexp

from overopt.stats.best_of_poisson import best_of_poisson_curve, best_of_poisson_kl
from overopt.stats.bon import best_of_n_curve, best_of_n_curves, best_of_n_kl, best_of_n_score, tie_rate
from overopt.stats.bon_kl import discrete_best_of_n_kl
from overopt.stats.calibration import recalibrate_gold
from overopt.stats.curve_errors import curve_of_units
from overopt.stats.diagnosis import diagnose_run
from overopt.stats.fitting import fit_law
from overopt.stats.forecast import forecast_peak
from overopt.stats.hedge import hedge_tune
from overopt.stats.kl import k1, k2, k3, sequence_sums
from overopt.stats.ranking import correlation_within_prompt, pair_accuracy
from overopt.stats.resampling import bootstrap_means, percentile_interval
from overopt.stats.selection import soft_best_of_n_curve
from overopt.stats.tails import heavy_tail_test, hill_curve, proxy_error
from overopt.stats.turn import gold_drop
from overopt.stats.win_rate import best_of_n_win_rate
from overopt.worlds.gaussian import GaussianWorld
from overopt.worlds.goodhart import AdversarialWorld, CausalWorld, ExtremalWorld
from overopt.worlds.heavy import HeavyTailWorld
from overopt.worlds.integrals import best_of_n_kl as continuous_kl
from overopt.worlds.quantile import LawWorld, QuantileWorld
from overopt.worlds.sequences import SequenceWorld
from overopt.worlds.tabular import TabularWorld
from overopt.worlds.ties import RoundedWorld

NS = [1, 2, 8, 48]
TABLE = TabularWorld(probabilities=[0.4, 0.3, 0.2, 0.1], proxy=[0, 1, 1, 2], gold=[0.2, 1.0, -1.0, 0.2])
WORLDS = {
    "gaussian": GaussianWorld(error_sd=1.0),
    "gaussian with prompt levels": GaussianWorld(error_sd=0.5, prompt_sd=2.0),
    "rounded": RoundedWorld(world=GaussianWorld(error_sd=1.0), step=0.8),
    "student errors": HeavyTailWorld(tail_index=1.5, error_scale=0.5),
    "pareto errors": HeavyTailWorld(tail_index=1.5, error_scale=0.5, family="pareto"),
    "extremal": ExtremalWorld(dial=0.8, onset=1.0, noise_sd=0.5),
    "causal": CausalWorld(dial=0.7),
    "adversarial": AdversarialWorld(dial=1.5, rare_mass=0.01, bonus=4.0),
    "turning": QuantileWorld(powers=(6.0,), log_tail=-1.5, noise_sd=1.0),
    "law": LawWorld(alpha=0.49, beta=0.12, noise_sd=1.0, prompt_sd=0.3),
}


def z_scores(values_PK, truth_K):
    values_PK = np.asarray(values_PK)
    error = values_PK.std(axis=0, ddof=1) / math.sqrt(len(values_PK))
    return (values_PK.mean(axis=0) - truth_K) / error


@pytest.mark.parametrize("name", WORLDS)
def test_best_of_n_gold_is_that_of_the_world(name):
    world = WORLDS[name]
    proxy, gold = world.sample(1_500, 64, np.random.default_rng(0))
    curves = best_of_n_curves(proxy, [gold, proxy], NS)
    assert np.abs(z_scores(curves[0], [world.best_of_n_gold(n) for n in NS])).max() < 4
    if name not in ("student errors", "pareto errors", "law"):  # without a variance the proxy has no z-score
        assert np.abs(z_scores(curves[1], [world.best_of_n_proxy(n) for n in NS])).max() < 4
    score = best_of_n_score(proxy, gold, 8)
    assert abs(score.value - world.best_of_n_gold(8)) < 4 * score.stderr


def test_best_of_n_in_a_table_of_few_outcomes_is_exact_with_ties():
    proxy, gold = TABLE.sample(4_000, 20, np.random.default_rng(1))
    ns = [1, 3, 20]
    policies = [TABLE.best_of_n(n) for n in ns]
    curves = best_of_n_curves(proxy, [gold, proxy], ns)
    assert np.abs(z_scores(curves[0], [TABLE.gold_of(policy) for policy in policies])).max() < 4
    assert np.abs(z_scores(curves[1], [TABLE.proxy_of(policy) for policy in policies])).max() < 4
    oracle = [TABLE.gold_of(TABLE.best_by_gold(n)) for n in ns]
    assert np.abs(z_scores(best_of_n_curve(gold, gold, ns), oracle)).max() < 4


def test_ragged_pools_have_the_truth_of_whole_ones():
    world = WORLDS["extremal"]
    rng = np.random.default_rng(2)
    sizes = rng.integers(48, 80, 800)
    drawn = [world.sample(1, size, rng) for size in sizes]
    proxy, gold = (np.concatenate([scores[i][0] for scores in drawn]) for i in (0, 1))
    curve = best_of_n_curve(proxy, gold, NS, sizes=sizes)
    assert np.abs(z_scores(curve, [world.best_of_n_gold(n) for n in NS])).max() < 4


@pytest.mark.parametrize("n", [1, 2, 5, 64, 10_000])
def test_kl_of_a_known_answer_distribution_is_exact(n):
    exact = TABLE.kl_of(TABLE.best_of_n(n))
    assert discrete_best_of_n_kl(TABLE.probabilities, TABLE.proxy, [n])[0] == pytest.approx(exact, abs=1e-12)
    # A pool that holds each answer in its share, two of the best one so that it is seen to tie.
    pool = np.repeat(TABLE.proxy, [8, 6, 4, 2])[None]
    assert best_of_n_kl(pool, [n])[0, 0] == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("step", [0.4, 1.5, 5.0])
def test_kl_with_ties_tends_to_that_of_the_rounded_world(step):
    world = RoundedWorld(world=GaussianWorld(error_sd=1.0), step=step)
    proxy, _ = world.sample(40, 20_000, np.random.default_rng(3))
    ns = [2, 16, 64]
    truth = [world.best_of_n_kl(n) for n in ns]
    np.testing.assert_allclose(best_of_n_kl(proxy, ns).mean(axis=0), truth, atol=0.005)
    assert max(truth) < continuous_kl(64) - 0.02
    # A plug-in value: the pool must be large against n, since the rare top cells of a small one are missed or too
    # heavy. At n = N it lies below the truth, by 15 % with the coarsest of these grids.
    small, _ = world.sample(1_000, 1_024, np.random.default_rng(4))
    np.testing.assert_allclose(best_of_n_kl(small, [2, 16]).mean(axis=0), truth[:2], atol=0.01)
    few, _ = world.sample(2_000, 64, np.random.default_rng(5))
    assert tie_rate(few) == pytest.approx(world.tie_rate(64), abs=0.01)


def test_win_rate_is_that_of_the_world():
    world = GaussianWorld(error_sd=1.0)
    found = best_of_n_win_rate(*world.sample(1_500, 64, np.random.default_rng(5)), [2, 8, 48])
    assert np.abs(z_scores(found, [world.win_rate(n) for n in (2, 8, 48)])).max() < 4
    found = best_of_n_win_rate(*TABLE.sample(4_000, 20, np.random.default_rng(6)), [1, 3, 12])
    truth = [TABLE.win_rate_of(TABLE.best_of_n(n)) for n in (1, 3, 12)]
    assert found[:, 0] == pytest.approx(0.5)
    assert np.abs(z_scores(found[:, 1:], truth[1:])).max() < 4


def test_best_of_poisson_is_that_of_the_world():
    mus = [0.5, 4.0]
    found = best_of_poisson_curve(*TABLE.sample(4_000, 40, np.random.default_rng(7)), mus)
    truth = [TABLE.gold_of(TABLE.best_of_poisson(mu)) for mu in mus]
    assert np.abs(z_scores(found, truth)).max() < 4
    # A table of many equal answers is continuous in the limit.
    fine = TabularWorld(probabilities=np.full(20_000, 5e-5), proxy=np.arange(20_000.0), gold=np.zeros(20_000))
    truth = [fine.kl_of(fine.best_of_poisson(mu)) for mu in mus]
    np.testing.assert_allclose(best_of_poisson_kl(mus), truth, atol=1e-3)


def test_soft_best_of_n_is_the_mean_over_all_draws():
    n, temperature = 3, 0.7
    truth = 0.0
    for drawn in itertools.product(range(4), repeat=n):
        weights = np.exp(TABLE.proxy[list(drawn)] / temperature)
        truth += math.prod(TABLE.probabilities[list(drawn)]) * float(weights @ TABLE.gold[list(drawn)]) / weights.sum()
    rng = np.random.default_rng(8)
    found = soft_best_of_n_curve(*TABLE.sample(4_000, 24, rng), [n], temperature=temperature, rng=rng)
    assert np.abs(z_scores(found, [truth])).max() < 4


def test_pair_accuracy_and_correlation_are_those_of_the_world():
    world = GaussianWorld(error_sd=0.8)
    proxy, gold = world.sample(40_000, 2, np.random.default_rng(9))
    found = pair_accuracy(proxy[:, 0] - proxy[:, 1], gold[:, 0] > gold[:, 1], level=0.9999)
    assert found.low < world.pair_accuracy() < found.high
    proxy, gold = TABLE.sample(40_000, 2, np.random.default_rng(10))
    differ = gold[:, 0] != gold[:, 1]
    found = pair_accuracy((proxy[:, 0] - proxy[:, 1])[differ], (gold[:, 0] > gold[:, 1])[differ], level=0.9999)
    assert found.low < TABLE.pair_accuracy() < found.high
    assert found.ties > 0
    estimate = correlation_within_prompt(*WORLDS["gaussian with prompt levels"].sample(400, 500, rng_of(11))).estimate
    # Pearson's r is biased by -r (1 - r^2) / 2N.
    assert estimate.value == pytest.approx(
        WORLDS["gaussian with prompt levels"].pearson, abs=4 * estimate.stderr + 1e-3
    )


def rng_of(seed):
    return np.random.default_rng(seed)


SEQUENCES = SequenceWorld(
    policy_logits=np.random.default_rng(12).normal(size=(5, 4)),
    reference_logits=np.random.default_rng(13).normal(size=(5, 4)),
    max_length=6,
)


def test_k1_and_k3_of_sequence_sums_are_unbiased_and_k2_is_not():
    drawn = SEQUENCES.sample(60_000, rng_of(14))
    policy, reference = (sequence_sums(x, drawn.mask) for x in (drawn.policy_logprob, drawn.reference_logprob))
    assert abs(z_scores(k1(policy, reference)[:, None], SEQUENCES.kl())[0]) < 4
    assert abs(z_scores(k3(policy, reference)[:, None], SEQUENCES.kl())[0]) < 4
    listed = SEQUENCES.all_sequences()
    log_p, log_q = (sequence_sums(x, listed.mask) for x in (listed.policy_logprob, listed.reference_logprob))
    assert np.exp(log_p) @ k1(log_p, log_q) == pytest.approx(SEQUENCES.kl(), abs=1e-12)
    assert np.exp(log_p) @ k3(log_p, log_q) == pytest.approx(SEQUENCES.kl(), abs=1e-12)
    assert np.exp(log_p) @ k2(log_p, log_q) != pytest.approx(SEQUENCES.kl(), rel=0.01)
    # Over the reference's sequences the same sum is minus the other direction.
    assert np.exp(log_q) @ k1(log_p, log_q) == pytest.approx(-SEQUENCES.reverse_kl(), abs=1e-12)


def test_log_probs_of_another_temperature_or_nucleus_give_another_number():
    """A public implementation samples at temperature 0.7 and top-p 0.9 and takes log-probs at temperature 1."""
    sampled = SEQUENCES.sharpened(temperature=0.7, top_p=0.9)
    drawn = sampled.sample(40_000, rng_of(15))
    honest = [sequence_sums(x, drawn.mask) for x in (drawn.policy_logprob, drawn.reference_logprob)]
    assert abs(z_scores(k1(*honest)[:, None], sampled.kl())[0]) < 4
    # k3 misses the reference's mass that the nucleus rules out.
    listed = sampled.all_sequences()
    log_p, log_q = (sequence_sums(x, listed.mask) for x in (listed.policy_logprob, listed.reference_logprob))
    reached = np.isfinite(log_p)
    missing = -math.expm1(logsumexp(log_q[reached]))
    assert missing > 0.05
    assert abs(z_scores(k3(*honest)[:, None], sampled.kl() - missing)[0]) < 4
    at_one = np.where(drawn.mask, np.take_along_axis(_table(SEQUENCES, drawn), drawn.tokens[..., None], 2)[..., 0], 0)
    mismatched = k1(sequence_sums(at_one, drawn.mask), honest[1])
    assert abs(z_scores(mismatched[:, None], sampled.kl())[0]) > 20


def _table(world, drawn):
    """Next-token log-probs of ``world``'s own policy along sequences that another sampler drew."""
    start = np.full((len(drawn.tokens), 1), world.policy.shape[1])
    return world.policy[np.concatenate((start, drawn.tokens[:, :-1]), axis=1)]


def test_a_law_fitted_to_the_exact_curve_of_its_world_returns_its_coefficients():
    ns = [2**k for k in range(11)]
    for alpha, beta in ((0.49, 0.12), (0.662, 0.09), (1.2, 0.4)):
        world = LawWorld(alpha=alpha, beta=beta)
        fit = fit_law("bon", [world.best_of_n_kl(n) for n in ns], [world.best_of_n_gold(n) for n in ns])
        assert (fit.alpha, fit.beta) == pytest.approx((alpha, beta), abs=1e-9)
        assert fit.peak.d == pytest.approx(alpha / (2 * beta), abs=1e-8)


@pytest.mark.parametrize(("beta", "status"), [(0.3, "ok"), (0.2, "unidentified")])
def test_a_law_fitted_to_samples_of_its_world_holds_its_coefficients(beta, status):
    world = LawWorld(alpha=0.8, beta=beta, noise_sd=0.5)
    rng, ns = rng_of(16), [2**k for k in range(10)]
    curve = best_of_n_curve(*world.sample(400, 1_024, rng), ns)
    gold = curve - curve[:, :1]
    draws = bootstrap_means(gold, 1_000, rng)
    fit = fit_law(
        "bon", continuous_kls(ns), gold.mean(axis=0), gold_se=draws.std(axis=0), gold_draws=draws, level=0.999
    )
    assert fit.alpha_ci[0] < 0.8 < fit.alpha_ci[1]
    assert fit.beta_ci[0] < beta < fit.beta_ci[1]
    assert fit.peak.d_ci[0] < 0.4 / beta < fit.peak.d_ci[1]
    # With beta 0.2 the peak is at d = 2 and the points end at 2.29: gold falls by less than its error.
    assert (fit.status, fit.peak.inside_data) == (status, True)
    assert fit.r2 > 0.95


def continuous_kls(ns):
    return [continuous_kl(n) for n in ns]


def test_a_heavy_tail_bends_the_curve_and_a_normal_one_does_not():
    ns = [2**k for k in range(15)]
    heavy, normal = HeavyTailWorld(tail_index=1.5, error_scale=0.3), GaussianWorld(error_sd=1.0)
    fits = [fit_law("bon", continuous_kls(ns), [world.best_of_n_gold(n) for n in ns]) for world in (heavy, normal)]
    assert fits[0].peak.inside_data
    assert fits[1].peak is None or not fits[1].peak.inside_data


@pytest.mark.parametrize("name", ["gaussian", "causal", "gaussian with prompt levels"])
def test_gold_that_only_rises_is_never_called_overoptimized_beyond_chance(name):
    rng = rng_of(17)
    called = sum(
        gold_drop(best_of_n_curve(*WORLDS[name].sample(48, 32, rng), [1, 2, 4, 8, 16, 32]), rng=rng).verdict
        == "overoptimized"
        for _ in range(200)
    )
    assert called <= 12  # 2.5 % of 200 are 5; three standard errors more are 12


def test_gold_that_turns_is_found_where_it_turns():
    world = QuantileWorld(powers=(8.0,), log_tail=-1.0, noise_sd=0.5)
    peak = world.peak_n()
    assert 4 < peak < 10
    rng, ns = rng_of(18), [1, 2, 4, 6, 8, 16, 32, 64]
    proxy, gold = world.sample(400, 64, rng)
    found = gold_drop(best_of_n_curve(proxy, gold, ns), rng=rng)
    assert found.verdict == "overoptimized"
    assert abs(math.log2(ns[found.peak_index] / peak)) < 1
    best = max(world.best_of_n_gold(n) for n in ns)
    assert found.ci[0] < best - world.best_of_n_gold(64) < found.ci[1]
    tuned = hedge_tune(proxy, gold, selector="best-of-n", rng=rng)
    assert tuned.tuned.status == "turns"
    assert abs(math.log2(tuned.tuned.parameter / peak)) < 1
    gain = world.best_of_n_gold(peak) - world.best_of_n_gold(1)
    assert tuned.gain.value == pytest.approx(gain, abs=4 * tuned.gain.stderr + 0.02)


def test_a_forecast_from_the_first_third_of_a_curve_holds_the_peak_of_its_world():
    world, rng = LawWorld(alpha=1.0, beta=0.25, noise_sd=0.3), rng_of(21)
    ns = [2, 3, 4, 6, 8, 12, 16]  # d up to 1.35; gold peaks at d = 2, n = 148, and is 1 there
    curve = best_of_n_curve(*world.sample(1_000, 128, rng), [1, *ns])
    seen = curve_of_units(curve[:, 1:] - curve[:, :1])
    forecast = forecast_peak(np.sqrt(continuous_kls(ns)), *seen, law="bon", level=0.99)
    assert forecast.status == "ok"
    assert forecast.p_turned < 0.1
    assert forecast.d_ci[0] < 2.0 < forecast.d_ci[1]
    assert forecast.gold_ci[0] < 1.0 < forecast.gold_ci[1]


@pytest.mark.parametrize(
    ("world", "verdict"),
    [
        (HeavyTailWorld(tail_index=1.5, error_scale=0.3), "overoptimized"),
        (QuantileWorld(powers=(8.0,), log_tail=-1.0), "overoptimized"),
        (GaussianWorld(error_sd=1.0), "improving"),
        (CausalWorld(dial=0.7), "improving"),
    ],
)
def test_a_run_along_the_curve_of_a_world_gets_the_worlds_verdict(world, verdict):
    ns, rng = [2**k for k in range(14)], rng_of(22)
    gold = np.array([world.best_of_n_gold(n) for n in ns])
    proxy = np.array([world.best_of_n_proxy(n) for n in ns])
    noisy = gold + 0.02 * rng.normal(size=len(ns))
    assert diagnose_run(proxy, noisy, gold_se=np.full(len(ns), 0.02)).verdict == verdict


@pytest.mark.parametrize("index", [1.2, 2.0, 4.0])
def test_hills_estimator_finds_the_tail_of_the_errors(index):
    """For an exact power law it is unbiased, with the standard error xi / sqrt(k)."""
    world = HeavyTailWorld(tail_index=index, error_scale=0.5, family="pareto")
    found = hill_curve(world.sample_error((1, 20_000), rng_of(23))[0], [100, 2_000])
    assert np.abs((found.xi - 1 / index) / found.stderr).max() < 4


def test_heavy_errors_are_told_from_normal_ones():
    heavy = HeavyTailWorld(tail_index=1.5, error_scale=0.5).sample(100, 64, rng_of(24))
    normal = GaussianWorld(error_sd=1.0).sample(100, 64, rng_of(25))
    assert heavy_tail_test(proxy_error(*heavy).ravel(), rng=rng_of(26)).tail == "heavy"
    assert heavy_tail_test(proxy_error(*normal).ravel(), rng=rng_of(27)).tail != "heavy"


def test_recalibrated_gold_has_the_units_of_the_base():
    world = WORLDS["turning"]
    _, gold = world.sample(2_000, 50, rng_of(19))
    units = recalibrate_gold(gold)
    assert abs(z_scores(gold.mean(axis=1)[:, None], units.shift)[0]) < 1e-9
    assert units.shift == pytest.approx(world.best_of_n_gold(1), abs=4 * units.scale / math.sqrt(gold.size))
    assert (units.apply(gold).mean(), units.apply(gold).std()) == pytest.approx((0, 1))


def coverage_of_best_of_n_gold(runs=2_000, draws=300) -> list[tuple[str, float]]:
    """How often percentile intervals over 64 prompts, nominally 95 %, hold the world's gold."""
    found = []
    for name in ("gaussian with prompt levels", "rounded", "turning", "student errors"):
        world, rng = WORLDS[name], rng_of(20)
        truth = np.array([world.best_of_n_gold(n) for n in NS])
        hits = np.zeros(len(NS))
        for _ in range(runs):
            curve = best_of_n_curve(*world.sample(64, 64, rng), NS)
            low, high = percentile_interval(bootstrap_means(curve, draws, rng), 0.95)
            hits += (low <= truth) & (truth <= high)
        found += [(f"{name}, n = {n}", float(hit) / runs) for n, hit in zip(NS, hits, strict=True)]
    return found


@pytest.mark.slow
def test_intervals_of_best_of_n_gold_cover_the_truth():
    for case, coverage in coverage_of_best_of_n_gold():
        assert 0.93 <= coverage <= 0.97, (case, coverage)
