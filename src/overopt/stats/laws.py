"""The over-optimization laws: gold against the distance d = sqrt(KL), where gold peaks and where it is lost again.

R_bon(d) = d (alpha - beta d) and R_rl(d) = d (alpha - beta ln d), gold relative to its value at d = 0: Gao et al. 2022
(arXiv:2210.10760), who also tried d (alpha - beta ln(1 + d)) and d (alpha - beta d^gamma), app. B. Divided by d all are
straight lines in some g(d), so for a given gamma a weighted fit is a closed form, and a refit for each of ten thousand
bootstrap draws costs milliseconds. Two curves without a turn stand beside them: alpha d and alpha d^gamma, gamma <= 1.
Axes: K points of a curve, D draws. KL in nats.
"""

import math
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import wrightomega

from overopt.errors import ConfigError, DataError
from overopt.stats.estimate import FloatArray
from overopt.stats.linear import solve_columns

Law = Literal["bon", "rl"]
"""The two laws that Gao et al. settled on."""
FittedLaw = Literal["bon", "rl", "rl1p"]
"""Laws of two coefficients, alpha and beta, and one closed form."""
AnyLaw = Literal["bon", "rl", "rl1p", "power", "root", "linear"]

LAWS: tuple[Law, ...] = ("bon", "rl")
FITTED_LAWS: tuple[FittedLaw, ...] = ("bon", "rl", "rl1p")
ALL_LAWS: tuple[AnyLaw, ...] = ("bon", "rl", "rl1p", "power", "root", "linear")
TURNLESS_LAWS: tuple[AnyLaw, ...] = ("root", "linear")
"""alpha d^gamma and alpha d: gold that rises for good, faster and faster ever less."""


class Coefficients(NamedTuple):
    """alpha and beta of a law, of one shape; nan where they are not determined."""

    alpha: FloatArray
    beta: FloatArray


class OffsetCoefficients(NamedTuple):
    """alpha and beta of a law and the gold at d = 0 that it starts from; nan where they are not determined."""

    alpha: FloatArray
    beta: FloatArray
    offset: FloatArray


class Turn(NamedTuple):
    """Where a law's gold is largest."""

    d: float
    gold: float


def law_value(
    law: AnyLaw,
    d: npt.ArrayLike,
    alpha: npt.ArrayLike,
    beta: npt.ArrayLike = 0.0,
    gamma: npt.ArrayLike | None = None,
) -> FloatArray:
    """Gold of a law at the distances ``d`` >= 0, 0 at d = 0; the arguments broadcast.

    Parameters
    ----------
    law : str
        ``bon`` d (alpha - beta d), ``rl`` d (alpha - beta ln d), ``rl1p`` d (alpha - beta ln(1 + d)), ``power``
        d (alpha - beta d^gamma), ``root`` alpha d^gamma, ``linear`` alpha d.
    d, alpha, beta, gamma : float64
        ``beta`` plays no part in ``root`` and ``linear``; ``gamma`` > 0 belongs to ``power`` and ``root`` alone.

    >>> law_value("bon", [0.0, 1.0, 2.0], 1.0, 0.25)
    array([0.  , 0.75, 1.  ])
    """
    distance = np.asarray(d, dtype=np.float64)
    if np.any(distance < 0):
        raise DataError("d is a square root of a KL and cannot be negative")
    if law == "root":
        return np.asarray(np.asarray(alpha) * distance ** _checked_gamma(law, gamma))
    if law == "linear":
        return np.asarray(np.asarray(alpha) * distance)
    g = distance ** _checked_gamma(law, gamma) if law == "power" else slope_term(law, distance)
    return np.asarray(distance * (np.asarray(alpha) - np.asarray(beta) * g))


def slope_term(law: AnyLaw, d: FloatArray) -> FloatArray:
    """g(d) in R = d (alpha - beta g(d)) of a law with two coefficients; 0 at d = 0, where it does not matter."""
    if law == "bon":
        return d
    if law == "rl":
        return np.asarray(np.log(np.where(d > 0, d, 1.0)))
    if law == "rl1p":
        return np.asarray(np.log1p(d))
    raise ConfigError(f"law must be one of {', '.join(FITTED_LAWS)}; got {law!r}")


