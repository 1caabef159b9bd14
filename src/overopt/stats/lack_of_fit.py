"""Does a law describe a curve? One measure of misfit, and the one rule that calls a fit poor.

R^2 alone cannot tell: a curve known to a percent may leave its law by ten times its errors at an R^2 of 0.97, and a law
that holds may have an R^2 of 0.6 where gold is noisy. Misfit counts when it is both certain (more than the errors of
the points explain) and large. Axes: K points.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import chdtrc, fdtrc, ndtr

from overopt.stats.estimate import FloatArray
from overopt.stats.quadratic_forms import positive_probability

Method = Literal["chi2_of_errors", "chi2_of_draws", "von_neumann", "none"]

MIN_R2 = 0.5
"""Below it the law explains less than half of the variation of gold along the curve."""
CERTAIN_P = 0.01
"""Misfit is certain below this p-value."""
SMALL_MISFIT_R2 = 0.98
"""Certain misfit is small from this R^2 on: the law holds only approximately, and enough data show it of any curve."""
MANY_POINTS = 400
"""Above it, large-sample forms of the tests take the place of eigenvalues of a K x K matrix."""

MIN_CONSTANT = 4
"""Points that a test of constant gold needs."""

_MANY_UNITS = 500.0
_NO_SPREAD, _ROUNDING = 1e-20, 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class LackOfFit:
    """How much more a curve leaves its law than chance explains."""

    p_value: float
    """Of the hypothesis that the law holds; ``nan`` if no test was possible."""
    chi2_per_dof: float
    """Squared misfit over what the errors explain, 1 on average if the law holds; ``nan`` without known errors."""
    inflation: float
    """How many times too small the errors are that intervals rest on, if the misfit is real: Birge's ratio
    sqrt(chi2 / dof), or for residuals that hang together sqrt((1 + r) / (1 - r)), r the correlation of neighbours."""
    method: Method
    """``chi2_of_errors``: against independent standard errors; ``chi2_of_draws``: against the covariance of bootstrap
    draws; ``von_neumann``: do residuals hang together along the curve, for errors of unknown size."""


UNTESTED = LackOfFit(p_value=math.nan, chi2_per_dof=math.nan, inflation=math.nan, method="none")


def is_poor_fit(r2: float, lack: LackOfFit, chance: float) -> bool:
    """Whether a law does not describe a curve.

    That is: R^2 below 0.5 or unknown; or it explains no more than it would of noise, by a p-value ``chance`` of 0.01
    or more (``nan``: not known); or misfit is certain and not small.
    """
    is_misfit = lack.p_value < CERTAIN_P and r2 < SMALL_MISFIT_R2
    return not r2 >= MIN_R2 or chance >= CERTAIN_P or is_misfit


def widening(lack: LackOfFit) -> float:
    """Factor for the intervals of a fit: ``inflation`` where misfit is certain and it is above 1, else 1."""
    return lack.inflation if lack.p_value < CERTAIN_P and lack.inflation > 1 else 1.0


def misfit_of_errors(
    residual: FloatArray, unit: FloatArray, covariance: FloatArray, *, method: Method, units: int | None = None
) -> LackOfFit:
    """Chi-squared test of residuals whose covariance under the law is known or estimated.

    Parameters
    ----------
    residual, unit : (K,) float64
        Gold minus law, and the error each point was weighed by.
    covariance : (K, K) float64
        Of the residuals, after the fit, if the law holds; may be singular.
    method : str
        Passed through.
    units : int, optional
        Independent units that the covariance was estimated from; many if not given.

    Notes
    -----
    The statistic is sum (residual / unit)^2. Points of one pool err together, and the inverse of an estimated
    covariance would blow up whatever direction it happens to miss; this sum needs no inverse, and its distribution, a
    weighted sum of chi-squared variables with the eigenvalues of the scaled covariance as weights, is exact for normal
    errors (``quadratic_forms``). An estimated covariance adds a denominator as in Hotelling's test, with
    (units - 1) (sum of eigenvalues)^2 / sum of their squares degrees of freedom, exact when one component dominates.
    With independent equal errors it is the usual chi-squared test over K - 2 degrees of freedom.
    """
    scaled = covariance / np.outer(unit, unit)
    if units is not None and units > 1:
        scaled = scaled * (units / (units - 1))  # the bootstrap divides by U where a variance asks for U - 1
    eigenvalues = np.linalg.eigvalsh((scaled + scaled.T) / 2)
    eigenvalues = eigenvalues[eigenvalues > 1e-9 * max(eigenvalues.max(initial=0.0), 0.0)]
    misfit = float(np.sum((residual / unit) ** 2))
    expected = float(eigenvalues.sum())
    if not expected > _NO_SPREAD or (units is not None and units < 2):
        return UNTESTED
    components = expected**2 / float(np.sum(eigenvalues**2))
    freedom = min(_MANY_UNITS, math.inf if units is None else (units - 1) * components)
    p_value = positive_probability(
        [*eigenvalues, -misfit / freedom] if misfit > 0 else eigenvalues,
        [*np.ones(eigenvalues.size), freedom] if misfit > 0 else np.ones(eigenvalues.size),
    )
    return _of_chi2(p_value, misfit / expected, method)


def misfit_of_many_errors(residual: FloatArray, unit: FloatArray, se: FloatArray, n_coefficients: int) -> LackOfFit:
    """``misfit_of_errors`` of very many points with independent errors ``se``, by Satterthwaite's chi-squared."""
    ratio = (se / unit) ** 2
    expected = float(ratio.sum()) * (1 - n_coefficients / residual.size)
    misfit = float(np.sum((residual / unit) ** 2))
    size = float(np.sum(ratio**2) / ratio.sum())
    return _of_chi2(float(chdtrc(expected / size, misfit / size)), misfit / expected, "chi2_of_errors")


