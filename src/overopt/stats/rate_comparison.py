"""Two rates: is the difference more than chance, and how large is it? For pairs, separate trials, and clusters.

Differences are first minus second. Everything but the clustered comparison is valid for small counts, zero included.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import bdtr, gammaln, ndtri, stdtr, stdtrit

from overopt.errors import DataError
from overopt.stats.checks import check_level, check_same_shape, float_array
from overopt.stats.estimate import FloatArray
from overopt.stats.rates import rate_interval, wilson_interval

# Two tables are equally likely if their probabilities agree to this relative precision; rounding must not split them.
_SAME_PROBABILITY = 1e-7


@dataclass(frozen=True, slots=True, kw_only=True)
class RateComparison:
    """First rate against second."""

    first: float
    second: float
    difference: float
    """first - second."""
    difference_ci: tuple[float, float]
    ratio: float
    """first / second; ``inf`` over a second rate of 0, ``nan`` if both are 0."""
    ratio_ci: tuple[float, float]
    """``nan`` where the method has none."""
    p_value: float
    """Two-sided. Exact tests are conservative; ``nan`` if nothing can be tested."""
    mid_p_value: float
    """Counts half of the observed table's own probability: not conservative, error close to nominal on average."""
    n_units: int
    """Pairs, trials of both arms together, or clusters."""
    unit: str
    level: float
    method: str


def compare_paired_rates(
    both: int, only_first: int, only_second: int, neither: int, *, level: float = 0.95
) -> RateComparison:
    """Two rates measured on the same items, from the four counts of items.

    Parameters
    ----------
    both, only_first, only_second, neither : int
        Items that are a success in both measurements, in one of them, in none.
    level : float
        Of the interval.

    Returns
    -------
    RateComparison
        ``p_value`` is McNemar's exact test (binomial on the items that differ, 1 if there are none), ``mid_p_value``
        its mid-p form; the interval is Tango's score interval, which has no empty or zero-width cases.
        ``ratio_ci`` is nan.

    Raises
    ------
    DataError
        If a count is not a whole number of at least 0, or there is no item.

    Notes
    -----
    Tango 1998 (Statistics in Medicine 17: 891-908); mid-p: Fagerland, Lydersen and Laake 2013 (BMC Medical Research
    Methodology 13: 91). Items must be independent of each other: prompts, not samples that share a prompt.

    >>> found = compare_paired_rates(20, 12, 2, 16)
    >>> round(found.difference, 2), round(found.p_value, 4)
    (0.2, 0.0129)
    """
    check_level(level)
    both, only_first, only_second, neither = _table([both, only_first, only_second, neither])
    n = both + only_first + only_second + neither
    if n == 0:
        raise DataError("a comparison of paired rates needs at least one item")
    discordant, smaller = only_first + only_second, min(only_first, only_second)
    exact = min(1.0, 2 * float(bdtr(smaller, discordant, 0.5)))
    observed = math.exp(_log_choose(discordant, smaller) - discordant * math.log(2))
    first, second = (both + only_first) / n, (both + only_second) / n
    return RateComparison(
        first=first,
        second=second,
        difference=(only_first - only_second) / n,
        difference_ci=_tango_interval(only_first, only_second, n, level),
        ratio=_ratio(first, second),
        ratio_ci=(math.nan, math.nan),
        p_value=exact,
        # With a tied split the two tails overlap in the observed table, and the mid-p value is 1 less half of it.
        mid_p_value=1 - observed / 2
        if only_first == only_second and discordant
        else exact - observed * bool(discordant),
        n_units=n,
        unit="pair",
        level=level,
        method="McNemar exact; Tango score interval",
    )


