"""Probabilities of sums of weighted chi-squared variables, which quadratic forms of normal errors are."""

import math

import numpy as np
import numpy.typing as npt

from overopt.errors import DataError
from overopt.stats.checks import check_same_shape, float_array

# Of the integral over ln u: step, and how far the tails are followed (in powers of e).
_STEP, _REACH = 0.01, 30.0


def positive_probability(weights: npt.ArrayLike, counts: npt.ArrayLike) -> float:
    """P(sum_j w_j X_j > 0) of independent chi-squared X_j with ``counts`` degrees of freedom; weights of any sign.

    Parameters
    ----------
    weights, counts : (J,) float64
        Their common scale does not matter. Counts above 0, not necessarily whole; those with a weight other than 0
        must sum to 2 or more, and to a few thousand at most.

    Notes
    -----
    Imhof 1961: 1/2 + 1/pi times the integral over u > 0 of sin(theta) / (u rho), with theta half the sum of
    c arctan(w u) and rho the product of (1 + w^2 u^2)^(c/4). Over ln u the integrand is smooth and dies out at both
    ends, so that the trapezoid rule is accurate to far better than the 1e-6 that tests of a p-value need.

    >>> round(positive_probability([1 / 2, -4 / 6], [2.0, 6.0]), 6)  # an F of 2 and 6 degrees of freedom above 4
    0.078717
    """
    weight_J, count_J = float_array("weights", weights, "J"), float_array("counts", counts, "J")
    check_same_shape("weights", weight_J, "counts", count_J)
    if (count_J <= 0).any():
        raise DataError(f"counts must be above 0; got {count_J.min():g}")
    largest = np.abs(weight_J).max(initial=0.0)
    is_used = np.abs(weight_J) > 1e-12 * largest
    if largest == 0 or count_J[is_used].sum() < 2:
        raise DataError("a sum of chi-squared variables needs two degrees of freedom with a weight other than 0")
    weight_J, count_J = weight_J[is_used], count_J[is_used]
    if (weight_J > 0).all() or (weight_J < 0).all():
        return float(weight_J[0] > 0)
    weight_J = weight_J / float(count_J @ np.abs(weight_J))
    # To the left the integrand falls as u, to the right as the product rho grows.
    t = np.arange(-_REACH, _REACH, 0.5)
    log_rho = 0.25 * count_J @ np.logaddexp(0, 2 * (t + np.log(np.abs(weight_J))[:, None]))
    end = float(t[min(int(np.searchsorted(log_rho, _REACH)), t.size - 1)])
    u = np.exp(np.arange(-_REACH, end, _STEP))
    theta, log_rho = np.zeros(u.size), np.zeros(u.size)
    for weight, count in zip(weight_J, count_J, strict=True):
        theta += 0.5 * count * np.arctan(weight * u)
        log_rho += 0.25 * count * np.log1p((weight * u) ** 2)
    total = _STEP * float(np.sum(np.sin(theta) * np.exp(-log_rho)))
    return float(np.clip(0.5 + total / math.pi, 0.0, 1.0))
