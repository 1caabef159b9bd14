"""A law fitted to one curve of gold against KL: coefficients with intervals, where gold peaks, and what that is worth.

Axes: K points of a curve, D draws. KL in nats, d = sqrt(KL), gold relative to its value at KL 0.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit

from overopt.errors import DataError
from overopt.stats.checks import check_level, check_same_shape, float_array
from overopt.stats.estimate import FloatArray
from overopt.stats.laws import (
    ALL_LAWS,
    TURNLESS_LAWS,
    AnyLaw,
    FittedLaw,
    fit_coefficients,
    law_value,
    peak,
    peak_distance,
    peak_gold,
    zero_distance,
)
from overopt.stats.least_squares import N_COEFFICIENTS, fit_curve, floored_errors, point_weights, quality
from overopt.stats.resampling import percentile_interval

Status = Literal["ok", "poor_fit", "unidentified", "too_few_points"]
Source = Literal["units", "gold_se", "residuals", "none"]
Interval = tuple[float, float]

MIN_POINTS = 4
"""Points with d > 0 that a fit needs: two coefficients and two degrees of freedom to see them fail."""
MIN_R2 = 0.5
"""Below it the law explains less than half of the variation of gold along the curve."""
DRAWS = 2000
"""Of coefficients, where they are drawn here."""
UNKNOWN: Interval = (math.nan, math.nan)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The largest gold of a fitted law."""

    d: float
    kl: float
    gold: float
    inside_data: bool
    """Whether d lies within the distances that were fitted; else it is an extrapolation."""
    falls_after: bool
    """Whether gold itself falls, by more than chance, over the points from the last one before the peak on."""
    d_ci: Interval
    """Infinite above when too many draws have no turn; nan without draws."""
    gold_ci: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Zero:
    """Where a fitted law has lost again all the gold it gained."""

    d: float
    kl: float
    inside_data: bool
    d_ci: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """Another curve fitted to the same points with the same weights."""

    law: str
    """``bon``, ``rl``, ``rl1p``, ``power``, or ``root`` and ``linear``, which never turn."""
    aicc: float
    r2: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A law fitted to one curve; ``fit_law`` explains each number."""

    group: str | None
    law: FittedLaw
    alpha: float
    beta: float
    alpha_ci: Interval
    beta_ci: Interval
    intervals: Source
    """What the intervals rest on."""
    r2: float
    rmse: float
    points: int
    d_range: Interval
    peak: Peak | None
    zero: Zero | None
    status: Status
    aicc: float
    alternatives: tuple[Alternative, ...]

    def to_dict(self) -> dict[str, Any]:
        """The FIT object of the command line's JSON; numbers that are not finite become ``None``."""
        # Any: the values of a JSON object.
        converted = _json_value(asdict(self))
        assert isinstance(converted, dict)
        return converted


