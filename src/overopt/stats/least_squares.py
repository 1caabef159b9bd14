"""Weighted least squares of any law to the points of one curve, and how good the fit is.

``bon``, ``rl``, ``rl1p`` and ``linear`` are closed forms. ``power`` and ``root`` also have gamma, found by a search
in one dimension, the rest being a closed form for each gamma. Gold at d = 0 is known to be 0, or it is fitted too, as
an offset, and then points at d = 0 take part. Axes: K points, G values of gamma.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from overopt.errors import DataError
from overopt.stats.checks import check_same_shape
from overopt.stats.estimate import BoolArray, FloatArray
from overopt.stats.laws import AnyLaw, fit_coefficients, fit_line, fit_with_offset, law_value
from overopt.stats.linear import solve_columns

Limit = Literal["none", "rl", "linear", "constant", "upper"]

POWER_GAMMAS = (1e-3, 8.0)
"""Below, d (alpha - beta d^gamma) is the rl law to three digits; above, a straight line with a cliff."""
ROOT_GAMMAS = (0.02, 1.0)
N_COEFFICIENTS: dict[AnyLaw, int] = {"bon": 2, "rl": 2, "rl1p": 2, "power": 3, "root": 2, "linear": 1}

_GRID_POINTS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveFit:
    """A law's best curve through K points."""

    law: AnyLaw
    alpha: float
    beta: float
    """0 in laws that have none."""
    gamma: float
    """``nan`` in laws that have none."""
    limit: Limit
    """Where gamma ended. ``none``: inside its range, or the law has none. ``rl``: it wants to be 0, where alpha and
    beta of ``power`` diverge and the curve becomes the rl law; alpha and beta are those of ``rl`` then, and gamma is 0.
    ``linear``: the curve is straight, so that gamma is undetermined (``power``) or 1 (``root``). ``constant`` and
    ``upper``: at the lower and upper end of its range."""
    offset: float = 0.0
    """Gold at d = 0."""

    def value(self, d: npt.ArrayLike) -> FloatArray:
        """Gold at the distances ``d``, of any shape; nan where the curve is not determined."""
        if math.isnan(self.alpha):
            return np.full(np.shape(d), math.nan)
        law, gamma = self.law, None if math.isnan(self.gamma) else self.gamma
        if law == "power" and self.limit in ("rl", "linear"):
            law, gamma = ("rl" if self.limit == "rl" else "linear"), None
        return np.asarray(self.offset + law_value(law, d, self.alpha, self.beta, gamma))


class Quality(NamedTuple):
    """R^2 about the weighted mean, root mean squared error in gold units, and AICc; nan where undefined."""

    r2: float
    rmse: float
    aicc: float


def fit_curve(
    law: AnyLaw, d: FloatArray, gold: FloatArray, weights: FloatArray, *, has_offset: bool = False
) -> CurveFit:
    """Least-squares curve of a law through points (K,) with d > 0; coefficients are nan at one single distance.

    With ``has_offset`` gold at d = 0 is one more coefficient and points with d = 0 are fitted too.

    Gao et al. 2022 (arXiv:2210.10760), app. B, find that ``power`` wants a tiny gamma on their curves: then ``limit``
    says so and no diverging coefficients are returned.
    """
    nan = math.nan
    if law == "power":
        return _fit_power(d, gold, weights, has_offset)
    if law == "root":
        return _fit_root(d, gold, weights, has_offset)
    if law == "linear":
        alpha, offset = _scale(d, gold, weights, has_offset)
        return CurveFit(law=law, alpha=float(alpha), beta=0.0, gamma=nan, limit="none", offset=float(offset))
    if has_offset:
        alpha, beta, offset = fit_with_offset(law, d, gold, weights)
    else:
        alpha, beta = fit_coefficients(law, d, gold, weights)
        offset = np.zeros(())
    return CurveFit(
        law=law, alpha=float(alpha), beta=float(beta), gamma=nan, limit="none", offset=float(offset)
    )  # fmt: skip


