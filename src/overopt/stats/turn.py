"""Has gold turned? Differences between the points of a curve, paired over its units, with intervals.

Axes: U units (prompts or seeds), K points of a curve in order of optimisation, M splits of the units.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from overopt.errors import ConfigError, DataError
from overopt.stats.checks import check_level, float_array
from overopt.stats.estimate import FloatArray
from overopt.stats.resampling import MIN_UNITS, bootstrap_means, interval_over_units

Verdict = Literal["overoptimized", "not_overoptimized", "undetermined"]

SPLITS = 1000
"""Of the units into halves: the drop then varies over the random splits by some two hundredths of its error."""
_MAX_GROUPS = 500
_MAX_CHOICES = 40_000_000
_MIN_SPLITS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """How far gold has fallen from its peak at the last point."""

    peak_index: int
    """Where the mean over all units is largest, the first one if several are."""
    drop: float
    """Cross-fitted, so not the difference of the means at ``peak_index`` and the last point; ``nan`` if unknown."""
    stderr: float
    """By the jackknife, at least that of the chosen points; ``nan`` with fewer than ``resampling.MIN_UNITS`` units."""
    ci: tuple[float, float]
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Mean paired difference between two points of a curve."""

    value: float
    ci: tuple[float, float]
    n_units: int


def gold_drop(gold_by_unit: npt.ArrayLike, *, level: float = 0.95, rng: np.random.Generator) -> Drop:
    """Gold at its best point minus gold at the last one, and whether the fall is more than chance.

    Parameters
    ----------
    gold_by_unit : (U, K) float64
        Gold of each independent unit at each point, units in any order; the last column is the strongest optimisation.
    level : float
        Of the interval.
    rng : numpy.random.Generator
        Splits the units.

    Returns
    -------
    Drop
        ``overoptimized`` if the interval lies above 0; ``not_overoptimized`` if it lies at or below 0, as where the
        last point is the peak in all halves (drop 0), and so does the upper end for each earlier point by itself; else
        ``undetermined``. Also ``undetermined``: a single point, and fewer units than could reach the level even if all
        agreed, 2^-U > (1 - level) / 2, which is five units at 0.95.

    Notes
    -----
    The best of K noisy means is too high on average even if gold is flat (the winner's curse), so the drop from the
    observed peak is biased upwards. Here one half of the units chooses the peak and the other half measures the drop
    from it, both ways round, and the drop is the mean over ``SPLITS`` random splits: one split alone would leave the
    verdict to its luck. Units are ordered by their values first, so that neither their names nor their order matter.

    The interval is Student's t with the jackknife's standard error. Leaving out a unit changes the drop it measures
    and the peaks it helps to choose; an interval that took the chosen points as given would be up to 1.4 times too
    narrow on flat gold, since the halves that choose and measure change places. Where the two changes cancel, by
    chance, the error for given points counts. Beyond five hundred units random
    groups are left out instead (Busing, Meijer & Van der Leeden 1999, delete-m jackknife for unequal m).
    """
    check_level(level)
    gold_UK = float_array("gold_by_unit", gold_by_unit, "UK")
    n_units, n_points = gold_UK.shape
    if n_units == 0 or n_points == 0:
        raise DataError(f"a drop needs at least one unit and one point; got the shape {gold_UK.shape}")
    peak_index = int(np.argmax(gold_UK.mean(axis=0)))
    unknown = (math.nan, math.nan)
    if n_units < 2 or n_points < 2:
        return Drop(peak_index=peak_index, drop=math.nan, stderr=math.nan, ci=unknown, verdict="undetermined")

    above_last = gold_UK - gold_UK[:, -1:]
    above_last = above_last[np.lexsort(above_last.T[::-1])]
    splits = _Splits.of(above_last, rng)
    drop = splits.drop()
    if n_units < MIN_UNITS:
        return Drop(peak_index=peak_index, drop=drop, stderr=math.nan, ci=unknown, verdict="undetermined")
    groups = np.array_split(rng.permutation(n_units), min(n_units, _MAX_GROUPS))
    left_out = np.array([splits.without(group).drop() for group in groups])
    ratio = n_units / np.array([group.size for group in groups])
    pseudo_values = ratio * drop - (ratio - 1) * left_out
    stderr = max(
        math.sqrt(float(np.mean((pseudo_values - pseudo_values.mean()) ** 2 / (ratio - 1)))),
        float(splits.measured_by_unit().std(ddof=1)) / math.sqrt(n_units),
    )
    reach = float(stdtrit(len(groups) - 1, (1 + level) / 2))
    low, high = drop - reach * stderr, drop + reach * stderr
    # The held-out drop of pure noise is negative more often than not, so that alone excludes no earlier peak.
    each_high = above_last.mean(axis=0) + reach * above_last.std(axis=0, ddof=1) / math.sqrt(n_units)
    verdict: Verdict = "undetermined"
    if 0.5**n_units <= (1 - level) / 2:
        is_excluded = high <= 0 and bool((each_high <= 0).all())
        verdict = "overoptimized" if low > 0 else "not_overoptimized" if is_excluded else "undetermined"
    return Drop(peak_index=peak_index, drop=drop, stderr=stderr, ci=(low, high), verdict=verdict)


