"""A rate from k of n, with an interval that holds for small counts, for zero, and for counts that come in clusters.

All functions work on arrays of counts of any shape, so that a matrix of stages and environments is one call. Rates are
shares between 0 and 1, not percent. Without clusters the trials are taken as independent; samples of one prompt or
episodes of one seed are not, and ``clustered_rate`` is for them. Comparing two rates is ``rate_comparison``.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import betainccinv, betaincinv, ndtri, stdtrit

from overopt.errors import ConfigError, DataError
from overopt.stats.checks import check_level, check_same_shape, float_array
from overopt.stats.estimate import FloatArray

Method = Literal["clopper-pearson", "wilson", "jeffreys"]
Side = Literal["both", "lower", "upper"]


class Interval(NamedTuple):
    """Ends of intervals, one shape."""

    low: FloatArray
    high: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A share of independent trials."""

    value: float
    """``successes / trials``; ``nan`` without trials."""
    low: float
    high: float
    successes: int
    trials: int
    level: float
    method: str
    """With the side if the interval has one end: "clopper-pearson, upper"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusteredRate:
    """A share of trials that come in clusters, such as samples of a prompt or episodes of a seed."""

    value: float
    low: float
    high: float
    successes: int
    trials: int
    clusters: int
    """Those with at least one trial."""
    unit: str
    design_effect: float
    """Variance over that of independent trials; ``nan`` if no event, or nothing else, was seen."""
    effective_trials: float
    """Independent trials that would give the interval's width."""
    level: float
    method: str


def rate(
    successes: int,
    trials: int,
    *,
    level: float = 0.95,
    method: Method = "clopper-pearson",
    side: Side = "both",
) -> Rate:
    """Share of ``trials`` that were ``successes``, with its interval; ``rate_interval`` explains the arguments.

    Raises
    ------
    DataError, ConfigError
        As ``rate_interval``.

    >>> found = rate(45, 32_768)
    >>> f"{found.value:.2e} [{found.low:.2e}, {found.high:.2e}]"
    '1.37e-03 [1.00e-03, 1.84e-03]'
    """
    low, high = rate_interval(successes, trials, level=level, method=method, side=side)
    if low.ndim:
        raise DataError(f"a rate needs two single counts, an array of them is rate_interval's; got {low.shape}")
    return Rate(
        value=float(successes) / float(trials) if trials else math.nan,
        low=float(low),
        high=float(high),
        successes=int(successes),
        trials=int(trials),
        level=level,
        method=method if side == "both" else f"{method}, {side}",
    )


def rate_interval(
    successes: npt.ArrayLike,
    trials: npt.ArrayLike,
    *,
    level: float = 0.95,
    method: Method = "clopper-pearson",
    side: Side = "both",
) -> Interval:
    """Confidence intervals of the rates behind ``successes`` of ``trials``.

    Parameters
    ----------
    successes, trials : integers, any two shapes that broadcast
        0 <= successes <= trials. Whole numbers stored as floats are accepted.
    level : float
        Probability that the interval covers the rate.
    method : "clopper-pearson", "wilson" or "jeffreys"
        Clopper-Pearson covers at least ``level`` whatever the rate. The other two are narrower and cover ``level`` on
        average over rates; near 0 and 1 they can fall well short of it, which is where tampering rates live.
    side : "both", "lower" or "upper"
        An interval with one end puts the whole error on it; the other end is 1 or 0.

    Returns
    -------
    Interval
        Of the broadcast shape; nan where there are no trials. With no successes ``low`` is exactly 0, with nothing
        else ``high`` is exactly 1.

    Raises
    ------
    DataError
        If a count is not a whole number, negative or not finite, or successes exceed trials.
    ConfigError
        If ``level``, ``method`` or ``side`` is not one of the above.

    Notes
    -----
    Clopper and Pearson 1934; Wilson 1927; Jeffreys' equal-tailed interval with the ends of Brown, Cai and DasGupta
    2001 (Statistical Science 16(2)). Beta quantiles come from the tail that is asked for, so rates of 1e-9 and levels
    of 1 - 1e-9 keep their digits.

    >>> [f"{high:.2e}" for high in rate_interval([0, 4], [100_000, 100_000]).high]
    ['3.69e-05', '1.02e-04']
    """
    k, n = _counts(successes, trials)
    tail = _tail(level, side)
    if method == "wilson":
        low, high = _wilson(k, n, tail)
    elif method in ("clopper-pearson", "jeffreys"):
        low, high = _beta_interval(k, n, tail, 0.0 if method == "clopper-pearson" else 0.5)
    else:
        raise ConfigError(f"method must be 'clopper-pearson', 'wilson' or 'jeffreys'; got {method!r}")
    return _one_sided(Interval(low, high), n, side)