def quality(gold: FloatArray, fitted: FloatArray, weights: FloatArray, *, n_coefficients: int) -> Quality:
    """How well ``fitted`` (K,) meets ``gold``; AICc is that of Gaussian errors of unknown scale, with weights.

    R^2 is about the mean although the laws pass through the origin, since R^2 about 0 flatters every curve. Weights
    must have the same scale in fits whose AICc are compared.
    """
    points = gold.size
    squared_error = float(np.sum(weights * (gold - fitted) ** 2))
    total = float(np.sum(weights * (gold - np.average(gold, weights=weights)) ** 2))
    size = float(np.sum(weights * gold**2))
    # Rounding leaves a little variation in a constant and a little error in an exact fit.
    r2 = 1 - squared_error / total if total > 1e-24 * size else math.nan
    return Quality(
        r2,
        float(np.sqrt(np.mean((gold - fitted) ** 2))),
        corrected_aic(max(squared_error, 1e-30 * size), points, n_coefficients),
    )


def corrected_aic(squared_error: float, points: int, n_coefficients: int) -> float:
    """K ln(RSS / K) + 2 p + 2 p (p + 1) / (K - p - 1), p counting the error's scale too; nan with too few points."""
    n_parameters = n_coefficients + 1
    freedom = points - n_parameters - 1
    if freedom <= 0 or not squared_error > 0:
        return math.nan
    log_likelihood_term = points * math.log(squared_error / points)
    return log_likelihood_term + 2 * n_parameters + 2 * n_parameters * (n_parameters + 1) / freedom


def point_weights(kl: FloatArray, se: FloatArray | None, is_used: BoolArray) -> FloatArray:
    """1 / max(se, median se)^2 of the used points, scaled to a mean of 1; equal when the errors are unknown.

    Small n have the smallest errors and the laws hold only approximately, so an unbounded weight would let them bend
    the rest of the curve. Errors that are 0 at half of the points or more are not believed.

    Raises
    ------
    DataError
        If some errors are nan and others are not, or one is negative.
    """
    floored = floored_errors(kl, se, is_used)
    if floored is None:
        return np.ones(int(is_used.sum()))
    weights = (floored.min() / floored) ** 2
    return np.asarray(weights / weights.mean())


def floored_errors(kl: FloatArray, se: FloatArray | None, is_used: BoolArray) -> FloatArray | None:
    """max(se, median se) of the used points; ``None`` when the errors are unknown or not believed."""
    if se is None:
        return None
    check_same_shape("kl", kl, "gold_se", se)
    se = se[is_used]
    if np.isnan(se).all():
        return None
    if not (np.isfinite(se).all() and (se >= 0).all()):
        raise DataError(
            "gold_se must be finite and not negative at every point with KL above 0, or nan at all of them; "
            f"got {se.tolist()}"
        )
    floored = np.maximum(se, np.median(se))
    return floored if (floored > 0).all() else None


