"""How a law's coefficient moves with the size of the reward model and of its data, and what a new size would get.

Axes: K measured sizes, M new ones.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from overopt.errors import ConfigError, DataError, ShapeError
from overopt.stats.checks import check_level, check_same_shape, float_array
from overopt.stats.estimate import BoolArray, FloatArray


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A coefficient at M sizes that were never trained; all (M,), or (2, M) for low and high."""

    value: FloatArray
    mean_ci: FloatArray
    """Of the trend there: where the mean over many reward models of that size lies."""
    ci: FloatArray
    """Of one reward model of that size, scatter about the trend included."""
    is_inside: BoolArray
    """Whether each size and number of pairs lies within those that were measured."""


def predict_coefficient(
    params: npt.ArrayLike,
    values: npt.ArrayLike,
    new_params: npt.ArrayLike,
    *,
    pairs: npt.ArrayLike | None = None,
    new_pairs: npt.ArrayLike | None = None,
    level: float = 0.95,
) -> Prediction:
    """Coefficient at sizes never trained, by a straight line in log10(parameters), or a plane with log10(pairs) too.

    Parameters
    ----------
    params, values : (K,) float64
        Sizes of the reward models and the coefficient of each.
    new_params : (M,) float64
    pairs, new_pairs : (K,) and (M,) float64, optional
        Training pairs; both or none.
    level : float
        Of the intervals, Student's t with K - 2 or K - 3 degrees of freedom: nan with none left.

    Raises
    ------
    DataError, ShapeError
        If sizes are not positive, or do not vary, or vary together so that line or plane is not determined.

    Notes
    -----
    Ordinary least squares: the errors are those of reward models about the trend, equal at all sizes and independent,
    so coefficients fitted on one set of prompts, which err together, make the intervals too narrow. Beyond the
    measured sizes the line itself is an assumption.
    """
    check_level(level)
    if (pairs is None) != (new_pairs is None):
        raise ConfigError("pairs and new_pairs go together")
    values_K = float_array("values", values, "K")
    design = _design(params, pairs)
    new = _design(new_params, new_pairs)
    if design.shape[0] != values_K.size:
        raise ShapeError(f"params and values must have one shape; got {design.shape[0]} and {values_K.size}")
    n_points, n_terms = design.shape
    if np.linalg.matrix_rank(design) < n_terms:
        raise DataError("the sizes do not vary enough, or vary together, to determine a trend")
    solution, *_ = np.linalg.lstsq(design, values_K, rcond=None)
    freedom = n_points - n_terms
    predicted = new @ solution
    # Squared length of a new row in the metric of the design: its variance over the residual variance.
    leverage = np.sum(np.linalg.solve(design.T @ design, new.T) * new.T, axis=0)
    if freedom > 0:
        scatter = float(np.sum((values_K - design @ solution) ** 2)) / freedom
        reach = float(stdtrit(freedom, (1 + level) / 2))
        of_mean, of_one = reach * np.sqrt(scatter * leverage), reach * np.sqrt(scatter * (1 + leverage))
    else:
        of_mean = of_one = np.full(predicted.shape, math.nan)
    is_inside = ((new >= design.min(axis=0)) & (new <= design.max(axis=0))).all(axis=1)
    return Prediction(
        value=np.asarray(predicted),
        mean_ci=np.stack([predicted - of_mean, predicted + of_mean]),
        ci=np.stack([predicted - of_one, predicted + of_one]),
        is_inside=np.asarray(is_inside),
    )


def left_out_errors(params: npt.ArrayLike, values: npt.ArrayLike, pairs: npt.ArrayLike | None = None) -> FloatArray:
    """Each coefficient minus what the trend of the others predicts for it, (K,): does the trend predict at all?

    >>> bool(np.allclose(left_out_errors([1e6, 1e7, 1e8, 1e9], [0.1, 0.2, 0.3, 0.4]), 0))
    True
    """
    params_K, values_K = float_array("params", params, "K"), float_array("values", values, "K")
    check_same_shape("params", params_K, "values", values_K)
    pairs_K = None if pairs is None else float_array("pairs", pairs, "K")
    errors = np.empty(values_K.size)
    for k in range(values_K.size):
        others = np.arange(values_K.size) != k
        found = predict_coefficient(
            params_K[others],
            values_K[others],
            params_K[[k]],
            pairs=None if pairs_K is None else pairs_K[others],
            new_pairs=None if pairs_K is None else pairs_K[[k]],
        )
        errors[k] = values_K[k] - found.value[0]
    return errors


def _design(params: npt.ArrayLike, pairs: npt.ArrayLike | None) -> FloatArray:
    """Rows 1, log10(parameters) and, if given, log10(pairs)."""
    columns = [float_array("params", params, "K")]
    if pairs is not None:
        columns.append(float_array("pairs", pairs, "K"))
        check_same_shape("params", columns[0], "pairs", columns[1])
    if any((column <= 0).any() for column in columns):
        raise DataError("numbers of parameters and pairs must be above 0")
    return np.stack([np.ones(columns[0].size), *(np.log10(column) for column in columns)], axis=1)