def fit_coefficients(law: FittedLaw, d: npt.ArrayLike, gold: npt.ArrayLike, weights: npt.ArrayLike) -> Coefficients:
    """Weighted least-squares alpha and beta of gold at d, in closed form, one pair for each leading index.

    Parameters
    ----------
    law : "bon", "rl" or "rl1p"
    d, gold : (..., K) float64
        Distances and gold relative to d = 0; leading axes (bootstrap draws) broadcast. Points with d <= 0 are left
        out: the laws are 0 at d = 0 whatever the coefficients, and ln 0 is not defined.
    weights : (K,) float64
        Weight of each point's squared residual in gold; their common scale does not matter.

    Returns
    -------
    Coefficients
        Shape (...); nan where fewer than two distinct distances are left.

    Notes
    -----
    Minimising sum w (R - gold)^2 is the regression of gold / d on g(d), with weights w d^2; centring on the weighted
    means keeps the digits that the normal equations of d and d g(d) would lose.
    """
    distance = np.asarray(d, dtype=np.float64)
    return fit_line(distance, slope_term(law, np.where(distance > 0, distance, 1.0)), gold, weights)


def fit_with_offset(
    law: FittedLaw, d: npt.ArrayLike, gold: npt.ArrayLike, weights: npt.ArrayLike
) -> OffsetCoefficients:
    """Weighted least squares of gold = offset + d (alpha - beta g(d)): where gold at d = 0 is measured, not known.

    Parameters
    ----------
    law : "bon", "rl" or "rl1p"
    d, gold : (..., K) float64
        Distances >= 0, those at 0 among them, and gold in any unit and from any zero. Leading axes broadcast.
    weights : (K,) float64

    Returns
    -------
    OffsetCoefficients
        Shape (...); nan with fewer than three distinct distances.

    >>> found = fit_with_offset("bon", [0.0, 1.0, 2.0, 3.0], [4.0, 4.75, 5.0, 4.75], [1.0, 1.0, 1.0, 1.0])
    >>> [round(float(value), 12) for value in found]
    [1.0, 0.25, 4.0]
    """
    distance = np.asarray(d, dtype=np.float64)
    found = solve_columns(law_columns(law, distance), np.asarray(gold, dtype=np.float64), np.asarray(weights))
    return OffsetCoefficients(found[..., 1], found[..., 2], found[..., 0])


def law_columns(law: FittedLaw, d: FloatArray) -> FloatArray:
    """What multiplies the offset, alpha and beta at each distance, (..., K, 3)."""
    return np.stack([np.ones_like(d), d, -d * slope_term(law, d)], axis=-1)


