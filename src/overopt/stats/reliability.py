"""Whether forecast probabilities come true: reliability curve, Brier score with its parts, calibration error against
what chance makes of it.

Axes: B pairs. A forecast is the proxy's probability that A is better, sigmoid of its margin; the outcome is gold's
label. Curves and errors in bins depend on the bins; the parts of the Brier score (isotonic, no bins) do not.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression

from overopt.errors import ConfigError, DataError
from overopt.stats.calibration import expected_calibration_error
from overopt.stats.checks import check_draws, check_level, check_same_shape, float_array
from overopt.stats.clusters import clusters_of, ratio_of_sums
from overopt.stats.estimate import Estimate, FloatArray
from overopt.stats.ranking import share_with_interval

Binning = Literal["width", "count"]

# Random numbers held at once.
_BLOCK = 1 << 22


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """Forecasts of one bin and what became of them."""

    left: float
    right: float
    """Edges for equal widths, smallest and largest forecast for equal counts."""
    forecast: float
    """Mean forecast."""
    outcome: float
    """Mean outcome; calibrated if equal to ``forecast`` within its interval."""
    low: float
    high: float
    """Wilson's interval of ``outcome``, over prompts if they are known."""
    count: int
    """At least 1; empty bins are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrierScore:
    """Mean squared error of forecasts: score = miscalibration - discrimination + uncertainty."""

    score: Estimate
    miscalibration: float
    """What the best increasing recalibration, chosen on these data, would save; at least 0, and above it by chance."""
    discrimination: float
    """What the recalibrated forecasts save over always saying the base rate; at least 0."""
    uncertainty: float
    """Score of always saying the base rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationTest:
    """An observed calibration error beside those of a calibrated forecaster with the same forecasts."""

    observed: float
    expected_if_calibrated: float
    """Mean of the error when outcomes are drawn with the forecast probabilities: what an error has to be judged by."""
    quantile_if_calibrated: float
    """At ``level``: larger errors are too large for chance."""
    p_value: float
    """Share of draws with at least the observed error, the data counted among them; never 0."""
    pairs: int
    draws: int
    level: float


def reliability_curve(
    probability: npt.ArrayLike,
    label: npt.ArrayLike,
    *,
    bins: int = 10,
    binning: Binning = "width",
    prompt: npt.ArrayLike | None = None,
    level: float = 0.95,
) -> tuple[ReliabilityBin, ...]:
    """Mean outcome against mean forecast, bin by bin in rising order of the forecast.

    Parameters
    ----------
    probability, label : (B,) within 0..1
        Forecast and outcome; outcomes may be soft, and their interval is then too wide.
    bins : int
        At least 1.
    binning : "width" or "count"
        Equal parts of 0..1 (a forecast on an edge belongs to the right bin, 1 to the last), or as nearly equal counts
        as equal forecasts, which always share a bin, allow.
    prompt : (B,) ids, optional
    level : float
        Of each bin's interval, one at a time.

    Raises
    ------
    ShapeError, DataError, ConfigError

    >>> [(b.count, round(b.forecast, 2), b.outcome) for b in reliability_curve([0.2, 0.3, 0.9], [0, 1, 1], bins=2)]
    [(2, 0.25, 0.5), (1, 0.9, 1.0)]
    """
    check_level(level)
    forecast, outcome = _forecasts(probability, label)
    bin_B = _bin_of(forecast, bins, binning)
    clusters = clusters_of(prompt, forecast.size, row="pair")
    found = []
    for place in np.unique(bin_B):
        kept = bin_B == place
        share, low, high = share_with_interval(outcome[kept], clusters.subset(kept), level)
        inside = forecast[kept]
        found.append(
            ReliabilityBin(
                left=float(place / bins) if binning == "width" else float(inside.min()),
                right=float((place + 1) / bins) if binning == "width" else float(inside.max()),
                forecast=float(inside.mean()),
                outcome=share,
                low=low,
                high=high,
                count=int(inside.size),
            )
        )
    return tuple(found)


def brier_score(probability: npt.ArrayLike, label: npt.ArrayLike, *, prompt: npt.ArrayLike | None = None) -> BrierScore:
    """Mean of (forecast - outcome)² and its exact parts; (B,) arrays within 0..1, outcomes may be soft.

    The parts come from isotonic regression of outcomes on forecasts instead of bins: CORP of Dimitriadis, Gneiting &
    Jordan 2021 (PNAS 118, arXiv:2008.03033). nan without pairs.

    Raises
    ------
    ShapeError, DataError

    >>> found = brier_score([0.1, 0.1, 0.7, 0.7], [0, 0, 1, 0])
    >>> [round(x, 4) for x in (found.score.value, found.miscalibration, found.discrimination, found.uncertainty)]
    [0.15, 0.025, 0.0625, 0.1875]
    """
    forecast, outcome = _forecasts(probability, label)
    clusters = clusters_of(prompt, forecast.size, row="pair")
    loss = (forecast - outcome) ** 2
    score = ratio_of_sums(loss, np.ones_like(loss), clusters, method="mean squared error of forecasts")
    if forecast.size == 0:
        return BrierScore(score=score, miscalibration=math.nan, discrimination=math.nan, uncertainty=math.nan)
    # Equal forecasts must be recalibrated alike: one weighted mean each.
    _, index, counts = np.unique(forecast, return_inverse=True, return_counts=True)
    means = np.bincount(index, weights=outcome) / counts
    recalibrated = isotonic_regression(means, weights=counts.astype(np.float64)).x[index]
    after = float(np.mean((recalibrated - outcome) ** 2))
    uncertainty = float(np.mean((outcome - outcome.mean()) ** 2))
    return BrierScore(
        score=score,
        miscalibration=float(loss.mean()) - after,
        discrimination=uncertainty - after,
        uncertainty=uncertainty,
    )


