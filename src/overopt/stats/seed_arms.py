"""Did training multiply a rate, and more in one arm than in the other? Seeds count, and logarithms are compared.

Axis: S seeds. A rate of one seed may be exact; how seeds differ is what an interval must know. A factor is
after / before of one seed.
"""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from overopt.errors import DataError
from overopt.stats.checks import check_level, check_same_shape, float_array
from overopt.stats.estimate import FloatArray

MOST_DIVIDED = 20
"""Seeds of both arms that are divided in all ways there are: 184,756 at most."""
DIVISIONS = 20_000
"""Of more seeds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedFactor:
    """By how much a rate was multiplied, over seeds."""

    value: float
    """Geometric mean of the factors."""
    low: float
    """``nan`` with one seed."""
    high: float
    seeds: int
    level: float
    method: str = "t interval of log factors over seeds"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmDifference:
    """Factors of two arms, compared."""

    ratio: float
    """Geometric mean of the first arm's factors over that of the second's."""
    low: float
    high: float
    welch_p: float
    """Two-sided; Welch's t of log factors."""
    permutation_p: float
    """Two-sided, over all ways to divide the seeds in arms of these sizes: with 5 and 5 it cannot be below 2/252. With
    more than 20 seeds in all, over 20,000 random divisions, the observed one among them."""
    first_seeds: int
    second_seeds: int
    level: float


def seed_factor(before: npt.ArrayLike, after: npt.ArrayLike, *, level: float = 0.95) -> SeedFactor:
    """By how much the rate was multiplied between two measurements of the same seeds, (S,) each, all above 0.

    Raises
    ------
    ShapeError, DataError, ConfigError

    >>> found = seed_factor([0.01, 0.02], [0.04, 0.18])
    >>> round(found.value, 3)
    6.0
    """
    check_level(level)
    log_S = log_factors(before, after)
    mean, half = float(log_S.mean()), math.nan
    if log_S.size > 1:
        t = -float(stdtrit(log_S.size - 1, (1 - level) / 2))
        half = t * float(log_S.std(ddof=1)) / math.sqrt(log_S.size)
    return SeedFactor(
        value=math.exp(mean), low=math.exp(mean - half), high=math.exp(mean + half), seeds=log_S.size, level=level
    )


def log_factors(before: npt.ArrayLike, after: npt.ArrayLike) -> FloatArray:
    """(S,) logarithms of after / before.

    Raises
    ------
    ShapeError, DataError
        Unless both are of one shape (S,) and above 0: a count of 0 has no factor, an exact rate has.
    """
    before_S, after_S = float_array("before", before, "S"), float_array("after", after, "S")
    check_same_shape("before", before_S, "after", after_S)
    if before_S.size == 0 or (before_S <= 0).any() or (after_S <= 0).any():
        raise DataError("factors need rates above 0, of one seed at least; measure rates exactly where counts are 0")
    return np.log(after_S / before_S)


def arm_difference(first: npt.ArrayLike, second: npt.ArrayLike, *, level: float = 0.95) -> ArmDifference:
    """Compare log factors (S,) of two arms; seeds of the arms are not paired.

    Raises
    ------
    ShapeError, DataError, ConfigError
        Fewer than two seeds in an arm.

    >>> found = arm_difference(np.log([8, 9, 10]), np.log([1.1, 1.0, 0.9]))
    >>> round(found.ratio, 1), round(found.permutation_p, 2)
    (9.0, 0.1)
    """
    check_level(level)
    first_S, second_S = float_array("first", first, "S"), float_array("second", second, "S")
    m, n = first_S.size, second_S.size
    if min(m, n) < 2:
        raise DataError(f"two arms of 2 seeds at least are compared; got {m} and {n}")
    difference = float(first_S.mean() - second_S.mean())
    parts = np.array([first_S.var(ddof=1) / m, second_S.var(ddof=1) / n])
    variance = float(parts.sum())
    welch, half = math.nan, math.nan
    if variance > 0:
        freedom = variance**2 / float((parts**2 / np.array([m - 1, n - 1])).sum())
        welch = 2 * float(stdtr(freedom, -abs(difference) / math.sqrt(variance)))
        half = -float(stdtrit(freedom, (1 - level) / 2)) * math.sqrt(variance)
    return ArmDifference(
        ratio=math.exp(difference),
        low=math.exp(difference - half),
        high=math.exp(difference + half),
        welch_p=welch,
        permutation_p=_permutation_p(first_S, second_S),
        first_seeds=m,
        second_seeds=n,
        level=level,
    )


def _permutation_p(first_S: FloatArray, second_S: FloatArray) -> float:
    """Share of divisions whose difference of means is as large as the observed one, which is among them."""
    together = np.concatenate([first_S, second_S])
    m, n = first_S.size, second_S.size
    if m + n <= MOST_DIVIDED:
        sums = np.array([sum(rows) for rows in combinations(together.tolist(), m)])
    else:
        # Always the same ones: a p value is no place for chance of its own.
        order = np.random.default_rng(0).permuted(np.tile(together, (DIVISIONS - 1, 1)), axis=1)
        sums = np.append(order[:, :m].sum(axis=1), first_S.sum())
    differences = np.abs(sums / m - (together.sum() - sums) / n)
    observed = abs(float(first_S.mean() - second_S.mean()))
    return float((differences >= observed * (1 - 1e-12) - 1e-15).mean())