def wilson_interval(
    successes: npt.ArrayLike, trials: npt.ArrayLike, *, level: float = 0.95, side: Side = "both"
) -> Interval:
    """Wilson's score interval, also for fractional ``successes``, such as ties that count one half.

    Shapes broadcast; 0 <= successes <= trials, both finite; nan without trials. A fraction makes it an approximation:
    a tie that always counts one half varies less than the toss that the formula takes it for, so it is slightly wide.

    >>> low, high = wilson_interval(2.5, 4)
    >>> round(float(low), 4), round(float(high), 4)
    (0.2194, 0.9081)
    """
    k, n = _ordered_counts(successes, trials)
    return _one_sided(Interval(*_wilson(k, n, _tail(level, side))), n, side)


def zero_event_bound(trials: npt.ArrayLike, *, level: float = 0.95) -> FloatArray:
    """Largest rate that ``trials`` without an event leave possible: 1 - (1 - level)^(1 / trials), nan without trials.

    One-sided and exact: at this rate an event would have been seen with probability ``level``. The end of a two-sided
    interval of the same level is larger, as half of its error belongs to the other side.

    >>> float(zero_event_bound(100_000).round(9))
    2.9957e-05
    """
    check_level(level)
    n = _whole("trials", trials)
    with np.errstate(divide="ignore"):
        bound = -np.expm1(np.log1p(-level) / n)
    return np.where(n > 0, bound, np.nan)


def rule_of_three(trials: npt.ArrayLike, *, level: float = 0.95) -> FloatArray:
    """-ln(1 - level) / trials, which is 3 / trials at 95 %: the bound after no event that one can work out by heart.

    Slightly above ``zero_event_bound``, hence safe; at most 1. nan without trials. Hanley and Lippman-Hand 1983.

    >>> float(rule_of_three(1000).round(5))
    0.003
    """
    check_level(level)
    n = _whole("trials", trials)
    with np.errstate(divide="ignore"):
        return np.where(n > 0, np.minimum(-np.log1p(-level) / n, 1.0), np.nan)


def clustered_rate(
    successes: npt.ArrayLike,
    trials: npt.ArrayLike,
    *,
    unit: str,
    level: float = 0.95,
    design_effect: float | None = None,
) -> ClusteredRate:
    """Share of all trials that were successes, with an interval that knows that trials of a cluster are alike.

    Parameters
    ----------
    successes, trials : (U,) integers
        Counts of each cluster; clusters are independent, a prompt or a seed. Clusters without trials are left out.
    unit : str
        What a cluster is: "prompt", "seed".
    level : float
        Of the two-sided interval.
    design_effect : float, optional
        At least 1: from an earlier measurement, in place of the one that these clusters show.

    Returns
    -------
    ClusteredRate
        nan without trials, and for the interval of a single cluster unless ``design_effect`` is given.

    Raises
    ------
    ShapeError, DataError, ConfigError
        The two arrays differ in shape; counts as in ``rate_interval``; ``design_effect`` below 1.

    Notes
    -----
    Korn and Graubard 1998 (Survey Methodology 24): a Clopper-Pearson interval for fractional counts, with the trials
    divided by the design effect and by (t / z)^2, because few clusters know their own variance badly. The variance is
    the linearised one of a ratio, so clusters may differ in size; a design effect below 1 counts as 1.

    If no cluster has an event (or all trials are events) the design effect cannot be seen. The interval then takes
    every cluster as one trial, 0 of U. That holds whatever the dependence within clusters of one size: a cluster is
    without events at most as often as if its trials were copies of each other. It is wide; a ``design_effect`` that
    is known from elsewhere makes it narrower.

    With a handful of events the design effect is itself a guess. Look at which clusters they came from.

    >>> seeds = clustered_rate([3, 9, 1, 12, 5], [1000] * 5, unit="seed")
    >>> seeds.value, round(seeds.design_effect, 1)
    (0.006, 3.4)
    >>> rate(30, 5000).high < seeds.high
    True
    """
    check_level(level)
    if design_effect is not None and not 1 <= design_effect < math.inf:
        raise ConfigError(f"design_effect must be at least 1; got {design_effect}")
    k_U, n_U = float_array("successes", successes, "U"), float_array("trials", trials, "U")
    check_same_shape("successes", k_U, "trials", n_U)
    k_U, n_U = _counts(k_U, n_U)
    k_U, n_U = k_U[n_U > 0], n_U[n_U > 0]
    k, n, clusters = float(k_U.sum()), float(n_U.sum()), int(n_U.size)
    tail = (1 - level) / 2
    effect, effective = math.nan, math.nan
    if design_effect is not None:
        effect, effective = design_effect, n / design_effect
    elif clusters > 0 and k in (0.0, n):
        effective = float(clusters)
    elif clusters > 1:
        share = k / n
        residual_U = k_U - share * n_U
        variance = clusters / (clusters - 1) * float((residual_U**2).sum()) / n**2
        effect = variance * n / (share * (1 - share))
        few_clusters = float(stdtrit(clusters - 1, tail) / ndtri(tail)) ** 2
        effective = n / (max(effect, 1.0) * few_clusters)
    low, high = (np.array(math.nan),) * 2
    if n > 0 and not math.isnan(effective):
        effective = min(effective, n)
        low, high = _beta_interval(np.array(effective * k / n), np.array(effective), tail, 0.0)
    return ClusteredRate(
        value=k / n if n else math.nan,
        low=float(low),
        high=float(high),
        successes=int(k),
        trials=int(n),
        clusters=clusters,
        unit=unit,
        design_effect=effect,
        effective_trials=effective,
        level=level,
        method="clopper-pearson on effective counts",
    )