def _fit_power(d: FloatArray, gold: FloatArray, weights: FloatArray, has_offset: bool) -> CurveFit:
    """Profile over gamma, with (d^gamma - 1) / gamma in place of d^gamma: it tends to ln d and its fit stays finite."""
    log_d = np.log(np.where(d > 0, d, 1.0))  # at d = 0 the law is 0 whatever its bend

    def bent(gamma: npt.ArrayLike) -> FloatArray:
        exponent = np.asarray(gamma, dtype=np.float64)[..., None]
        return np.asarray(np.expm1(exponent * log_d) / exponent)

    def line(g: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        if not has_offset:
            level, bend = fit_line(d, g, gold, weights)
            return level, bend, np.zeros(level.shape)
        columns = np.stack(np.broadcast_arrays(np.ones_like(d), d, -d * g), axis=-1)
        found = solve_columns(columns, gold, weights)
        return found[..., 1], found[..., 2], found[..., 0]

    def error(gamma: npt.ArrayLike) -> FloatArray:
        g = bent(gamma)
        level, bend, offset = line(g)
        fitted = offset[..., None] + d * (level[..., None] - bend[..., None] * g)
        return np.asarray(np.sum(weights * (gold - fitted) ** 2, axis=-1))

    nan = math.nan
    grid = np.geomspace(*POWER_GAMMAS, _GRID_POINTS)
    error_G = error(grid)
    size = float(np.sum(weights * gold**2))
    straight = fit_curve("linear", d, gold, weights, has_offset=has_offset)
    if not np.isfinite(error_G).all():
        return CurveFit(law="power", alpha=nan, beta=nan, gamma=nan, limit="none")
    if float(np.sum(weights * (gold - straight.value(d)) ** 2)) <= 1e-24 * size:
        return CurveFit(
            law="power", alpha=straight.alpha, beta=0.0, gamma=nan, limit="linear", offset=straight.offset
        )  # fmt: skip
    gamma = _refined(error, grid, error_G)
    if gamma <= grid[0] * 1.001:
        level, bend, offset = line(log_d)
        return CurveFit(
            law="power", alpha=float(level), beta=float(bend), gamma=0.0, limit="rl", offset=float(offset)
        )  # fmt: skip
    level, bend, offset = line(bent(gamma))
    beta = float(bend) / gamma
    limit: Limit = "upper" if gamma >= grid[-1] / 1.001 else "none"
    return CurveFit(
        law="power", alpha=float(level) + beta, beta=beta, gamma=gamma, limit=limit, offset=float(offset)
    )  # fmt: skip


def _fit_root(d: FloatArray, gold: FloatArray, weights: FloatArray, has_offset: bool) -> CurveFit:
    def shape(gamma: npt.ArrayLike) -> FloatArray:
        return np.asarray(d ** np.asarray(gamma, dtype=np.float64)[..., None])

    def error(gamma: npt.ArrayLike) -> FloatArray:
        scale, offset = _scale(shape(gamma), gold, weights, has_offset)
        fitted = offset[..., None] + scale[..., None] * shape(gamma)
        return np.asarray(np.sum(weights * (gold - fitted) ** 2, axis=-1))

    grid = np.linspace(*ROOT_GAMMAS, _GRID_POINTS)
    gamma = _refined(error, grid, error(grid))
    limit: Limit = "linear" if gamma >= 0.9999 else "constant" if gamma <= grid[0] * 1.001 else "none"
    gamma = 1.0 if limit == "linear" else gamma
    alpha, offset = _scale(shape(gamma), gold, weights, has_offset)
    return CurveFit(law="root", alpha=float(alpha), beta=0.0, gamma=gamma, limit=limit, offset=float(offset))


def _scale(shape: FloatArray, gold: FloatArray, weights: FloatArray, has_offset: bool) -> tuple[FloatArray, FloatArray]:
    """Least-squares scale (...) of a curve's shape (..., K), and its offset, 0 if there is none."""
    if has_offset:
        total = weights.sum()
        mean = np.sum(weights * shape, axis=-1, keepdims=True) / total
        level = np.sum(weights * gold) / total
        centred = shape - mean
        scale = np.sum(weights * centred * (gold - level), axis=-1) / np.sum(weights * centred**2, axis=-1)
        return np.asarray(scale), np.asarray(level - scale * mean[..., 0])
    scale = np.sum(weights * shape * gold, axis=-1) / np.sum(weights * shape**2, axis=-1)
    return np.asarray(scale), np.zeros(np.shape(scale))


def _refined(error: Callable[[npt.ArrayLike], FloatArray], grid: FloatArray, error_G: FloatArray) -> float:
    """The gamma of least error, from the best of the grid and its neighbours."""
    best = int(error_G.argmin())
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, grid.size - 1)]
    found = minimize_scalar(
        lambda gamma: float(error(gamma)), bounds=(low, high), method="bounded", options={"xatol": 1e-12}
    )
    return float(found.x) if found.fun < error_G[best] else float(grid[best])