def change(
    values_by_unit: npt.ArrayLike,
    i: int,
    j: int,
    *,
    level: float = 0.95,
    rng: np.random.Generator,
    draws: int = 2000,
) -> Change:
    """Mean over units of column ``j`` minus column ``i`` of (U, K) values, with its bootstrap interval.

    The two columns must be chosen without looking at these values, or the winner's curse that ``gold_drop`` avoids
    comes back. With fewer than ``resampling.MIN_UNITS`` units the interval is ``nan``.
    """
    check_level(level)
    values_UK = float_array("values_by_unit", values_by_unit, "UK")
    n_units, n_points = values_UK.shape
    if n_units == 0 or not (-n_points <= i < n_points and -n_points <= j < n_points):
        raise ConfigError(f"no columns {i} and {j} in values of the shape {values_UK.shape}")
    difference_U = values_UK[:, j] - values_UK[:, i]
    value = float(difference_U.mean())
    drawn = bootstrap_means(difference_U[:, None], draws, rng)[:, 0]
    low, high = interval_over_units(value, drawn, level, n_units)
    return Change(value=value, ci=(float(low), float(high)), n_units=n_units)


class _Splits(NamedTuple):
    """Many splits of the same units into two halves, as sums over each half."""

    above_last: FloatArray
    """(U, K) gold of each unit above its own at the last point."""
    is_first: FloatArray
    """(M, U) 1 where a unit lies in the first half."""
    first: FloatArray
    """(M, K) sums of ``above_last`` over the first half."""
    second: FloatArray
    n_units: int

    @classmethod
    def of(cls, above_last: FloatArray, rng: np.random.Generator) -> "_Splits":
        n_units, n_points = above_last.shape
        n_splits = int(np.clip(_MAX_CHOICES // (n_units * n_points), _MIN_SPLITS, SPLITS))
        one_split = np.arange(n_units) < n_units // 2
        is_first = rng.permuted(np.tile(one_split, (n_splits, 1)), axis=1).astype(np.float64)
        first = is_first @ above_last
        return cls(above_last, is_first, first, above_last.sum(axis=0) - first, n_units)

    def without(self, units: npt.NDArray[np.int64]) -> "_Splits":
        """The same splits of the other units."""
        first = self.is_first[:, units] @ self.above_last[units]
        second = self.above_last[units].sum(axis=0) - first
        return self._replace(
            first=self.first - first, second=self.second - second, n_units=self.n_units - len(units)
        )  # fmt: skip

    def measured_by_unit(self) -> FloatArray:
        """What each unit (U,) adds to the drop: its own, from the points that the halves without it chose."""
        n_splits, n_points = self.first.shape
        by_first, by_second = np.eye(n_points)[self.first.argmax(axis=1)], np.eye(n_points)[self.second.argmax(axis=1)]
        share = (by_first.sum(axis=0) - self.is_first.T @ (by_first - by_second)) / n_splits
        return np.asarray((share * self.above_last).sum(axis=1))

    def drop(self) -> float:
        """Mean over splits and units of the drop from the point that the other half chose."""
        every = np.arange(len(self.first))
        measured = self.second[every, self.first.argmax(axis=1)] + self.first[every, self.second.argmax(axis=1)]
        return float(measured.mean()) / self.n_units
