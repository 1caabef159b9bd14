"""The number type: a value never travels without its error, its count and its method."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A measured number."""

    value: float
    """``nan`` when unknown, never 0 in its place."""
    stderr: float
    """Standard error over the independent units; ``nan`` with fewer than two of them."""
    n_units: int
    """How many independent units were counted."""
    unit: str
    """What a unit is: "prompt", "seed", "pair"."""
    method: str
    """The estimator, by its usual name."""


def mean_over_units(values: npt.ArrayLike, *, unit: str, method: str = "mean") -> Estimate:
    """Mean of ``values`` (one number a unit, shape (U,)) with its standard error.

    >>> mean_over_units([1.0, 2.0, 3.0], unit="prompt").value
    2.0
    """
    array = np.asarray(values, dtype=np.float64)
    count = array.size
    value = float(array.mean()) if count else float("nan")
    stderr = float(array.std(ddof=1) / np.sqrt(count)) if count > 1 else float("nan")
    return Estimate(value=value, stderr=stderr, n_units=count, unit=unit, method=method)