def squared_calibration_error(
    probability: npt.ArrayLike, label: npt.ArrayLike, *, bins: int = 10, binning: Binning = "count"
) -> float:
    """Mean over pairs of the squared bias of their bin, without the part that noise adds; can be negative.

    Every bin of n residuals forecast - outcome contributes the mean product of two *different* ones, which is
    unbiased for the square of their expectation where the squared mean is too large by variance / n. Pairs are taken
    as independent; a pair alone in its bin is left out, and nan means that no bin has two. Biases that cancel within a
    bin are not seen, as in every binned error. Kumar, Liang & Ma 2019 (arXiv:1909.10155) remove the
    same part with the binomial variance; this also holds for soft outcomes. Other arguments as ``reliability_curve``.
    """
    forecast, outcome = _forecasts(probability, label)
    bin_B = _bin_of(forecast, bins, binning)
    residual = forecast - outcome
    count = np.bincount(bin_B, minlength=bins).astype(np.float64)
    total = np.bincount(bin_B, weights=residual, minlength=bins)
    squares = np.bincount(bin_B, weights=residual**2, minlength=bins)
    is_used = count > 1
    if not is_used.any():
        return math.nan
    n = count[is_used]
    products = (total[is_used] ** 2 - squares[is_used]) / (n * (n - 1))
    return float((n * products).sum() / n.sum())


def calibration_test(
    probability: npt.ArrayLike,
    label: npt.ArrayLike,
    *,
    rng: np.random.Generator,
    bins: int = 10,
    draws: int = 1_000,
    level: float = 0.95,
) -> CalibrationTest:
    """``expected_calibration_error`` beside what a perfectly calibrated forecaster of this size would show.

    Parameters
    ----------
    probability, label : (B,)
        Forecasts within 0..1, outcomes 0 or 1: soft outcomes carry no chance to compare with.
    rng : numpy Generator
    bins : int
        Equal widths, as in ``expected_calibration_error``.
    draws : int
        Sets of outcomes drawn with the forecasts' own probabilities, pairs independent. Pairs that share prompts vary
        more: the test then finds miscalibration too easily.
    level : float
        Of ``quantile_if_calibrated``.

    Raises
    ------
    ShapeError, DataError, ConfigError

    Notes
    -----
    The consistency resampling of Bröcker & Smith 2007 (Weather and Forecasting 22), for the error instead of bars.
    """
    check_level(level)
    check_draws(draws)
    forecast, outcome = _forecasts(probability, label)
    if not np.isin(outcome, (0.0, 1.0)).all():
        raise DataError("the test needs outcomes of 0 and 1: soft ones carry no chance that draws could repeat")
    if forecast.size == 0:
        raise DataError("the test needs at least one pair")
    observed = expected_calibration_error(forecast, outcome, bins)
    bin_B = _bin_of(forecast, bins, "width")
    # Sorted by bin, so that the sum of each is one slice of a running total.
    order = np.argsort(bin_B, kind="stable")
    ranked = forecast[order]
    starts = np.flatnonzero(np.diff(bin_B[order], prepend=-1))
    expected = np.add.reduceat(ranked, starts)
    errors = np.empty(draws)
    step = max(1, _BLOCK // ranked.size)
    for start in range(0, draws, step):
        stop = min(start + step, draws)
        drawn = (rng.random((stop - start, ranked.size)) < ranked).astype(np.float64)
        errors[start:stop] = np.abs(np.add.reduceat(drawn, starts, axis=1) - expected).sum(axis=1) / ranked.size
    # Sums in another order may differ in the last digit from an error that is really equal.
    at_least = int((errors >= observed * (1 - 1e-12)).sum())
    return CalibrationTest(
        observed=observed,
        expected_if_calibrated=float(errors.mean()),
        quantile_if_calibrated=float(np.quantile(errors, level, method="higher")),
        p_value=(1 + at_least) / (1 + draws),
        pairs=int(forecast.size),
        draws=draws,
        level=level,
    )


def _forecasts(probability: npt.ArrayLike, label: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    forecast, outcome = float_array("probability", probability, "B"), float_array("label", label, "B")
    check_same_shape("probability", forecast, "label", outcome)
    for name, array in (("probability", forecast), ("label", outcome)):
        if ((array < 0) | (array > 1)).any():
            raise DataError(f"{name} must lie within 0..1")
    return forecast, outcome


def _bin_of(forecast: FloatArray, bins: int, binning: Binning) -> npt.NDArray[np.int64]:
    if bins < 1:
        raise ConfigError(f"bins must be at least 1; got {bins}")
    if binning == "width":
        return np.minimum((forecast * bins).astype(np.int64), bins - 1)
    if binning != "count":
        raise ConfigError(f"binning must be 'width' or 'count'; got {binning!r}")
    _, index, counts = np.unique(forecast, return_inverse=True, return_counts=True)
    # The middle of a group of equal forecasts decides for all of them.
    middle = np.cumsum(counts) - (counts + 1) / 2
    return np.asarray((middle * bins / max(forecast.size, 1)).astype(np.int64)[index])
