"""How many episodes a rate needs: to be bounded, to be known to a relative precision, to differ from another.

Episodes are independent here. If samples share a prompt or a seed, multiply by the design effect that
``rates.clustered_rate`` reports for such data. Powers are exact sums over binomial counts, not normal approximations.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr, gammaln, xlog1py, xlogy

from overopt.errors import ConfigError, EstimationError
from overopt.stats.checks import check_level
from overopt.stats.estimate import FloatArray
from overopt.stats.rate_comparison import fisher_p_values
from overopt.stats.rates import rate_interval

MAX_EPISODES = 10**9
"""Beyond it a plan is refused instead of searched for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RatePlan:
    """How many episodes, and what they buy."""

    episodes: int
    """Of each arm, where two are compared."""
    achieved: float
    """What ``achieved_is`` says, at ``episodes``."""
    achieved_is: str
    assumptions: str


def episodes_to_bound_rate(bound: float, rate: float = 0.0, *, level: float = 0.95, power: float = 0.8) -> RatePlan:
    """Fewest episodes whose one-sided Clopper-Pearson upper bound falls to ``bound`` with probability ``power``.

    Parameters
    ----------
    bound : float
        What is to be shown: the rate is at most this; 0 < bound < 1.
    rate : float
        What the rate truly is, below ``bound``. 0 plans for no event at all, which is the rule of three.
    level, power : float
        Of the bound; chance that it is reached.

    Raises
    ------
    ConfigError, EstimationError
        A setting is out of range; more than ``MAX_EPISODES`` would be needed.

    Notes
    -----
    The bound is reached with k events from a smallest n_k on, P(Binomial(n_k, bound) <= k) = 1 - level, and the chance
    of at most k events is largest right there, so only the n_k are candidates.

    >>> plan = episodes_to_bound_rate(1e-4)
    >>> plan.episodes, plan.achieved
    (29956, 1.0)
    """
    check_power(level, power)
    if not 0 <= rate < bound < 1:
        raise ConfigError(f"need 0 <= rate < bound < 1; got rate {rate} and bound {bound}")

    def candidate(events: int) -> tuple[int, float]:
        trials = smallest_that(lambda n: bdtr(events, n, bound) <= 1 - level, events + 1)
        return trials, float(bdtr(events, trials, rate)) if rate > 0 else 1.0

    events = smallest_that(lambda k: candidate(k)[1] >= power, 0)
    episodes, achieved = candidate(events)
    return RatePlan(
        episodes=episodes,
        achieved=achieved,
        achieved_is=f"probability that the {100 * level:g} % bound is at most {bound:g}: {events} events or fewer",
        assumptions=f"independent episodes, true rate {rate:g}",
    )


def episodes_for_relative_width(rate: float, half_width: float, *, level: float = 0.95) -> RatePlan:
    """Episodes whose Clopper-Pearson interval is expected to be ``rate`` times (1 -+ ``half_width``) wide.

    ``half_width`` is relative: 0.3 is thirty percent either way. The expectation is the exact sum over counts; the
    interval of a small count reaches further up than down.

    >>> plan = episodes_for_relative_width(1e-3, 0.5)
    >>> 15_000 < plan.episodes < 20_000
    True
    """
    check_level(level)
    if not (0 < rate < 1 and half_width > 0):
        raise ConfigError(
            "to measure a rate to a share of itself needs what it is believed to be, --rate between 0 and 1, and a "
            f"positive --half-width; got {rate} and {half_width}"
        )

    def expected(trials: int) -> float:
        counts = likely_counts(trials, rate)
        low, high = rate_interval(counts, trials, level=level)
        return float(binomial_chances(counts, trials, rate) @ (high - low)) / (2 * rate)

    episodes = smallest_that(lambda n: expected(n) <= half_width, 1)
    return RatePlan(
        episodes=episodes,
        achieved=expected(episodes),
        achieved_is=f"expected half width of the {100 * level:g} % interval over the rate",
        assumptions=f"independent episodes, true rate {rate:g}",
    )


