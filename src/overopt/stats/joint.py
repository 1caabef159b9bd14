"""Several curves fitted together with one alpha and a beta each.

Gao et al. 2022 (arXiv:2210.10760) hold alpha of RL constant over the sizes of the reward model. Axes: G curves, K
points of one curve (not the same number in each), D draws. KL in nats, d = sqrt(KL), gold relative to its value at 0.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from overopt.errors import EstimationError, ShapeError
from overopt.stats.checks import check_level, check_same_shape, float_array
from overopt.stats.estimate import FloatArray
from overopt.stats.fitting import DRAWS, MIN_POINTS, Fit, Interval, fit_law, fit_of_coefficients, late_slope
from overopt.stats.laws import FittedLaw, fit_coefficients, law_value, peak_distance, slope_term
from overopt.stats.least_squares import corrected_aic, floored_errors
from overopt.stats.resampling import percentile_interval


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
    fits: tuple[Fit, ...]
    """One a curve, with the shared alpha; a curve with fewer than four points has ``too_few_points``, one at a single
    distance is ``unidentified``, and both are left out of the shared alpha."""


def fit_shared_alpha(
    law: FittedLaw,
    kl: Sequence[npt.ArrayLike],
    gold: Sequence[npt.ArrayLike],
    *,
    gold_se: Sequence[npt.ArrayLike] | None = None,
    groups: Sequence[str | None] | None = None,
    rng: np.random.Generator,
    level: float = 0.95,
) -> SharedFit:
    """Weighted least squares of G curves with one alpha and G betas, with intervals from independent errors of points.

    Parameters
    ----------
    law : "bon", "rl" or "rl1p"
    kl, gold : G arrays (K,) float64
        As in ``fit_law``; points with KL <= 0 are left out.
    gold_se : G arrays (K,), optional
        Standard errors; without them the scatter about the fit, pooled over curves, gives the errors.
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

    Notes
    -----
    Given alpha, each beta is its own regression; alpha is the regression of what the betas leave unexplained, a closed
    form. A point weighs as in ``fit_law``, with errors of all curves on one scale.
    """
    check_level(level)
    names = list(groups) if groups is not None else [None] * len(kl)
    if not len(kl) == len(gold) == len(names) or (gold_se is not None and len(gold_se) != len(kl)):
        raise ShapeError(f"kl, gold, gold_se and groups must hold one entry a curve; got {len(kl)} and {len(gold)}")
    curves = [_points(kl[g], gold[g], None if gold_se is None else gold_se[g]) for g in range(len(kl))]
    used = [g for g, (d, _, _) in enumerate(curves) if d.size >= MIN_POINTS and _is_determined(law, d)]
    if not used:
        raise EstimationError(
            f"a shared alpha needs a curve with {MIN_POINTS} points above KL 0 at different distances"
        )
    d_G, gold_G = [curves[g][0] for g in used], [curves[g][1] for g in used]
    has_errors = all(curves[g][2] is not None for g in used)
    weights_G = [_weights(curves[g][2] if has_errors else None, d.size) for g, d in zip(used, d_G, strict=True)]
    scale = sum(weights.sum() for weights in weights_G) / sum(d.size for d in d_G)
    weights_G = [weights / scale for weights in weights_G]

    alpha, betas = shared_alpha(law, d_G, gold_G, weights_G)
    fitted_G = [law_value(law, d, alpha, beta) for d, beta in zip(d_G, betas, strict=True)]
    residual = _squared_error(gold_G, fitted_G, weights_G)
    points = sum(d.size for d in d_G)
    freedom = points - len(used) - 1
    drawn_G = []
    variance = residual / max(freedom, 1)
    inflation = np.sqrt(variance * freedom / rng.chisquare(freedom, size=(DRAWS, 1)))
    for g, observed, fitted, weights in zip(used, gold_G, fitted_G, weights_G, strict=True):
        noise = rng.standard_normal((DRAWS, fitted.size))
        errors = None if gold_se is None or not has_errors else _own_errors(kl[g], gold_se[g])
        drawn_G.append(observed + inflation * noise / np.sqrt(weights) if errors is None else observed + errors * noise)
    drawn_alpha, drawn_betas = shared_alpha(law, d_G, drawn_G, weights_G)

    fits: list[Fit] = []
    for g, (kl_K, gold_K) in enumerate(zip(kl, gold, strict=True)):
        if g not in used:
            fits.append(fit_law(law, kl_K, gold_K, group=names[g], level=level))
            continue
        place = used.index(g)
        d_K, alpha_g, beta_g = d_G[place], float(alpha), float(betas[place])
        low, high = percentile_interval(drawn_betas[place], level)
        turn_d = float(peak_distance(law, alpha_g, beta_g))
        rise = late_slope(d_K, drawn_G[place], weights_G[place], d_K, turn_d)
        fits.append(
            fit_of_coefficients(
                law, d_K, gold_G[place], weights_G[place], alpha_g, beta_g,
                drawn=(drawn_alpha, drawn_betas[place]), judged_beta=(float(low), float(high)),
                falls_after=bool(percentile_interval(rise, level)[1] < 0),
                source="gold_se" if has_errors else "residuals", group=names[g], level=level,
            )
        )  # fmt: skip
    total = sum(
        float(np.sum(weights * (gold_K - np.average(gold_K, weights=weights)) ** 2))
        for gold_K, weights in zip(gold_G, weights_G, strict=True)
    )
    separate = [shared_alpha(law, [d], [y], [w]) for d, y, w in zip(d_G, gold_G, weights_G, strict=True)]
    separate_G = [law_value(law, d, a, b[0]) for d, (a, b) in zip(d_G, separate, strict=True)]
    size = sum(float(np.sum(w * y**2)) for y, w in zip(gold_G, weights_G, strict=True))
    low, high = percentile_interval(drawn_alpha, level)
    return SharedFit(
        law=law,
        alpha=float(alpha),
        alpha_ci=(float(low), float(high)),
        r2=1 - residual / total if total > 1e-24 * size else math.nan,
        aicc=corrected_aic(max(residual, 1e-30 * size), points, len(used) + 1),
        separate_aicc=corrected_aic(
            max(_squared_error(gold_G, separate_G, weights_G), 1e-30 * size), points, 2 * len(used)
        ),
        fits=tuple(fits),
    )


def shared_alpha(
    law: FittedLaw, d: Sequence[FloatArray], gold: Sequence[FloatArray], weights: Sequence[FloatArray]
) -> tuple[FloatArray, list[FloatArray]]:
    """alpha (...) and G betas (...) of least squares; ``gold`` holds G arrays (..., K), ``d`` and ``weights`` (K,)."""
    left, right, kept = 0.0, np.asarray(0.0), []
    for d_K, gold_K, weight in zip(d, gold, weights, strict=True):
        bend = d_K * slope_term(law, d_K)
        size = np.sum(weight * bend**2)
        # What d and gold have beyond their share of the curve that beta scales.
        rest = d_K - bend * (np.sum(weight * bend * d_K) / size)
        left += float(np.sum(weight * rest * rest))
        right = right + np.sum(weight * rest * gold_K, axis=-1)
        kept.append((bend, size))
    alpha = np.asarray(right / left)
    betas = [
        np.asarray(np.sum(weight * bend * (alpha[..., None] * d_K - gold_K), axis=-1) / size)
        for d_K, gold_K, weight, (bend, size) in zip(d, gold, weights, kept, strict=True)
    ]
    return alpha, betas


def _points(
    kl: npt.ArrayLike, gold: npt.ArrayLike, se: npt.ArrayLike | None
) -> tuple[FloatArray, FloatArray, FloatArray | None]:
    kl_K, gold_K = float_array("kl", kl, "K"), float_array("gold", gold, "K")
    check_same_shape("kl", kl_K, "gold", gold_K)
    is_used = kl_K > 0
    se_K = None if se is None else float_array("gold_se", se, "K", finite=False)
    return np.sqrt(kl_K[is_used]), gold_K[is_used], floored_errors(kl_K, se_K, is_used)


def _is_determined(law: FittedLaw, d: FloatArray) -> bool:
    """Whether alpha and beta of this curve alone would follow from points at these distances."""
    return bool(np.isfinite(fit_coefficients(law, d, d, np.ones(d.size)).beta))


def _own_errors(kl: npt.ArrayLike, se: npt.ArrayLike) -> FloatArray:
    return np.asarray(np.asarray(se, dtype=np.float64)[np.asarray(kl, dtype=np.float64) > 0])


def _weights(errors: FloatArray | None, points: int) -> FloatArray:
    return np.ones(points) if errors is None else 1 / errors**2


def _squared_error(gold: Sequence[FloatArray], fitted: Sequence[FloatArray], weights: Sequence[FloatArray]) -> float:
    return sum(float(np.sum(w * (y - f) ** 2)) for y, f, w in zip(gold, fitted, weights, strict=True))
