"""What became of one run: has gold fallen while the proxy held, have both fallen, or is gold still rising?

For a single logged run, K points in the order of optimisation, with no units to resample. Several seeds or prompts
answer the question better: ``turn.gold_drop``. The noise of the points is taken as independent; evaluations on the
same prompts share their prompts' luck, which cancels in a drop, but a slow drift of the evaluator is read as gold.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import chdtri, log_ndtr

from overopt.errors import DataError
from overopt.stats.checks import check_level, check_same_shape, float_array
from overopt.stats.estimate import FloatArray

RunVerdict = Literal["overoptimized", "collapsed", "improving", "undetermined"]

MIN_POINTS = 4
"""Points that a verdict needs: two second differences to see noise in."""

_ROUNDING = 64 * float(np.finfo(np.float64).eps)
# Quartiles of |z| of a standard normal, and the variance of a second difference of white noise.
_MEDIAN_NORMAL, _UPPER_QUARTILE_NORMAL = 0.6744897501960817, 1.1503493803760079
_SECOND_DIFFERENCE_VARIANCE = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What one run shows."""

    verdict: RunVerdict
    points: int
    peak_index: int
    """Of the largest gold, the first one if several are."""
    gold_peak: float
    gold_final: float
    proxy_at_peak: float
    proxy_final: float
    drop: float
    """gold_peak - gold_final, at least 0."""
    threshold: float
    """What ``drop`` must exceed, in gold units; ``nan`` with too few points."""
    noise_sd: float
    """Of one gold point: root mean square of ``gold_se``, or read from the curve's roughness."""
    proxy_threshold: float
    """The same threshold for the proxy, in its units."""
    rule: str
    """How the threshold came about, as a sentence for the reader."""


def diagnose_run(
    proxy: npt.ArrayLike,
    gold: npt.ArrayLike,
    *,
    gold_se: npt.ArrayLike | None = None,
    proxy_se: npt.ArrayLike | None = None,
    level: float = 0.95,
) -> Diagnosis:
    """Verdict on one run from its curves.

    Parameters
    ----------
    proxy, gold : (K,) float64
        Scores in the order of optimisation, evenly spaced in it as far as possible; finite.
    gold_se, proxy_se : (K,) float64, optional
        Standard error of each point. Without them the noise is estimated from the curve.
    level : float
        1 - level of flat runs with this noise would exceed the threshold.

    Returns
    -------
    Diagnosis
        ``overoptimized``: gold has dropped from its peak by more than the threshold and the proxy has not fallen
        since by more than its own; ``collapsed``: both have; ``improving``: gold ends above its start by more than the
        threshold and has not dropped; else ``undetermined``, always with fewer than four points. A drop must exceed
        the threshold also without any one point, so that a single odd evaluation decides nothing.

    Raises
    ------
    ShapeError
        If the arrays differ in shape.
    DataError
        If there is no point, a value is not finite, or a standard error is negative.

    Notes
    -----
    The best of K noisy points lies above a flat gold, so the threshold t grows with K: it solves
    P(max_i e_i - e_K > t) = 1 - level for independent normal errors e_i. Noise is estimated from second differences:
    the largest of what their median, their upper quartile and half their root mean square say. One jump or outlier
    moves none of the three far, and scores rounded to a grid, half of whose differences are 0, still have noise. The
    estimate's own error is allowed for by a Student-like threshold with degrees of freedom
    calibrated on white noise. A curved gold with few points looks noisy: give ``gold_se`` if it is known.

    >>> found = diagnose_run(np.arange(9), [0, 2, 3.2, 3.9, 4, 3.7, 2.9, 1.8, 0.4])
    >>> found.verdict, found.peak_index, round(found.drop, 1)
    ('overoptimized', 4, 3.6)
    """
    check_level(level)
    proxy_K, gold_K = float_array("proxy", proxy, "K"), float_array("gold", gold, "K")
    check_same_shape("proxy", proxy_K, "gold", gold_K)
    gold_se_K = _standard_errors("gold_se", gold_se, gold_K)
    proxy_se_K = _standard_errors("proxy_se", proxy_se, proxy_K)
    points = gold_K.size
    if points == 0:
        raise DataError("a diagnosis needs at least one point")
    peak_index = int(np.argmax(gold_K))
    drop = _rounded_off(float(gold_K[peak_index] - gold_K[-1]), gold_K)
    proxy_fall = _rounded_off(float(proxy_K[peak_index] - proxy_K[-1]), proxy_K)
    threshold, noise_sd, proxy_threshold = math.nan, math.nan, math.nan
    verdict: RunVerdict = "undetermined"
    rule = f"no threshold: {points} points are fewer than the {MIN_POINTS} that a verdict needs"
    if points >= MIN_POINTS:
        threshold, noise_sd = _threshold(gold_K, gold_se_K, level)
        proxy_threshold, _ = _threshold(proxy_K, proxy_se_K, level)
        source = "its standard errors" if gold_se_K is not None else "noise estimated from the curve"
        rule = (
            f"drop > {threshold:.3g}, also without any one point: what a flat gold with noise {noise_sd:.2g} "
            f"({source}) exceeds in at most {100 * (1 - level):.3g} % of runs of {points} points"
        )
        if drop > threshold:
            if _rounded_off(_drop_without_any_one_point(gold_K), gold_K) > threshold:
                verdict = "collapsed" if proxy_fall > proxy_threshold else "overoptimized"
        elif _rounded_off(float(gold_K[-1] - gold_K[0]), gold_K) > threshold:
            verdict = "improving"
    return Diagnosis(
        verdict=verdict,
        points=points,
        peak_index=peak_index,
        gold_peak=float(gold_K[peak_index]),
        gold_final=float(gold_K[-1]),
        proxy_at_peak=float(proxy_K[peak_index]),
        proxy_final=float(proxy_K[-1]),
        drop=drop,
        threshold=threshold,
        noise_sd=noise_sd,
        proxy_threshold=proxy_threshold,
        rule=rule,
    )


