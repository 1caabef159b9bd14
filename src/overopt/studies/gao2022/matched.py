"""Curves of several runs held against each other at equal distance or equal score.

Axes: S seeds, P prompts, K distances or points, D draws.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from overopt.measure.intervals import LEVEL, Curve, curve_intervals
from overopt.stats.estimate import FloatArray
from overopt.stats.resampling import MIN_UNITS, interval_over_units
from overopt.studies.claims import UNKNOWN, Interval, known
from overopt.studies.study_tables import RunTable

Quantity = Literal["gold", "proxy", "gap"]
POINTS = 5
"""Distances at which two families of runs are compared."""
_MOST_MISSING = 0.01


def shared_distances(runs: Sequence[RunTable], points: int = POINTS) -> FloatArray:
    """``points`` equal steps over the distances that all runs have measured on both sides; none if one stays at 0.

    From the farthest of their first measurements to the nearest of their largest distances, which stands alone if it
    is the nearer one. Below a first measurement gold bends most and a straight line to the start would miss it.

    >>> shared_distances([])
    array([], dtype=float64)
    """
    reach = min((float(run.d_K.max()) for run in runs), default=0.0)
    if reach <= 0:
        return np.empty(0)
    first = max(float(run.d_K[run.d_K > 0][0]) for run in runs)
    # linspace ends on the reach to the last digit, or the run that ends there would not reach it.
    return np.linspace(first, reach, points) if first < reach else np.array([reach])


def gold_where(run: RunTable, d: float) -> FloatArray:
    """Gold (P,) where a run first reaches ``d``; below its first measurement by the law through the first two.

    From there on straight between measurements, and nan beyond the last one. The law d (alpha - beta ln d) makes gold
    over d a straight line in ln d.
    """
    later = np.flatnonzero(run.d_K > 0)
    if not later.size or d >= run.d_K[later[0]]:
        return run.gold_at(d)
    k = int(later[0])
    beyond = np.flatnonzero(run.d_K > run.d_K[k])
    if d <= 0 or not beyond.size:
        return run.gold_at(d)
    ends = [k, int(beyond[0])]
    return early_gold(run.d_K[ends][None], run.gold_PK[:, ends], np.array([d]))[:, 0]


def early_gold(d_D2: FloatArray, gold_D2: FloatArray, d_DK: FloatArray) -> FloatArray:
    """Gold (D, K) at distances ``d_DK`` > 0, broadcast, by the law d (alpha - beta ln d) through two points a row.

    >>> d = np.array([[1.0, 2.0]])
    >>> early_gold(d, d * (0.5 - 0.2 * np.log(d)), np.array([0.5])).round(6)
    array([[0.319315]])
    """
    log = np.log(d_D2)
    share_DK = (np.log(d_DK) - log[:, :1]) / (log[:, 1:] - log[:, :1])
    slopes = gold_D2 / d_D2
    return np.asarray(d_DK * ((1 - share_DK) * slopes[:, :1] + share_DK * slopes[:, 1:]))


_AT: Mapping[Quantity, Callable[[RunTable, float], FloatArray]] = {
    "gold": gold_where,
    "proxy": RunTable.proxy_at,
    "gap": lambda run, d: run.proxy_at(d) - gold_where(run, d),
}


def at_distances(runs: Sequence[RunTable], quantity: Quantity, d_K: FloatArray) -> FloatArray:
    """Gold, proxy or proxy less gold (S, P, K) where each run first reaches each distance."""
    return np.stack([np.stack([_AT[quantity](run, float(d)) for d in d_K], axis=1) for run in runs])


def curve_rows(
    runs: Sequence[RunTable], of: Quantity, d_K: FloatArray, rng: np.random.Generator, **labels: Any
) -> list[dict[str, Any]]:
    """Rows of a figure: the mean over runs and prompts at each distance with its interval, from 0 at distance 0."""
    rows: list[dict[str, Any]] = [{**labels, "d": 0.0, "value": 0.0, "low": None, "high": None}]
    if d_K.size:
        rows += point_rows(d_K, curve_intervals(at_distances(runs, of, d_K), rng), **labels)
    return rows


def point_rows(d_K: FloatArray, curve: Curve, **labels: Any) -> list[dict[str, Any]]:
    """Rows of a figure, one a point; ends that are unknown are ``None``."""
    return [
        {**labels, "d": float(d), "value": float(mean), "low": known(low), "high": known(high)}
        for d, mean, low, high in zip(d_K, curve.mean, curve.low, curve.high, strict=True)
    ]


def first_reach(along_DK: FloatArray, level: float | FloatArray, values_DK: FloatArray) -> FloatArray:
    """Values (D,) where ``along`` first reaches ``level``, straight between points; ``nan`` where it never does.

    >>> first_reach(np.array([[0.0, 2.0, 4.0]]), 3.0, np.array([[0.0, 1.0, 3.0]]))
    array([2.])
    """
    is_beyond = along_DK >= np.broadcast_to(level, len(along_DK))[:, None]
    k_D = is_beyond.argmax(axis=1)
    draws = np.arange(len(along_DK))
    before = np.maximum(k_D - 1, 0)
    low, high = along_DK[draws, before], along_DK[draws, k_D]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(k_D > 0, (level - low) / (high - low), 1.0)
    reached = values_DK[draws, before] + share * (values_DK[draws, k_D] - values_DK[draws, before])
    return np.asarray(np.where(is_beyond.any(axis=1), reached, np.nan))


def of_draws(value: float | None, draws_D: FloatArray, n_units: int, level: float = LEVEL) -> Interval:
    """Interval of an estimate from draws that resample ``n_units`` units; unknown where a draw in 100 has no value."""
    if value is None or not math.isfinite(value) or n_units < MIN_UNITS:
        return UNKNOWN
    is_known = ~np.isnan(draws_D)
    if is_known.mean() < 1 - _MOST_MISSING:
        return UNKNOWN
    low, high = interval_over_units(value, draws_D[is_known], level, n_units)
    # An estimate that is no mean can lie outside of its draws.
    return known(min(low, value)), known(max(high, value))


def wider(first: Interval, second: Interval) -> Interval:
    """The interval that holds both; of one that is unknown, the other.

    >>> wider((0.0, 1.0), (0.5, 2.0)), wider((None, None), (0.5, 2.0))
    ((0.0, 2.0), (0.5, 2.0))
    """
    lows = [end for end in (first[0], second[0]) if end is not None]
    highs = [end for end in (first[1], second[1]) if end is not None]
    return (min(lows, default=None), max(highs, default=None))
