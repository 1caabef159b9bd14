"""The errors of a curve whose points share their units (prompts): means and the covariance between points.

U units, K points.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from overopt.errors import DataError
from overopt.stats.checks import float_array
from overopt.stats.estimate import FloatArray

MIN_UNITS = 3
"""Units that a covariance needs."""


class Curve(NamedTuple):
    """Mean gold of K points and the covariance of its errors."""

    gold: FloatArray
    covariance: FloatArray


def curve_of_units(gold_by_unit: npt.ArrayLike) -> Curve:
    """Mean of (U, K) gold over its units with the (K, K) covariance of the means, for points that share their units.

    Pass each unit's gold minus its gold at d = 0, so that the errors of the baseline, which all points share, are
    counted.

    Raises
    ------
    DataError
        With fewer than three units.

    Notes
    -----
    With few units a sample covariance is nearly singular and overconfident about differences of points. Variances are
    kept and correlations are shrunk towards their mean, by the ratio of their expected sampling variance
    sum (1 - r^2)^2 / (U - 1) to their observed spread: the estimator of Schäfer & Strimmer 2005 with the
    constant-correlation target of Ledoit & Wolf 2004 and the large-sample variance of a correlation.
    """
    gold_UK = float_array("gold_by_unit", gold_by_unit, "UK")
    n_units, n_points = gold_UK.shape
    if n_units < MIN_UNITS:
        raise DataError(f"a covariance of points needs at least {MIN_UNITS} units; got {n_units}")
    deviation = gold_UK - gold_UK.mean(axis=0)
    covariance = deviation.T @ deviation / (n_units - 1)
    sd = np.sqrt(np.diag(covariance))
    safe = np.where(sd > 0, sd, 1.0)
    correlation = covariance / np.outer(safe, safe)
    off = ~np.eye(n_points, dtype=np.bool_)
    shrunk = correlation.copy()
    if n_points > 1:
        observed = correlation[off]
        spread = float(np.sum((observed - observed.mean()) ** 2))
        expected = float(np.sum((1 - observed**2) ** 2)) / (n_units - 1)
        share = 1.0 if spread <= expected else expected / spread
        shrunk[off] = share * observed.mean() + (1 - share) * observed
    return Curve(gold_UK.mean(axis=0), shrunk * np.outer(sd, sd) / n_units)