def _tail(level: float, side: str) -> float:
    check_level(level)
    if side not in ("both", "lower", "upper"):
        raise ConfigError(f"side must be 'both', 'lower' or 'upper'; got {side!r}")
    return (1 - level) / 2 if side == "both" else 1 - level


def _one_sided(interval: Interval, n: FloatArray, side: Side) -> Interval:
    low = np.zeros_like(interval.low) if side == "upper" else interval.low
    high = np.ones_like(interval.high) if side == "lower" else interval.high
    return Interval(np.where(n > 0, low, np.nan), np.where(n > 0, high, np.nan))


def _beta_interval(k: FloatArray, n: FloatArray, tail: float, prior: float) -> tuple[FloatArray, FloatArray]:
    """Quantiles of Beta(k + prior, ...): prior 0 is Clopper-Pearson's pair of betas, 1/2 is Jeffreys' posterior."""
    is_none, is_all = k <= 0, k >= n
    failures = n - k
    shift = 1.0 if prior == 0 else prior
    low = betaincinv(np.where(is_none, 1.0, k + prior), failures + shift, tail)
    high = betainccinv(k + shift, np.where(is_all, 1.0, failures + prior), tail)
    return np.where(is_none, 0.0, low), np.where(is_all, 1.0, high)


def _wilson(k: FloatArray, n: FloatArray, tail: float) -> tuple[FloatArray, FloatArray]:
    z = -float(ndtri(tail))
    safe_n = np.where(n > 0, n, 1.0)
    root = z * np.sqrt(k * (n - k) / safe_n + z**2 / 4)
    # Each end as the quotient that has no difference of nearly equal numbers: (a - b) (a + b) = k^2 (1 + z^2/n).
    low = k**2 / safe_n / (k + z**2 / 2 + root)
    high = 1 - (n - k) ** 2 / safe_n / (n - k + z**2 / 2 + root)
    # With no successes the upper end is small, and 1 minus nearly 1 would cost its digits.
    return low, np.where(k < n / 2, (k + z**2 / 2 + root) / (safe_n + z**2), high)


def _counts(successes: npt.ArrayLike, trials: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    k, n = _ordered_counts(_whole("successes", successes), _whole("trials", trials))
    return k, n


def _ordered_counts(successes: npt.ArrayLike, trials: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    k, n = _finite("successes", successes), _finite("trials", trials)
    try:
        k, n = np.broadcast_arrays(k, n)
    except ValueError as error:
        raise DataError(f"successes and trials must have shapes that broadcast; got {k.shape}, {n.shape}") from error
    if (k > n).any():
        where = tuple(int(i) for i in np.argwhere(k > n)[0])
        raise DataError(f"there cannot be more successes than trials; got {k[where]:g} of {n[where]:g} at {where}")
    return k, n


def _whole(name: str, values: npt.ArrayLike) -> FloatArray:
    array = _finite(name, values)
    if (array != np.floor(array)).any():
        raise DataError(f"{name} must be whole numbers; got {array[array != np.floor(array)].flat[0]:g}")
    return array


def _finite(name: str, values: npt.ArrayLike) -> FloatArray:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} must be numbers: {error}") from error
    if not (np.isfinite(array) & (array >= 0)).all():
        raise DataError(f"{name} must be finite and not negative; got {values!r}")
    return array
