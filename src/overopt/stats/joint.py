"""Several curves fitted together with one alpha and a beta each.

Gao et al. 2022 (arXiv:2210.10760) hold alpha of RL constant over the sizes of the reward model. Axes: G curves, K
points of one curve (not the same number in each), D draws. KL in nats, d = sqrt(KL), gold relative to its value at 0,
which is known or a third coefficient of its curve.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import fdtrc

from overopt.errors import EstimationError, ShapeError
from overopt.stats.chance import chance_of_errors, chance_of_residuals
from overopt.stats.checks import check_level, check_same_shape, float_array
from overopt.stats.estimate import FloatArray
from overopt.stats.fit_record import Evidence, Fit, Interval, Points, Seen, interval_of, record_of_fit
from overopt.stats.fitting import (
    DRAWS,
    MIN_POINTS,
    Baseline,
    best_seen,
    fit_law,
    late_slope,
    measured_baseline,
    misfit_of_draws,
)
from overopt.stats.lack_of_fit import MANY_POINTS, LackOfFit, misfit_along_curve, widening
from overopt.stats.laws import FittedLaw, fit_coefficients, fit_with_offset, law_value, peak_distance, slope_term
from overopt.stats.least_squares import corrected_aic, floored_errors


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedFit:
    """One alpha for all curves."""

    law: FittedLaw
    alpha: float
    alpha_ci: Interval
    r2: float
    """Over the points of all curves, each curve about its own weighted mean; nan if no curve varies."""
    aicc: float
    separate_aicc: float
    """Of the same points with an alpha for each curve. Smaller than ``aicc``: sharing costs more than it saves."""
    p_value: float
    """Of the F test that all curves have one alpha, which takes the scatter about separate fits for the errors;
    ``nan`` for a single curve or without a degree of freedom."""
    tenable: bool | None
    """Whether one alpha is: the F test does not reject it at ``1 - level``. ``None`` if there was no test."""
    fits: tuple[Fit, ...]
    """One a curve, with the shared alpha; a curve with fewer than four points has ``too_few_points``, one at a single
    distance is ``unidentified``, and both are left out of the shared alpha."""


def fit_shared_alpha(
    law: FittedLaw,
    kl: Sequence[npt.ArrayLike],
    gold: Sequence[npt.ArrayLike],
    *,
    gold_se: Sequence[npt.ArrayLike] | None = None,
    baselines: Sequence[Baseline] | None = None,
    groups: Sequence[str | None] | None = None,
    rng: np.random.Generator,
    level: float = 0.95,
) -> SharedFit:
    """Weighted least squares of G curves with one alpha and G betas, with intervals from independent errors of points.

    Parameters
    ----------
    law : "bon", "rl" or "rl1p"
    kl, gold : G arrays (K,) float64
        As in ``fit_law``; points with KL < 0 are left out, and those with KL 0 unless the baseline is fitted.
    gold_se : G arrays (K,), optional
        Standard errors; without them the scatter about the fit, pooled over curves, gives the errors.
    baselines : sequence of "exact" or "fitted", optional
        As in ``fit_law``, one a curve; all exact if not given.
    groups : sequence of str, optional
        Names of the curves.
    rng : numpy.random.Generator
        Draws the intervals.

    Raises
    ------
    EstimationError
        If no curve has four points with KL above 0 at two distances or more.
    ShapeError
        If the sequences do not have one length.
    DataError
        For a fitted baseline without a point at KL 0.

    Notes
    -----
    Given alpha, each beta is its own regression; alpha is the regression of what the betas leave unexplained, a closed
    form. A point weighs as in ``fit_law``, with errors of all curves on one scale. Each curve's status tells misfit
    from its own points, as in ``fit_law``; the intervals of alpha are widened by the largest factor of a curve.
    """
    check_level(level)
    names = list(groups) if groups is not None else [None] * len(kl)
    kinds: list[Baseline] = list(baselines) if baselines is not None else ["exact"] * len(kl)
    if not len(kl) == len(gold) == len(names) == len(kinds) or (gold_se is not None and len(gold_se) != len(kl)):
        raise ShapeError(f"kl, gold, gold_se and groups must hold one entry a curve; got {len(kl)} and {len(gold)}")
    curves = [
        _curve(kl[g], gold[g], None if gold_se is None else gold_se[g], has_offset=kinds[g] == "fitted")
        for g in range(len(kl))
    ]
    used = [g for g, curve in enumerate(curves) if (curve.d > 0).sum() >= MIN_POINTS and _is_determined(law, curve)]
    if not used:
        raise EstimationError(
            f"a shared alpha needs a curve with {MIN_POINTS} points above KL 0 at different distances"
        )
    kept = [curves[g] for g in used]
    d_G, gold_G, offsets_G = [c.d for c in kept], [c.gold for c in kept], [c.has_offset for c in kept]
    has_errors = all(curve.floored is not None for curve in kept)
    weights_G = [_weights(curve.floored if has_errors else None, curve.d.size) for curve in kept]
    scale = sum(weights.sum() for weights in weights_G) / sum(d.size for d in d_G)
    weights_G = [weights / scale for weights in weights_G]

    together = shared_alpha(law, d_G, gold_G, weights_G, has_offset=offsets_G)
    fitted_G = _values(law, d_G, together)
    residual = _squared_error(gold_G, fitted_G, weights_G)
    points = sum(d.size for d in d_G)
    own_coefficients = len(used) + sum(offsets_G)  # a beta and perhaps an offset each
    freedom = points - own_coefficients - 1
    drawn_gold_G = []
    inflation = np.sqrt(residual / rng.chisquare(freedom, size=(DRAWS, 1)))
    for curve, weights in zip(kept, weights_G, strict=True):
        noise = rng.standard_normal((DRAWS, curve.d.size))
        errors = curve.se if has_errors else None
        drawn_gold_G.append(curve.gold + (inflation * noise / np.sqrt(weights) if errors is None else errors * noise))
    drawn = shared_alpha(law, d_G, drawn_gold_G, weights_G, has_offset=offsets_G)
    drawn_fitted_G = _values(law, d_G, drawn)
    lack_G = [
        _misfit(curve, gold_K - fitted, drawn_gold - drawn_fitted, has_errors=has_errors)
        for curve, gold_K, fitted, drawn_gold, drawn_fitted in zip(
            kept, gold_G, fitted_G, drawn_gold_G, drawn_fitted_G, strict=True
        )
    ]
    widest = max(widening(lack) for lack in lack_G)
    drawn_alpha = together.alpha + widest * (drawn.alpha - together.alpha)

    fits: list[Fit] = []
    for g, curve in enumerate(curves):
        if g not in used:
            se = None if gold_se is None else gold_se[g]
            fits.append(fit_law(law, kl[g], gold[g], gold_se=se, baseline=kinds[g], group=names[g], level=level))
            continue
        place = used.index(g)
        beta, offset = together.betas[place], float(together.offsets[place])
        widened_by = widening(lack_G[place])
        drawn_beta = beta + widened_by * (drawn.betas[place] - beta)
        is_late = curve.d > 0
        turn_d = float(peak_distance(law, float(together.alpha), float(beta)))
        rise = late_slope(
            curve.d[is_late], drawn_gold_G[place][:, is_late], weights_G[place][is_late], curve.d[is_late], turn_d
        )
        # Draws from residuals are as wide as Student's t, a standard error is not.
        narrowing = 1.0 if has_errors else math.sqrt(max(freedom - 2, 0) / freedom)
        error = narrowing * widened_by * float(drawn.offsets[place].std(ddof=1)) if curve.has_offset else 0.0
        seen = curve.best_seen
        fits.append(
            record_of_fit(
                law,
                Points(d=curve.d, gold=curve.gold, weights=weights_G[place], has_offset=curve.has_offset),
                float(together.alpha),
                float(beta),
                Evidence(
                    drawn=(drawn_alpha, drawn_beta),
                    judged_beta=interval_of(drawn_beta, level),
                    falls_after=interval_of(rise, level)[1] < 0,
                    lack=lack_G[place],
                    chance=_chance(
                        law,
                        curve,
                        fitted_G[place],
                        weights_G[place],
                        has_errors,
                        (drawn.alpha, drawn.betas[place]),
                        (float(together.alpha), float(beta)),
                    ),
                    source="gold_se" if has_errors else "residuals",
                    widened_by=widened_by,
                    level=level,
                ),
                offset=offset,
                baseline=curve.start + offset,
                baseline_se=error,
                best_seen=None if seen is None else Seen(d=seen.d, gold=seen.gold - offset),
                group=names[g],
            )
        )
    total = sum(
        float(np.sum(weights * (gold_K - np.average(gold_K, weights=weights)) ** 2))
        for gold_K, weights in zip(gold_G, weights_G, strict=True)
    )
    apart = sum(
        _squared_error([y], _values(law, [d], shared_alpha(law, [d], [y], [w], has_offset=[o])), [w])
        for d, y, w, o in zip(d_G, gold_G, weights_G, offsets_G, strict=True)
    )
    size = sum(float(np.sum(w * y**2)) for y, w in zip(gold_G, weights_G, strict=True))
    p_value = _p_value_of_one_alpha(residual, apart, len(used) - 1, points - own_coefficients - len(used), 1e-24 * size)
    return SharedFit(
        law=law,
        alpha=float(together.alpha),
        alpha_ci=interval_of(drawn_alpha, level),
        r2=1 - residual / total if total > 1e-24 * size else math.nan,
        aicc=corrected_aic(max(residual, 1e-30 * size), points, own_coefficients + 1),
        separate_aicc=corrected_aic(max(apart, 1e-30 * size), points, own_coefficients + len(used)),
        p_value=p_value,
        tenable=None if math.isnan(p_value) else p_value >= 1 - level,
        fits=tuple(fits),
    )


class SharedCoefficients(NamedTuple):
    """alpha (...), and a beta and an offset (...) for each curve."""

    alpha: FloatArray
    betas: list[FloatArray]
    offsets: list[FloatArray]


def shared_alpha(
    law: FittedLaw,
    d: Sequence[FloatArray],
    gold: Sequence[FloatArray],
    weights: Sequence[FloatArray],
    *,
    has_offset: Sequence[bool] | None = None,
) -> SharedCoefficients:
    """Least squares of G curves with one alpha; ``gold`` holds G arrays (..., K), ``d`` and ``weights`` (K,).

    A curve's offset, where it ``has_offset``, is eliminated by taking weighted means off its columns and its gold.
    """
    left, right, kept = 0.0, np.asarray(0.0), []
    for d_K, gold_K, weight, is_free in zip(d, gold, weights, has_offset or [False] * len(d), strict=True):
        share = weight / weight.sum() if is_free else np.zeros(weight.size)
        bend = d_K * slope_term(law, d_K)
        means = (np.sum(share * d_K), np.sum(share * bend), np.sum(share * gold_K, axis=-1))
        column, bend, target = d_K - means[0], bend - means[1], gold_K - means[2][..., None]
        size = np.sum(weight * bend**2)
        # What d and gold have beyond their share of the curve that beta scales.
        rest = column - bend * (np.sum(weight * bend * column) / size)
        left += float(np.sum(weight * rest * rest))
        right = right + np.sum(weight * rest * target, axis=-1)
        kept.append((weight, column, bend, size, target, means))
    alpha = np.asarray(right / left)
    betas, offsets = [], []
    for weight, column, bend, size, target, means in kept:
        beta = np.asarray(np.sum(weight * bend * (alpha[..., None] * column - target), axis=-1) / size)
        betas.append(beta)
        offsets.append(np.asarray(means[2] - alpha * means[0] + beta * means[1]))
    return SharedCoefficients(alpha, betas, offsets)


class _Curve(NamedTuple):
    d: FloatArray
    gold: FloatArray
    """Less ``start``, the mean gold at KL 0 where the offset is fitted."""
    se: FloatArray | None
    floored: FloatArray | None
    start: float
    has_offset: bool
    best_seen: Seen | None


def _curve(kl: npt.ArrayLike, gold: npt.ArrayLike, se: npt.ArrayLike | None, *, has_offset: bool) -> _Curve:
    kl_K, gold_K = float_array("kl", kl, "K"), float_array("gold", gold, "K")
    check_same_shape("kl", kl_K, "gold", gold_K)
    is_used = kl_K >= 0 if has_offset else kl_K > 0
    start = measured_baseline(kl_K, gold_K) if has_offset else 0.0
    se_K = None if se is None else float_array("gold_se", se, "K", finite=False)
    return _Curve(
        d=np.sqrt(kl_K[is_used]),
        gold=gold_K[is_used] - start,
        se=None if se_K is None else se_K[is_used],
        floored=floored_errors(kl_K, se_K, is_used),
        start=start,
        has_offset=has_offset,
        best_seen=best_seen(kl_K, gold_K - start),
    )


def _is_determined(law: FittedLaw, curve: _Curve) -> bool:
    """Whether alpha and beta of this curve alone would follow from points at these distances."""
    ones = np.ones(curve.d.size)
    fit = fit_with_offset if curve.has_offset else fit_coefficients
    return bool(np.isfinite(fit(law, curve.d, curve.d, ones).beta))


def _values(law: FittedLaw, d: Sequence[FloatArray], found: SharedCoefficients) -> list[FloatArray]:
    """Gold (..., K) of each curve."""
    return [
        np.asarray(offset[..., None] + law_value(law, d_K, found.alpha[..., None], beta[..., None]))
        for d_K, beta, offset in zip(d, found.betas, found.offsets, strict=True)
    ]


def _misfit(curve: _Curve, residual: FloatArray, drawn: FloatArray, *, has_errors: bool) -> LackOfFit:
    """Of one curve, from the spread that its residuals have over draws (D, K) of the errors of all curves."""
    if has_errors and curve.floored is not None:
        found = misfit_of_draws(residual, curve.floored, drawn, None)
        return replace(found, method="chi2_of_errors") if found.method == "chi2_of_draws" else found
    # Scaled draws differ in size but not in direction, and the ratio knows no size.
    scaled = drawn - drawn.mean(axis=0)
    orders = [np.argsort(curve.d, kind="stable"), np.arange(residual.size)]
    return misfit_along_curve(
        residual,
        scaled.T @ scaled if residual.size <= MANY_POINTS else None,
        orders,
        scale=abs(curve.start) + float(np.abs(curve.gold).max()),
    )


def _chance(
    law: FittedLaw,
    curve: _Curve,
    fitted: FloatArray,
    weights: FloatArray,
    has_errors: bool,
    drawn: tuple[FloatArray, FloatArray],
    coefficients: tuple[float, float],
) -> float:
    """P-value of the hypothesis that gold of one curve stays at its baseline."""
    start = np.average(curve.gold, weights=weights) if curve.has_offset else 0.0
    if has_errors:
        columns = np.stack([curve.d, -curve.d * slope_term(law, curve.d)], axis=1)
        if curve.has_offset:
            columns = columns - np.average(columns, axis=0, weights=weights)
        known = chance_of_errors(
            np.array(coefficients), np.cov(np.stack(drawn)), columns * np.sqrt(weights)[:, None]
        )  # fmt: skip
        if math.isfinite(known):
            return known
    return chance_of_residuals(
        float(np.sum(weights * (curve.gold - fitted) ** 2)),
        float(np.sum(weights * (curve.gold - start) ** 2)),
        2,
        curve.d.size - 2 - curve.has_offset,
    )


def _p_value_of_one_alpha(together: float, apart: float, extra: int, freedom: int, rounding: float) -> float:
    """F test of the squared errors of a fit with one alpha against one with an alpha each."""
    if extra < 1 or freedom < 1:
        return math.nan
    gain = max(together - apart, 0.0) / extra
    if together <= rounding:
        return 1.0
    return float(fdtrc(extra, freedom, gain / (apart / freedom))) if apart > 0 else 0.0


def _weights(errors: FloatArray | None, points: int) -> FloatArray:
    return np.ones(points) if errors is None else 1 / errors**2


def _squared_error(gold: Sequence[FloatArray], fitted: Sequence[FloatArray], weights: Sequence[FloatArray]) -> float:
    return sum(float(np.sum(w * (y - f) ** 2)) for y, f, w in zip(gold, fitted, weights, strict=True))