def episodes_to_compare_rates(first: float, second: float, *, level: float = 0.95, power: float = 0.8) -> RatePlan:
    """Episodes of each of two arms for Fisher's exact test to tell two rates apart with probability ``power``.

    Parameters
    ----------
    first, second : float
        The true rates, different, between 0 and 1 (0 allowed).
    level, power : float
        1 - level is the two-sided error of the test.

    Raises
    ------
    ConfigError, EstimationError

    Notes
    -----
    Power is the sum over all pairs of counts that the test calls different. It is not quite increasing in the
    episodes, because counts are whole; the plan is where a bisection first meets ``power``, and states the power there.
    A pair of policies on the same prompts needs fewer: ``planning_curves.pairs_to_separate``.

    >>> episodes_to_compare_rates(1e-3, 1e-2).episodes
    1088
    """
    check_power(level, power)
    if not (0 <= first < 1 and 0 <= second < 1 and first != second):
        raise ConfigError(f"need two different rates of at least 0 and below 1; got {first} and {second}")

    def reached(trials: int) -> float:
        return _fisher_power(first, second, trials, level)

    # The normal approximation, from below, so that exact powers are only computed near the answer.
    start = max(2, int(0.5 * 6 * (first + second) / (first - second) ** 2 * power))
    episodes = smallest_that(lambda n: reached(n) >= power, start if reached(start) < power else 2)
    return RatePlan(
        episodes=episodes,
        achieved=reached(episodes),
        achieved_is=f"probability that Fisher's exact test at {100 * (1 - level):.3g} % calls the rates different",
        assumptions=f"independent episodes, rates {first:g} and {second:g}, equal arms",
    )


def _fisher_power(first: float, second: float, trials: int, level: float) -> float:
    counts1, counts2 = likely_counts(trials, first), likely_counts(trials, second)
    chance1, chance2 = binomial_chances(counts1, trials, first), binomial_chances(counts2, trials, second)
    total = 0.0
    for successes in range(int(counts1[0] + counts2[0]), int(counts1[-1] + counts2[-1]) + 1):
        low = max(int(counts1[0]), successes - int(counts2[-1]))
        high = min(int(counts1[-1]), successes - int(counts2[0]))
        split = np.arange(low, high + 1)
        chance = chance1[split - int(counts1[0])] * chance2[successes - split - int(counts2[0])]
        if chance.sum() < 1e-10:
            continue
        p_values, _ = fisher_p_values(successes, trials, trials)
        is_different = p_values[split - max(0, successes - trials)] <= 1 - level
        total += float(chance[is_different].sum())
    return total


def likely_counts(trials: int, rate: float) -> FloatArray:
    """Counts that hold all but 1e-9 of a binomial's probability."""
    spread = 6.5 * math.sqrt(trials * rate * (1 - rate)) + 12
    low, high = max(0, math.floor(trials * rate - spread)), min(trials, math.ceil(trials * rate + spread))
    return np.arange(low, high + 1, dtype=np.float64) if rate > 0 else np.zeros(1)


def binomial_chances(counts: FloatArray, trials: int, rate: float) -> FloatArray:
    """Probability of each count."""
    log_choose = gammaln(trials + 1) - gammaln(counts + 1) - gammaln(trials - counts + 1)
    return np.asarray(np.exp(log_choose + xlogy(counts, rate) + xlog1py(trials - counts, -rate)))


def smallest_that(is_enough: Callable[[int], bool], start: int, unit: str = "episodes") -> int:
    """Smallest integer from ``start`` on at which a claim holds that stays true once it is: doubling, then halving."""
    low, step = start - 1, max(1, start // 4)
    while not is_enough(min(low + step, MAX_EPISODES)):
        low += step
        step *= 2
        if low >= MAX_EPISODES:
            raise EstimationError(f"more than {MAX_EPISODES:,} {unit} would be needed; ask for less")
    high = min(low + step, MAX_EPISODES)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def check_power(level: float, power: float) -> None:
    """Raise a ``ConfigError`` unless both lie between 0 and 1."""
    check_level(level)
    if not 0 < power < 1:
        raise ConfigError(f"power must lie between 0 and 1, such as 0.8; got {power}")