def fit_law(
    law: FittedLaw,
    kl: npt.ArrayLike,
    gold: npt.ArrayLike,
    *,
    gold_se: npt.ArrayLike | None = None,
    kl_draws: npt.ArrayLike | None = None,
    gold_draws: npt.ArrayLike | None = None,
    rng: np.random.Generator | None = None,
    group: str | None = None,
    level: float = 0.95,
) -> Fit:
    """Fit a law to a curve of gold against KL, with intervals and a status that says what it is worth.

    Parameters
    ----------
    law : "bon", "rl" or "rl1p"
    kl, gold : (K,) float64
        KL in nats and gold relative to its value at KL 0. Points with KL <= 0 are left out, also those whose
        estimated KL is negative by chance; ``points`` counts the rest.
    gold_se : (K,) float64, optional
        Standard errors of ``gold``; all nan, or none given, means equal weights.
    kl_draws, gold_draws : (D, K) float64, optional
        Bootstrap draws of the two over the independent units (prompts, seeds). Points of one curve share their
        samples, so only these know how the errors of points hang together. The one that is absent stays fixed.
    rng : numpy.random.Generator, optional
        Draws the intervals where there are no bootstrap draws: ``gold_se`` if known, else the scatter of the points
        about the law, both with independent errors. Without it there are no intervals then.
    group : str, optional
        Name of the curve, passed through.
    level : float
        Of the percentile intervals.

    Returns
    -------
    Fit
        ``intervals`` says what they rest on. ``r2`` = 1 - sum w e^2 / sum w (gold - weighted mean)^2, about the mean
        although the laws pass through the origin, since R^2 about 0 flatters every curve; nan for constant gold.
        ``rmse`` is unweighted, in gold units. ``aicc`` compares with those of ``alternatives``; nan with four points.
        ``peak`` and ``zero`` are ``None`` if the law has no turn.

    Notes
    -----
    *Weights.* A point weighs 1 / max(se, median se)^2. Small n have the smallest errors and the law holds only
    approximately, so an unbounded weight would let them bend the rest of the curve; the floor lets no point weigh
    more than the median one, while noisy points still count less. Draws are refitted with the same weights.

    *Intervals from residuals* draw gold about the fitted law with the weighted residual variance over K - 2 degrees of
    freedom, itself redrawn from its chi-squared distribution, so that they are as wide as Student's t asks. They hold
    if the errors are independent, which those of points from one pool of samples are not.

    *Status*, the first that applies:

    - ``too_few_points``: fewer than four points with d > 0; no coefficients.
    - ``poor_fit``: r2 is below 0.5 or, for constant gold, undefined.
    - ``unidentified``: the data do not tell whether or where gold turns. That is: all points lie at one distance; the
      interval of beta holds 0; the peak lies inside the data but the points from the last one before it on do not fall
      by more than chance, as on a plateau; or it lies outside, and a curve without a turn has no larger AICc, or its
      interval is wider than the fitted distances, unbounded or unknown. Without draws, beta and the fall are judged by
      their t intervals, from ``gold_se`` or else from the residuals.
    - ``ok``: otherwise. A ``None`` peak then means that gold shows no turn: beta's whole interval is negative, or (in
      best-of-n) gold falls from the start.
    """
    check_level(level)
    kl_K, gold_K = float_array("kl", kl, "K"), float_array("gold", gold, "K")
    check_same_shape("kl", kl_K, "gold", gold_K)
    se_K = None if gold_se is None else float_array("gold_se", gold_se, "K", finite=False)
    draws = _checked_draws(kl_K, gold_K, kl_draws, gold_draws)

    is_used = kl_K > 0
    weights, errors = point_weights(kl_K, se_K, is_used), floored_errors(kl_K, se_K, is_used)
    d_K, gold_K = np.sqrt(kl_K[is_used]), gold_K[is_used]
    points = d_K.size
    d_range = (float(d_K.min()), float(d_K.max())) if points else UNKNOWN
    if points < MIN_POINTS:
        return Fit(
            group=group, law=law, alpha=math.nan, beta=math.nan, alpha_ci=UNKNOWN, beta_ci=UNKNOWN, intervals="none",
            r2=math.nan, rmse=math.nan, points=points, d_range=d_range, peak=None, zero=None, status="too_few_points",
            aicc=math.nan, alternatives=(),
        )  # fmt: skip

    alpha, beta = (float(value) for value in fit_coefficients(law, d_K, gold_K, weights))
    fitted = law_value(law, d_K, alpha, beta)
    source: Source = "none"
    drawn_d, drawn_gold = d_K, gold_K
    if draws is not None:
        source = "units"
        drawn_d, drawn_gold = np.sqrt(np.maximum(draws[0][..., is_used], 0)), draws[1][..., is_used]
    elif rng is not None and math.isfinite(beta):
        # Errors floored for the weights would widen the intervals: the points' own are drawn.
        own = None if errors is None or se_K is None else se_K[is_used]
        source = "residuals" if own is None else "gold_se"
        drawn_gold = _gold_about_the_law(gold_K, fitted, weights, own, rng)
    turn_d = float(peak_distance(law, alpha, beta))
    drawn = None if source == "none" else fit_coefficients(law, drawn_d, drawn_gold, weights)
    if drawn is not None:
        judged_beta = _interval(drawn[1], level)
        steepest_rise = _interval(late_slope(drawn_d, drawn_gold, weights, d_K, turn_d), level)[1]
    else:
        # Both are weighted sums of gold, and their weights are their values for one point of gold 1.
        freedom = points - 2
        if errors is None or se_K is None:
            sd_K = np.sqrt(np.sum(weights * (gold_K - fitted) ** 2) / freedom / weights)
            reach = float(stdtrit(freedom, (1 + level) / 2))
        else:
            sd_K, reach = se_K[is_used], float(ndtri((1 + level) / 2))
        units = np.eye(points)
        half = reach * math.hypot(*(fit_coefficients(law, d_K, units, weights).beta * sd_K))
        judged_beta = (beta - half, beta + half)
        slope_weights = late_slope(d_K, units, weights, d_K, turn_d)
        steepest_rise = float(slope_weights @ gold_K) + reach * math.hypot(*(slope_weights * sd_K))
    return fit_of_coefficients(
        law, d_K, gold_K, weights, alpha, beta,
        drawn=drawn, judged_beta=judged_beta, falls_after=steepest_rise < 0,
        source=source, group=group, level=level,
    )  # fmt: skip


