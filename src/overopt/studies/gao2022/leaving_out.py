"""Intervals of numbers that are no means over prompts, by leaving prompts out and computing the number again."""

import math
from collections.abc import Callable

import numpy as np
from scipy.special import stdtrit

from overopt.measure.intervals import LEVEL
from overopt.stats.estimate import FloatArray
from overopt.stats.resampling import MIN_UNITS, IntArray
from overopt.studies.claims import UNKNOWN, Interval, known

GROUPS = 16
"""Left out one after another; a number is computed once more for each."""


def without_prompts(
    estimate: Callable[[IntArray], FloatArray],
    n_prompts: int,
    rng: np.random.Generator,
    *,
    groups: int = GROUPS,
    level: float = LEVEL,
) -> list[tuple[float | None, Interval]]:
    """Each number with its interval over prompts, by the jackknife; unknown below four prompts.

    Parameters
    ----------
    estimate : callable
        Rows of prompts → numbers (Q,), nan where unknown. Smooth in the prompts: means, ratios, shares, coefficients.
    n_prompts : int
    rng : numpy.random.Generator
        Deals prompts to groups where they are more than ``groups``.

    Notes
    -----
    Student's t with the standard error of the delete-a-group jackknife for groups of unequal size (Busing, Meijer and
    Van der Leeden 1999), groups less one being its degrees of freedom. The interval is symmetric about the number.
    """
    values = estimate(np.arange(n_prompts))
    if n_prompts < MIN_UNITS:
        return [(known(value), UNKNOWN) for value in values]
    dealt = np.array_split(rng.permutation(n_prompts), min(groups, n_prompts))
    left_GQ = np.stack([estimate(np.setdiff1d(np.arange(n_prompts), group)) for group in dealt])
    ratio_G1 = n_prompts / np.array([[group.size] for group in dealt])
    pseudo = ratio_G1 * values - (ratio_G1 - 1) * left_GQ
    error = np.sqrt(np.mean((pseudo - pseudo.mean(axis=0)) ** 2 / (ratio_G1 - 1), axis=0))
    half = float(stdtrit(len(dealt) - 1, (1 + level) / 2)) * error
    return [
        (known(value), (value - reach, value + reach) if math.isfinite(value) and math.isfinite(reach) else UNKNOWN)
        for value, reach in zip(values.tolist(), half.tolist(), strict=True)
    ]


def without_prompts_or_runs(
    estimate: Callable[[IntArray], FloatArray], n_prompts: int, rng: np.random.Generator, *, level: float = LEVEL
) -> list[tuple[float | None, Interval]]:
    """Means over runs (Q,) of ``estimate``, rows of prompts → (Q, R), with intervals over prompts and runs.

    The variances over prompts and over runs add up; both hold what is due to a run on a prompt, so the interval is
    rather too wide. With fewer than four runs it is over prompts alone. Runs without a number are left out.
    """
    values_QR = estimate(np.arange(n_prompts))
    keep = np.isfinite(values_QR)

    def means(rows: IntArray) -> FloatArray:
        found = estimate(rows)
        return np.array([one[kept].mean() if kept.any() else math.nan for one, kept in zip(found, keep, strict=True)])

    found = []
    for (value, (low, high)), one, kept in zip(
        without_prompts(means, n_prompts, rng, level=level), values_QR, keep, strict=True
    ):
        runs = int(kept.sum())
        if value is None or low is None or high is None or runs < MIN_UNITS:
            found.append((value, (low, high)))
            continue
        by_runs = float(stdtrit(runs - 1, (1 + level) / 2)) * float(one[kept].std(ddof=1)) / math.sqrt(runs)
        reach = math.hypot((high - low) / 2, by_runs)
        found.append((value, (value - reach, value + reach)))
    return found