def misfit_along_curve(
    residual: FloatArray, covariance: FloatArray | None, orders: Sequence[npt.NDArray[np.int64]], *, scale: float
) -> LackOfFit:
    """Do residuals of unknown error hang together along the curve? Von Neumann's ratio, with its exact distribution.

    Parameters
    ----------
    residual : (K,) float64
        Gold minus law, of points with independent errors of one size.
    covariance : (K, K) float64, optional
        Of the residuals, after the fit, if the law holds, up to a factor; ``None`` for very many points.
    orders : sequence of (K,) int
        Orders in which the points may hang together, such as by distance and by step. The smallest p-value counts,
        times the number of different orders.
    scale : float
        Of gold: residuals of 1e-12 of it are rounding, and no misfit.

    Notes
    -----
    The ratio sum (e_k+1 - e_k)^2 / sum e_k^2 (von Neumann 1941; Durbin and Watson 1950 for residuals) is about 2 for
    scatter and small where neighbours share their sign. That it is below what was seen is the event that a quadratic
    form of the residuals is negative, whose probability is exact (``quadratic_forms``). Errors that themselves drift
    from step to step, as those of a training log may, are seen as misfit too: independent errors were assumed for
    the intervals, so they are as wrong.
    """
    distinct: list[npt.NDArray[np.int64]] = []
    for order in orders:
        if not any((order == other).all() or (order == other[::-1]).all() for other in distinct):
            distinct.append(order)
    size = float(residual @ residual)
    if not math.sqrt(size) > _ROUNDING * scale:
        return LackOfFit(p_value=1.0, chi2_per_dof=math.nan, inflation=1.0, method="von_neumann")
    smallest, lowest = 1.0, 4.0
    for order in distinct:
        ratio = float(np.sum(np.diff(residual[order]) ** 2)) / size
        if covariance is None:
            p_value = float(ndtr((ratio - 2) * math.sqrt(residual.size) / 2))
        else:
            p_value = _ratio_below(ratio, covariance[np.ix_(order, order)])
        smallest, lowest = min(smallest, p_value), min(lowest, ratio)
    return LackOfFit(
        p_value=min(1.0, len(distinct) * smallest),
        chi2_per_dof=math.nan,
        # The ratio is 2 (1 - r) for long curves.
        inflation=math.sqrt((4 - lowest) / lowest) if lowest > 0 else math.inf,
        method="von_neumann",
    )


def constant_p_value(gold: FloatArray, se: FloatArray | None) -> float:
    """P-value of gold (K,) being constant along the curve: the smaller of two tests, doubled.

    One sees a trend of any shape by von Neumann's ratio about the mean; the other, with standard errors, scatter beyond
    them and, without, a correlation with the place along the curve. 1 for fewer than four points.
    """
    points = gold.size
    residual = gold - gold.mean()
    scale = float(np.abs(gold).max(initial=0.0))
    if points < MIN_CONSTANT or not math.sqrt(float(residual @ residual)) > _ROUNDING * scale:
        return 1.0
    centring = np.eye(points) - 1 / points if points <= MANY_POINTS else None
    along = misfit_along_curve(residual, centring, [np.arange(points)], scale=scale).p_value
    if se is not None and (se > 0).all():
        weights = se**-2
        other = float(chdtrc(points - 1, float(np.sum(weights * (gold - np.average(gold, weights=weights)) ** 2))))
    else:
        place = np.arange(points) - (points - 1) / 2
        slope_share = float(place @ residual) ** 2 / (float(place @ place) * float(residual @ residual))
        other = float(fdtrc(1, points - 2, slope_share * (points - 2) / max(1 - slope_share, 1e-300)))
    return min(1.0, 2 * min(along, other))


def _of_chi2(p_value: float, chi2_per_dof: float, method: Method) -> LackOfFit:
    return LackOfFit(
        p_value=p_value, chi2_per_dof=chi2_per_dof, inflation=math.sqrt(chi2_per_dof), method=method
    )  # fmt: skip


def _ratio_below(ratio: float, covariance: FloatArray) -> float:
    """P(von Neumann's ratio of normal residuals with this covariance < ratio)."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    is_used = values > 1e-9 * values.max()
    if is_used.sum() < 2:
        return math.nan
    root = vectors[:, is_used] * np.sqrt(values[is_used])
    steps = np.diff(root, axis=0)
    weights = np.linalg.eigvalsh(steps.T @ steps - ratio * (root.T @ root))
    return 1 - positive_probability(weights, np.ones(weights.size))