def fit_of_coefficients(
    law: FittedLaw,
    d: FloatArray,
    gold: FloatArray,
    weights: FloatArray,
    alpha: float,
    beta: float,
    *,
    drawn: tuple[FloatArray, FloatArray] | None,
    judged_beta: Interval,
    falls_after: bool,
    source: Source,
    group: str | None,
    level: float,
) -> Fit:
    """The record of a law with these coefficients, judged on points (K,) with d > 0; ``drawn`` is (D,) of each."""
    d_range = (float(d.min()), float(d.max()))
    turn = peak(law, alpha, beta)
    found_peak, found_zero = None, None
    if math.isfinite(turn.d):
        found_peak = Peak(
            d=turn.d,
            kl=turn.d * turn.d,
            gold=turn.gold,
            inside_data=d_range[0] <= turn.d <= d_range[1],
            falls_after=falls_after,
            d_ci=_interval(None if drawn is None else peak_distance(law, *drawn), level),
            gold_ci=_interval(None if drawn is None else peak_gold(law, *drawn), level),
        )
        zero = float(zero_distance(law, alpha, beta))
        if math.isfinite(zero):
            found_zero = Zero(
                d=zero,
                kl=zero * zero,
                inside_data=d_range[0] <= zero <= d_range[1],
                d_ci=_interval(None if drawn is None else zero_distance(law, *drawn), level),
            )
    beta_ci = _interval(None if drawn is None else drawn[1], level)
    found = quality(gold, law_value(law, d, alpha, beta), weights, n_coefficients=2)
    others = tuple(_alternative(other, d, gold, weights) for other in ALL_LAWS if other != law)
    turnless = min(other.aicc for other in others if other.law in TURNLESS_LAWS)
    return Fit(
        group=group,
        law=law,
        alpha=alpha,
        beta=beta,
        alpha_ci=_interval(None if drawn is None else drawn[0], level),
        beta_ci=beta_ci,
        intervals=source,
        r2=found.r2,
        rmse=found.rmse,
        points=d.size,
        d_range=d_range,
        peak=found_peak,
        zero=found_zero,
        status=_status(beta, judged_beta, found.r2, found_peak, d_range, is_turn_needed=found.aicc < turnless),
        aicc=found.aicc,
        alternatives=others,
    )