def fit_line(d: npt.ArrayLike, g: npt.ArrayLike, gold: npt.ArrayLike, weights: npt.ArrayLike) -> Coefficients:
    """``fit_coefficients`` for any g: the weighted least-squares alpha and beta of d (alpha - beta g)."""
    distance, g, gold_K, weight = np.broadcast_arrays(
        np.asarray(d, dtype=np.float64),
        np.asarray(g, dtype=np.float64),
        np.asarray(gold, dtype=np.float64),
        np.asarray(weights, dtype=np.float64),
    )
    is_used = distance > 0
    safe_d = np.where(is_used, distance, 1.0)
    weight = np.where(is_used, weight * safe_d**2, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = weight / weight.sum(axis=-1, keepdims=True)
        slope = np.where(is_used, gold_K, 0.0) / safe_d
        g_mean = (weight * g).sum(axis=-1)
        slope_mean = (weight * slope).sum(axis=-1)
        g_centred = g - g_mean[..., None]
        spread = (weight * g_centred**2).sum(axis=-1)
        # Distances that differ by rounding alone are one distance.
        spread = np.where(spread > 1e-12 * (weight * g**2).sum(axis=-1), spread, np.nan)
        beta = -(weight * g_centred * slope).sum(axis=-1) / spread
        alpha = slope_mean + beta * g_mean
    return Coefficients(np.asarray(alpha), np.asarray(beta))


def peak(law: AnyLaw, alpha: float, beta: float, gamma: float | None = None) -> Turn:
    """Distance and gold of the largest value of a law; nan when it has no turn above d = 0.

    Best-of-n: alpha / 2 beta and alpha^2 / 4 beta, if both are positive. RL: exp(alpha / beta - 1) and beta times it,
    if beta is positive. Gold at the peak is alpha^2 / 4 beta, not the alpha / 2 beta of the caption of Gao et al.'s
    figure 12. The others: see ``peak_distance``.

    >>> peak("bon", 1.0, 0.25)
    Turn(d=2.0, gold=1.0)
    """
    d = float(peak_distance(law, alpha, beta, gamma))
    if not 0 < d < math.inf:
        return Turn(math.nan, math.nan)
    return Turn(d, float(law_value(law, d, alpha, beta, gamma)))


def peak_distance(
    law: AnyLaw, alpha: npt.ArrayLike, beta: npt.ArrayLike, gamma: npt.ArrayLike | None = None
) -> FloatArray:
    """Distance at which gold is largest: infinite without a turn, 0 if gold falls from the start, nan if unknown.

    With r = alpha / beta and beta > 0: ``bon`` r / 2; ``rl`` exp(r - 1), at which gold has risen from 0 whatever the
    sign of alpha; ``power`` (r / (1 + gamma))^(1 / gamma); ``rl1p`` the root of ln(1 + d) + d / (1 + d) = r, which is
    1 / omega(1 - r) - 1 in Wright's omega. The arguments broadcast.

    >>> peak_distance("bon", 1.0, [0.5, 0.0])
    array([ 1., inf])
    """
    ratio, has_turn, is_unknown = _ratio(law, alpha, beta)
    with np.errstate(over="ignore"):
        if law == "bon":
            d = np.maximum(ratio / 2, 0.0)
        elif law == "rl":
            d = np.exp(ratio - 1)
        elif law == "rl1p":
            d = _log1p_turn(np.maximum(ratio, 0.0))
        else:
            exponent = _checked_gamma(law, gamma)
            d = (np.maximum(ratio, 0.0) / (1 + exponent)) ** (1 / exponent)
    return np.where(is_unknown, np.nan, np.where(has_turn, d, np.inf))


def peak_gold(law: FittedLaw, alpha: npt.ArrayLike, beta: npt.ArrayLike) -> FloatArray:
    """Largest gold of a law over all d >= 0: infinite without a turn, 0 if gold falls from the start, nan if unknown.

    >>> peak_gold("bon", 1.0, [0.25, -0.25])
    array([ 1., inf])
    """
    d = peak_distance(law, alpha, beta)
    is_finite = np.isfinite(d)
    with np.errstate(over="ignore"):
        gold = law_value(law, np.where(is_finite, d, 0.0), alpha, beta)
    return np.where(is_finite, gold, d)


def zero_distance(
    law: AnyLaw, alpha: npt.ArrayLike, beta: npt.ArrayLike, gamma: npt.ArrayLike | None = None
) -> FloatArray:
    """Distance beyond the peak at which all gold is lost again: infinite without a turn, 0 if none was ever gained.

    With r = alpha / beta and beta > 0: ``bon`` r, ``rl`` exp(r), ``rl1p`` exp(r) - 1, ``power`` r^(1 / gamma); nan if
    unknown. The arguments broadcast.

    >>> zero_distance("bon", 1.0, [0.5, 0.0])
    array([ 2., inf])
    """
    ratio, has_turn, is_unknown = _ratio(law, alpha, beta)
    with np.errstate(over="ignore"):
        if law == "bon":
            d = np.maximum(ratio, 0.0)
        elif law == "rl":
            d = np.exp(ratio)
        elif law == "rl1p":
            d = np.expm1(np.maximum(ratio, 0.0))
        else:
            d = np.maximum(ratio, 0.0) ** (1 / _checked_gamma(law, gamma))
    return np.where(is_unknown, np.nan, np.where(has_turn, d, np.inf))


def _ratio(
    law: AnyLaw, alpha: npt.ArrayLike, beta: npt.ArrayLike
) -> tuple[FloatArray, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """alpha / beta, infinite without a turn; whether there is a turn; whether the coefficients are unknown."""
    if law not in ALL_LAWS:
        raise ConfigError(f"law must be one of {', '.join(ALL_LAWS)}; got {law!r}")
    alpha, beta = np.broadcast_arrays(np.asarray(alpha, dtype=np.float64), np.asarray(beta, dtype=np.float64))
    if law in TURNLESS_LAWS:
        return np.full(alpha.shape, np.inf), np.zeros(alpha.shape, dtype=np.bool_), np.isnan(alpha)
    has_turn = beta > 0
    with np.errstate(over="ignore"):
        ratio = np.divide(alpha, beta, out=np.full(beta.shape, np.inf), where=has_turn)
    return ratio, has_turn, np.isnan(alpha) | np.isnan(beta)


def _log1p_turn(ratio: FloatArray) -> FloatArray:
    """The root d of ln(1 + d) + d / (1 + d) = ratio >= 0."""
    omega = wrightomega(1.0 - ratio)
    with np.errstate(divide="ignore", invalid="ignore"):
        d = np.maximum((1 - omega) / omega, 0.0)
        # One Newton step: 1 - omega has few digits where d is small, and the step restores them.
        step = (np.log1p(d) + d / (1 + d) - ratio) / (1 / (1 + d) + 1 / (1 + d) ** 2)
    return np.asarray(np.where(d < 1, d - np.where(d < 1, step, 0.0), d))


def _checked_gamma(law: AnyLaw, gamma: npt.ArrayLike | None) -> FloatArray:
    if law not in ("power", "root"):
        return np.asarray(np.nan)
    if gamma is None:
        raise ConfigError(f"the law {law!r} needs gamma")
    exponent = np.asarray(gamma, dtype=np.float64)
    if np.any(exponent <= 0):
        raise ConfigError(f"gamma must be above 0; got {float(exponent.min())}")
    return exponent
