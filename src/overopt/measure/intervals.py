"""Mean curves with bootstrap intervals over prompts and seeds, and the drop of gold from its peak."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from overopt.stats.estimate import FloatArray
from overopt.stats.resampling import bootstrap_means_over_seeds, percentile_interval
from overopt.stats.turn import gold_drop

LEVEL = 0.95
DRAWS = 2_000
_MIN_DRAWS = 400
_MAX_COUNTS = 100_000_000


@dataclass(frozen=True, slots=True)
class Curve:
    """A mean curve (K,), its bootstrap standard error and interval, and the draws (D, K) they come from."""

    mean: FloatArray
    se: FloatArray
    low: FloatArray
    high: FloatArray
    draws: FloatArray


def curve_intervals(values_SPK: FloatArray, rng: np.random.Generator) -> Curve:
    """Intervals of the mean over seeds and prompts; both are resampled, prompts together for all seeds.

    With two seeds the part of the interval that is due to training seeds is a rough guess.
    """
    draws = bootstrap_means_over_seeds(values_SPK, DRAWS, rng)
    low, high = percentile_interval(draws, LEVEL)
    return Curve(mean=values_SPK.mean(axis=(0, 1)), se=draws.std(axis=0, ddof=1), low=low, high=high, draws=draws)


def draws_for(n_units: int) -> int:
    """Bootstrap draws that take seconds: 2,000, fewer from fifty thousand units on, never below 400.

    >>> draws_for(64), draws_for(200_000), draws_for(10_000_000)
    (2000, 500, 400)
    """
    return int(np.clip(_MAX_COUNTS // max(1, n_units), _MIN_DRAWS, DRAWS))


def drop_record(gold_PK: FloatArray, points: Sequence[int], rng: np.random.Generator) -> dict[str, Any]:
    """Where gold peaks (n or step), how far it fell from there by the last point, and whether that is chance."""
    drop = gold_drop(gold_PK, level=LEVEL, rng=rng, draws=DRAWS)
    return {"peak": points[drop.peak_index], "drop": drop.drop, "ci": list(drop.ci), "verdict": drop.verdict}
