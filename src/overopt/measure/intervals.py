"""Mean curves with bootstrap intervals over prompts and seeds, and the drop of gold from its peak."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from overopt.stats.estimate import FloatArray
from overopt.stats.resampling import bootstrap_means_over_seeds, interval_over_units
from overopt.stats.turn import gold_drop

LEVEL = 0.95
DRAWS = 2_000
_MIN_DRAWS = 400
_MAX_COUNTS = 100_000_000


@dataclass(frozen=True, slots=True)
class Curve:
    """A mean curve (K,), its standard error and interval (nan where unknown), and the draws (D, K) behind them."""

    mean: FloatArray
    se: FloatArray
    low: FloatArray
    high: FloatArray
    draws: FloatArray


def curve_intervals(values_SPK: FloatArray, rng: np.random.Generator) -> Curve:
    """Intervals of the mean over seeds and prompts; both are resampled, prompts together for all seeds.

    They are widened for few prompts and unknown below four of them. With two seeds the part that is due to training
    seeds is a rough guess, and too small by half of its variance on average.
    """
    mean = values_SPK.mean(axis=(0, 1))
    draws = bootstrap_means_over_seeds(values_SPK, DRAWS, rng)
    low, high = interval_over_units(mean, draws, LEVEL, values_SPK.shape[1])
    n_prompts = values_SPK.shape[1]
    # The bootstrap divides by P where a variance asks for P - 1.
    scale = math.sqrt(n_prompts / (n_prompts - 1)) if n_prompts > 1 else math.nan
    return Curve(mean=mean, se=scale * draws.std(axis=0, ddof=1), low=low, high=high, draws=draws)


def draws_for(n_units: int) -> int:
    """Bootstrap draws that take seconds: 2,000, fewer from fifty thousand units on, never below 400.

    >>> draws_for(64), draws_for(200_000), draws_for(10_000_000)
    (2000, 500, 400)
    """
    return int(np.clip(_MAX_COUNTS // max(1, n_units), _MIN_DRAWS, DRAWS))


def drop_record(gold_PK: FloatArray, points: Sequence[int], rng: np.random.Generator) -> dict[str, Any]:
    """Where gold peaks (n or step), how far it fell from there by the last point, and whether that is chance."""
    drop = gold_drop(gold_PK, level=LEVEL, rng=rng)
    return {"peak": points[drop.peak_index], "drop": drop.drop, "ci": list(drop.ci), "verdict": drop.verdict}
