"""How many prompts, samples and gold labels a curve needs: to place its peak, and to tell two proxies apart.

Axes: P prompts, N samples of one prompt (the pool), K values of n or checkpoints. d is the root of a KL in nats.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr, nctdtr, ndtri, stdtrit

from overopt.errors import ConfigError, EstimationError
from overopt.stats.bon_kl import kl_bound
from overopt.stats.checks import check_level, integers_in
from overopt.stats.estimate import FloatArray
from overopt.stats.planning_rates import RatePlan, binomial_chances, check_power, likely_counts, smallest_that
from overopt.stats.pools import best_of_n_weights

LARGEST_N = 10**7
"""More samples of one prompt than anyone draws."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakPlan:
    """What a number of prompts buys for the peak of best-of-n."""

    prompts: int
    pool: int
    gold_labels: int
    """prompts * pool: every sample is labelled. ``gold_label_shares`` buys fewer."""
    d: float
    gold: float
    """Of the assumed peak."""
    d_stderr: float
    d_half_width: float
    """Half the length of Fieller's interval of the peak's d; ``inf`` if beta would not differ from 0 at ``level``."""
    gold_half_width: float
    inside: bool
    """Whether the assumed peak lies within the n that are measured; if not, the law is trusted beyond the data."""
    level: float
    assumptions: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelPlan:
    """Which samples of a pool to buy gold labels for."""

    shares: FloatArray
    """(N,) probability of buying the label of each ascending rank of the proxy; the sum is the labels of a prompt."""
    labels: float
    variance_ratio: FloatArray
    """(K,) variance of gold at each n over that with every sample labelled."""
    uniform_variance_ratio: FloatArray
    """(K,) the same if as many labels were bought at random."""


