"""Rows that share a prompt are not independent: means and ratios whose standard error is over prompts.

Axes: B rows (responses or pairs), U units (prompts, or the rows themselves when no prompt is known).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from overopt.errors import DataError, ShapeError
from overopt.stats.checks import float_array
from overopt.stats.estimate import Estimate, FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Clusters:
    """Which unit each row belongs to."""

    index: npt.NDArray[np.intp]
    """(B,) within 0..n_units-1."""
    sizes: FloatArray
    """(U,) rows of each unit, all at least 1."""
    unit: str
    """What a unit is: "prompt", or the row's own name when rows were taken as independent."""

    @property
    def n_units(self) -> int:
        """How many units there are."""
        return int(self.sizes.size)

    def sums(self, values_B: FloatArray) -> FloatArray:
        """Sum of ``values_B`` (B,) or (B, F) within each unit, (U,) or (U, F)."""
        if values_B.ndim == 1:
            return np.asarray(np.bincount(self.index, weights=values_B, minlength=self.n_units))
        total = np.zeros((self.n_units, values_B.shape[1]))
        np.add.at(total, self.index, values_B)
        return total

    def subset(self, is_kept_B: npt.NDArray[np.bool_]) -> "Clusters":
        """The clusters of the kept rows; units without rows are gone."""
        return _from_ids(self.index[is_kept_B], self.unit)


def clusters_of(prompt: npt.ArrayLike | None, n_rows: int, *, row: str) -> Clusters:
    """Units of ``n_rows`` rows: equal ids in ``prompt`` (B,) are one unit; without ids each ``row`` is its own.

    Raises
    ------
    ShapeError, DataError
        If ``prompt`` is not one id a row, or an id is missing (nan, None) or cannot be ordered.
    """
    if prompt is None:
        return Clusters(index=np.arange(n_rows), sizes=np.ones(n_rows), unit=row)
    ids = np.asarray(prompt)
    if ids.shape != (n_rows,):
        raise ShapeError(f"prompt must hold one id a {row}, shape ({n_rows},); got {ids.shape}")
    is_missing = np.isnan(ids) if ids.dtype.kind in "fc" else np.array([value is None for value in ids], dtype=np.bool_)
    if is_missing.any():
        raise DataError(f"{int(is_missing.sum())} of {n_rows} rows have no prompt id")
    return _from_ids(ids, "prompt")


def mean_of_unit_means(values: npt.ArrayLike, clusters: Clusters, *, method: str) -> Estimate:
    """Every unit counts once, whatever its number of rows: unbiased for the mean over prompts, its error over them.

    An infinite value makes the mean infinite and its standard error nan.
    """
    values_B = float_array("values", values, "B", finite=False)
    n_units = clusters.n_units
    if n_units == 0:
        return Estimate(value=np.nan, stderr=np.nan, n_units=0, unit=clusters.unit, method=method)
    with np.errstate(invalid="ignore", over="ignore"):
        means_U = clusters.sums(values_B) / clusters.sizes
        value = float(means_U.mean())
        stderr = float(means_U.std(ddof=1) / np.sqrt(n_units)) if n_units > 1 else np.nan
    return Estimate(value=value, stderr=stderr, n_units=n_units, unit=clusters.unit, method=method)


def ratio_of_sums(numerator: npt.ArrayLike, denominator: npt.ArrayLike, clusters: Clusters, *, method: str) -> Estimate:
    """Sum of one column over the sum of another, every row counting once; the linearised error is over units.

    nan where the denominator sums to 0, and the error of a single unit.
    """
    top_U = clusters.sums(float_array("numerator", numerator, "B", finite=False))
    bottom_U = clusters.sums(float_array("denominator", denominator, "B", finite=False))
    n_units, total = clusters.n_units, float(bottom_U.sum())
    value, stderr = np.nan, np.nan
    if total != 0:
        with np.errstate(invalid="ignore", over="ignore"):
            value = float(top_U.sum() / total)
            if n_units > 1:
                residual_U = top_U - value * bottom_U
                stderr = float(np.sqrt(n_units / (n_units - 1) * (residual_U**2).sum()) / abs(total))
    return Estimate(value=value, stderr=stderr, n_units=n_units, unit=clusters.unit, method=method)


def _from_ids(ids: npt.NDArray[np.generic], unit: str) -> Clusters:
    try:
        _, index, counts = np.unique(ids, return_inverse=True, return_counts=True)
    except TypeError as error:
        raise DataError(f"prompt ids must be all numbers or all strings: {error}") from error
    return Clusters(index=index.reshape(-1), sizes=counts.astype(np.float64), unit=unit)