def compare_rates(
    first_successes: int, first_trials: int, second_successes: int, second_trials: int, *, level: float = 0.95
) -> RateComparison:
    """Two rates measured on separate, independent trials.

    Parameters
    ----------
    first_successes, first_trials, second_successes, second_trials : int
        0 <= successes <= trials, trials at least 1.
    level : float
        Of both intervals.

    Returns
    -------
    RateComparison
        ``p_value`` is Fisher's exact test (two-sided by the probability of tables), ``mid_p_value`` counts tables as
        likely as the observed one half. The difference has Newcombe's hybrid score interval, the ratio Koopman's score
        interval: (0, inf) if both counts are 0.

    Raises
    ------
    DataError
        If a count is not a whole number, an arm has no trials or more successes than trials.

    Notes
    -----
    Newcombe 1998 (Statistics in Medicine 17: 873-890), method 10; Koopman 1984 (Biometrics 40: 513-517). The interval
    and the test are different methods and can disagree at the border.

    >>> found = compare_rates(24, 10_000, 32, 32_768)
    >>> round(found.ratio, 2), round(found.p_value, 4)
    (2.46, 0.0013)
    """
    check_level(level)
    k1, n1, k2, n2 = _table([first_successes, first_trials, second_successes, second_trials])
    if n1 == 0 or n2 == 0:
        raise DataError(f"both rates need trials; got {n1} and {n2}")
    low, high = wilson_interval([k1, k2], [n1, n2], level=level)
    first, second = k1 / n1, k2 / n2
    below = math.hypot(first - low[0], high[1] - second)
    above = math.hypot(high[0] - first, second - low[1])
    p_values, mid_p_values = fisher_p_values(k1 + k2, n1, n2)
    observed = k1 - max(0, k1 + k2 - n2)
    return RateComparison(
        first=first,
        second=second,
        difference=first - second,
        difference_ci=(first - second - below, first - second + above),
        ratio=_ratio(first, second),
        ratio_ci=_koopman_interval(k1, n1, k2, n2, level),
        p_value=float(p_values[observed]),
        mid_p_value=float(mid_p_values[observed]),
        n_units=n1 + n2,
        unit="trial",
        level=level,
        method="Fisher exact; Newcombe and Koopman score intervals",
    )


def fisher_p_values(successes: int, first_trials: int, second_trials: int) -> tuple[FloatArray, FloatArray]:
    """Fisher's two-sided p and mid-p for every split of ``successes`` over two arms.

    Entry i belongs to a first arm with max(0, successes - second_trials) + i successes. A table's p is the
    probability, given the margins, of all tables that are at most as likely.

    >>> fisher_p_values(2, 2, 2)[0].round(3)
    array([0.333, 1.   , 0.333])
    """
    first = np.arange(max(0, successes - second_trials), min(successes, first_trials) + 1, dtype=np.float64)
    log_probability = _log_choose(first_trials, first) + _log_choose(second_trials, successes - first)
    probability = np.exp(log_probability - log_probability.max())
    probability /= probability.sum()
    order = np.argsort(probability, kind="stable")
    ranked = probability[order]
    up_to = np.concatenate(([0.0], np.cumsum(ranked)))
    tied_end = np.searchsorted(ranked, probability * (1 + _SAME_PROBABILITY), side="right")
    tied_start = np.searchsorted(ranked, probability * (1 - _SAME_PROBABILITY), side="left")
    p_values = np.minimum(up_to[tied_end], 1.0)
    return p_values, np.minimum((up_to[tied_end] + up_to[tied_start]) / 2, 1.0)