def plan_peak(
    *,
    alpha: float,
    beta: float,
    prompts: int,
    pool: int,
    ns: Sequence[int],
    prompt_sd: float,
    sample_sd: float,
    level: float = 0.95,
) -> PeakPlan:
    """How well ``prompts`` with ``pool`` samples each place the peak of R(d) = d (alpha - beta d).

    Parameters
    ----------
    alpha, beta : float
        Expected coefficients, both positive; the peak is at alpha / 2 beta.
    prompts, pool : int
        P and N.
    ns : sequence of int
        At which n gold is measured, 2 <= n <= N, two at least; n = 1 is the base that is subtracted.
    prompt_sd : float
        How much the gain of gold at the peak differs between prompts: the sd over prompts of gold at the best n minus
        gold at n = 1, without the noise of finite pools.
    sample_sd : float
        Sd of gold among samples of one prompt that the proxy ranks about equal.
    level : float
        Of the interval.

    Returns
    -------
    PeakPlan

    Raises
    ------
    ConfigError
    EstimationError
        If the peak lies beyond the KL of best-of-n for n = 10^7, which nobody can sample: best-of-n never gets there.

    Notes
    -----
    Delta method for least squares on the K means; the width is Fieller's, of a quotient alpha / 2 beta, because a beta
    known to a third has peaks that are far from normal. Points of one pool are correlated: their covariance is
    sample_sd^2 times the product of the rank weights of two n, which is exact for independent noise. Prompts differ in
    alpha and beta, independently and by the same relative amount, which ``prompt_sd`` fixes. The standard error falls
    as 1 / sqrt(prompts); a pool beyond some size no longer helps, since prompts remain different.

    >>> few = plan_peak(alpha=.6, beta=.1, prompts=100, pool=1024, ns=[4, 64, 1024], prompt_sd=.3, sample_sd=.8)
    >>> many = plan_peak(alpha=.6, beta=.1, prompts=400, pool=1024, ns=[4, 64, 1024], prompt_sd=.3, sample_sd=.8)
    >>> round(few.d, 6), round(few.d_stderr / many.d_stderr, 6)
    (3.0, 2.0)
    """
    check_level(level)
    _check_positive(alpha=alpha, beta=beta)
    if not (prompt_sd >= 0 and sample_sd >= 0 and math.isfinite(prompt_sd + sample_sd)):
        raise ConfigError(f"prompt_sd and sample_sd must be at least 0; got {prompt_sd} and {sample_sd}")
    (prompts,) = integers_in("prompts", [prompts], 1, 10**9)
    (pool,) = integers_in("pool", [pool], 2, 10**7)
    ns = sorted(set(integers_in("ns", ns, 2, pool)))
    if len(ns) < 2:
        raise ConfigError(f"two coefficients need at least two values of n above 1; got {ns}")
    d_K = np.sqrt(kl_bound(ns))
    d_peak, gold_peak = alpha / (2 * beta), alpha**2 / (4 * beta)
    farthest = kl_bound(LARGEST_N)
    if d_peak**2 > farthest:
        raise EstimationError(
            f"with alpha {alpha:g} and beta {beta:g} gold peaks at {d_peak**2:.3g} nats, and best-of-n reaches only "
            f"{farthest:.1f} at n = {LARGEST_N:,}; no pool can place this peak, so plan for a larger beta or another "
            "optimiser"
        )
    weights_NK = np.stack([best_of_n_weights(pool, n) for n in ns], axis=1) - 1 / pool
    # At the peak alpha d is twice and beta d^2 once the gain, so one relative sd of both makes sqrt(5) of it in gain.
    relative = prompt_sd / (math.sqrt(5) * gold_peak)
    terms = np.stack([alpha * d_K, -beta * d_K**2])
    covariance_KK = sample_sd**2 * weights_NK.T @ weights_NK + relative**2 * terms.T @ terms
    solve = np.linalg.pinv(np.stack([d_K, -(d_K**2)], axis=1))
    covariance = solve @ covariance_KK @ solve.T / prompts
    d_slope = np.array([1 / (2 * beta), -alpha / (2 * beta**2)])
    gold_slope = np.array([alpha / (2 * beta), -(alpha**2) / (4 * beta**2)])
    d_variance = float(d_slope @ covariance @ d_slope)
    z = -float(ndtri((1 - level) / 2))
    return PeakPlan(
        prompts=prompts,
        pool=pool,
        gold_labels=prompts * pool,
        d=d_peak,
        gold=gold_peak,
        d_stderr=math.sqrt(d_variance),
        d_half_width=_fieller_half_width(covariance, d_variance, beta, z),
        gold_half_width=z * math.sqrt(float(gold_slope @ covariance @ gold_slope)),
        inside=bool(d_K[0] <= d_peak <= d_K[-1]),
        level=level,
        assumptions="best-of-n law, unweighted fit, no ties, prompts vary in alpha and beta independently",
    )


def prompts_to_place_peak(
    half_width: float,
    *,
    alpha: float,
    beta: float,
    pool: int,
    ns: Sequence[int],
    prompt_sd: float,
    sample_sd: float,
    level: float = 0.95,
) -> PeakPlan:
    """Fewest prompts for an interval of the peak's d of +- ``half_width``; ``plan_peak`` explains the rest.

    >>> prompts_to_place_peak(.5, alpha=.6, beta=.1, pool=1024, ns=[4, 64, 1024], prompt_sd=0, sample_sd=0).prompts
    1
    """
    if not half_width > 0:
        raise ConfigError(f"half_width must be above 0; got {half_width}")

    def plan(prompts: int) -> PeakPlan:
        return plan_peak(
            alpha=alpha,
            beta=beta,
            prompts=prompts,
            pool=pool,
            ns=ns,
            prompt_sd=prompt_sd,
            sample_sd=sample_sd,
            level=level,
        )

    return plan(smallest_that(lambda prompts: plan(prompts).d_half_width <= half_width, 1, "prompts"))


