"""Claims on numbers of the same seeds in two places or two arms, and on trends along a setting.

Axes: S seeds, K settings.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from overopt.records.answers import Claim, Outcome, Published
from overopt.stats.estimate import FloatArray
from overopt.stats.linear import solve_columns
from overopt.studies.claims import Interval
from overopt.studies.denison2024.words import mean_interval, seeds_words

POINTS = (-100.0, 100.0)
"""No two shares differ by more, which Student's t does not know."""
UNBOUNDED = (-math.inf, math.inf)
"""Of a slope in points, which can be steeper than any two shares are apart."""
ROUNDING = 1e-12
"""Of sums of probabilities."""


def difference_claim(
    name: str,
    what: str,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    sentences: Mapping[Outcome, str],
    unit: str = "points",
    scale: float = 100.0,
    digits: int = 1,
    margin: float | None = None,
    published: Published | None = None,
    missing: str = "a number of some seed is not known",
) -> Claim:
    """Mean over seeds of ``scale`` (first - second), (S,) each with the same seeds; held against 0.

    A difference that is not finite makes the claim unknown, and ``missing`` says why.
    """
    with np.errstate(invalid="ignore"):
        differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    return mean_claim(
        name, what, differences, sentences=sentences, unit=unit, scale=scale, digits=digits, margin=margin,
        published=published, missing=missing,
    )  # fmt: skip


def mean_claim(
    name: str,
    what: str,
    values: npt.ArrayLike,
    *,
    sentences: Mapping[Outcome, str],
    unit: str = "points",
    scale: float = 100.0,
    digits: int = 1,
    reference: float = 0.0,
    margin: float | None = None,
    within: tuple[float, float] | None = None,
    published: Published | None = None,
    missing: str = "a number of some seed is not known",
) -> Claim:
    """Mean over seeds of ``scale`` times values (S,), held against ``reference``, by Student's t.

    ``within`` are the ends of what the value can be, beyond which no interval goes; unless given, those of points
    are the most by which two shares can differ.
    """
    within = POINTS if within is None and unit == "points" else within
    found = np.asarray(values, dtype=np.float64)
    # What is no more than rounding must not decide on which side of the reference a claim lies.
    found = np.where(np.abs(found) < ROUNDING, 0.0, found)
    value, ci = _mean(scale * found, within)
    return Claim(
        id=name, what=what, value=value, ci=ci, counted=seeds_words(len(found)), sentences=sentences, unit=unit,
        digits=digits, reference=reference, margin=margin, published=published,
        note=missing if value is None else "one seed has no interval" if ci[0] is None else "",
    )  # fmt: skip


def slopes(settings: Sequence[float], values_KS: FloatArray) -> FloatArray:
    """(S,) change of a seed's values for a setting larger by 1, by least squares over K settings.

    ``nan`` below two settings, and where a value is not finite.

    >>> slopes([0.0, 0.5, 1.0], np.array([[1.0], [2.0], [3.0]])).round(6).tolist()
    [2.0]
    """
    at_K = np.asarray(settings, dtype=np.float64)
    values_SK = np.asarray(values_KS, dtype=np.float64).T
    if np.unique(at_K).size < 2 or not np.isfinite(values_SK).all():
        return np.full(len(values_SK), np.nan)
    columns = np.stack([np.ones_like(at_K), at_K], axis=1)
    # From the first value on, so that what does not move has a slope of 0 to the last digit.
    return solve_columns(columns, values_SK - values_SK[:, :1], np.ones_like(at_K))[:, 1]


def cell(
    name: str, values: npt.ArrayLike, *, scale: float = 1.0, within: tuple[float, float] | None = None
) -> dict[str, object]:
    """Mean of ``scale`` times values (S,) and its interval as a table's column; nothing if not all are known."""
    value, ci = _mean(scale * np.asarray(values, dtype=np.float64), within)
    return {name: value, f"{name}_ci": list(ci)}


def _mean(values: FloatArray, within: tuple[float, float] | None) -> tuple[float | None, Interval]:
    value, (low, high) = mean_interval(values)
    if within is None or low is None or high is None:
        return value, (low, high)
    return value, (max(low, within[0]), min(high, within[1]))