def _gold_about_the_law(
    gold: FloatArray, fitted: FloatArray, weights: FloatArray, se: FloatArray | None, rng: np.random.Generator
) -> FloatArray:
    """Draws (D, K) of gold with independent normal errors: the known ones about the points, else those of the fit."""
    noise = rng.standard_normal((DRAWS, gold.size))
    if se is not None:
        return np.asarray(gold + se * noise)
    freedom = gold.size - 2
    variance = float(np.sum(weights * (gold - fitted) ** 2)) / freedom
    scale = np.sqrt(variance * freedom / rng.chisquare(freedom, size=(DRAWS, 1)))
    return np.asarray(gold + scale * noise / np.sqrt(weights))


def _alternative(law: AnyLaw, d: FloatArray, gold: FloatArray, weights: FloatArray) -> Alternative:
    found = quality(gold, fit_curve(law, d, gold, weights).value(d), weights, n_coefficients=N_COEFFICIENTS[law])
    return Alternative(law=law, aicc=found.aicc, r2=found.r2)


def _checked_draws(
    kl: FloatArray, gold: FloatArray, kl_draws: npt.ArrayLike | None, gold_draws: npt.ArrayLike | None
) -> tuple[FloatArray, FloatArray] | None:
    if kl_draws is None and gold_draws is None:
        return None
    kl_DK = kl[None] if kl_draws is None else float_array("kl_draws", kl_draws, "DK")
    gold_DK = gold[None] if gold_draws is None else float_array("gold_draws", gold_draws, "DK")
    for name, array in (("kl_draws", kl_DK), ("gold_draws", gold_DK)):
        if array.shape[1] != kl.size or array.shape[0] == 0:
            raise DataError(f"{name} must hold at least one draw of the {kl.size} points; got {array.shape}")
    if kl_draws is not None and gold_draws is not None:
        check_same_shape("kl_draws", kl_DK, "gold_draws", gold_DK)
    return kl_DK, gold_DK


def _interval(draws: FloatArray | None, level: float) -> Interval:
    if draws is None:
        return UNKNOWN
    low, high = percentile_interval(draws, level)
    return (float(low), float(high))


def late_slope(d: FloatArray, gold: FloatArray, weights: FloatArray, d_fitted: FloatArray, turn_d: float) -> FloatArray:
    """Slope of gold, by weighted least squares, over the points from the last one before the peak on.

    ``d`` and ``gold`` are (..., K) draws; ``d_fitted`` (K,) and the peak decide which points count. nan if the peak
    lies outside them; 0 for a slope that is no more than rounding, since a plateau does not fall.
    """
    before = d_fitted[d_fitted <= turn_d]
    if not before.size or turn_d >= d_fitted.max():
        return np.full(gold.shape[:-1], np.nan)
    is_late = d_fitted >= before.max()
    d, gold = np.broadcast_arrays(d[..., is_late], gold[..., is_late])
    weight = weights[is_late] / weights[is_late].sum()
    centred = d - (weight * d).sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        terms = weight * centred * gold
        rise = terms.sum(axis=-1)
        rise = np.where(np.abs(rise) > 1e-12 * np.abs(terms).sum(axis=-1), rise, 0.0)
        return np.asarray(rise / (weight * centred**2).sum(axis=-1))


def _status(
    beta: float, judged: Interval, r2: float, found: Peak | None, d_range: Interval, *, is_turn_needed: bool
) -> Status:
    if math.isnan(beta):
        return "unidentified"
    if not r2 >= MIN_R2:
        return "poor_fit"
    if not (judged[0] > 0 or judged[1] < 0):
        return "unidentified"
    if found is not None and found.inside_data and not found.falls_after:
        return "unidentified"
    if found is not None and not found.inside_data:
        width = found.d_ci[1] - found.d_ci[0]
        if not (width <= d_range[1] - d_range[0] and is_turn_needed):
            return "unidentified"
    return "ok"


def _json_value(value: object) -> object:
    if isinstance(value, dict):
        return {key: _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
