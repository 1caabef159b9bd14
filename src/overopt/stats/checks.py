"""Border checks shared by the estimators: what came in is a finite array of the shape that was promised."""

import operator
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from overopt.errors import ConfigError, DataError, ShapeError
from overopt.stats.estimate import FloatArray


def float_array(name: str, values: npt.ArrayLike, axes: str, *, finite: bool = True) -> FloatArray:
    """``values`` as float64 with one axis per letter of ``axes``; ``finite=False`` lets nan and inf through."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} must be a rectangular array of numbers: {error}") from error
    if array.ndim != len(axes):
        shape = ", ".join(axes) + ("," if len(axes) == 1 else "")
        raise ShapeError(f"{name} must have the shape ({shape}); got {array.shape}")
    if finite:
        check_finite(name, array)
    return array


def check_finite(name: str, array: FloatArray) -> None:
    """Raise a ``DataError`` that counts the non-finite entries and places the first."""
    is_bad = ~np.isfinite(array)
    if is_bad.any():
        where = tuple(int(i) for i in np.argwhere(is_bad)[0])
        raise DataError(
            f"{name} holds {int(is_bad.sum())} values that are not finite, the first at index {where}; "
            "drop or repair them before the analysis"
        )


def check_same_shape(first_name: str, first: FloatArray, second_name: str, second: FloatArray) -> None:
    """Raise a ``ShapeError`` unless the two arrays have one shape."""
    if first.shape != second.shape:
        raise ShapeError(f"{first_name} and {second_name} must have one shape; got {first.shape} and {second.shape}")


def check_level(level: float) -> None:
    """Raise a ``ConfigError`` unless ``level`` is a confidence level."""
    if not 0 < level < 1:
        raise ConfigError(f"level must lie between 0 and 1, such as 0.95; got {level}")


def check_draws(draws: int) -> None:
    """Raise a ``ConfigError`` unless at least one bootstrap draw is asked for."""
    if draws < 1:
        raise ConfigError(f"draws must be at least 1; got {draws}")


def integers_in(name: str, values: Sequence[int], low: int, high: int) -> list[int]:
    """``values`` as Python integers within low..high, at least one of them."""
    try:
        integers = [operator.index(value) for value in values]
    except TypeError as error:
        raise ConfigError(f"{name} must be a list of integers; got {values!r}") from error
    outside = [value for value in integers if not low <= value <= high]
    if outside or not integers:
        raise ConfigError(f"{name} must hold at least one integer, each within {low}..{high}; got {outside or '[]'}")
    return integers
