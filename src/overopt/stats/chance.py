"""Does a law explain more of a curve than it would of noise?

Two coefficients through four points of pure noise reach R^2 = 0.5 in one curve of six, so R^2 alone proves nothing.
Axes: K points, C coefficients that bend a curve (the baseline is none), D draws.
"""

import math

import numpy as np
from scipy.special import fdtrc

from overopt.stats.estimate import FloatArray
from overopt.stats.lack_of_fit import misfit_of_errors


def chance_of_residuals(unexplained: float, total: float, n_coefficients: int, freedom: int) -> float:
    """P-value of the F test that a law explains nothing, where the scatter about it tells the size of the errors.

    Parameters
    ----------
    unexplained, total : float
        Weighted sums of squares: about the law, and about gold that stays at its baseline (0 where that is exact, the
        weighted mean where it was fitted).
    n_coefficients, freedom : int
        Of the law, without the baseline; degrees of freedom of ``unexplained``.

    Returns
    -------
    float
        ``nan`` without a degree of freedom; 1 for gold that is all 0.

    >>> round(chance_of_residuals(1.0, 10.0, 2, 4), 3)
    0.01
    """
    if freedom < 1:
        return math.nan
    if not total > 0:
        return 1.0
    if not unexplained > 0:
        return 0.0
    explained = max(total - unexplained, 0.0) / n_coefficients
    return float(fdtrc(n_coefficients, freedom, explained / (unexplained / freedom)))


def chance_of_errors(
    coefficients: FloatArray, covariance: FloatArray, columns: FloatArray, units: int | None = None
) -> float:
    """P-value of the hypothesis that all coefficients are 0, from the errors that gold is known to have.

    Parameters
    ----------
    coefficients : (C,) float64
    covariance : (C, C) float64
        Of their errors.
    columns : (K, C) float64
        Weighted columns of the law: what it explains is the squared length of ``columns @ coefficients``.
    units : int, optional
        Independent units that the covariance was estimated from.

    Returns
    -------
    float
        ``nan`` for errors of 0. The test is that of ``lack_of_fit.misfit_of_errors``, of the law's own values.
    """
    _, triangle = np.linalg.qr(columns)
    spread = triangle @ covariance @ triangle.T
    size = triangle @ coefficients
    if not np.trace(spread) > 1e-24 * float(size @ size):
        return math.nan  # errors of 0 are not believed
    scale = math.sqrt(float(np.trace(spread)))
    unit = np.full(size.size, scale)
    return misfit_of_errors(size, unit, spread, method="chi2_of_errors", units=units).p_value
