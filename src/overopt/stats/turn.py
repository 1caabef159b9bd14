"""Has gold turned? Differences between the points of a curve, paired over its units, with bootstrap intervals.

Axes: U units (prompts or seeds), K points of a curve in order of optimisation.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from overopt.errors import ConfigError, DataError
from overopt.stats.checks import check_draws, check_level, float_array
from overopt.stats.estimate import FloatArray
from overopt.stats.resampling import bootstrap_means, percentile_interval

Verdict = Literal["overoptimized", "not_overoptimized", "undetermined"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """How far gold has fallen from its peak at the last point."""

    peak_index: int
    """Where the mean over all units is largest, the first one if several are."""
    drop: float
    """Cross-fitted, so not the difference of the means at ``peak_index`` and the last point; ``nan`` if unknown."""
    ci: tuple[float, float]
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Mean paired difference between two points of a curve."""

    value: float
    ci: tuple[float, float]
    n_units: int


def gold_drop(gold_by_unit: npt.ArrayLike, *, level: float = 0.95, rng: np.random.Generator, draws: int = 2000) -> Drop:
    """Gold at its best point minus gold at the last one, and whether the fall is more than chance.

    Parameters
    ----------
    gold_by_unit : (U, K) float64
        Gold of each independent unit at each point; the last column is the strongest optimisation.
    level : float
        Of the percentile interval.
    rng : numpy.random.Generator
        Splits the units and draws the bootstrap.
    draws : int
        Bootstrap draws.

    Returns
    -------
    Drop
        ``overoptimized`` if the interval lies above 0; ``not_overoptimized`` if it lies at or below 0, which includes
        a peak at the last point in both halves (drop 0); else ``undetermined``. Also ``undetermined``: a single
        point, and fewer units than could reach the level even if all agreed, 2^-U > (1 - level) / 2, which is five
        units at 0.95.

    Notes
    -----
    The best of K noisy means is too high on average even if gold is flat (the winner's curse), so the drop from the
    observed peak is biased upwards. Here one random half of the units chooses the peak and the other half measures
    the drop from it, both ways round, and the drop is the mean over all units. The bootstrap resamples units and
    keeps the two chosen points: what is tested is the fall from these points.
    """
    check_level(level)
    check_draws(draws)
    gold_UK = float_array("gold_by_unit", gold_by_unit, "UK")
    n_units, n_points = gold_UK.shape
    if n_units == 0 or n_points == 0:
        raise DataError(f"a drop needs at least one unit and one point; got the shape {gold_UK.shape}")
    peak_index = int(np.argmax(gold_UK.mean(axis=0)))
    if n_units < 2 or n_points < 2:
        return Drop(peak_index=peak_index, drop=math.nan, ci=(math.nan, math.nan), verdict="undetermined")

    halves = np.array_split(rng.permutation(n_units), 2)
    drop_U = np.empty(n_units)
    for choosing, measuring in (halves, halves[::-1]):
        chosen = int(np.argmax(gold_UK[choosing].mean(axis=0)))
        drop_U[measuring] = gold_UK[measuring, chosen] - gold_UK[measuring, -1]
    low, high = _mean_interval(drop_U, draws, rng, level)
    verdict: Verdict = "undetermined"
    if 0.5**n_units <= (1 - level) / 2:
        verdict = "overoptimized" if low > 0 else "not_overoptimized" if high <= 0 else "undetermined"
    return Drop(peak_index=peak_index, drop=float(drop_U.mean()), ci=(low, high), verdict=verdict)


def change(
    values_by_unit: npt.ArrayLike,
    i: int,
    j: int,
    *,
    level: float = 0.95,
    rng: np.random.Generator,
    draws: int = 2000,
) -> Change:
    """Mean over units of column ``j`` minus column ``i`` of (U, K) values, with its interval.

    The two columns must be chosen without looking at these values, or the winner's curse that ``gold_drop`` avoids
    comes back. With one unit the interval is ``nan``.
    """
    check_level(level)
    values_UK = float_array("values_by_unit", values_by_unit, "UK")
    n_units, n_points = values_UK.shape
    if n_units == 0 or not (-n_points <= i < n_points and -n_points <= j < n_points):
        raise ConfigError(f"no columns {i} and {j} in values of the shape {values_UK.shape}")
    difference_U = values_UK[:, j] - values_UK[:, i]
    ci = _mean_interval(difference_U, draws, rng, level) if n_units > 1 else (math.nan, math.nan)
    return Change(value=float(difference_U.mean()), ci=ci, n_units=n_units)


def _mean_interval(values_U: FloatArray, draws: int, rng: np.random.Generator, level: float) -> tuple[float, float]:
    low, high = percentile_interval(bootstrap_means(values_U[:, None], draws, rng)[:, 0], level)
    return float(low), float(high)
