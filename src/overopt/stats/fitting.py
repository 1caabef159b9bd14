"""A law fitted to one curve of gold against KL: coefficients with intervals, where gold peaks, and what that is worth.

Axes: K points of a curve, D draws. KL in nats, d = sqrt(KL), gold relative to its value at KL 0, which is known or
measured with an error like that of any other point.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit

from overopt.errors import ConfigError, DataError
from overopt.stats.chance import chance_of_errors, chance_of_residuals
from overopt.stats.checks import check_level, check_same_shape, float_array
from overopt.stats.estimate import FloatArray
from overopt.stats.fit_record import (
    UNKNOWN,
    Evidence,
    Fit,
    Interval,
    Peak,
    Points,
    Seen,
    Source,
    Zero,
    interval_of,
    record_of_fit,
    record_without_fit,
)
from overopt.stats.lack_of_fit import (
    MANY_POINTS,
    UNTESTED,
    LackOfFit,
    misfit_along_curve,
    misfit_of_errors,
    misfit_of_many_errors,
    widening,
)
from overopt.stats.laws import FittedLaw, fit_coefficients, fit_with_offset, law_columns, law_value, peak_distance
from overopt.stats.least_squares import floored_errors, point_weights
from overopt.stats.resampling import MIN_UNITS, few_units_factor

__all__ = ["DRAWS", "MIN_POINTS", "Baseline", "Fit", "Interval", "Peak", "Zero", "best_seen", "fit_law", "late_slope"]

Baseline = Literal["exact", "fitted"]

MIN_POINTS = 4
"""Points with d > 0 that a fit needs: two coefficients and two degrees of freedom to see them fail."""
DRAWS = 2000
"""Of coefficients, where they are drawn here."""


def fit_law(
    law: FittedLaw,
    kl: npt.ArrayLike,
    gold: npt.ArrayLike,
    *,
    gold_se: npt.ArrayLike | None = None,
    kl_draws: npt.ArrayLike | None = None,
    gold_draws: npt.ArrayLike | None = None,
    n_units: int | None = None,
    baseline: Baseline = "exact",
    rng: np.random.Generator | None = None,
    group: str | None = None,
    level: float = 0.95,
) -> Fit:
    """Fit a law to a curve of gold against KL, with intervals and a status that says what it is worth.

    Parameters
    ----------
    law : "bon", "rl" or "rl1p"
    kl, gold : (K,) float64
        KL in nats and gold. Points with KL < 0, which an estimate can be by chance, are left out; ``points`` counts
        those with KL > 0.
    gold_se : (K,) float64, optional
        Standard errors of ``gold``; all nan, or none given, means equal weights.
    kl_draws, gold_draws : (D, K) float64, optional
        Bootstrap draws of the two over the independent units (prompts, seeds). Points of one curve share their
        samples, so only these know how the errors of points hang together. The one that is absent stays fixed.
    n_units : int, optional
        How many units the draws resample. Few of them know the errors badly: intervals are widened as those of
        Student's t are, the tests of misfit and of chance allow for it, and fewer than four units tell nothing.
    baseline : "exact" or "fitted"
        ``exact``: gold is relative to its value at KL 0, unit by unit or because that value is known; points with
        KL 0 are left out. ``fitted``: gold at KL 0 was measured like any other point; it is a third coefficient, and
        points with KL 0 are fitted with their weights. To take a measured value off all points and forget its error
        would make intervals hold the truth in half the cases.
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

    Raises
    ------
    DataError
        For a fitted baseline without a point at KL 0.

    Notes
    -----
    *Weights.* A point weighs 1 / max(se, median se)^2. Small n have the smallest errors and the law holds only
    approximately, so an unbounded weight would let them bend the rest of the curve; the floor lets no point weigh
    more than the median one, while noisy points still count less. Draws are refitted with the same weights.

    *Intervals from residuals* draw gold about the fitted law with the weighted residual variance over K minus two (or
    three) degrees of freedom, itself redrawn from its chi-squared distribution, so that they are as wide as Student's
    t asks. They hold if the errors are independent, which those of points from one pool of samples are not.

    *Misfit.* ``lack_of_fit`` tests whether the points leave the law by more than their errors (``gold_se`` or the
    draws) explain or, with errors of unknown size, whether residuals hang together along the curve. Where misfit is
    certain, p < 0.01, intervals are widened by its ``inflation``; ``widened_by`` says how much.

    *Status*, the first that applies:

    - ``too_few_points``: fewer than four points with d > 0; no coefficients.
    - ``poor_fit``: r2 is below 0.5 or, for constant gold, undefined; or the law explains no more than it would of
      noise, ``chance`` not being below 0.01; or misfit is certain and r2 below 0.98.
    - ``unidentified``: the data do not tell whether or where gold turns. That is: all points lie at one distance; the
      draws resample fewer than four units; the interval of beta holds 0; the peak lies outside the data, however
      narrow its interval; or it lies inside but the points from the last one before it on do not fall by more than
      chance, as on a plateau. Without draws, beta and the fall are judged by their t intervals, from ``gold_se`` or
      else from the residuals.
    - ``ok``: otherwise. A ``None`` peak then means that gold shows no turn: beta's whole interval is negative, or (in
      best-of-n) gold falls from the start; ``shape`` says which.
    """
    check_level(level)
    if baseline not in ("exact", "fitted"):
        raise ConfigError(f"baseline must be exact or fitted; got {baseline!r}")
    kl_K, gold_K = float_array("kl", kl, "K"), float_array("gold", gold, "K")
    check_same_shape("kl", kl_K, "gold", gold_K)
    se_K = None if gold_se is None else float_array("gold_se", gold_se, "K", finite=False)
    draws = _checked_draws(kl_K, gold_K, kl_draws, gold_draws)

    has_offset = baseline == "fitted"
    is_used = kl_K >= 0 if has_offset else kl_K > 0
    # Off first, so that an offset far larger than the curve costs no digits.
    start = measured_baseline(kl_K, gold_K) if has_offset else 0.0
    weights, errors = point_weights(kl_K, se_K, is_used), floored_errors(kl_K, se_K, is_used)
    model = _Model(law=law, d=np.sqrt(kl_K[is_used]), weights=weights, has_offset=has_offset)
    scale = float(np.abs(gold_K[is_used]).max(initial=0.0))
    d_K, gold_K, seen = model.d, gold_K[is_used] - start, best_seen(kl_K, gold_K - start)
    if (d_K > 0).sum() < MIN_POINTS:
        return record_without_fit(
            law, d_K[d_K > 0], best_seen=seen, baseline=start, baseline_se=math.nan if has_offset else 0.0,
            group=group, lack=UNTESTED,
        )  # fmt: skip

    alpha, beta, offset = (float(value) for value in model.fitted(gold_K))
    if abs(offset) <= 64 * np.finfo(np.float64).eps * scale:
        offset = 0.0  # what rounding leaves of it in exact data
    fitted = model.value(alpha, beta, offset)
    own = None if errors is None or se_K is None else se_K[is_used]
    source: Source = "none"
    drawn_d, drawn_gold = d_K, gold_K
    has_too_few_units = draws is not None and n_units is not None and n_units < MIN_UNITS
    if draws is not None and not has_too_few_units:
        source = "units"
        drawn_d, drawn_gold = np.sqrt(np.maximum(draws[0][..., is_used], 0)), draws[1][..., is_used] - start
    elif draws is None and rng is not None and math.isfinite(beta):
        # Errors floored for the weights would widen the intervals: the points' own are drawn.
        source = "residuals" if own is None else "gold_se"
        drawn_gold = _gold_about_the_law(gold_K, fitted, weights, own, model.n_coefficients, rng)
    drawn = None if source == "none" else model.fitted(drawn_gold, drawn_d)
    unit = np.ones(d_K.size) if errors is None else errors
    lack = UNTESTED
    if math.isfinite(beta) and not has_too_few_units:
        if source == "units" and drawn is not None:
            away = drawn_gold - model.value(*drawn, drawn_d)
            lack = misfit_of_draws(gold_K - fitted, unit, away, n_units)
        else:
            lack = _misfit_of_independent_errors(model, gold_K - fitted, unit, own, scale)
    widened_by = widening(lack)
    for_units = 1.0 if source != "units" or n_units is None else few_units_factor(n_units, level)
    chance = math.nan
    if not has_too_few_units:
        chance = _chance(model, gold_K, fitted, (alpha, beta), own, drawn if source == "units" else None, n_units)

    turn_d = float(peak_distance(law, alpha, beta))
    is_late = d_K > 0
    late = weights[is_late], d_K[is_late], turn_d
    sd_K = _point_sd(gold_K - fitted, weights, own, model.n_coefficients)
    if has_too_few_units:
        judged_beta, steepest_rise = UNKNOWN, math.nan
    elif drawn is not None:
        by = for_units * widened_by
        drawn = _widened(drawn[0], alpha, by), _widened(drawn[1], beta, by), _widened(drawn[2], offset, by)
        judged_beta = interval_of(drawn[1], level)
        rise = float(late_slope(d_K[is_late], gold_K[is_late], *late))
        drawn_rise = late_slope(drawn_d[..., is_late], drawn_gold[..., is_late], *late)
        steepest_rise = interval_of(_widened(drawn_rise, rise, for_units), level)[1]
    else:
        # Both are weighted sums of gold, and their weights are their values for one point of gold 1.
        freedom = d_K.size - model.n_coefficients
        reach = float(stdtrit(freedom, (1 + level) / 2)) if own is None else float(ndtri((1 + level) / 2))
        half = widened_by * reach * math.hypot(*(model.sensitivity(1) * sd_K))
        judged_beta = (beta - half, beta + half)
        slope_weights = late_slope(d_K[is_late], np.eye(int(is_late.sum())), *late)
        steepest_rise = float(slope_weights @ gold_K[is_late]) + reach * math.hypot(*(slope_weights * sd_K[is_late]))
    return record_of_fit(
        law,
        Points(d=d_K, gold=gold_K, weights=weights, has_offset=has_offset),
        alpha,
        beta,
        Evidence(
            drawn=None if drawn is None else (drawn[0], drawn[1]),
            judged_beta=judged_beta,
            falls_after=steepest_rise < 0,
            lack=lack,
            chance=chance,
            source=source,
            widened_by=widened_by,
            level=level,
        ),
        offset=offset,
        baseline=start + offset,
        baseline_se=_baseline_error(model, sd_K, drawn if source == "units" else None, for_units, widened_by),
        best_seen=None if seen is None else Seen(d=seen.d, gold=seen.gold - offset),
        group=group,
    )  # fmt: skip


def measured_baseline(kl: FloatArray, gold: FloatArray) -> float:
    """Mean gold of the points with KL 0.

    Raises
    ------
    DataError
        If there is none.
    """
    if not (kl == 0).any():
        raise DataError("a fitted baseline needs a point with KL 0; give the value of gold at KL 0, or take it as 0")
    return float(gold[kl == 0].mean())


def best_seen(kl: FloatArray, gold: FloatArray) -> Seen | None:
    """The point with the highest gold among those with KL >= 0."""
    is_seen = kl >= 0
    if not is_seen.any():
        return None
    best = int(np.argmax(np.where(is_seen, gold, -np.inf)))
    return Seen(d=math.sqrt(kl[best]), gold=float(gold[best]))


def misfit_of_draws(residual: FloatArray, unit: FloatArray, drawn: FloatArray, n_units: int | None) -> LackOfFit:
    """Test of residuals (K,) whose covariance is that of the residuals (D, K) of bootstrap draws."""
    is_known = np.isfinite(drawn).all(axis=1)
    if is_known.sum() < 2:
        return UNTESTED
    covariance = np.atleast_2d(np.cov(drawn[is_known], rowvar=False))
    if not np.trace(covariance) > 1e-24 * float(np.sum(drawn[is_known] ** 2)):
        return UNTESTED  # draws without spread claim errors of 0, which are not believed
    return misfit_of_errors(residual, unit, covariance, method="chi2_of_draws", units=n_units)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """A law, and its offset if it has one, at fixed points."""

    law: FittedLaw
    d: FloatArray
    weights: FloatArray
    has_offset: bool

    @property
    def n_coefficients(self) -> int:
        return 2 + self.has_offset

    def fitted(self, gold: FloatArray, d: FloatArray | None = None) -> tuple[FloatArray, FloatArray, FloatArray]:
        """alpha, beta and offset (...) of gold (..., K)."""
        distances = self.d if d is None else d
        if self.has_offset:
            return fit_with_offset(self.law, distances, gold, self.weights)
        alpha, beta = fit_coefficients(self.law, distances, gold, self.weights)
        return alpha, beta, np.zeros(alpha.shape)

    def value(
        self, alpha: npt.ArrayLike, beta: npt.ArrayLike, offset: npt.ArrayLike, d: FloatArray | None = None
    ) -> FloatArray:
        """Gold (..., K) of coefficients (...)."""
        law = law_value(
            self.law, self.d if d is None else d, np.asarray(alpha)[..., None], np.asarray(beta)[..., None]
        )  # fmt: skip
        return np.asarray(np.asarray(offset)[..., None] + law)

    def sensitivity(self, coefficient: int) -> FloatArray:
        """What a coefficient gains for each unit of gold at each point, (K,); 0 alpha, 1 beta, 2 the offset."""
        columns = law_columns(self.law, self.d)
        columns = columns[:, [1, 2, 0]] if self.has_offset else columns[:, 1:]
        root = np.sqrt(self.weights)
        return np.asarray(np.linalg.pinv(columns * root[:, None])[coefficient] * root)


def _misfit_of_independent_errors(
    model: _Model, residual: FloatArray, unit: FloatArray, own: FloatArray | None, scale: float
) -> LackOfFit:
    order = np.argsort(model.d, kind="stable")
    orders = [order, np.arange(residual.size)]
    if residual.size > MANY_POINTS:
        if own is None:
            return misfit_along_curve(residual, None, orders, scale=scale)
        return misfit_of_many_errors(residual, unit, own, model.n_coefficients)
    left = (np.eye(residual.size) - model.value(*model.fitted(np.eye(residual.size)))).T
    if own is None:
        return misfit_along_curve(residual, left @ left.T, orders, scale=scale)
    return misfit_of_errors(residual, unit, (left * own**2) @ left.T, method="chi2_of_errors")


def _point_sd(residual: FloatArray, weights: FloatArray, own: FloatArray | None, n_coefficients: int) -> FloatArray:
    """Standard deviation of each point: its own error, or from the scatter about the law."""
    if own is not None:
        return own
    freedom = residual.size - n_coefficients
    return np.asarray(np.sqrt(np.sum(weights * residual**2) / freedom / weights))


def _chance(
    model: _Model,
    gold: FloatArray,
    fitted: FloatArray,
    coefficients: tuple[float, float],
    own: FloatArray | None,
    drawn: tuple[FloatArray, ...] | None,
    n_units: int | None,
) -> float:
    """P-value of the hypothesis that gold stays at its baseline, from the errors if they are known."""
    if not math.isfinite(coefficients[1]):
        return math.nan
    weights = model.weights
    start = np.average(gold, weights=weights) if model.has_offset else 0.0
    columns = law_columns(model.law, model.d)[:, 1:]
    if model.has_offset:
        columns = columns - np.average(columns, axis=0, weights=weights)
    covariance = None
    if drawn is not None:
        both = np.stack(drawn[:2])
        both = both[:, np.isfinite(both).all(axis=0)]
        covariance = np.cov(both) if both.shape[1] > 2 else None
    elif own is not None:
        gains = np.stack([model.sensitivity(0), model.sensitivity(1)]) * own
        covariance = gains @ gains.T
    if covariance is not None:
        known = chance_of_errors(
            np.array(coefficients), covariance, columns * np.sqrt(weights)[:, None], n_units if drawn else None
        )  # fmt: skip
        if math.isfinite(known):
            return known
    return chance_of_residuals(
        float(np.sum(weights * (gold - fitted) ** 2)),
        float(np.sum(weights * (gold - start) ** 2)),
        2,
        gold.size - model.n_coefficients,
    )


def _baseline_error(
    model: _Model, sd: FloatArray, drawn: tuple[FloatArray, ...] | None, for_units: float, widened_by: float
) -> float:
    """``drawn`` are widened as intervals are; a standard error is widened for misfit alone."""
    if not model.has_offset:
        return 0.0
    if drawn is not None:
        return float(drawn[2].std(ddof=1)) / for_units if drawn[2].size > 1 else math.nan
    return widened_by * math.hypot(*(model.sensitivity(2) * sd))


def _widened(draws: FloatArray, centre: float, by: float) -> FloatArray:
    return draws if by == 1 else np.asarray(centre + by * (draws - centre))


def _gold_about_the_law(
    gold: FloatArray,
    fitted: FloatArray,
    weights: FloatArray,
    se: FloatArray | None,
    n_coefficients: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Draws (D, K) of gold with independent normal errors: the known ones about the points, else those of the fit."""
    noise = rng.standard_normal((DRAWS, gold.size))
    if se is not None:
        return np.asarray(gold + se * noise)
    freedom = gold.size - n_coefficients
    variance = float(np.sum(weights * (gold - fitted) ** 2)) / freedom
    scale = np.sqrt(variance * freedom / rng.chisquare(freedom, size=(DRAWS, 1)))
    return np.asarray(gold + scale * noise / np.sqrt(weights))


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