def noise_from_curve(values: npt.ArrayLike) -> float:
    """Standard deviation of the noise of a curve's points, (K,) with K >= 3, from its second differences.

    A straight line has none; a bend that few points resolve counts as noise.

    >>> noise_from_curve([0.0, 1.0, 2.0, 3.0])
    0.0
    """
    values_K = float_array("values", values, "K")
    if values_K.size < 3:
        raise DataError(f"noise is read from second differences, of at least 3 points; got {values_K.size}")
    second = np.abs(np.diff(values_K, n=2)) / math.sqrt(_SECOND_DIFFERENCE_VARIANCE)
    median, upper_quartile = np.quantile(second, [0.5, 0.75])
    return max(
        float(median) / _MEDIAN_NORMAL,
        float(upper_quartile) / _UPPER_QUARTILE_NORMAL,
        math.sqrt(float((second**2).mean())) / 2,
    )


def flat_drop_threshold(noise_sd: npt.ArrayLike, level: float, degrees_of_freedom: float = math.inf) -> float:
    """t with P(max_i e_i - e_K > t) = 1 - level, for independent normal errors of the sds ``noise_sd``, shape (K,).

    With finite ``degrees_of_freedom`` the errors share a scale known that badly, and t is Student-like. 0 when even a
    t of 0 is exceeded less often, or all sds are 0.

    >>> round(flat_drop_threshold([1.0, 1.0], 0.95), 4)  # one difference: sqrt(2) times 1.6449
    2.3262
    """
    check_level(level)
    sd_K = float_array("noise_sd", noise_sd, "K")
    largest = float(sd_K.max(initial=0.0))
    if sd_K.size < 2 or largest == 0:
        return 0.0
    sd_K = sd_K / largest
    sd_last, others = float(sd_K[-1]), np.unique(sd_K[:-1], return_counts=True)
    # The rest are errors of 0, which exceed the last one plus t when that sum is negative.
    noisy, counts = others[0][others[0] > 0], others[1][others[0] > 0]
    has_exact = bool((others[0] == 0).any())
    nodes, weights = np.polynomial.legendre.leggauss(200)

    def exceeded(t: float) -> float:
        # The last error in units of its sd. Errors of 0 exceed it where it lies below -t, and there is a jump.
        start = max(-9.0, -t / sd_last) if has_exact and sd_last > 0 else -9.0
        half = (9.0 - start) / 2
        x = start + half * (1 + nodes)
        log_below = (counts * log_ndtr((sd_last * x + t)[:, None] / noisy)).sum(axis=1)
        return 1 - float((half * weights * np.exp(log_below - x**2 / 2)).sum() / math.sqrt(2 * math.pi))

    if math.isinf(degrees_of_freedom):
        return largest * _root(exceeded, 1 - level)
    t_grid = np.concatenate(([0.0], np.geomspace(1e-3, 60.0, 240)))
    exceeded_grid = np.array([exceeded(float(t)) for t in t_grid])
    share = (np.arange(400) + 0.5) / 400
    scale = np.sqrt(chdtri(degrees_of_freedom, share) / degrees_of_freedom)
    return largest * _root(lambda t: float(np.interp(t * scale, t_grid, exceeded_grid, right=0.0).mean()), 1 - level)


def _root(exceeded: Callable[[float], float], share: float) -> float:
    if exceeded(0.0) <= share:
        return 0.0
    high = 4.0
    while exceeded(high) > share:
        high *= 2
    return float(brentq(lambda t: exceeded(t) - share, 0.0, high, xtol=1e-10))


def _threshold(values_K: FloatArray, se_K: FloatArray | None, level: float) -> tuple[float, float]:
    """Threshold of a drop and sd of the noise."""
    if se_K is not None:
        threshold, noise_sd = flat_drop_threshold(se_K, level), math.sqrt(float((se_K**2).mean()))
    else:
        noise_sd = noise_from_curve(values_K)
        threshold = noise_sd * _unit_threshold(values_K.size, level)
    return _rounded_off(threshold, values_K), _rounded_off(noise_sd, values_K)


def _rounded_off(difference: float, values_K: FloatArray) -> float:
    """0 for a difference of the values that is no more than rounding."""
    return difference if abs(difference) > _ROUNDING * float(np.abs(values_K).max()) else 0.0


@lru_cache(maxsize=1024)
def _unit_threshold(points: int, level: float) -> float:
    """Threshold over the estimated noise; depends on the number of points alone."""
    return flat_drop_threshold(np.ones(points), level, _degrees_of_freedom(points))


def _degrees_of_freedom(points: int) -> float:
    # Matches the 99 % point of drop / noise of white noise for 4..200 points (20,000 runs each); at 95 % it is safe.
    return 1.4 + 0.36 * points


def _drop_without_any_one_point(gold_K: FloatArray) -> float:
    """Smallest drop over the K ways to leave out one point: the peak or the last one."""
    before = gold_K[:-1]
    second_largest = float(np.partition(before, -2)[-2])
    return min(second_largest - float(gold_K[-1]), float(before[:-1].max() - gold_K[-2]))


def _standard_errors(name: str, values: npt.ArrayLike | None, like_K: FloatArray) -> FloatArray | None:
    if values is None:
        return None
    se_K = float_array(name, values, "K")
    check_same_shape(name, se_K, "gold", like_K)
    if (se_K < 0).any():
        raise DataError(f"{name} must not be negative; got {se_K.min():g}")
    return se_K
