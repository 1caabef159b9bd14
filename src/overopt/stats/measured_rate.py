"""One record for a rate, however it was measured: counted, enumerated, weighted, or split into levels.

A table may then hold rates of several methods beside each other, each with an interval and with what it rests on. Rates
are shares between 0 and 1. Cells that were enumerated have bounds that hold for certain; the others have confidence
intervals.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit

from overopt.errors import DataError
from overopt.stats.checks import check_level, check_same_shape, float_array
from overopt.stats.rates import Rate, clustered_rate, rate

Estimator = Literal["counted", "exact", "weighted", "split"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRate:
    """A rate, its interval, and what it rests on. What does not belong to the estimator is ``nan``."""

    value: float
    low: float
    high: float
    level: float
    """Of the interval; an ``exact`` one holds for certain, so at this level too."""
    estimator: Estimator
    method: str
    unit: str
    """What was counted independently: "scenario", "episode", "run"."""
    n_units: int
    episodes: int
    """Episodes that were played, tuning included; of ``exact`` the paths that were followed to their end."""
    successes: float = math.nan
    """Episodes with the event, of ``counted`` and ``weighted``."""
    mass: float = math.nan
    """Of ``exact``: the probability of all episodes that were followed to their end."""
    effective: float = math.nan
    """Of ``weighted``: effective sample size, (sum of weights)^2 / sum of their squares."""
    largest_weight: float = math.nan
    """Of ``weighted``."""
    relative_error: float = math.nan
    """Standard error over the value, of ``weighted`` and ``split``."""

    @property
    def evidence(self) -> str:
        """What the rate rests on, in a few words.

        >>> counted(45, 32_768, unit="episode").evidence
        '45/32,768'
        """
        if self.estimator == "counted":
            return f"{self.successes:,.0f}/{self.episodes:,}"
        if self.estimator == "exact":
            return f"mass {self.mass:.7f}"
        if self.estimator == "weighted":
            return f"ESS {self.effective:,.0f} of {self.n_units:,}, largest weight {self.largest_weight:.3g}"
        return f"{self.n_units:,} runs of levels"


def counted(successes: int, trials: int, *, unit: str = "episode", level: float = 0.95) -> MeasuredRate:
    """k of n independent trials, with the interval of Clopper and Pearson.

    Raises
    ------
    DataError, ConfigError
        As :func:`~overopt.stats.rates.rate`.
    """
    return _of_counts(rate(successes, trials, level=level), unit)


def counted_in_clusters(
    successes: npt.ArrayLike, trials: npt.ArrayLike, *, unit: str, level: float = 0.95
) -> MeasuredRate:
    """Counts (U,) of clusters whose trials are alike, as :func:`~overopt.stats.rates.clustered_rate`."""
    found = clustered_rate(successes, trials, unit=unit, level=level)
    return MeasuredRate(
        value=found.value, low=found.low, high=found.high, level=level, estimator="counted", method=found.method,
        unit=unit, n_units=found.clusters, episodes=found.trials, successes=found.successes,
    )  # fmt: skip


def enumerated(
    found: npt.ArrayLike, missing: npt.ArrayLike, *, paths: int, unit: str = "scenario", level: float = 0.95
) -> MeasuredRate:
    """The mean over scenarios of probabilities that were summed path by path.

    Parameters
    ----------
    found, missing : (U,) float64
        Of each scenario: the probability of the paths that were followed and show the event, and of those that were not
        followed. Within 0..1, their sum too, up to rounding.
    paths : int
        How many were followed to their end.

    Returns
    -------
    MeasuredRate
        ``value`` is what was found, a lower bound; the interval runs from it to what it would be if every path that was
        not followed showed the event, and holds for certain. The scenarios are all there are: they are no sample.

    Raises
    ------
    ShapeError, DataError, ConfigError

    >>> round(enumerated([0.25, 0.15], [0.0, 0.02], paths=40).high, 4)
    0.21
    """
    check_level(level)
    found_U, missing_U = float_array("found", found, "U"), float_array("missing", missing, "U")
    check_same_shape("found", found_U, "missing", missing_U)
    if found_U.size == 0:
        raise DataError("an enumerated rate needs one scenario at least")
    if (np.minimum(found_U, missing_U) < 0).any() or (found_U + missing_U > 1 + 1e-6).any():
        raise DataError("probabilities found and missing must not be negative, nor exceed 1 together")
    value, left = float(found_U.mean()), float(missing_U.mean())
    return MeasuredRate(
        value=value, low=value, high=min(value + left, 1.0), level=level, estimator="exact",
        method="enumeration, bounds for certain", unit=unit, n_units=found_U.size, episodes=paths, mass=1 - left,
    )  # fmt: skip


def log_interval(value: float, relative_error: float, level: float, *, units: int | None = None) -> tuple[float, float]:
    """Ends of an interval around a positive estimate whose logarithm is about normal; (nan, nan) for others.

    ``units`` are those that the error was estimated from, if they are few: Student's t then stands for the normal. An
    end above 1 becomes 1, as no rate is above it.
    """
    if not (value > 0 and math.isfinite(relative_error)):
        return math.nan, math.nan
    tail = (1 - level) / 2
    quantile = -float(ndtri(tail)) if units is None else -float(stdtrit(units - 1, tail))
    factor = math.exp(quantile * relative_error)
    return value / factor, min(value * factor, 1.0)


def _of_counts(found: Rate, unit: str) -> MeasuredRate:
    return MeasuredRate(
        value=found.value, low=found.low, high=found.high, level=found.level, estimator="counted", method=found.method,
        unit=unit, n_units=found.trials, episodes=found.trials, successes=found.successes,
    )  # fmt: skip
