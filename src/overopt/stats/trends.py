"""How a law's coefficient moves with the size of the reward model."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from overopt.errors import DataError
from overopt.stats.checks import check_same_shape, float_array


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """A straight line in log10 of the parameters, by ordinary least squares."""

    intercept: float
    """Value at one parameter."""
    slope: float
    """Change of the coefficient for ten times the parameters."""
    intercept_stderr: float
    slope_stderr: float
    """Both from the residuals; ``nan`` with fewer than three points."""
    r2: float
    """``nan`` when the values do not vary."""
    points: int


def log_trend(params: npt.ArrayLike, values: npt.ArrayLike) -> Trend:
    """Trend of a coefficient against log10(parameters); both (K,).

    All numbers are ``nan`` with fewer than two distinct sizes. Gao et al. 2022 (arXiv:2210.10760), figure 3, see
    alpha of best-of-n rise and both betas fall along such lines.

    >>> round(log_trend([1e6, 1e7, 1e8], [0.1, 0.2, 0.3]).slope, 6)
    0.1
    """
    params_K, values_K = float_array("params", params, "K"), float_array("values", values, "K")
    check_same_shape("params", params_K, "values", values_K)
    if (params_K <= 0).any():
        raise DataError(f"numbers of parameters must be above 0; got {params_K.min()}")
    points = params_K.size
    nan = math.nan
    if np.unique(params_K).size < 2:
        return Trend(intercept=nan, slope=nan, intercept_stderr=nan, slope_stderr=nan, r2=nan, points=points)
    from scipy.stats import linregress  # here, because importing scipy.stats takes over half a second

    line = linregress(np.log10(params_K), values_K)
    has_residuals = points >= 3
    return Trend(
        intercept=float(line.intercept),
        slope=float(line.slope),
        intercept_stderr=float(line.intercept_stderr) if has_residuals else nan,
        slope_stderr=float(line.stderr) if has_residuals else nan,
        r2=float(line.rvalue) ** 2 if np.ptp(values_K) > 0 else nan,
        points=points,
    )
