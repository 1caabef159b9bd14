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
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    if not known.size:
        return None, UNKNOWN
    mean = known.mean(keepdims=True)
    if known.size < 2:
        return float(mean[0]), UNKNOWN
    low, high = interval_over_units(mean, bootstrap_means(known[:, None], DRAWS, rng), level, known.size)
    return float(mean[0]), (_known(low[0]), _known(high[0]))


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
    return float(curve.mean[0]), (_known(float(curve.low[0])), _known(float(curve.high[0])))


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
