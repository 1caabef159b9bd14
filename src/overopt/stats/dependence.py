"""What a proxy's preferences lean on once gold is held fixed: length, style.

Axes: B pairs (answers A and B), F style features, U units (prompts, or pairs where no prompt is known). Differences are
A minus B throughout, and no number changes when the two answers of a pair change places.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, stdtr, stdtrit

from overopt.errors import DataError, EstimationError, ShapeError
from overopt.stats.checks import check_level, check_same_shape, float_array
from overopt.stats.clusters import Clusters, clusters_of
from overopt.stats.estimate import FloatArray

# Columns of length 1 whose smallest singular value is below this say the same thing twice.
_COLLINEAR = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficient:
    """What one column contributes, the others held fixed."""

    name: str
    standardised: float
    """Per root mean square of the column; ``Dependence.method`` says of what."""
    stderr: float
    low: float
    high: float
    p_value: float
    """Against 0, two-sided; Student's t over units."""
    raw: float
    """Per unit of the column, in units of the proxy's margin (or its log-odds)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependence:
    """A regression of the proxy's preferences on gold, length and style."""

    coefficients: tuple[Coefficient, ...]
    """"gold", "length", then the style features."""
    explained: float
    """Share of the proxy's mean square (linear) or of its entropy against a coin (logistic) that is accounted for."""
    pairs: int
    n_units: int
    unit: str
    method: str


def margin_dependence(
    margin: npt.ArrayLike,
    gold_margin: npt.ArrayLike,
    length_difference: npt.ArrayLike,
    style: npt.ArrayLike | None = None,
    *,
    style_names: Sequence[str] | None = None,
    prompt: npt.ArrayLike | None = None,
    level: float = 0.95,
) -> Dependence:
    """Linear regression of the proxy's margin on gold's margin, the length difference and style differences.

    Parameters
    ----------
    margin, gold_margin, length_difference : (B,) float64
        A minus B: proxy score, gold score (or +1 / -1 for a bare label), length.
    style : (B, F) float64, optional
        Further differences A minus B: exclamation marks, list items, hedges.
    style_names : F names, optional
        "style 1", "style 2", ... by default.
    prompt : (B,) ids, optional
        Errors are then over prompts.
    level : float
        Of the intervals.

    Returns
    -------
    Dependence
        Standardised: root mean squares of the proxy's margin per root mean square of the column.

    Raises
    ------
    ShapeError, DataError, ConfigError
    EstimationError
        If a column or the margin is 0 everywhere, columns say the same thing, or there are not more units than
        columns.

    Notes
    -----
    No intercept and no centring: which answer is called A is arbitrary, so all columns change sign with it and the
    fit must not. Errors are cluster-robust (Liang & Zeger 1986), times U / (U-1) (B-1) / (B-F), with Student's t.

    A coefficient of length says that the proxy prefers length beyond what *this* gold does. If gold is noisy, its own
    coefficient is pulled towards 0 and whatever goes along with true gold, length perhaps, takes the rest.
    """
    columns, names, clusters = _design(gold_margin, length_difference, style, style_names, prompt)
    margin_B = float_array("margin", margin, "B")
    unit_columns, scales = _scaled(columns, names, margin_B, clusters)
    spread = float(_root_mean_square(margin_B))
    if spread == 0:
        raise EstimationError("the proxy's margin is 0 in every pair: it prefers nothing that could be explained")
    target = margin_B / spread
    inverse = np.linalg.inv(unit_columns.T @ unit_columns)
    beta = inverse @ unit_columns.T @ target
    residual = target - unit_columns @ beta
    n_rows, n_columns, n_units = margin_B.size, beta.size, clusters.n_units
    scores_UF = clusters.sums(unit_columns * residual[:, None])
    factor = n_units / (n_units - 1) * (n_rows - 1) / (n_rows - n_columns)
    covariance = factor * inverse @ scores_UF.T @ scores_UF @ inverse
    return Dependence(
        coefficients=_coefficients(names, beta, covariance, spread / scales, n_units, level),
        explained=1 - float(np.mean(residual**2)),
        pairs=n_rows,
        n_units=n_units,
        unit=clusters.unit,
        method="least squares without intercept, cluster-robust; rms of margin per rms of column",
    )


def choice_dependence(
    choice: npt.ArrayLike,
    gold_margin: npt.ArrayLike,
    length_difference: npt.ArrayLike,
    style: npt.ArrayLike | None = None,
    *,
    style_names: Sequence[str] | None = None,
    prompt: npt.ArrayLike | None = None,
    level: float = 0.95,
) -> Dependence:
    """Logistic regression of a judge's choices on gold's margin, the length difference and style differences.

    For proxies that only choose: ``choice`` (B,) within 0..1 is 1 where A is preferred, 0.5 for a tie, or the
    probability that the judge gives. The other arguments, errors and remarks are ``margin_dependence``'s; coefficients
    are log-odds per root mean square of the column.

    Raises
    ------
    EstimationError
        Also if the columns separate the choices, so that no finite coefficients are best.
    """
    columns, names, clusters = _design(gold_margin, length_difference, style, style_names, prompt)
    choice_B = float_array("choice", choice, "B")
    if ((choice_B < 0) | (choice_B > 1)).any():
        raise DataError("choice must lie within 0..1")
    unit_columns, scales = _scaled(columns, names, choice_B, clusters)
    beta, inverse = _logistic_fit(unit_columns, choice_B)
    logits = unit_columns @ beta
    scores_UF = clusters.sums(unit_columns * (choice_B - expit(logits))[:, None])
    n_units = clusters.n_units
    covariance = n_units / (n_units - 1) * inverse @ scores_UF.T @ scores_UF @ inverse
    loss = float(np.mean(_cross_entropy(logits, choice_B)))
    return Dependence(
        coefficients=_coefficients(names, beta, covariance, 1 / scales, n_units, level),
        explained=1 - loss / math.log(2),
        pairs=choice_B.size,
        n_units=n_units,
        unit=clusters.unit,
        method="logistic without intercept, cluster-robust; log-odds per rms of column",
    )


