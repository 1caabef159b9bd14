"""What a few noisy points of a curve say about its law: alpha and beta given gold, in closed form.

Both laws are linear in (alpha, beta), so a Gaussian prior and Gaussian errors give a Gaussian posterior. The law holds
only approximately, so a smooth departure from it is part of the model; its size is unknown, and the posterior is a
mixture over a few sizes, weighted by how well each explains the points. Axes: K points, M new distances, C sizes of
the departure. d in sqrt(nats); gold relative to d = 0.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, owens_t

from overopt.errors import ConfigError, DataError, ShapeError
from overopt.stats.checks import check_same_shape, float_array
from overopt.stats.estimate import FloatArray
from overopt.stats.laws import LAWS, Law, law_value

PRIOR_WIDTH = 3.0
"""Standard deviations of the weak prior, in units of the observed range of gold."""
DEPARTURES = (0.0, 0.03, 0.1, 0.3, 1.0)
"""Sizes of the departure from the law at the last point, as shares of the observed range of gold; equally likely."""
ERROR_FLOOR = 1e-6
"""Smallest standard error that is believed, as a share of the observed range of gold."""

_LARGEST_H = 1e100  # its square is finite


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """A Gaussian belief about (alpha, beta) before gold is seen, such as the spread over earlier runs."""

    mean: tuple[float, float]
    """Of alpha and beta."""
    covariance: tuple[tuple[float, float], tuple[float, float]]
    """Positive definite."""

    def __post_init__(self) -> None:
        covariance = np.asarray(self.covariance, dtype=np.float64)
        if np.shape(self.mean) != (2,) or covariance.shape != (2, 2):
            raise ConfigError("a prior has two means and a 2 x 2 covariance, of alpha and beta")
        is_definite = covariance[0, 0] > 0 and np.linalg.det(covariance) > 0
        if not (np.isfinite(self.mean).all() and np.isfinite(covariance).all() and is_definite):
            raise ConfigError(f"a prior needs finite means and a positive definite covariance; got {self}")
        if covariance[0, 1] != covariance[1, 0]:
            raise ConfigError(f"a prior's covariance must be symmetric; got {self.covariance}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Posterior:
    """alpha, beta and the departure from the law, given K points; a mixture of C Gaussians."""

    law: Law
    d: FloatArray
    """(K,) distances of the points, all above 0."""
    prior: Prior
    scale: float
    """Observed range of gold, 0 at d = 0 included: the unit of the weak prior and of the departures."""
    weights: FloatArray
    """(C,) probabilities of the sizes of the departure; they sum to 1."""
    departures: FloatArray
    """(C,) standard deviations of the departure at the largest d, in gold units."""
    mean: FloatArray
    """(C, 2) of alpha and beta."""
    covariance: FloatArray
    """(C, 2, 2)"""
    residual: FloatArray
    """(C, K) inverse error covariance times the residuals of the posterior mean."""
    precision: FloatArray
    """(C, K, K) inverse covariance of errors and departure together."""


class Prediction(NamedTuple):
    """Gold at M distances for each size of the departure."""

    mean: FloatArray
    """(C, M)"""
    covariance: FloatArray
    """(C, M, M)"""


def weak_prior(law: Law, d_end: float, scale: float, *, width: float = PRIOR_WIDTH) -> Prior:
    """A prior that knows only the ranges of d and gold: the law's value at ``d_end`` and its bend up to there.

    R(d_end) and beta d_end^2 (best-of-n) or beta d_end (RL) are independent with mean 0 and standard deviation
    ``width * scale``. It moves with the units of d and gold, and gives a turn (beta > 0) the probability one half.
    """
    _check_law(law)
    if not (d_end > 0 and scale > 0 and width > 0 and math.isfinite(d_end * scale * width)):
        raise ConfigError(f"d_end, scale and width must be positive and finite; got {d_end}, {scale}, {width}")
    bend = _slope_term(law, d_end)
    unit = d_end**2 if law == "bon" else d_end
    alpha_of = np.array([1 / d_end, bend / unit])  # of the value at d_end and of the bend
    beta_of = np.array([0.0, 1 / unit])
    jacobian = np.stack([alpha_of, beta_of])
    covariance = (width * scale) ** 2 * (jacobian @ jacobian.T)
    return Prior(
        mean=(0.0, 0.0),
        covariance=(
            (float(covariance[0, 0]), float(covariance[0, 1])),
            (float(covariance[0, 1]), float(covariance[1, 1])),
        ),
    )


def law_posterior(
    law: Law,
    d: npt.ArrayLike,
    gold: npt.ArrayLike,
    errors: npt.ArrayLike,
    *,
    prior: Prior | None = None,
    departures: Sequence[float] = DEPARTURES,
) -> Posterior:
    """Posterior of (alpha, beta) and of the departure from the law, given gold at K distances.

    Parameters
    ----------
    law : "bon" or "rl"
    d, gold : (K,) float64
        Distances >= 0 in any order and gold relative to d = 0. Points with d = 0 are left out: they say nothing about
        the law.
    errors : (K,) or (K, K) float64
        Standard errors of ``gold``, or their covariance when the points share prompts.
    prior : Prior, optional
        ``weak_prior`` of the largest d and the observed range of gold when absent.
    departures : sequence of float >= 0
        Sizes of the departure to average over, as shares of the observed range of gold; ``(0,)`` trusts the law.

    Raises
    ------
    DataError
        Without a point above d = 0, or with errors that are negative or no covariance.

    Notes
    -----
    Gold is d (alpha - beta g(d)) + departure + error. The departure is an integrated Wiener process that starts at 0
    with slope 0: smooth, of variance growing as d^3, so it bends a curve slowly and makes far extrapolation uncertain.
    It is the prior of a cubic smoothing spline (Wahba 1978), here around the law instead of around a straight line.
    """
    _check_law(law)
    d_K, gold_K = float_array("d", d, "K"), float_array("gold", gold, "K")
    check_same_shape("d", d_K, "gold", gold_K)
    noise = _error_covariance(errors, d_K.size)
    if (d_K < 0).any():
        raise DataError("d is a square root of a KL and cannot be negative")
    is_used = d_K > 0
    if not is_used.any():
        raise DataError("a law needs at least one point with d above 0")
    shares = np.asarray(departures, dtype=np.float64)
    if shares.ndim != 1 or shares.size == 0 or not (np.isfinite(shares).all() and (shares >= 0).all()):
        raise ConfigError(f"departures must be a list of shares of gold's range, 0 or above; got {departures!r}")
    d_K, gold_K, noise = d_K[is_used], gold_K[is_used], noise[np.ix_(is_used, is_used)]
    scale = max(float(gold_K.max()), 0.0) - min(float(gold_K.min()), 0.0)
    scale = scale or math.sqrt(float(np.diag(noise).max())) or 1.0
    if prior is None:
        prior = weak_prior(law, float(d_K.max()), scale)
    noise = noise + (ERROR_FLOOR * scale) ** 2 * np.eye(d_K.size)

    sizes = shares * scale
    total = noise + sizes[:, None, None] ** 2 * _departure_covariance(d_K, d_K, d_K.max())
    design = _design(law, d_K)
    prior_mean = np.asarray(prior.mean)
    prior_precision = np.linalg.inv(np.asarray(prior.covariance))
    try:
        root = np.linalg.cholesky(total)
    except np.linalg.LinAlgError as error:
        raise DataError("errors is no covariance: it must be symmetric and positive semidefinite") from error
    inverse_root = np.linalg.inv(root)
    whitened = inverse_root @ design
    target = inverse_root @ (gold_K - design @ prior_mean)[:, None]
    information = prior_precision + np.swapaxes(whitened, 1, 2) @ whitened
    covariance: FloatArray = np.asarray(np.linalg.inv(information), dtype=np.float64)
    shift = covariance @ (np.swapaxes(whitened, 1, 2) @ target)
    leftover = target - whitened @ shift
    # The quadratic form as a sum of squares, so that precise points lose no digits.
    misfit = (leftover**2).sum(axis=(1, 2)) + np.einsum("cik,ij,cjk->c", shift, prior_precision, shift)
    log_volume = 2 * np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1) + np.linalg.slogdet(information)[1]
    log_evidence = -0.5 * (misfit + log_volume)
    weights = np.exp(log_evidence - log_evidence.max())
    return Posterior(
        law=law,
        d=d_K,
        prior=prior,
        scale=scale,
        weights=weights / weights.sum(),
        departures=sizes,
        mean=prior_mean + shift[..., 0],
        covariance=np.asarray(0.5 * (covariance + np.swapaxes(covariance, 1, 2)), dtype=np.float64),
        residual=(np.swapaxes(inverse_root, 1, 2) @ leftover)[..., 0],
        precision=np.swapaxes(inverse_root, 1, 2) @ inverse_root,
    )


def predict(posterior: Posterior, d: npt.ArrayLike) -> Prediction:
    """Gold (law and departure, without measurement error) at M distances, for each component of the mixture."""
    d_M = float_array("d", d, "M")
    design = _design(posterior.law, d_M)
    end = posterior.d.max()
    size = posterior.departures[:, None, None] ** 2
    cross = size * _departure_covariance(posterior.d, d_M, end)  # (C, K, M)
    own = size * _departure_covariance(d_M, d_M, end)
    mean = posterior.mean @ design.T + np.einsum("ck,ckm->cm", posterior.residual, cross)
    pulled = posterior.precision @ cross
    lever = design - np.swapaxes(pulled, 1, 2) @ _design(posterior.law, posterior.d)  # (C, M, 2)
    covariance = lever @ posterior.covariance @ np.swapaxes(lever, 1, 2) + own - np.swapaxes(cross, 1, 2) @ pulled
    return Prediction(mean, 0.5 * (covariance + np.swapaxes(covariance, 1, 2)))


def falling_probability(posterior: Posterior, d: float) -> float:
    """Probability that gold's slope at ``d`` is negative, law and departure together; d at or beyond the largest d.

    Unlike ``turn_probability`` it does not ask for beta > 0 and follows a curve that leaves the law.
    """
    end = float(posterior.d.max())
    if not end <= d < math.inf:
        raise DataError(f"the slope is forecast at the largest distance, {end}, or beyond it; got {d}")
    lever = np.array([1.0, -_slope_of_turn(posterior.law, d)])
    size = posterior.departures**2
    cross = size[:, None] * 1.5 * (posterior.d / end) ** 2 / end  # derivative at d of the departure's covariance
    pulled = np.einsum("ckj,cj->ck", posterior.precision, cross)
    remaining = lever - pulled @ _design(posterior.law, posterior.d)
    mean = posterior.mean @ lever + (posterior.residual * cross).sum(axis=1)
    variance = np.einsum("ci,cij,cj->c", remaining, posterior.covariance, remaining)
    variance = variance + 3 * size * d / end**3 - (cross * pulled).sum(axis=1)
    floor = np.finfo(np.float64).eps * lever**2 @ np.diagonal(posterior.covariance, axis1=1, axis2=2).T
    return float(ndtr(-mean / np.sqrt(np.maximum(variance, floor))) @ posterior.weights)


def turn_probability(posterior: Posterior, d: npt.ArrayLike) -> FloatArray:
    """Probability that the law's peak lies at or below ``d`` (any shape, >= 0; infinite for "ever").

    The peak is at or below d exactly if beta > 0 and the law's slope at d, alpha - beta h(d) with h = 2 d (best-of-n)
    or 1 + ln d (RL), is at most 0: an orthant of two Gaussians, in closed form by Owen's T function (1956).
    """
    x = np.asarray(d, dtype=np.float64)
    if np.isnan(x).any() or (x < 0).any():
        raise DataError("distances must be 0 or above")
    alpha, beta = posterior.mean[:, 0], posterior.mean[:, 1]
    var_alpha, var_beta = posterior.covariance[:, 0, 0], posterior.covariance[:, 1, 1]
    shared = posterior.covariance[:, 0, 1]
    determinant = np.maximum(np.linalg.det(posterior.covariance), np.finfo(np.float64).tiny)
    sd_beta = np.sqrt(var_beta)
    ever = ndtr(beta / sd_beta)
    flat = x.ravel()
    inside = np.isfinite(flat) & (flat > 0 if posterior.law == "rl" else True)
    h = np.array([min(_slope_of_turn(posterior.law, value), _LARGEST_H) for value in flat[inside]])[:, None]
    var_slope = var_alpha - 2 * h * shared + h**2 * var_beta
    sd_slope = np.sqrt(var_slope)
    # Far out the correlation tends to 1: 1 - rho^2 comes from the determinant, and the differences y - rho x and
    # x - rho y from expressions without their common part.
    sine = np.sqrt(np.minimum(determinant / (var_beta * var_slope), 1.0))
    joint = _both_below(
        np.broadcast_to(beta / sd_beta, var_slope.shape),
        (h * beta - alpha) / sd_slope,
        (shared * beta / var_beta - alpha) / sd_slope,
        (beta * (var_alpha - h * shared) + alpha * (h * var_beta - shared)) / (sd_beta * var_slope),
        (h * var_beta - shared) / (sd_beta * sd_slope),
        sine,
    )
    probability = np.zeros(flat.size)
    probability[inside] = joint @ posterior.weights
    probability[np.isinf(flat)] = float(ever @ posterior.weights)
    return probability.reshape(x.shape)


def _design(law: Law, d: FloatArray) -> FloatArray:
    """Gold per unit of alpha and of beta, (K, 2)."""
    return np.stack([law_value(law, d, 1.0, 0.0), law_value(law, d, 0.0, 1.0)], axis=-1)


def _slope_term(law: Law, d: float) -> float:
    return d if law == "bon" else math.log(d)


def _slope_of_turn(law: Law, d: float) -> float:
    """h(d): the law turns at d where alpha = beta h(d)."""
    return 2 * d if law == "bon" else 1 + math.log(d)


def _departure_covariance(first: FloatArray, second: FloatArray, end: float) -> FloatArray:
    """Of a twice-smooth walk from 0 with slope 0, variance 1 at ``end``: s^2 (3 t - s) / 2 for s <= t."""
    low = np.minimum(first[:, None], second[None, :]) / end
    high = np.maximum(first[:, None], second[None, :]) / end
    return np.asarray(low**2 * (3 * high - low) / 2)


def _error_covariance(errors: npt.ArrayLike, points: int) -> FloatArray:
    covariance = np.asarray(errors, dtype=np.float64)
    if covariance.ndim == 1:
        covariance = float_array("errors", covariance, "K")
        if (covariance < 0).any():
            raise DataError("standard errors cannot be negative")
        covariance = np.diag(covariance**2)
    covariance = float_array("errors", covariance, "KK")
    if covariance.shape != (points, points):
        raise ShapeError(f"errors must have the shape ({points},) or ({points}, {points}); got {covariance.shape}")
    if not np.abs(covariance - covariance.T).max(initial=0) <= 1e-9 * np.abs(covariance).max(initial=0):
        raise DataError("errors is no covariance: it must be symmetric and positive semidefinite")
    return covariance


def _both_below(
    x: FloatArray, y: FloatArray, y_given_x: FloatArray, x_given_y: FloatArray, rho: FloatArray, sine: FloatArray
) -> FloatArray:
    """P(X <= x, Y <= y) of standard Gaussians with correlation rho; besides: y - rho x, x - rho y, sqrt(1 - rho^2)."""
    tiny = np.finfo(np.float64).tiny  # in place of a limit of 0, where a ratio below has no value
    safe_x, safe_y = np.where(x == 0, tiny, x), np.where(y == 0, tiny, y)
    with np.errstate(over="ignore"):
        slope_x, slope_y = y_given_x / sine / safe_x, x_given_y / sine / safe_y
    value = 0.5 * (ndtr(x) + ndtr(y)) - owens_t(x, slope_x) - owens_t(y, slope_y) - 0.5 * ((safe_x < 0) != (safe_y < 0))
    value = np.where((x == 0) & (y == 0), 0.25 + np.arctan2(rho, sine) / (2 * math.pi), value)
    return np.asarray(np.clip(value, 0.0, 1.0))


def _check_law(law: str) -> None:
    if law not in LAWS:
        raise ConfigError(f"law must be one of {', '.join(LAWS)}; got {law!r}")
