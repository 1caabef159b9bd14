"""Intervals that the claims of several questions need; each names what its interval is over."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from overopt.measure.intervals import DRAWS, LEVEL, curve_intervals
from overopt.stats.estimate import FloatArray
from overopt.stats.resampling import bootstrap_means, interval_over_units
from overopt.stats.trends import log_trend

Interval = tuple[float | None, float | None]
UNKNOWN: Interval = (None, None)


def over_units(
    values: npt.ArrayLike, rng: np.random.Generator, *, level: float = LEVEL
) -> tuple[float | None, Interval]:
    """Mean of one value a unit (prompt, seed) and its interval, unknown below four units; nan units are left out."""
    found = np.asarray(values, dtype=np.float64)
    found = found[np.isfinite(found)]
    if not found.size:
        return None, UNKNOWN
    mean = found.mean(keepdims=True)
    if found.size < 2:
        return float(mean[0]), UNKNOWN
    low, high = interval_over_units(mean, bootstrap_means(found[:, None], DRAWS, rng), level, found.size)
    return float(mean[0]), (known(low[0]), known(high[0]))


def slope_over_sizes(
    parameters: Sequence[float], values: Sequence[float], *, level: float = LEVEL
) -> tuple[float | None, Interval]:
    """Change of a coefficient for ten times the parameters, by Student's t over the scatter of sizes about the line."""
    from scipy.special import stdtrit

    found = log_trend(parameters, values)
    if not math.isfinite(found.slope):
        return None, UNKNOWN
    if not math.isfinite(found.slope_stderr):
        return found.slope, UNKNOWN
    half = float(stdtrit(found.points - 2, (1 + level) / 2)) * found.slope_stderr
    return found.slope, (found.slope - half, found.slope + half)


def crossed(values_SP: FloatArray, rng: np.random.Generator) -> tuple[float | None, Interval]:
    """Mean over seeds and prompts, both resampled, prompts together for all seeds; with one seed by prompts alone."""
    if not np.isfinite(values_SP).all():
        return None, UNKNOWN
    curve = curve_intervals(values_SP[:, :, None], rng)
    return float(curve.mean[0]), (known(float(curve.low[0])), known(float(curve.high[0])))


def known(value: float | None) -> float | None:
    """``None`` for a number that is not finite.

    >>> known(float("nan")), known(np.float64(2.0))
    (None, 2.0)
    """
    return None if value is None or not math.isfinite(value) else float(value)


def ends(ci: Sequence[float | None]) -> Interval:
    """An interval of which both ends are known, or none.

    >>> ends([0.0, 1.0]), ends([0.0, None])
    ((0.0, 1.0), (None, None))
    """
    low, high = map(known, ci)
    return (low, high) if low is not None and high is not None else UNKNOWN