def _design(
    gold_margin: npt.ArrayLike,
    length_difference: npt.ArrayLike,
    style: npt.ArrayLike | None,
    style_names: Sequence[str] | None,
    prompt: npt.ArrayLike | None,
) -> tuple[FloatArray, list[str], Clusters]:
    gold_B = float_array("gold_margin", gold_margin, "B")
    length_B = float_array("length_difference", length_difference, "B")
    check_same_shape("gold_margin", gold_B, "length_difference", length_B)
    style_BF = np.zeros((gold_B.size, 0)) if style is None else float_array("style", style, "BF")
    if style_BF.shape[0] != gold_B.size:
        raise ShapeError(f"style must have one row a pair, {gold_B.size}; got {style_BF.shape}")
    names = [f"style {i + 1}" for i in range(style_BF.shape[1])] if style_names is None else list(style_names)
    if len(names) != style_BF.shape[1]:
        raise ShapeError(f"style has {style_BF.shape[1]} columns and style_names {len(names)} names")
    columns = np.column_stack([gold_B, length_B, style_BF])
    return columns, ["gold", "length", *names], clusters_of(prompt, gold_B.size, row="pair")


def _scaled(
    columns: FloatArray, names: Sequence[str], target: FloatArray, clusters: Clusters
) -> tuple[FloatArray, FloatArray]:
    """Columns of root mean square 1, and what they were; refuses what no regression can answer."""
    if target.shape != columns.shape[:1]:
        raise ShapeError(f"the proxy's side has the shape {target.shape}, gold's {columns.shape[:1]}")
    if clusters.n_units <= columns.shape[1]:
        raise EstimationError(
            f"{columns.shape[1]} coefficients need more than as many {clusters.unit}s; got {clusters.n_units}"
        )
    scales = _root_mean_square(columns)
    if (scales == 0).any():
        constant = [name for name, scale in zip(names, scales, strict=True) if scale == 0]
        raise EstimationError(f"no pair differs in {', '.join(constant)}: leave it out")
    unit_columns = columns / scales
    smallest = float(np.linalg.svd(unit_columns / math.sqrt(target.size), compute_uv=False)[-1])
    if smallest < _COLLINEAR:
        raise EstimationError(f"{', '.join(names)} are linearly dependent: their coefficients cannot be told apart")
    return unit_columns, scales


def _root_mean_square(columns: FloatArray) -> FloatArray:
    """Along the first axis; scaled by the largest entry first, so that squares neither over- nor underflow."""
    largest = np.abs(columns).max(axis=0)
    safe = np.where(largest > 0, largest, 1.0)
    return np.asarray(safe * np.sqrt(np.mean((columns / safe) ** 2, axis=0)))


def _coefficients(
    names: Sequence[str],
    beta: FloatArray,
    covariance: FloatArray,
    to_raw: FloatArray,
    n_units: int,
    level: float,
) -> tuple[Coefficient, ...]:
    check_level(level)
    stderr = np.sqrt(np.diag(covariance))
    critical = -float(stdtrit(n_units - 1, (1 - level) / 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        p_values = 2 * stdtr(n_units - 1, -np.abs(beta / stderr))
    return tuple(
        Coefficient(
            name=name,
            standardised=float(beta[i]),
            stderr=float(stderr[i]),
            low=float(beta[i] - critical * stderr[i]),
            high=float(beta[i] + critical * stderr[i]),
            p_value=float(p_values[i]),
            raw=float(beta[i] * to_raw[i]),
        )
        for i, name in enumerate(names)
    )


def _logistic_fit(columns: FloatArray, choice_B: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Coefficients of least cross-entropy by damped Newton steps, and the inverse Hessian there."""
    beta = np.zeros(columns.shape[1])
    loss = float(_cross_entropy(columns @ beta, choice_B).sum())
    for _ in range(100):
        probability = expit(columns @ beta)
        gradient = columns.T @ (choice_B - probability)
        hessian = (columns * (probability * (1 - probability))[:, None]).T @ columns
        if np.linalg.cond(hessian) > 1e12:
            break
        step = np.linalg.solve(hessian, gradient)
        # Decrease that the step promises; below rounding of the loss it is the end.
        if float(gradient @ step) < 1e-20 * choice_B.size:
            return beta, np.linalg.inv(hessian)
        size = 1.0
        while size > 1e-6:
            moved = float(_cross_entropy(columns @ (beta + size * step), choice_B).sum())
            if moved <= loss * (1 + 1e-13):
                break
            size /= 2
        beta, loss = beta + size * step, moved
    raise EstimationError(
        "gold, length and style separate the choices (or nearly): no finite coefficients are best; add pairs or drop "
        "columns"
    )


def _cross_entropy(logits: FloatArray, choice_B: FloatArray) -> FloatArray:
    return np.asarray(np.logaddexp(0, logits) - choice_B * logits)