def prompts_to_separate(
    difference: float, sd: float, *, correlation: float = 0.0, level: float = 0.95, power: float = 0.8
) -> RatePlan:
    """Prompts for a paired t-test to see that two proxies differ by ``difference`` in gold at one n.

    Parameters
    ----------
    difference : float
        Of mean gold, not 0.
    sd : float
        Over prompts, of gold at that n under either proxy.
    correlation : float
        Between the two over the same prompts, -1 <= correlation < 1: easy prompts are easy for both, so it is high.
    level, power : float

    Returns
    -------
    RatePlan
        ``episodes`` are prompts; power by the noncentral t distribution, exact for normal differences.

    >>> prompts_to_separate(0.5, 1.0, correlation=0.5).episodes
    34
    """
    check_power(level, power)
    if difference == 0 or not math.isfinite(difference) or not sd > 0 or not -1 <= correlation < 1:
        raise ConfigError(
            "need a difference other than 0, an sd above 0 and a correlation of at least -1 and below 1; "
            f"got {difference}, {sd}, {correlation}"
        )
    effect = abs(difference) / (sd * math.sqrt(2 * (1 - correlation)))

    def reached(prompts: int) -> float:
        critical = -float(stdtrit(prompts - 1, (1 - level) / 2))
        # Far in the tail the other side adds nothing, and the noncentral t would lose its digits.
        shift = effect * math.sqrt(prompts)
        return 1 - float(nctdtr(prompts - 1, shift, critical)) if shift < 30 else 1.0

    prompts = smallest_that(lambda n: reached(n) >= power, 2, "prompts")
    return RatePlan(
        episodes=prompts,
        achieved=reached(prompts),
        achieved_is=f"probability that a paired t-test at {100 * (1 - level):.3g} % calls the gold different",
        assumptions=f"independent prompts, normal differences of sd {sd * math.sqrt(2 * (1 - correlation)):.3g}",
    )


def pairs_to_separate(
    first: float, second: float, *, discordance: float | None = None, level: float = 0.95, power: float = 0.8
) -> RatePlan:
    """Labelled pairs for McNemar's exact test to tell two accuracies, on the same pairs, apart.

    Parameters
    ----------
    first, second : float
        The true accuracies, different, between 0 and 1.
    discordance : float, optional
        Share of pairs on which exactly one of the two is right: at least ``|first - second|``. Without it the two are
        taken to err independently, which asks for too many pairs if they err together, as proxies do.
    level, power : float

    Returns
    -------
    RatePlan
        ``episodes`` are pairs.

    >>> plan = pairs_to_separate(0.75, 0.70, discordance=0.15)
    >>> 450 < plan.episodes < 520
    True
    """
    check_power(level, power)
    if not (0 <= first <= 1 and 0 <= second <= 1 and first != second):
        raise ConfigError(f"need two different accuracies between 0 and 1; got {first} and {second}")
    independent = first * (1 - second) + second * (1 - first)
    share = independent if discordance is None else discordance
    # Both right, plus what only one has right, is at most 1 and at least 0.
    most = min(first + second, 2 - first - second)
    if not abs(first - second) - 1e-12 <= share <= most + 1e-12:
        raise ConfigError(
            f"discordance must lie within {abs(first - second):.4g}..{most:.4g} for these accuracies; got {share}"
        )
    wins = min((share + abs(first - second)) / (2 * share), 1.0)

    def reached(pairs: int) -> float:
        counts = likely_counts(pairs, share) if share < 1 else np.array([float(pairs)])
        chance = binomial_chances(counts, pairs, share) if share < 1 else np.ones(1)
        rejected = np.array([_sign_test_power(int(m), wins, level) for m in counts])
        return float(chance @ rejected)

    pairs = smallest_that(lambda n: reached(n) >= power, 2, "pairs")
    return RatePlan(
        episodes=pairs,
        achieved=reached(pairs),
        achieved_is=f"probability that McNemar's exact test at {100 * (1 - level):.3g} % sees the difference",
        assumptions=f"independent pairs, {100 * share:.3g} % of them right under exactly one of the two",
    )