def compare_clustered_rates(
    first_successes: npt.ArrayLike,
    first_trials: npt.ArrayLike,
    second_successes: npt.ArrayLike,
    second_trials: npt.ArrayLike,
    *,
    unit: str,
    level: float = 0.95,
) -> RateComparison:
    """Two rates measured on the same clusters: the same prompts under two policies, or the same seeds.

    Parameters
    ----------
    first_successes, first_trials, second_successes, second_trials : (U,) integers
        Counts of each cluster; entry u of all four is one cluster. Trials of a cluster need not be equal, but each
        cluster needs at least one in both arms.
    unit : str
        What a cluster is: "prompt", "seed".
    level : float
        Of the interval.

    Returns
    -------
    RateComparison
        Rates are total successes over total trials; the interval and the test are Student's t over clusters on the
        linearised difference. ``p_value`` and the intervals are nan with one cluster, or if all clusters agree
        exactly, as without any event: nothing then shows how much clusters vary. ``mid_p_value`` is nan.
        ``ratio_ci`` comes from the linearised log ratio and is nan if a rate is 0.

    Raises
    ------
    ShapeError, DataError

    Notes
    -----
    What varies is the clusters, so ten seeds are ten whatever the number of episodes. The t distribution is an
    approximation that wants events in several clusters: with two or three events in all, do not lean on it. Five
    clusters with skewed rates (a prompt in ten holds most events) cover 92 to 93 % instead of 95.

    >>> found = compare_clustered_rates([9, 8, 6], [50] * 3, [2, 3, 1], [50] * 3, unit="seed")
    >>> round(found.difference, 3), [round(end, 3) for end in found.difference_ci]
    (0.113, [0.056, 0.171])
    """
    check_level(level)
    counts = [first_successes, first_trials, second_successes, second_trials]
    arrays = [float_array(name, values, "U") for name, values in zip(_CLUSTER_NAMES, counts, strict=True)]
    for name, array in zip(_CLUSTER_NAMES[1:], arrays[1:], strict=True):
        check_same_shape(_CLUSTER_NAMES[0], arrays[0], name, array)
    k1, n1, k2, n2 = arrays
    rate_interval(k1, n1), rate_interval(k2, n2)  # refuses counts that are none
    if k1.size == 0 or (n1 == 0).any() or (n2 == 0).any():
        raise DataError(f"each {unit} needs trials in both arms, and there must be one")
    clusters = k1.size
    first, second = float(k1.sum() / n1.sum()), float(k2.sum() / n2.sum())
    residual1, residual2 = (k1 - first * n1) / n1.mean(), (k2 - second * n2) / n2.mean()
    critical = -float(stdtrit(clusters - 1, (1 - level) / 2)) if clusters > 1 else math.nan
    stderr = _stderr_of_mean(residual1 - residual2)
    t = (first - second) / stderr
    ratio_ci = (math.nan, math.nan)
    if first > 0 and second > 0:
        half_width = critical * _stderr_of_mean(residual1 / first - residual2 / second)
        ratio_ci = (first / second * math.exp(-half_width), first / second * math.exp(half_width))
    return RateComparison(
        first=first,
        second=second,
        difference=first - second,
        difference_ci=(first - second - critical * stderr, first - second + critical * stderr),
        ratio=_ratio(first, second),
        ratio_ci=ratio_ci,
        p_value=2 * float(stdtr(clusters - 1, -abs(t))) if clusters > 1 else math.nan,
        mid_p_value=math.nan,
        n_units=clusters,
        unit=unit,
        level=level,
        method="paired t over clusters, linearised",
    )