def gold_label_shares(pool: int, ns: Sequence[int], labels: float) -> LabelPlan:
    """Which ranks of the proxy to buy gold labels for, so that ``labels`` a prompt serve the curve at ``ns`` best.

    Best-of-n gives nearly all weight to the top ranks: at n = 64 of 1,024 samples the lower half matters not at all,
    while n = 1 weighs all alike. Each rank is labelled with probability ``shares``, independently of its gold; a
    labelled sample then counts 1 / share times its weight, normalised by the sum of these (Hajek's estimator).

    Parameters
    ----------
    pool : int
        N.
    ns : sequence of int
        Which n are to be served, equally; 1 <= n <= N.
    labels : float
        Expected labels of a prompt, 0 < labels <= N.

    Returns
    -------
    LabelPlan
        Variances are those of noise with one sd at all ranks, within a prompt; differences between prompts come on top
        and no label design changes them.

    Notes
    -----
    Shares proportional to the root of the summed squared weights, each n scaled by its own variance, capped at 1,
    minimise the mean variance ratio for a given number of labels (Neyman 1934).

    >>> plan = gold_label_shares(1024, [16, 256], labels=200)
    >>> bool((plan.variance_ratio < plan.uniform_variance_ratio).all())
    True
    """
    (pool,) = integers_in("pool", [pool], 1, 10**7)
    ns = integers_in("ns", ns, 1, pool)
    if not 0 < labels <= pool:
        raise ConfigError(f"labels must be above 0 and at most the pool of {pool}; got {labels}")
    squared_NK = np.stack([best_of_n_weights(pool, n) for n in ns], axis=1) ** 2
    squared_NK /= squared_NK.sum(axis=0)
    shares = _capped_shares(np.sqrt(squared_NK.sum(axis=1)), labels)
    matters = shares > 0
    ratio_K = (squared_NK[matters] / shares[matters, None]).sum(axis=0)
    return LabelPlan(
        shares=shares,
        labels=float(shares.sum()),
        variance_ratio=ratio_K,
        uniform_variance_ratio=np.full(len(ns), pool / labels),
    )


def _capped_shares(size_N: FloatArray, labels: float) -> FloatArray:
    """Proportional to ``size_N`` but at most 1, summing to ``labels`` or to the ranks that matter at all."""
    is_full = np.zeros(size_N.size, dtype=np.bool_)
    shares = np.zeros(size_N.size)
    while True:
        rest, left = size_N[~is_full].sum(), labels - is_full.sum()
        shares = np.where(is_full, 1.0, size_N * (left / rest) if rest > 0 else 0.0)
        if not (shares > 1).any():
            return shares
        is_full |= shares >= 1


def _sign_test_power(trials: int, wins: float, level: float) -> float:
    """Chance that an exact two-sided sign test of ``trials`` rejects; each is a win with probability ``wins``."""
    # Losses up to which twice the tail is within the error.
    tails = 2 * bdtr(np.arange(trials // 2 + 1), trials, 0.5)
    rejecting = int((tails <= 1 - level).sum()) - 1
    if rejecting < 0:
        return 0.0
    return float(bdtr(rejecting, trials, 1 - wins) + bdtr(rejecting, trials, wins))


def _fieller_half_width(covariance: FloatArray, d_variance: float, beta: float, z: float) -> float:
    """Half the length of Fieller's interval for alpha / 2 beta."""
    g = z**2 * float(covariance[1, 1]) / beta**2
    if g >= 1:
        return math.inf
    if g == 0:
        return z * math.sqrt(d_variance)
    left_over = float(covariance[0, 0] - covariance[0, 1] ** 2 / covariance[1, 1])
    return z / (1 - g) * math.sqrt(max(d_variance - g * left_over / (4 * beta**2), 0.0))


def _check_positive(**settings: float) -> None:
    for name, value in settings.items():
        if not (value > 0 and math.isfinite(value)):
            raise ConfigError(f"{name} must be above 0; got {value}")