def holm(p_values: npt.ArrayLike) -> FloatArray:
    """P-values adjusted for being several, shape (U,): compare each with 1 - level as if it were the only one.

    Controls the chance of any false finding, whatever the dependence between the tests (Holm 1979). A nan was not
    tested: it stays nan and does not count. Raises ``DataError`` for a value outside 0..1.

    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    values = float_array("p_values", p_values, "U", finite=False)
    is_tested = ~np.isnan(values)
    tested = values[is_tested]
    if ((tested < 0) | (tested > 1)).any():
        raise DataError("p-values must lie between 0 and 1")
    order = np.argsort(tested, kind="stable")
    stepped = np.maximum.accumulate(tested[order] * np.arange(tested.size, 0, -1))
    adjusted = np.empty_like(tested)
    adjusted[order] = np.minimum(stepped, 1.0)
    result = np.full_like(values, np.nan)
    result[is_tested] = adjusted
    return result


_CLUSTER_NAMES = ("first_successes", "first_trials", "second_successes", "second_trials")


def _table(counts: list[int]) -> list[int]:
    array = np.asarray(counts)
    if array.shape != (4,) or not np.issubdtype(array.dtype, np.number):
        raise DataError(f"a comparison needs four single counts; got {counts!r}")
    if not (np.isfinite(array) & (array >= 0) & (array == np.floor(array))).all():
        raise DataError(f"counts must be whole numbers of at least 0; got {counts!r}")
    return [int(count) for count in counts]


def _ratio(first: float, second: float) -> float:
    if second > 0:
        return first / second
    return math.inf if first > 0 else math.nan


def _log_choose(n: npt.ArrayLike, k: npt.ArrayLike) -> FloatArray:
    n, k = np.asarray(n, dtype=np.float64), np.asarray(k, dtype=np.float64)
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


def _stderr_of_mean(values_U: FloatArray) -> float:
    """nan for one unit, and where all agree up to rounding: their spread is then not known to be 0."""
    if values_U.size < 2:
        return math.nan
    stderr = float(values_U.std(ddof=1) / math.sqrt(values_U.size))
    return stderr if stderr > 1e-12 * max(1.0, float(np.abs(values_U).max())) else math.nan


def _tango_interval(only_first: int, only_second: int, n: int, level: float) -> tuple[float, float]:
    z = -float(ndtri((1 - level) / 2))
    difference = (only_first - only_second) / n

    def score(delta: float) -> float:
        # The share of only-second items is at its maximum-likelihood value given the difference ``delta``.
        linear = -only_first - only_second + (2 * n - only_first + only_second) * delta
        root = math.sqrt(max(linear**2 + 8 * n * only_second * delta * (1 - delta), 0.0))
        # Citardauq's form where -linear and root would cancel.
        constant = -only_second * delta * (1 - delta)
        share = (root - linear) / (4 * n) if linear < 0 else (-2 * constant / (linear + root) if linear + root else 0.0)
        variance = n * (2 * share + delta * (1 - delta))
        gap = only_first - only_second - n * delta
        return gap / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, gap) if gap else 0.0

    return _root_or_end(score, z, -1.0, difference), _root_or_end(score, -z, 1.0, difference)


def _koopman_interval(k1: int, n1: int, k2: int, n2: int, level: float) -> tuple[float, float]:
    z = -float(ndtri((1 - level) / 2))
    if k1 == 0 and k2 == 0:
        return 0.0, math.inf

    def score(log_ratio: float) -> float:
        ratio = math.exp(log_ratio)
        linear = n1 * ratio + k1 + n2 + k2 * ratio
        root = math.sqrt(max(linear**2 - 4 * (n1 + n2) * ratio * (k1 + k2), 0.0))
        second = 2 * (k1 + k2) / (linear + root)
        first = min(ratio * second, 1.0)
        variance = first * (1 - first) / n1 + ratio**2 * second * (1 - second) / n2
        gap = k1 / n1 - ratio * k2 / n2
        return gap / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, gap) if gap else 0.0

    # Below and above these the score is beyond any z: the rates are at least 1 / (10^6 n) apart from 0.
    reach = math.log(1e6 * n1 * n2)
    centre = math.log(k1 * n2 / (n1 * k2)) if k1 and k2 else reach if k1 else -reach
    low = math.exp(_root_or_end(score, z, -reach, centre)) if k1 else 0.0
    high = math.exp(_root_or_end(score, -z, reach, centre)) if k2 else math.inf
    return low, high


def _root_or_end(score: Callable[[float], float], target: float, end: float, centre: float) -> float:
    """Where the falling ``score`` equals ``target`` between ``centre`` (score 0) and ``end``, else ``end``."""
    if end == centre or (score(end) - target) * (score(centre) - target) > 0:
        return end
    limited = lambda x: max(min(score(x), 1e6), -1e6) - target  # noqa: E731
    return float(brentq(limited, min(end, centre), max(end, centre), xtol=1e-13, rtol=1e-12))
